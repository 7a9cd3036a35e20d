"""Linear devices against the exact values of their closed forms, and their own simulation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal
from suite_helpers import assert_z

from inference.dynamics import euler_maruyama
from inference.status import PrecisionError
from models.mesoscopic import LinearLangevin, closed_form_frontier

FORMS = ("observable", "schnakenberg", "antisymmetric")


def o4():
    """The fixture of four units; the indices in its formulas count from one."""
    i = np.arange(1, 5)
    couplings = 0.4 * np.sin(i[:, None] + 2 * i)
    np.fill_diagonal(couplings, 0.0)
    weights = np.cos(np.outer(i, np.arange(1, 4)))
    return LinearLangevin(np.eye(4) - couplings, 0.5 + 0.1 * i, weights)


def random_system(seed, n=3, d=2):
    rng = np.random.default_rng(seed)
    drift, root = rng.normal(size=(n, n)), rng.normal(size=(n, n))
    drift += (0.3 - np.linalg.eigvals(drift).real.min()) * np.eye(n)
    return LinearLangevin(
        drift, root @ root.T + 0.1 * np.eye(n), rng.normal(size=(n, d)), rng.normal(size=n)
    )


def ring(n):
    return LinearLangevin(np.eye(n) - 0.4 * np.roll(np.eye(n), 1, axis=1), 1.7)


@pytest.mark.parametrize(
    ("system", "exact", "digits"),
    [
        (LinearLangevin([[1.0, -0.7], [0.7, 1.0]], 2.5), 0.98, 1e-13),
        (LinearLangevin([[1.3, 0.4], [-0.9, 0.8]], [0.5, 1.1]), 0.6858008658008658, 1e-14),
        (LinearLangevin([[1.0, -0.3], [-0.3, 1.0]], [1.0, 2.0]), 0.0225, 1e-14),
        (ring(3), 0.2, 1e-13),
        (ring(5), 0.4137931034, 5e-11),
        (ring(8), 0.6678260870, 5e-11),
        (o4(), 0.5080665736058, 5e-14),
    ],
)
def test_entropy_production_has_its_exact_values(system, exact, digits):
    for form in FORMS:
        assert float(system.entropy_production(form)) == pytest.approx(exact, abs=digits)


def test_covariances_have_their_exact_values():
    rotation = LinearLangevin([[2.0, -0.7], [0.7, 2.0]], 3.0)
    np.testing.assert_allclose(rotation.covariance(), 1.5 * np.eye(2), rtol=1e-14, atol=1e-14)
    np.testing.assert_allclose(rotation.current(), [[0.0, -1.05], [1.05, 0.0]], atol=1e-14)
    mixed = LinearLangevin([[1.3, 0.4], [-0.9, 0.8]], [0.5, 1.1])
    expected = [[0.40680272108844, -0.07210884353742], [-0.07210884353742, 1.29387755102041]]
    np.testing.assert_allclose(mixed.covariance(), expected, rtol=0, atol=1e-14)
    # Q_12 = (b T_2 - c T_1) / (a + e)
    assert float(mixed.current()[0, 1]) == pytest.approx((0.4 * 1.1 + 0.9 * 0.5) / 2.1, abs=1e-15)
    assert float(jnp.trace(o4().covariance())) == pytest.approx(3.582490567598, abs=5e-13)


def test_information_has_its_exact_values():
    system = o4()
    assert float(system.information_about_input()) == pytest.approx(1.814678254057, abs=5e-13)
    about_output = system.information_about_output([1.0, -0.5, 0.25], 0.01)
    assert float(about_output) == pytest.approx(0.628119517110, abs=5e-13)


@pytest.mark.parametrize("seed", range(5))
def test_information_is_that_of_the_joint_normal_law(seed):
    system = random_system(seed)
    rng = np.random.default_rng([seed, 1])
    root = rng.normal(size=(2, 2))
    inputs, readout = root @ root.T, rng.normal(size=2)
    response = np.linalg.solve(system.drift, system.input_weights)
    reads = np.concatenate([response, readout[None], np.eye(2)])  # of s, y, x
    joint = reads @ inputs @ reads.T
    joint[:3, :3] += system.covariance()
    joint[3, 3] += 0.2

    def information(first, second):
        def entropy(index):
            return 0.5 * np.linalg.slogdet(joint[np.ix_(index, index)])[1]

        return entropy(first) + entropy(second) - entropy(first + second)

    about_input = float(system.information_about_input(inputs))
    about_output = float(system.information_about_output(readout, 0.2, inputs))
    assert about_input == pytest.approx(information([0, 1, 2], [4, 5]), abs=1e-11)
    assert about_output == pytest.approx(information([0, 1, 2], [3]), abs=1e-11)
    assert about_output <= about_input


def test_the_forms_agree_and_an_input_changes_only_the_mean():
    for seed in range(50):
        system = random_system(seed, n=2 + seed % 5)
        rates = [float(system.entropy_production(form)) for form in FORMS]
        assert np.ptp(rates) <= 1e-12 * max(1.0, rates[0] + float(jnp.trace(system.drift)))
        current = system.current()
        np.testing.assert_allclose(current, -current.T, atol=0)
    x = np.array([0.5, -2.0])
    np.testing.assert_allclose(
        system.drift @ system.mean(x), system.input_weights @ x + system.bias, rtol=1e-12
    )


def test_a_reversible_system_dissipates_nothing():
    rng = np.random.default_rng(0)
    root, stiff = rng.normal(size=(2, 4, 4))
    noise = root @ root.T + 0.5 * np.eye(4)
    # A D symmetric: A = D K with a stiffness K
    system = LinearLangevin(noise @ (stiff @ stiff.T + np.eye(4)), noise)
    assert 0.0 <= float(system.entropy_production()) < 1e-24
    assert abs(float(system.entropy_production("observable"))) < 1e-10


def test_gradients_go_through_systems_built_inside():
    def rate(coupling, temperature):
        drift = jnp.array([[1.3, coupling], [-0.9, 0.8]])
        return LinearLangevin(drift, jnp.array([temperature, 1.1])).entropy_production()

    def formula(b, t):
        return (b * 1.1 + 0.9 * t) ** 2 / (t * 1.1 * 2.1)

    found = jax.jit(jax.grad(rate, argnums=(0, 1)))(0.4, 0.5)
    np.testing.assert_allclose(found, jax.grad(formula, argnums=(0, 1))(0.4, 0.5), rtol=1e-12)
    batch = jax.jit(jax.vmap(lambda b: rate(b, 0.5)))(jnp.array([0.1, 0.4]))
    np.testing.assert_allclose(batch, [formula(0.1, 0.5), formula(0.4, 0.5)], rtol=1e-12)


@pytest.mark.statistical
def test_a_simulation_in_short_steps_produces_as_much(key):
    system = LinearLangevin([[1.3, 0.4], [-0.9, 0.8]], [0.5, 1.1])
    start = system.sample(key, [0.0, 1.0], n_paths=4000)[:, 0]
    run = euler_maruyama(
        lambda s, drift: -drift @ s, [0.5, 1.1], start, key=key, n_steps=1000, dt=0.005,
        args=(system.drift,),
    )  # fmt: skip
    # short steps are off by a share of about dt
    bias = 0.005 * float(system.entropy_production())
    assert abs(float(run.entropy_production) - 0.6858008658) < 4 * run.standard_error + bias


@pytest.mark.statistical
def test_sampled_paths_have_the_density_that_is_claimed(key):
    system = random_system(3)
    x, times = np.array([1.0, -0.5]), np.array([0.0, 0.3, 0.4, 2.0])
    paths = system.sample(key, times, n_paths=4000, x=x)
    assert paths.shape == (4000, 4, 3)
    end = np.asarray(paths[:, -1])
    covariance = np.asarray(system.covariance())
    assert_z(end.mean(axis=0), system.mean(x), np.sqrt(np.diag(covariance) / 4000))
    density = np.array(jax.jit(jax.vmap(lambda path: system.log_prob(times, path, x=x)))(paths))
    # minus the log density, less its mean, is half a chi squared with twelve degrees of freedom
    zero = float(system.log_prob(times, jnp.tile(system.mean(x), (4, 1)), x=x))
    assert_z((zero - density).mean(), 6.0, np.sqrt(6.0 / 4000))
    assert_z(np.mean((zero - density) ** 2), 42.0, np.sqrt((6 * 7 * 8 * 9 - 42.0**2) / 4000))
    together = float(system.log_prob(times, paths, x=x))
    assert together == pytest.approx(density.sum(), rel=1e-10)


def test_paths_in_equal_steps_begin_where_they_should(key):
    system = random_system(4)
    start = np.array([1.0, 2.0, 3.0])
    path = system.sample(key, n_steps=5, dt=0.1, x=[0.0, 0.0], start=start)
    assert path.shape == (6, 3)
    np.testing.assert_allclose(path[0], start, rtol=1e-14)
    same = system.sample(key, 0.1 * np.arange(6), x=[0.0, 0.0], start=start)
    np.testing.assert_allclose(path, same, rtol=1e-9)
    each = system.sample(key, n_steps=1, dt=1e9, x=[0.0, 0.0], start=np.ones((7, 3)), n_paths=7)
    np.testing.assert_allclose(each[:, 0], np.ones((7, 3)), rtol=1e-12)
    assert np.ptp(np.asarray(each[:, 1]), axis=0).min() > 0


def test_the_density_of_one_pair_of_points():
    system = LinearLangevin([[1.0, -0.7], [0.7, 1.0]], 1.0)
    path = np.array([[0.3, -1.0], [0.5, 0.2]])
    turn = np.exp(-0.5) * np.array([[np.cos(0.35), np.sin(0.35)], [-np.sin(0.35), np.cos(0.35)]])
    noise = (1.0 - np.exp(-1.0)) * np.eye(2)
    later = multivariate_normal(turn @ path[0], noise).logpdf(path[1])
    found = system.log_prob([2.0, 2.5], path, start="given")
    assert float(found) == pytest.approx(later, rel=1e-13)
    first = multivariate_normal(cov=np.eye(2)).logpdf(path[0])
    assert float(system.log_prob([2.0, 2.5], path)) == pytest.approx(later + first, rel=1e-13)


def test_the_frontier_of_two_units_is_that_of_its_formula():
    frontier = closed_form_frontier([0.0, 0.1, 2.0, 1e6], temperature=0.7, input_variance=2.0)
    for rate, information, coupling in zip(
        frontier.dissipation, frontier.information, frontier.coupling
    ):
        system = LinearLangevin([[1.0, -coupling], [0.0, 1.0]], 0.7, [[0.0], [1.0]])
        assert float(system.entropy_production()) == pytest.approx(float(rate), rel=1e-9, abs=1e-30)
        found = system.information_about_input([[2.0]])
        assert float(found) == pytest.approx(float(information), rel=1e-9)
    assert float(frontier.signal_to_noise[-1]) == pytest.approx(2.0 / 0.7, rel=1e-5)
    with pytest.raises(ValueError, match="dissipation: expected at least 0, got -1"):
        closed_form_frontier([-1.0])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (([[1.0, 2.0], [2.0, 1.0]], 1.0), "positive real parts, got -1; the units would run away"),
        (([[-0.2, -1.0], [1.0, -0.2]], 1.0), r"positive real parts, got -0.2[+-]1j"),
        (([[1.0, 2.0]], 1.0), r"drift: expected a square matrix, got shape \(1, 2\)"),
        (([[np.nan]], 1.0), "drift: expected finite numbers, got nan"),
        (([[1.0]], 0.0), "diffusion: expected positive numbers, got 0"),
        (([[1.0]], [1.0, 1.0]), r"diffusion: expected a number or shape \(1,\) or \(1, 1\)"),
        ((np.eye(2), [[1.0, 2.0], [2.0, 1.0]]), "positive definite matrix, got the eigenvalue -1"),
        ((np.eye(2), [[1.0, 0.1], [0.2, 1.0]]), "diffusion: expected a symmetric matrix"),
        ((np.eye(2), 1.0, [[1.0]]), "input_weights: expected 2 rows, one a unit, got 1"),
        ((np.eye(2), 1.0, None, [1.0]), "bias: expected 2 numbers, one a unit, got 1"),
    ],
)
def test_what_is_no_system_is_refused(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        LinearLangevin(*arguments)


def test_other_bad_input_is_refused(key):
    system, alone = random_system(0), LinearLangevin(np.eye(2), 1.0)
    calls = [
        (lambda: system.mean(), "x: expected 2 inputs, got none"),
        (lambda: system.mean([1.0]), "x: expected 2 inputs, got 1"),
        (lambda: alone.mean([1.0]), "input_weights: expected some, the system has no inputs"),
        (lambda: alone.information_about_input(), "input_weights: expected some"),
        (lambda: system.information_about_input(np.eye(3)), r"expected shape \(2, 2\), got"),
        (lambda: system.information_about_input(-np.eye(2)), "got the eigenvalue -1"),
        (lambda: system.information_about_output([1.0], 0.1), "readout: expected 2 numbers, got 1"),
        (lambda: system.information_about_output([1.0, 0.0], -1.0), "noise_variance: expected at"),
        (lambda: system.entropy_production("ito"), "form: expected one of observable"),
        (lambda: alone.sample(key), "times: expected either times, or n_steps and dt"),
        (lambda: alone.sample(key, [0.0, 1.0], n_steps=3, dt=1.0), "times: expected either"),
        (lambda: alone.sample(key, n_steps=3), "times: expected either"),
        (lambda: alone.sample(key, n_steps=3, dt=-1.0), "dt: expected a positive"),
        (lambda: alone.sample(key, [0.0, 1.0], start=[1.0]), r"start: expected shape \(2,\) or"),
        (lambda: alone.log_prob([0.0, 1.0], np.zeros((2, 3))), "path: expected 2 units along"),
    ]
    for call, sentence in calls:
        with pytest.raises(ValueError, match=sentence):
            call()
    with jax.enable_x64(False), pytest.raises(PrecisionError, match="equation of Lyapunov"):
        alone.covariance()
