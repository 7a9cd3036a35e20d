"""Choice by evidence against closed forms, the solver pair by pair, and explicit mixtures."""

import csv
import dataclasses

import jax
import numpy as np
import pytest
import scipy.stats
from scipy.special import logsumexp
from suite_helpers import assert_z

import models.deep_linear.evidence_batch as batch_module
import models.deep_linear.selection as selection_module
from inference.status import CavityWarning, ConvergenceError, PrecisionError, Status
from models.deep_linear import Architecture, compress, posterior, with_test_inputs
from models.deep_linear.evidence_batch import (
    constant_evidences,
    from_posterior,
    heaviest,
    laplace_evidence,
    log_likelihood_curves,
    scalar_evidences,
    shares_programs,
)
from models.deep_linear.selection import select
from models.deep_linear.selection_result import kernel_of

BETAS = np.array([0.3, 2.0, 30.0])


def made(n=25, n_inputs=4, n_outputs=1, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, n_inputs))
    y = x @ rng.normal(size=(n_inputs, n_outputs)) + 0.4 * rng.normal(size=(n, n_outputs))
    return x, y


X, Y = made()
X_TEST, Y_TEST = made(seed=7)
LINEAR = Architecture((), 2)
NETWORKS = [
    Architecture(()),
    Architecture((), precisions=3.0),
    Architecture((5,)),
    Architecture((2, 30), precisions=(3.0, 1.0, 0.5)),
    Architecture((4,), bias_scale=0.7),
]


@pytest.fixture(scope="module")
def selection():
    return select(X, Y[:, 0], NETWORKS, BETAS)


@pytest.mark.parametrize(("n", "n_inputs", "n_outputs"), [(12, 4, 1), (6, 9, 1), (12, 4, 3)])
@pytest.mark.parametrize("bias_scale", [0.0, 0.5])
def test_no_hidden_layer_is_bayesian_linear_regression(n, n_inputs, n_outputs, bias_scale):
    x, y = made(n, n_inputs, n_outputs)
    network = Architecture((), n_outputs, 2.0, bias_scale)
    found = select(x, y, [network], BETAS)
    kernel = x @ x.T / (2.0 * n_inputs) + bias_scale**2
    for beta, value in zip(BETAS, found.log_evidence[0]):
        law = scipy.stats.multivariate_normal(cov=kernel + np.eye(n) / beta)
        assert value == pytest.approx(sum(law.logpdf(column) for column in y.T), rel=1e-11)
    assert (found.log_evidence_error == 0).all()


@pytest.mark.parametrize(
    "widths", [(1,), (10,), (10**6,), (1, 1), (10**6, 3), (10, 10, 10)], ids=str
)
@pytest.mark.parametrize("size", [(30, 4), (12, 20)], ids=str)
def test_one_lattice_for_all_noise_levels_equals_one_a_level(widths, size):
    network = Architecture(widths, precisions=(1.0, *[0.5] * len(widths)))
    data = compress(*made(*size), network)
    betas = np.array([1e-3, 1.0, 1e4])
    for beta, one in zip(betas, scalar_evidences(data, network, betas)):
        alone = posterior(data, network, beta)
        assert one.log_evidence == pytest.approx(alone.log_evidence, rel=1e-11)
        mean = np.exp(one.log_weights) @ one.mixing[:, 0, 0]
        assert mean == pytest.approx(float(alone.mixing_mean[0, 0]), rel=1e-9)


def test_a_lattice_that_fails_is_left_to_the_solver(monkeypatch):
    expected = select(X, Y, [NETWORKS[2]], BETAS).log_evidence
    monkeypatch.setattr(batch_module, "_MAX_LOOKS", 0)
    data = compress(X, Y, NETWORKS[2])
    assert scalar_evidences(data, NETWORKS[2], BETAS) == [None] * 3
    found = select(X, Y, [NETWORKS[2]], BETAS)
    np.testing.assert_allclose(found.log_evidence, expected, rtol=1e-11)
    monkeypatch.undo()
    monkeypatch.setattr(batch_module, "_MAX_POINTS", 128)
    assert scalar_evidences(data, NETWORKS[2], BETAS) == [None] * 3


