"""The network as NumPyro models: their densities term by term, and NUTS against exact answers."""

import math
from functools import cached_property, partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import pytest
import scipy.stats
from numpyro import handlers
from numpyro.infer import MCMC, NUTS, SVI, Predictive, Trace_ELBO
from numpyro.infer.autoguide import AutoNormal
from numpyro.infer.util import log_density
from sklearn.datasets import load_diabetes, load_linnerud
from suite_helpers import assert_z

from inference.comparison import compare_table
from inference.status import Status
from models.deep_linear import (
    Architecture,
    collapsed_model,
    compress,
    effective_mixing,
    function_model,
    mixing_prior,
    posterior,
    weights_model,
)
from models.deep_linear.conditional import conditional_moments
from models.deep_linear.coordinates import MixingCoordinates, mixing_matrix

# every number differs from every other, so that no two of them can be exchanged unseen
NETWORK = Architecture((4, 3), n_outputs=2, precisions=(1.5, 0.5, 2.0))
N_INPUTS = 5
BETA = 4.0
rng = np.random.default_rng(0)
X, Y, X_TEST = (rng.normal(size=shape) for shape in [(6, N_INPUTS), (6, 2), (3, N_INPUTS)])
DATA = compress(X, Y, NETWORK)


def kernel(a, b, architecture=NETWORK):
    return a @ b.T / (architecture.precisions[0] * a.shape[1])


def sites_of(model, *args, values=None, **options):
    """Run a model once, with its latent sites at ``values`` where given."""
    seeded = handlers.seed(model, jax.random.key(0))
    conditioned = handlers.substitute(seeded, data=values or {})
    return handlers.trace(conditioned).get_trace(*args, **options)


def shapes_of(trace, kind):
    return {
        name: jnp.shape(site["value"])
        for name, site in trace.items()
        if site["type"] == kind and not site.get("is_observed", False)
    }


# --- one call of each model ------------------------------------------------------------------


def test_sites_of_the_weights_model():
    trace = sites_of(weights_model, X, Y, NETWORK, BETA)
    shapes = [(4, N_INPUTS), (3, 4), (2, 3)]
    assert shapes_of(trace, "sample") == {f"w{i}": shape for i, shape in enumerate(shapes)}
    assert shapes_of(trace, "deterministic") == {
        **{f"weights_{i}": shape for i, shape in enumerate(shapes)},
        "mixing": (2, 2),
        "f": (6, 2),
    }
    np.testing.assert_array_equal(trace["y"]["value"], Y)
    assert sites_of(weights_model, X, Y, NETWORK, BETA, X_TEST)["f"]["value"].shape == (3, 2)


def test_sites_of_the_collapsed_model():
    trace = sites_of(collapsed_model, DATA, NETWORK, BETA)
    # three entries of a triangle a layer
    assert shapes_of(trace, "sample") == {"coordinates": (6,)}
    assert shapes_of(trace, "deterministic") == {"mixing": (2, 2)}


def test_sites_of_the_function_model():
    trace = sites_of(function_model, X, Y, NETWORK, beta=BETA, x_test=X_TEST)
    # nine points of five inputs: a factor of five columns
    assert shapes_of(trace, "sample") == {"coordinates": (6,), "z": (5, 2)}
    assert shapes_of(trace, "deterministic") == {"mixing": (2, 2), "f": (3, 2)}
    assert sites_of(function_model, X, Y, NETWORK, beta=BETA)["f"]["value"].shape == (6, 2)
    wide = sites_of(function_model, X[:2], Y[:2], NETWORK, beta=BETA)
    assert wide["z"]["value"].shape == (2, 2)
    linear = sites_of(function_model, X, Y, Architecture((), n_outputs=2), beta=BETA)
    assert set(linear) == {"mixing", "z", "f", "y"}
    np.testing.assert_array_equal(linear["mixing"]["value"], np.eye(2))


def test_weights_make_the_function():
    trace = sites_of(weights_model, X, Y, NETWORK, BETA, X_TEST)
    h, upper = X_TEST, np.eye(2)
    for layer, precision in enumerate(NETWORK.precisions):
        white = np.asarray(trace[f"w{layer}"]["value"])
        physical = white / np.sqrt(precision)
        np.testing.assert_allclose(trace[f"weights_{layer}"]["value"], physical, rtol=1e-14)
        h = h @ physical.T / np.sqrt(physical.shape[1])
    np.testing.assert_allclose(trace["f"]["value"], h, rtol=1e-12)
    for layer in (2, 1):
        physical = np.asarray(trace[f"weights_{layer}"]["value"])
        upper = upper @ physical / np.sqrt(physical.shape[1])
    np.testing.assert_allclose(trace["mixing"]["value"], upper @ upper.T, rtol=1e-12)