def test_the_likelihood_at_a_multiple_of_the_identity():
    x, y = made(n_outputs=2)
    data = compress(x, y, Architecture((), 2))
    curves = log_likelihood_curves(data, np.array([0.5, 2.0]), BETAS)
    for j, beta in enumerate(BETAS):
        for i, q in enumerate((0.5, 2.0)):
            law = scipy.stats.multivariate_normal(cov=q * x @ x.T / 4 + np.eye(25) / beta)
            assert curves[j, i] == pytest.approx(law.logpdf(y.T).sum(), rel=1e-11)


@pytest.fixture(scope="module")
def two_outputs():
    """A choice between networks of two outputs, and the lattice's answer for one of them."""
    x, y = made(n_outputs=2)
    networks = [Architecture((), 2), Architecture((10,), 2, (1.0, 2.0))]
    found = select(x, y, networks, [2.0, 10.0], key=jax.random.key(1))
    data = compress(x, y, networks[1])
    return found, data, posterior(data, networks[1], 10.0)


@pytest.mark.statistical
def test_programs_shared_by_all_widths_agree_with_the_lattice(key, two_outputs):
    _, data, exact = two_outputs
    found = laplace_evidence(data, exact.architecture, 10.0, key)
    assert (found.method, exact.method) == ("laplace", "quadrature")
    assert_z(found.log_evidence, exact.log_evidence, found.log_evidence_error)
    weights = np.exp(found.log_weights)
    mean = np.tensordot(weights, found.mixing, 1)
    spread = np.sqrt(np.tensordot(weights**2, (found.mixing - mean) ** 2, 1))
    assert_z(mean, exact.mixing_mean, spread)


def test_which_networks_share_programs():
    assert not shares_programs(Architecture((), 2))
    assert not shares_programs(Architecture((1, 5), 2))
    assert kernel_of(NETWORKS[4]) == (1.0, 0.7)


def test_light_nodes_are_dropped_and_the_rest_renormalised():
    mixing = np.arange(3.0)[:, None, None]
    kept, log_weights = heaviest(mixing, np.array([-50.0, 0.0, 0.0]))
    assert kept.ravel().tolist() == [1.0, 2.0]
    np.testing.assert_allclose(np.exp(log_weights), 0.5)


def test_the_grid_holds_what_the_solver_finds(selection):
    for i, network in enumerate(NETWORKS):
        for j, beta in enumerate(BETAS):
            alone = from_posterior(posterior(compress(X, Y, network), network, beta))
            assert selection.log_evidence[i, j] == pytest.approx(alone.log_evidence, rel=1e-11)
    assert (selection.status == Status.CONVERGED).all()
    assert (selection.methods == "quadrature").all()
    expected = np.exp(selection.log_evidence - logsumexp(selection.log_evidence))
    np.testing.assert_allclose(selection.probabilities, expected, rtol=1e-10)
    np.testing.assert_allclose(selection.architecture_probabilities, expected.sum(1), rtol=1e-10)
    np.testing.assert_allclose(selection.beta_probabilities, expected.sum(0), rtol=1e-10)
    i, j = np.unravel_index(np.argmax(expected), expected.shape)
    assert selection.best.architecture == NETWORKS[i]
    assert selection.best.beta == BETAS[j]
    top = selection.log_evidence.max()
    assert selection.best.posterior.log_evidence == pytest.approx(top, rel=1e-11)


def test_the_prior_shifts_the_choice(selection):
    log_prior = np.full(len(NETWORKS), -np.inf)
    log_prior[1] = 3.0
    only = select(X, Y, NETWORKS, BETAS, log_prior=log_prior)
    assert only.best.architecture == NETWORKS[1]
    np.testing.assert_allclose(only.architecture_probabilities, [0, 1, 0, 0, 0])
    pairs = np.zeros((len(NETWORKS), 3))
    pairs[:, 0] = 500.0
    assert select(X, Y, NETWORKS, BETAS, log_prior=pairs).best.beta == BETAS[0]