def random_latents(model, *args, **options):
    return {
        name: jnp.asarray(np.random.default_rng(1).normal(size=shape))
        for name, shape in shapes_of(sites_of(model, *args, **options), "sample").items()
    }


def test_density_of_the_weights_model():
    values = random_latents(weights_model, X, Y, NETWORK, BETA)
    found, trace = log_density(weights_model, (X, Y, NETWORK, BETA), {}, values)
    prior = sum(scipy.stats.norm.logpdf(value).sum() for value in values.values())
    f = np.asarray(trace["f"]["value"])
    likelihood = scipy.stats.norm.logpdf(Y, f, 1 / np.sqrt(BETA)).sum()
    assert float(found) == pytest.approx(prior + likelihood, rel=1e-12)


def test_density_of_the_collapsed_model():
    values = random_latents(collapsed_model, DATA, NETWORK, BETA)
    found, trace = log_density(collapsed_model, (DATA, NETWORK, BETA), {}, values)
    mixing = np.asarray(trace["mixing"]["value"])
    np.testing.assert_allclose(mixing, mixing_matrix(values["coordinates"], NETWORK), rtol=1e-14)
    covariance = np.kron(mixing, kernel(X, X)) + np.eye(12) / BETA
    evidence = scipy.stats.multivariate_normal(cov=covariance).logpdf(Y.T.reshape(-1))
    prior = MixingCoordinates(NETWORK).log_prob(values["coordinates"])
    assert float(found) == pytest.approx(float(prior) + evidence, rel=1e-11)
    # the same numbers, with test points that play no part
    with_tests = compress(X, Y, NETWORK, X_TEST)
    again, _ = log_density(collapsed_model, (with_tests, NETWORK, BETA), {}, values)
    assert float(again) == pytest.approx(float(found), rel=1e-14)


BINARY = (Y > 0).astype(float)
LIKELIHOODS = {
    "normal": (Y, BETA, lambda f: scipy.stats.norm.logpdf(Y, f, 1 / np.sqrt(BETA))),
    "student_t": (Y, BETA, lambda f: scipy.stats.t.logpdf(Y, 4, f, 1 / np.sqrt(BETA))),
    "logistic": (BINARY, None, lambda f: -np.logaddexp(0, np.where(BINARY, -f, f))),
}


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_density_of_the_function_model(likelihood):
    y, beta, log_likelihood = LIKELIHOODS[likelihood]
    options = {"beta": beta, "likelihood": likelihood}
    values = random_latents(function_model, X, y, NETWORK, **options)
    found, trace = log_density(function_model, (X, y, NETWORK), options, values)
    prior = float(MixingCoordinates(NETWORK).log_prob(values["coordinates"]))
    prior += scipy.stats.norm.logpdf(values["z"]).sum()
    terms = log_likelihood(np.asarray(trace["f"]["value"]))
    assert float(found) == pytest.approx(prior + terms.sum(), rel=1e-11)


@pytest.mark.parametrize(("n_samples", "n_test"), [(6, 3), (2, 1)], ids=["tall", "wide"])
def test_the_function_has_the_prior_covariance(n_samples, n_test):
    x, x_test = X[:n_samples], X_TEST[:n_test]
    coordinates = jnp.asarray(np.random.default_rng(2).normal(size=6))

    def function(z):
        values = {"coordinates": coordinates, "z": z}
        trace = sites_of(function_model, x, None, NETWORK, beta=BETA, x_test=x_test, values=values)
        return jnp.concatenate([trace["y"]["fn"].mean, trace["f"]["value"]])

    # f is linear in standard normal numbers: its covariance is that of the coefficients
    z = jnp.zeros((min(n_samples + n_test, N_INPUTS), 2))
    assert not function(z).any()
    jacobian = np.asarray(jax.jacfwd(function)(z))
    rows = np.moveaxis(jacobian, 1, 0).reshape(2 * (n_samples + n_test), -1)
    points = np.vstack([x, x_test])
    expected = np.kron(mixing_matrix(coordinates, NETWORK), kernel(points, points))
    np.testing.assert_allclose(rows @ rows.T, expected, atol=1e-12)


def test_compiled_models_take_arrays_as_tracers():
    # a sampler may hand the data over as arguments: values are then checked by nobody, shapes are
    values = random_latents(weights_model, X, Y, NETWORK, BETA)

    @jax.jit
    def compiled(x, y, beta):
        return log_density(weights_model, (x, y, NETWORK, beta), {}, values)[0]

    eager, _ = log_density(weights_model, (X, Y, NETWORK, BETA), {}, values)
    assert float(compiled(X, Y, BETA)) == pytest.approx(float(eager), rel=1e-13)
    with pytest.raises(ValueError, match=r"^y: expected 6 rows as in x, got 5"):
        compiled(X, Y[:5], BETA)
    with pytest.raises(ValueError, match=r"^x: expected .* got shape \(5,\)"):
        compiled(X[0], Y, BETA)


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        (partial(weights_model, X, Y, NETWORK, 0.0), ValueError, "beta: expected a positive fin"),
        (partial(weights_model, X, Y, NETWORK, math.inf), ValueError, "beta: .* got inf"),
        (partial(weights_model, X, Y[:, :1], NETWORK, BETA), ValueError, "y: expected 2 columns"),
        (partial(weights_model, X, Y[:4], NETWORK, BETA), ValueError, "y: expected 6 rows as in x"),
        (
            partial(weights_model, X * np.nan, Y, NETWORK, BETA),
            ValueError,
            "x: expected finite num",
        ),
        (
            partial(weights_model, X, Y, NETWORK, BETA, X_TEST[:, :2]),
            ValueError,
            "x_test: expected 5 columns as in x, got 2",
        ),
        (
            partial(function_model, X, Y, NETWORK, beta=BETA, likelihood="poisson"),
            ValueError,
            "likelihood: expected one of normal, logistic, student_t; got 'poisson'",
        ),
        (
            partial(function_model, X, Y, NETWORK),
            ValueError,
            "beta: expected a number for the normal likelihood, got None",
        ),
        (
            partial(function_model, X, Y, NETWORK, beta=1.0, likelihood="logistic"),
            ValueError,
            "beta: expected None for the logistic likelihood, got 1.0",
        ),
        (partial(function_model, X, Y, NETWORK, beta=-1.0), ValueError, "beta: .* got -1"),
        (
            partial(collapsed_model, DATA, Architecture((), n_outputs=2), BETA),
            ValueError,
            "architecture: expected a hidden layer, got none",
        ),
    ],
)
def test_bad_input_is_named(model, error, message):
    with pytest.raises(error, match=f"^{message}"):
        sites_of(model)


# --- effective mixing ------------------------------------------------------------------------