def test_the_average_is_the_explicit_mixture(selection):
    predicted = selection.predict(X_TEST)
    weights, means, covariances, densities = [], [], [], []
    for i, network in enumerate(NETWORKS):
        data = compress(X, Y, network, X_TEST)
        for j, beta in enumerate(BETAS):
            if selection.probabilities[i, j] >= 1e-6:
                alone = posterior(data, network, beta).predict()
                weights.append(selection.probabilities[i, j])
                means.append(alone.mean)
                covariances.append(alone.covariance)
                densities.append(alone.log_prob(Y_TEST))
    weights = np.array(weights) / np.sum(weights)
    means, covariances = np.array(means), np.array(covariances)
    assert len(weights) > 3
    mean = np.tensordot(weights, means, 1)
    np.testing.assert_allclose(predicted.mean, mean, rtol=1e-9, atol=1e-12)
    within = np.tensordot(weights, covariances, 1)
    between = np.einsum("k,kmd,kme->mde", weights, means - mean, means - mean)
    np.testing.assert_allclose(predicted.covariance, within + between, rtol=1e-9)
    mixture = logsumexp(np.array(densities) + np.log(weights)[:, None], axis=0)
    np.testing.assert_allclose(predicted.log_prob(Y_TEST[:, 0]), mixture, rtol=1e-9)
    assert predicted.probabilities.sum() == pytest.approx(1.0)
    noise = selection.beta_probabilities @ (1 / BETAS)
    assert predicted.noise_variance == pytest.approx(noise, rel=1e-5)


def test_the_density_of_the_average_integrates_to_one(selection):
    y = np.linspace(-30, 30, 4001)
    density = np.exp(selection.predict(np.repeat(X_TEST[:1], len(y), 0)).log_prob(y))
    assert density.sum() * (y[1] - y[0]) == pytest.approx(1.0, abs=1e-8)


def test_the_table_is_sorted_and_can_be_written(selection, tmp_path):
    table = selection.table()
    values = [row["log_evidence"] for row in table.rows]
    assert values == sorted(values, reverse=True)
    assert len(values) == selection.log_evidence.size
    assert sum(row["probability"] for row in table.rows) == pytest.approx(1.0)
    assert table.rows[0]["widths"] == selection.best.architecture.widths
    lines = str(table).splitlines()
    assert lines[0].split()[:3] == ["widths", "precisions", "beta"]
    assert len(lines) == len(values) + 1
    assert any(line.startswith("none") for line in lines)
    with table.save(tmp_path / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["log_evidence"]) for row in rows] == values
    assert {row["widths"] for row in rows} == {"", "5", "2 30", "4"}


@pytest.mark.statistical
def test_several_outputs(two_outputs):
    found, data, exact = two_outputs
    assert found.methods.tolist() == [["quadrature"] * 2, ["laplace"] * 2]
    assert_z(found.log_evidence[1, 1], exact.log_evidence, found.log_evidence_error[1, 1])
    assert found.best.beta == 10.0
    log_evidence = found.best.posterior.log_evidence
    assert log_evidence == pytest.approx(found.log_evidence.max(), abs=0.1)
    assert found.best.posterior.method == found.methods[found.log_evidence.argmax() // 2, 1]
    some = X_TEST[:3]
    predicted = found.predict(some)
    own = [
        one.predict()
        for one in (
            exact.at(with_test_inputs(data, some, exact.architecture)),
            posterior(compress(*made(n_outputs=2), LINEAR, some), LINEAR, 10.0),
        )
    ]
    share = found.probabilities[1, 1]
    mean = share * own[0].mean + (1 - share) * own[1].mean
    np.testing.assert_allclose(predicted.mean, mean, atol=0.02)  # the other beta, and the sampling
    assert predicted.covariance.shape == (3, 2, 2)


def failing(monkeypatch, width):
    """Let networks of this width report unreliable weights and a splendid evidence."""
    trusted = selection_module.scalar_evidences

    def replaced(data, network, betas):
        found = trusted(data, network, betas)
        if network.widths != (width,):
            return found
        return [one._replace(status=Status.UNRELIABLE_WEIGHTS, log_evidence=1e6) for one in found]

    monkeypatch.setattr(selection_module, "scalar_evidences", replaced)


def test_a_failure_is_reported_and_never_chosen(monkeypatch):
    failing(monkeypatch, 5)
    networks = [NETWORKS[2], NETWORKS[0]]
    with pytest.warns(CavityWarning, match="select: UNRELIABLE_WEIGHTS"):
        found = select(X, Y, networks, BETAS)
    assert found.best.architecture == NETWORKS[0]
    assert found.architecture_probabilities[0] == 0
    last = found.table().rows[-1]
    assert (last["status"], last["widths"]) == ("UNRELIABLE_WEIGHTS", (5,))
    assert found.predict(X_TEST).mean.shape == (25, 1)
    with pytest.raises(ConvergenceError, match="UNRELIABLE_WEIGHTS"):
        select(X, Y, networks, BETAS, on_failure="raise")
    with pytest.raises(ConvergenceError, match="none of 3 pairs"):
        select(X, Y, networks[:1], BETAS, on_failure="ignore")


def test_unreliable_weights_of_a_real_run_are_seen():
    """Weighted prior draws against strong data: one draw holds all the weight."""
    x, y = made(60, 4, n_outputs=2)
    networks = [Architecture((), 2), Architecture((10, 10), 2)]
    with pytest.warns(CavityWarning, match="UNRELIABLE_WEIGHTS"):
        found = select(x, 10 * y, networks, 1000.0, method="prior")
    assert Status(int(found.status[1, 0])) is Status.UNRELIABLE_WEIGHTS
    assert found.best.architecture.widths == ()


def test_infinite_precision_is_solved_pair_by_pair():
    x, y = made(3, 4)
    found = select(x, y, [Architecture(()), Architecture((5,))], [10.0, np.inf])
    law = scipy.stats.multivariate_normal(cov=x @ x.T / 4)
    assert found.log_evidence[0, 1] == pytest.approx(law.logpdf(y[:, 0]))


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"architectures": []}, ("architectures", "at least one")),
        ({"architectures": NETWORKS[0]}, ("architectures", "list")),
        ({"architectures": [NETWORKS[0], Architecture((), 2)]}, ("architectures[1]", "1", "2")),
        ({"betas": []}, ("betas", "at least one")),
        ({"betas": [1.0, -1.0]}, ("betas", "positive", "-1")),
        ({"log_prior": [0.0]}, ("log_prior", "(5, 3)", "(1,)")),
        ({"log_prior": [np.nan] * 5}, ("log_prior", "-inf")),
        ({"log_prior": [-np.inf] * 5}, ("log_prior", "not all")),
        ({"method": "nuts"}, ("method", "nuts", "laplace")),
        ({"on_failure": "shrug"}, ("on_failure", "shrug")),
        ({"y": Y[:-1]}, ("y", "25", "24")),
    ],
    ids=str,
)
def test_bad_arguments(change, parts):
    arguments = {"x": X, "y": Y, "architectures": NETWORKS, "betas": BETAS} | change
    with pytest.raises(ValueError, match=parts[0].replace("[", r"\[")) as caught:
        select(**arguments)
    for part in parts:
        assert part in str(caught.value)


def test_what_is_not_a_network_is_named():
    with pytest.raises(TypeError, match=r"architectures\[1\]"):
        select(X, Y, [NETWORKS[0], (5,)], BETAS)


def test_test_inputs_of_another_width(selection):
    with pytest.raises(ValueError, match="x_test"):
        selection.predict(X_TEST[:, :2])


def test_single_precision_is_refused():
    with jax.enable_x64(False), pytest.raises(PrecisionError, match="select"):
        select(X, Y, NETWORKS, BETAS)


def test_the_bar_counts_pairs(capsys):
    select(X, Y, NETWORKS[:2], BETAS, progress=True)
    assert "6/6" in capsys.readouterr().err


def test_constants_are_cheap_and_exact():
    data = compress(X, Y, NETWORKS[1])
    for beta, one in zip(BETAS, constant_evidences(data, NETWORKS[1], BETAS)):
        alone = posterior(data, NETWORKS[1], beta)
        assert one.log_evidence == pytest.approx(alone.log_evidence, rel=1e-12)
        np.testing.assert_allclose(one.mixing, alone.nodes.mixing)


def test_the_result_cannot_be_changed(selection):
    with pytest.raises(dataclasses.FrozenInstanceError):
        selection.best = None