def test_effective_mixing_is_the_product_of_the_upper_layers():
    generator = np.random.default_rng(3)
    shapes = [(4, 5), (3, 4), (2, 3)]
    weights = [generator.normal(size=(2, 7, *shape)) for shape in shapes]
    found = effective_mixing(weights)
    assert found.shape == (2, 7, 2, 2)
    for chain in range(2):
        for draw in range(7):
            _, first, second = (w[chain, draw] for w in weights)
            upper = second / np.sqrt(3) @ first / np.sqrt(4)
            np.testing.assert_allclose(found[chain, draw], upper @ upper.T, rtol=1e-12)
    # the lowest layer is in the kernel, not here
    other = effective_mixing([generator.normal(size=(2, 7, 4, 9)), *weights[1:]])
    np.testing.assert_array_equal(other, found)
    alone = effective_mixing([generator.normal(size=(6, 2, 5))])
    np.testing.assert_array_equal(alone, np.broadcast_to(np.eye(2), (6, 2, 2)))
    # the docstring's: (3^2 + 4^2) / 2
    example = effective_mixing([np.ones((2, 3)), np.array([[3.0, 4.0]])])
    np.testing.assert_allclose(example, [[12.5]], rtol=1e-14)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([], r"weights: expected \[W_0, ..., W_L\], got an empty list"),
        (
            [np.ones((4, 5)), np.ones((2, 3))],
            r"weights\[1\]: expected 4 columns as weights\[0\] has rows, got shape \(2, 3\)",
        ),
        ([np.ones((4, 5)), np.ones((3, 4)), np.ones((2, 2))], r"weights\[2\]: expected 3 columns"),
        ([np.ones(4), np.ones((2, 4))], r"weights\[1\]: expected"),
    ],
)
def test_weights_that_do_not_fit_are_named(weights, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        effective_mixing(weights)


# --- prior predictive ------------------------------------------------------------------------


@pytest.mark.statistical
@pytest.mark.parametrize("name", ["weights", "collapsed", "function"])
def test_prior_draws_have_the_exact_moments(name, key):
    n = 5000
    model, args, options = {
        "weights": (weights_model, (X, None, NETWORK, BETA), {}),
        "collapsed": (collapsed_model, (DATA, NETWORK, BETA), {}),
        "function": (function_model, (X, None, NETWORK), {"beta": BETA}),
    }[name]
    draws = Predictive(model, num_samples=n, parallel=True)(key, *args, **options)
    mixing, law = np.asarray(draws["mixing"]), mixing_prior(NETWORK)
    assert mixing.shape == (n, 2, 2)
    assert_z(mixing.mean(axis=0), law.mean, np.sqrt(law.variance / n))
    squares = (mixing - np.asarray(law.mean)) ** 2
    assert_z(squares.mean(axis=0), law.variance, squares.std(axis=0) / np.sqrt(n))
    if name == "collapsed":
        return
    f, y = np.asarray(draws["f"]), np.asarray(draws["y"])
    assert f.shape == y.shape == (n, 6, 2)
    # Cov(f) = E Q (x) K, and of the noise I / beta more
    for values, noise in [(f, 0.0), (y, 1 / BETA)]:
        flat = np.moveaxis(values, 2, 1).reshape(n, -1)
        products = flat[:, :, None] * flat[:, None, :]
        expected = np.kron(law.mean, kernel(X, X)) + noise * np.eye(12)
        assert_z(products.mean(axis=0), expected, products.std(axis=0) / np.sqrt(n))
    # outputs at one input: E f_0^2 f_1^2 = E [Q_00 Q_11 + 2 Q_01^2] K^2, by Wick's theorem
    products = f[:, :, 0] ** 2 * f[:, :, 1] ** 2
    u, v = NETWORK.mixing_moments()
    expected = (u + 2 * v) * np.diag(kernel(X, X)) ** 2
    assert_z(products.mean(axis=0), expected, products.std(axis=0) / np.sqrt(n))


@pytest.mark.parametrize("name", ["collapsed", "function"])
def test_variational_inference_runs(name, key):
    model, args, options = {
        "collapsed": (collapsed_model, (DATA, NETWORK, BETA), {}),
        "function": (function_model, (X, BINARY, NETWORK), {"likelihood": "logistic"}),
    }[name]
    svi = SVI(model, AutoNormal(model), numpyro.optim.Adam(0.02), Trace_ELBO())
    run = svi.run(key, 200, *args, progress_bar=False, **options)
    losses = np.asarray(run.losses)
    assert losses.shape == (200,)
    assert np.isfinite(losses).all()
    assert losses[-50:].mean() < losses[:10].mean(), "it learns"


# --- NUTS against the exact posterior --------------------------------------------------------


class Instance:
    """Real data, standardised on its training part, and its exact posterior."""

    def __init__(self, dataset, n_train, n_test):
        x, y = (table[: n_train + n_test] for table in (dataset.data, dataset.target))
        x, y = (
            (table - table[:n_train].mean(axis=0)) / table[:n_train].std(axis=0)
            for table in (x, y.reshape(len(y), -1))
        )
        self.x, self.y, self.x_test = x[:n_train], y[:n_train], x[n_train:]
        self.architecture = Architecture((10,), n_outputs=y.shape[1])
        self.data = compress(self.x, self.y, self.architecture, self.x_test)
        self.exact = posterior(self.data, self.architecture, BETA, on_failure="raise")

    @cached_property
    def prediction(self):
        return self.exact.predict()

    @cached_property
    def analytic(self):
        """Means and their standard errors, zero if exact."""
        prediction = self.prediction

        @jax.jit
        def second_moment(mixing):
            mean, covariance = conditional_moments(mixing, self.data, BETA)
            return jnp.einsum("mdd->md", covariance) + (mean - prediction.mean) ** 2

        triangle = np.tril_indices(self.architecture.n_outputs)
        variance = self.exact.expectation(second_moment)
        total = np.einsum("mdd->md", prediction.covariance)
        np.testing.assert_allclose(variance[0], total, rtol=1e-10)
        return {
            "E Q": self.exact.expectation(lambda q: q[triangle]),
            "E f": (prediction.mean, prediction.mean_error),
            "Var f": variance,
        }

    def sampled(self, mixing, f=None):
        triangle = np.tril_indices(self.architecture.n_outputs)
        quantities = {"E Q": np.asarray(mixing)[..., triangle[0], triangle[1]]}
        if f is not None:
            quantities["E f"] = np.asarray(f)
            quantities["Var f"] = (np.asarray(f) - self.prediction.mean) ** 2
        return quantities


DATASETS = {"linnerud": (load_linnerud, 16, 4), "diabetes": (load_diabetes, 100, 10)}


@pytest.fixture(scope="module", params=DATASETS)
def instance(request):
    load, n_train, n_test = DATASETS[request.param]
    return Instance(load(), n_train, n_test)


def run_nuts(key, model, *args, num_samples=1000):
    mcmc = MCMC(
        NUTS(model),
        num_warmup=500,
        num_samples=num_samples,
        num_chains=4,
        chain_method="vectorized",
        progress_bar=False,
    )
    mcmc.run(key, *args)
    assert not np.any(mcmc.get_extra_fields()["diverging"])
    return mcmc.get_samples(group_by_chain=True)


def assert_agree(analytic, sampled):
    table = compare_table({name: analytic[name] for name in sampled}, sampled)
    assert not table.failures(max_z=4.0, max_r_hat=1.01, min_ess=400), f"\n{table}"


@pytest.mark.statistical
def test_the_exact_answer_is_one(instance):
    exact = instance.exact
    assert exact.status is Status.CONVERGED
    if instance.architecture.n_outputs == 1:
        assert exact.method == "quadrature"
    else:
        assert exact.method == "laplace"
        assert exact.ess >= 0.4 * 20_000
    # from the specification's measurements, by other programs
    if instance.architecture.n_outputs == 1:
        assert exact.log_evidence == pytest.approx(-143.54544, abs=1e-5)
        assert float(exact.mixing_mean[0, 0]) == pytest.approx(0.745354, abs=1e-6)
        assert float(instance.prediction.mean[0, 0]) == pytest.approx(0.529600, abs=1e-6)
        assert float(instance.prediction.covariance[0, 0, 0]) == pytest.approx(0.014862, abs=1e-6)
    else:
        error = np.hypot(exact.log_evidence_error, 0.002)
        assert_z(exact.log_evidence, -78.197, error)
        assert float(instance.prediction.mean[0, 0]) == pytest.approx(0.902895, abs=1e-3)


@pytest.mark.slow
@pytest.mark.statistical
def test_collapsed_nuts_agrees_with_the_exact_posterior(instance, key):
    found = posterior(instance.data, instance.architecture, BETA, method="nuts", key=key)
    # no divergence, R-hat below 1.01, at least 400 effective draws
    assert (found.method, found.status) == ("nuts", Status.CONVERGED)
    assert found.log_evidence is found.log_evidence_error is found.pareto_k is None
    size = instance.architecture.n_outputs
    draws = found.nodes.mixing.reshape(4, 1000, size, size)
    assert_agree(instance.analytic, instance.sampled(draws))
    # with its own standard errors, in blocks of draws
    value, error = found.expectation(lambda q: q)
    expected, margin = instance.exact.expectation(lambda q: q)
    assert_z(value, expected, np.hypot(error, margin), ess=found.ess)
    prediction, reference = found.predict(), instance.prediction
    error = np.hypot(prediction.mean_error, reference.mean_error)
    assert_z(prediction.mean, reference.mean, error)
    if instance.architecture.n_outputs == 1:
        # the blocks see the autocorrelation: 80 of them know the error to about 1 / sqrt(160)
        expected = np.sqrt(float(instance.exact.mixing_variance[0, 0]) / found.ess)
        _, error = found.expectation(lambda q: q[0, 0])
        assert float(error) == pytest.approx(expected, rel=4 / np.sqrt(160) + 0.1)


@pytest.mark.slow
@pytest.mark.statistical
def test_function_nuts_agrees_with_the_exact_posterior(instance, key):
    model = partial(function_model, beta=BETA, x_test=instance.x_test)
    # so many draws for R-hat: q and the scale of z trade against each other
    draws = run_nuts(key, model, instance.x, instance.y, instance.architecture, num_samples=2000)
    assert_agree(instance.analytic, instance.sampled(draws["mixing"], draws["f"]))


@pytest.mark.slow
@pytest.mark.statistical
def test_weights_nuts_agrees_with_the_exact_posterior(instance, key):
    model = partial(weights_model, x_test=instance.x_test)
    draws = run_nuts(key, model, instance.x, instance.y, instance.architecture, BETA)
    assert_agree(instance.analytic, instance.sampled(draws["mixing"], draws["f"]))


# --- likelihoods without a closed form -------------------------------------------------------

# one input, one output: f(x) = x g with g = sqrt(q) z / sqrt(lambda_0), an integral over (q, z)
LINE = np.array([[-1.5], [-0.4], [0.7], [1.6]])
LINE_TEST = np.array([[1.0], [-2.0]])
LINE_NETWORK = Architecture((3,), precisions=(1.3, 0.8))
LINE_TARGETS = {
    "logistic": (np.array([0.0, 1.0, 1.0, 1.0]), None),
    "student_t": (np.array([-1.2, 2.5, 0.9, 1.4]), 1.0),
}


def line_posterior(likelihood):
    """Posterior means of q, f and f^2, by the trapezoid rule in ``(log q, z)``."""
    y, beta = LINE_TARGETS[likelihood]
    log_q, z = np.meshgrid(np.linspace(-20, 5, 1251), np.linspace(-9, 9, 451), indexing="ij")
    q = np.exp(log_q)
    rate = 3 * 0.8 / 2
    log_joint = 1.5 * log_q - rate * q - z**2 / 2
    slope = np.sqrt(q / 1.3) * z
    for x, target in zip(LINE[:, 0], y):
        f = x * slope
        if likelihood == "logistic":
            log_joint += -np.logaddexp(0, -f if target else f)
        else:
            log_joint += scipy.stats.t.logpdf(target, 4, f, 1 / np.sqrt(beta))
    weights = np.exp(log_joint - log_joint.max())
    weights /= weights.sum()
    f = LINE_TEST[:, 0, None, None] * slope
    return {
        "E q": np.sum(weights * q),
        "E f": np.sum(weights * f, axis=(1, 2)),
        "E f^2": np.sum(weights * f**2, axis=(1, 2)),
    }


@pytest.mark.slow
@pytest.mark.statistical
@pytest.mark.parametrize("likelihood", LINE_TARGETS)
def test_other_likelihoods_agree_with_a_double_integral(likelihood, key):
    y, beta = LINE_TARGETS[likelihood]
    model = partial(function_model, beta=beta, likelihood=likelihood, x_test=LINE_TEST)
    draws = run_nuts(key, model, LINE, y, LINE_NETWORK)
    f = np.asarray(draws["f"])[..., 0]
    sampled = {"E q": draws["mixing"][..., 0, 0], "E f": f, "E f^2": f**2}
    assert_agree(line_posterior(likelihood), sampled)


# --- calibration -----------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.statistical
def test_simulated_truths_rank_uniformly_in_their_posteriors(key):
    # networks drawn weight by weight, targets from them: among posterior draws Q has a uniform rank
    n_simulations, n_ranked, n_bins = 200, 19, 10
    generator = np.random.default_rng(4)
    architecture = Architecture((10, 8), n_outputs=2, precisions=(0.7, 2.0, 1.5))
    x = generator.normal(size=(12, 10))
    ranks, n_failures = [], 0
    for simulation in range(n_simulations):
        lowest, middle, top = (
            generator.normal(size=shape) / np.sqrt(shape[1] * precision)
            for shape, precision in zip([(10, 10), (8, 10), (2, 8)], architecture.precisions)
        )
        upper = top @ middle
        y = x @ (upper @ lowest).T + generator.normal(size=(12, 2)) / np.sqrt(20.0)
        keys = jax.random.split(jax.random.fold_in(key, simulation))
        found = posterior(
            compress(x, y, architecture),
            architecture,
            20.0,
            method="laplace",
            key=keys[0],
            n_draws=2000,
            on_failure="ignore",
        )
        n_failures += found.status is not Status.CONVERGED
        draws = np.asarray(found.sample_mixing(keys[1], n_ranked))
        ranks.append([np.sum(draws[:, 0, j] < (upper @ upper.T)[0, j]) for j in (0, 1)])
    # the tail index of 2000 draws is itself uncertain; dropping a data set would bias the ranks
    assert n_failures <= 4
    uniform = (np.arange(n_ranked + 1) - n_ranked / 2) ** 2
    for entry in np.transpose(ranks):
        counts = np.bincount(entry * n_bins // (n_ranked + 1), minlength=n_bins)
        assert scipy.stats.chisquare(counts).pvalue > 1e-3, counts
        # the histogram's first two moments tell a shift and a wrong width better
        centred = entry - n_ranked / 2
        assert_z(centred.mean(), 0.0, np.sqrt(uniform.mean() / n_simulations))
        assert_z(np.mean(centred**2), uniform.mean(), uniform.std() / np.sqrt(n_simulations))
