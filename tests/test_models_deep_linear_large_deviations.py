"""Large deviations against tables, closed forms, a fixed point, fine grids and finite widths.

The tables were computed elsewhere: minimisers by bisection and free minimisation, finite widths by
quadrature in log space. The fixed point of `fixed_point_minimizer` is a second route to minimisers.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from inference.fixed_point import fixed_point
from inference.status import PrecisionError, Status
from models.deep_linear.compression import compress, compress_kernel
from models.deep_linear.conv_architecture import ConvArchitecture, ConvLayer
from models.deep_linear.conv_conditional import conv_data
from models.deep_linear.large_deviations import minimizer, proportional_saddle, rate_function
from models.deep_linear.saddle_scan import ScalarAction, response_of, stationary_points
from models.deep_linear.saddle_search import (
    action_of,
    common_starts,
    commuting_starts,
    coordinates_of,
    factors_of,
    limit_of,
    minima,
    mixing_of,
)
from models.deep_linear.solvers import infinite_width, posterior
from models.deep_linear.theory import Architecture
from models.deep_linear.width_curve import finite_width_curve, scaled_data

KERNEL = np.array([[1.0, 0.4, 0.2], [0.4, 0.8, -0.1], [0.2, -0.1, 1.2]])
CROSS, TEST_KERNEL = np.array([[0.3], [0.25], [0.5]]), np.array([[0.9]])
Y_ONE = np.array([0.7, -0.3, 1.1])
Y_TWO = np.array([[0.7, -0.3, 1.1], [0.2, 0.9, -0.4]]).T
BETA = 10.0
ONE, TWO = compress_kernel(KERNEL, Y_ONE, CROSS, TEST_KERNEL), compress_kernel(KERNEL, Y_TWO)
NOISY, DEEP = 0.01, Architecture((1, 1))  # one sample, where a transition of first order is


def digits(printed):
    """Tolerance: half a unit of the last printed digit."""
    return pytest.approx(float(printed), abs=0.5000001 * 10.0 ** -len(printed.partition(".")[2]))


def one_sample(y_squared):
    return compress_kernel([[1.0]], [math.sqrt(y_squared)])


# widths, size, then t*, q*, min I, E q at N = 10, 100, 1000, and N (E q - q*), N Var at N = 3000
TABLE = {
    "one layer": (
        (1,),
        1,
        *("0.7910478475", "1.7910478475", "0.5226660648"),
        *("1.635751686", "1.774655674", "1.789399750", "-1.64876", "2.56866"),
    ),
    "two layers": (
        (1, 1),
        1,
        *("0.5832276396", "2.5066097587", "0.4276144563"),
        *("2.122917791", "2.463537158", "2.502250168", "-4.36351", "9.44958"),
    ),
    "three unequal layers": (
        (2, 4, 1),
        2,
        *("0.4459065719", "3.3452481444", "0.3538462670"),
        # at N = 10 the table has 2.632722791; SciPy's Bessel density, convolved, has this
        *("2.632723775", "3.260145792", "3.336572425", "-8.68821", "25.3263"),
    ),
}


@pytest.fixture(scope="module", params=TABLE)
def row(request):
    """A row of the table, and its curve over widths."""
    widths, size, *numbers = TABLE[request.param]
    sizes = [10, 100, 1000, 3000]
    return numbers, finite_width_curve(ONE, Architecture(widths), BETA, sizes, size=size)


class TestOneOutput:
    def test_minimum_of_the_table(self, row):
        (t, q, rate, *_), curve = row
        saddle = curve.saddle
        assert saddle.status is Status.CONVERGED
        assert saddle.stationary[0].responses[0] == digits(t)
        assert saddle.mixing[0, 0] == digits(q)
        assert saddle.rate == digits(rate)
        assert len(saddle.stationary) == 1
        assert saddle.rate_gap == saddle.barrier == math.inf
        assert saddle.residual < 1e-14
        # the layers share what they gain in absolute width
        product = math.prod(float(scale[0]) for scale in saddle.layer_scales)
        assert product == pytest.approx(saddle.mixing[0, 0], rel=1e-13)

    def test_finite_widths_of_the_table(self, row):
        (_, _, _, ten, hundred, thousand, shift, variance), curve = row
        assert set(curve.statuses) == {Status.CONVERGED}
        mean = curve.mixing_mean[:, 0, 0]
        for found, printed in zip(mean, (ten, hundred, thousand)):
            assert found == digits(printed)
        away = curve.sizes * (mean - curve.limit[0, 0])
        assert away[3] == digits(shift)
        assert 3000 * curve.mixing_sd[3, 0, 0] ** 2 == digits(variance)
        assert away[2] == pytest.approx(away[3], rel=2e-3)
        np.testing.assert_array_equal(curve.mixing_error, 0)

    def test_fluctuations_are_the_limit_of_finite_widths(self, row):
        _, curve = row
        saddle, n = curve.saddle, curve.sizes[2:]
        away = n * (curve.mixing_mean[2:, 0, 0] - saddle.mixing[0, 0])
        spread = n * curve.mixing_sd[2:, 0, 0] ** 2
        # both have corrections of order 1 / N: cancel them
        for limit, values in ((saddle.mixing_shift, away), (saddle.mixing_variance, spread)):
            extrapolated = (n[1] * values[1] - n[0] * values[0]) / (n[1] - n[0])
            assert limit[0, 0] == pytest.approx(extrapolated, rel=2e-5)
        point = saddle.stationary[0]
        assert saddle.mixing_variance[0, 0] == pytest.approx(
            saddle.mixing[0, 0] ** 2 / point.curvature, rel=1e-13
        )
        assert curve.extrapolate()[0, 0] == pytest.approx(saddle.mixing[0, 0], rel=1e-7)

    def test_evidence_has_the_minimum_as_its_rate(self, row):
        _, curve = row
        excess = curve.sizes * (curve.rates - curve.saddle.rate)
        # what is left are the prefactors, of order one
        assert excess[3] == pytest.approx(excess[2], rel=2e-3)
        assert 0 < excess[3] < 4

    @pytest.mark.parametrize("n_layers", [1, 2, 3])
    def test_without_noise(self, n_layers):
        total = float(Y_ONE @ np.linalg.solve(KERNEL, Y_ONE))
        roots = np.roots([*np.poly(-np.ones(n_layers)), 0.0] - total * np.eye(n_layers + 2)[-1])
        t = float(roots[(np.abs(roots.imag) < 1e-12) & (roots.real > 0)].real[0])
        saddle = minimizer(ONE, Architecture((1,) * n_layers), math.inf)
        assert saddle.mixing[0, 0] == pytest.approx((1 + t) ** n_layers, rel=1e-10)
        if n_layers == 1:
            assert total == digits("1.588028169014")
            assert saddle.mixing[0, 0] == digits("1.855738975251")
            assert saddle.mixing[0, 0] == pytest.approx((1 + math.sqrt(1 + 4 * total)) / 2)

    def test_only_relative_widths_and_the_product_of_precisions_matter(self):
        reference = minimizer(ONE, Architecture((2, 4, 1)), BETA, size=2)
        wider = minimizer(ONE, Architecture((8, 16, 4)), BETA, size=8)
        assert wider.mixing[0, 0] == pytest.approx(reference.mixing[0, 0], rel=1e-13)
        assert wider.rate == pytest.approx(reference.rate, rel=1e-13)
        # the smallest width is the default
        default = minimizer(ONE, Architecture((4, 8, 2)), BETA)
        assert default.rate == minimizer(ONE, Architecture((4, 8, 2)), BETA, size=2).rate
        # Q -> Q / 6 and K -> 6 K leave the function alone
        data = compress_kernel(6 * KERNEL, Y_ONE)
        precise = minimizer(data, Architecture((2, 4, 1), precisions=(9, 1, 2, 3)), BETA, size=2)
        assert 6 * precise.mixing[0, 0] == pytest.approx(reference.mixing[0, 0], rel=1e-12)
        assert precise.rate == pytest.approx(reference.rate, rel=1e-12)
        # from the input up: the narrowest layer is the last and grows most
        assert [float(s[0]) for s in reference.layer_scales] == pytest.approx(
            [1 + reference.stationary[0].responses[0] / a for a in (1, 2, 0.5)]
        )

    def test_targets_of_zero_leave_the_prior_mean(self):
        data = compress_kernel(KERNEL, 0 * Y_ONE)
        saddle = minimizer(data, Architecture((1, 2), precisions=(1, 2, 4)), BETA)
        assert saddle.mixing[0, 0] == pytest.approx(1 / 8, rel=1e-14)
        assert abs(saddle.rate) < 1e-15

    @pytest.mark.parametrize("scale", [1e-9, 1e-4, 1e4, 1e8])
    def test_weak_and_strong_signals(self, scale):
        data = compress_kernel(KERNEL, scale * Y_ONE)
        saddle = minimizer(data, Architecture((1, 2)), BETA)
        t, q = float(saddle.stationary[0].responses[0]), saddle.mixing[0, 0]
        z, eigenvalues = np.asarray(data.targets[0]), np.asarray(data.eigenvalues)
        pull = np.sum(q * eigenvalues * z**2 / (q * eigenvalues + 1 / BETA) ** 2)
        assert t == pytest.approx(pull, rel=1e-10)  # relative, however small
        assert saddle.status is Status.CONVERGED


class TestCoexistence:
    """One sample, two layers, T = 100: three roots between two spinodals."""

    @pytest.mark.parametrize(
        ("y_squared", "responses", "winner"),
        [
            (2500.0, ("0.63108015", "3.46969612", "4.0"), 0),
            (2600.0, (None, None, "5.257043533"), 2),
        ],
    )
    def test_three_roots(self, y_squared, responses, winner):
        saddle = minimizer(one_sample(y_squared), DEEP, NOISY)
        assert [point.is_minimum for point in saddle.stationary] == [True, False, True]
        for point, printed in zip(saddle.stationary, responses):
            assert printed is None or point.responses[0] == digits(printed)
        np.testing.assert_array_equal(saddle.mixing, saddle.stationary[winner].mixing)
        assert saddle.rate == min(point.rate for point in saddle.stationary)
        other = saddle.stationary[2 - winner]
        assert saddle.rate_gap == pytest.approx(other.rate - saddle.rate, rel=1e-12)
        assert saddle.barrier == pytest.approx(saddle.stationary[1].rate - saddle.rate, rel=1e-12)

    def test_where_both_minima_are_equally_low(self):
        def difference(y_squared):
            points = minimizer(one_sample(y_squared), DEEP, NOISY).stationary
            return points[0].rate - points[2].rate

        y_squared = scipy.optimize.brentq(difference, 2500, 2600, xtol=1e-10)
        assert y_squared == digits("2568.591831")
        saddle = minimizer(one_sample(y_squared), DEEP, NOISY)
        low, _, high = saddle.stationary
        assert low.responses[0] == digits("0.7054784385")
        assert high.responses[0] == digits("4.997316725")
        assert low.rate == digits("12.6515927229")
        assert high.rate == digits("12.6515927229")
        assert saddle.barrier == digits("0.0370")
        assert saddle.rate_gap < 1e-11

    def test_posteriors_have_two_modes(self):
        curve = finite_width_curve(one_sample(2568.5918314087), DEEP, NOISY, [50, 200, 800])
        assert set(curve.statuses) == {Status.CONVERGED}
        # the table has 9.779024 at N = 50; SciPy's Bessel density on a fine grid has this
        expected = (9.779021093774, 9.581774616411, 9.531007598314)
        assert curve.mixing_mean[:, 0, 0] == pytest.approx(expected, rel=1e-9)
        barrier = math.log(curve.saddle.stationary[1].mixing[0, 0])
        for result, printed in zip(curve.posteriors, ("0.772", "0.794", "0.799")):
            log_q = np.log(np.asarray(result.nodes.mixing[:, 0, 0]))
            weights = np.exp(np.asarray(result.nodes.log_weights))
            order = np.argsort(log_q)
            weights = weights[order]
            below = np.interp(barrier, log_q[order], np.cumsum(weights) - weights / 2)
            assert below == digits(printed)

    def test_spinodals_are_found_to_rounding(self):
        def n_roots(y_squared):
            return len(minimizer(one_sample(y_squared), DEEP, NOISY).stationary)

        for one_root, three_roots in ((2000.0, 2550.0), (3000.0, 2600.0)):
            assert (n_roots(one_root), n_roots(three_roots)) == (1, 3)
            while abs(one_root - three_roots) > 1e-9:
                middle = 0.5 * (one_root + three_roots)
                if n_roots(middle) == 1:
                    one_root = middle
                else:
                    three_roots = middle
            # at a spinodal the pull and the response touch: equal values and equal slopes
            points = minimizer(one_sample(three_roots), DEEP, NOISY).stationary
            touching = sorted(points, key=lambda point: abs(point.curvature))[:2]
            assert touching[0].responses[0] == pytest.approx(touching[1].responses[0], rel=1e-4)
            assert abs(touching[0].curvature) < 1e-4

    def test_several_outputs_choose_each_for_itself(self):
        # orthogonal outputs on orthogonal samples: one stays lazy, the other learns features
        y = np.diag(np.sqrt([2500.0, 2600.0]))
        data = compress_kernel(np.eye(2), y)
        saddle = minimizer(data, Architecture((1, 1), n_outputs=2), NOISY)
        alone = [minimizer(one_sample(y2), DEEP, NOISY) for y2 in (2500.0, 2600.0)]
        expected = np.diag([single.mixing[0, 0] for single in alone])
        np.testing.assert_allclose(saddle.mixing, expected, rtol=1e-10, atol=1e-10)
        assert saddle.rate == pytest.approx(sum(single.rate for single in alone), rel=1e-12)
        # all four combinations are minima
        assert len(saddle.stationary) == 4
        gaps = sorted(single.rate_gap for single in alone)
        assert saddle.rate_gap == pytest.approx(gaps[0], rel=1e-8)
        assert math.isnan(saddle.barrier)


def random_action(rng, kind):
    if kind == "trap":  # between the spinodals of two equal layers, or near them
        squares, alphas = np.array([rng.uniform(2380, 2750)]), np.ones(2)
        return ScalarAction(alphas, 0.0, np.ones(1), squares, 100.0, False)
    n_layers, rank = rng.integers(1, 6, size=2)
    return ScalarAction(
        alphas=10 ** rng.uniform(-2, 3, n_layers),
        log_mean=float(rng.normal()),
        eigenvalues=10 ** rng.uniform(-2, 2, rank),
        squares=10 ** rng.uniform(-3, 5, rank),
        temperature=float(10 ** rng.uniform(-4, 4)),
        log_det=kind == "proportional",
    )


@pytest.mark.parametrize("kind", ["trap", "feature", "proportional"])
def test_never_a_wrong_minimum(kind):
    rng = np.random.default_rng(1)
    several = 0
    for _ in range(70):
        action = random_action(rng, kind)
        found = stationary_points(action)
        low, high = action.bounds()
        s = np.linspace(low - 1, high + 1, 20_001)
        _, shifted, log_q = action.layers(s)
        grown = shifted / action.alphas
        scale = np.exp(log_q)[:, None] * action.eigenvalues + action.temperature
        values = np.sum(action.alphas / 2 * (grown - 1 - np.log(grown)), axis=1)
        values += 0.5 * np.sum(action.squares / scale, axis=1)
        values += 0.5 * np.sum(np.log(scale), axis=1) if action.log_det else 0.0
        lowest = min(point.action for point in found if point.curvature > 0)
        assert lowest <= values.min() + 1e-12 * (1 + abs(values.min()))
        valleys = np.sum((values[1:-1] < values[:-2]) & (values[1:-1] <= values[2:]))
        assert sum(point.curvature > 0 for point in found) == valleys
        assert len(found) % 2 == 1
        several += len(found) > 1
    assert several >= 20 or kind != "trap"


# --- several outputs -----------------------------------------------------------------------------

# widths, size, beta, then Q*_00, Q*_01, Q*_11 and the minimum
TWO_OUTPUTS = [
    ((1,), math.inf, "1.8205232", "-.3069963", "1.6339727", "0.92552462449"),
    ((1, 2), math.inf, "2.2375811", "-.4728359", "1.9502559", "0.81402100871"),
    ((1,), BETA, "1.76517132", "-.27972744", "1.56814307", "0.88119980434"),
    ((1, 2), BETA, "2.16675390", "-.43837504", "1.86419658", "0.78407519214"),
]


@pytest.mark.parametrize(("widths", "beta", "q00", "q01", "q11", "rate"), TWO_OUTPUTS)
def test_table_of_two_outputs(widths, beta, q00, q01, q11, rate):
    saddle = minimizer(TWO, Architecture(widths, n_outputs=2), beta, size=1)
    assert saddle.status is Status.CONVERGED
    assert saddle.mixing[0, 0] == digits(q00)
    assert saddle.mixing[0, 1] == digits(q01)
    assert saddle.mixing[1, 1] == digits(q11)
    assert saddle.rate == digits(rate)
    # the infimum over factorisations, in closed form
    architecture = Architecture(widths, n_outputs=2)
    closed = rate_function(saddle.mixing, TWO, architecture, beta, size=1)
    assert closed == pytest.approx(saddle.rate, rel=1e-13)


def _learned(state, key, targets, eigenvalues, temperature, alphas):
    """One step of the fixed point: what the data make of ``Q``."""
    scaled = eigenvalues[:, None, None] * state + temperature * jnp.eye(len(state))
    pull = jnp.linalg.solve(scaled, targets.T[..., None])[..., 0]
    strength = (eigenvalues[:, None] * pull).T @ pull
    values, vectors = jnp.linalg.eigh(state)
    root = (vectors * jnp.sqrt(values)) @ vectors.T
    responses, basis = jnp.linalg.eigh(root @ strength @ root)
    grown = jnp.prod(1 + responses[:, None] / alphas, axis=1)
    return (basis * grown) @ basis.T


def fixed_point_minimizer(data, alphas, beta):
    return fixed_point(
        _learned,
        jnp.eye(data.n_outputs),
        key=jax.random.key(0),
        args=(data.targets, data.eigenvalues, 1 / beta, jnp.asarray(alphas)),
        tol=1e-12,
        damping=0.5,
    )


@pytest.mark.parametrize(("n_outputs", "alphas"), [(2, (1.0, 2.0)), (3, (3.0, 1.0, 0.5))])
def test_descent_and_fixed_point_agree(n_outputs, alphas):
    rng = np.random.default_rng(n_outputs)
    x, y = rng.normal(size=(12, 5)), rng.normal(size=(12, n_outputs))
    widths = tuple(int(2 * alpha) for alpha in alphas)  # too narrow for three outputs: widened
    architecture = Architecture(widths, n_outputs=n_outputs)
    data = compress(x, y, architecture)
    saddle = minimizer(data, architecture, 5.0, size=2)
    expected = fixed_point_minimizer(data, alphas, 5.0)
    assert int(expected.status) == 0
    np.testing.assert_allclose(saddle.mixing, expected.value, atol=1e-10)
    assert (saddle.status, saddle.n_steps < 10) == (Status.CONVERGED, True)
    # the residual outside the five inputs costs, but pulls nowhere
    bare = minimizer(
        dataclasses.replace(data, residual=0 * data.residual), architecture, 5.0, size=2
    )
    assert saddle.rate - bare.rate == pytest.approx(2.5 * float(data.residual), rel=1e-10)
    # layers from the input up: the smaller alpha grows more
    gains = [float(np.sum(scale - 1)) * alpha for scale, alpha in zip(saddle.layer_scales, alphas)]
    assert gains == pytest.approx([gains[0]] * len(alphas), rel=1e-8)


@pytest.mark.slow
def test_many_outputs():
    # 110 coordinates: as many rows of a Hessian at once never return on two cores
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(100, 20)), rng.normal(size=(100, 10))
    architecture = Architecture((1, 1), n_outputs=10)
    data = compress(x, y, architecture)
    saddle = minimizer(data, architecture, 1.0)
    assert saddle.status is Status.CONVERGED
    expected = fixed_point_minimizer(data, (1.0, 1.0), 1.0)
    np.testing.assert_allclose(saddle.mixing, expected.value, atol=1e-9)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_weak_and_strong_signals_of_two_outputs(scale):
    architecture = Architecture((1, 3), n_outputs=2, precisions=(1, 100, 1))
    data = compress_kernel(KERNEL, scale * Y_TWO)
    saddle = minimizer(data, architecture, BETA)
    assert saddle.status is Status.CONVERGED
    closed = rate_function(saddle.mixing, data, architecture, BETA)
    assert saddle.rate == pytest.approx(closed, rel=1e-12)


def test_circular_averages_are_fully_connected():
    # global averages of circular layers leave one number of each input
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(5, 1, 6)), rng.normal(size=5)
    layers = (ConvLayer(3, 1, padding="circular"), ConvLayer(3, 2, padding="circular"))
    network = ConvArchitecture(6, layers, readout="gap")
    local = minimizer(conv_data(x, y, network), network, 5.0)
    averages = x.mean(axis=2)
    global_ = minimizer(compress_kernel(averages @ averages.T, y), Architecture((1, 2)), 5.0)
    assert local.rate == pytest.approx(global_.rate, rel=1e-12)
    # u u^T with u = 1 / 6 on every site
    np.testing.assert_allclose(36 * local.mixing, np.full((6, 6), global_.mixing[0, 0]), rtol=1e-9)
    assert 36 * local.mixing_shift[0, 0] == pytest.approx(global_.mixing_shift[0, 0], rel=1e-8)


@pytest.mark.parametrize("alphas", [(1.0,), (1.0, 2.0)])
def test_without_noise_directions_decouple(alphas):
    widths = tuple(int(alpha) for alpha in alphas)
    saddle = minimizer(TWO, Architecture(widths, n_outputs=2), math.inf, size=1)
    values, vectors = np.linalg.eigh(Y_TWO.T @ np.linalg.solve(KERNEL, Y_TWO))
    strengths = []
    for value in values:
        slope = np.poly(-np.array(alphas)) / np.prod(alphas)  # prod (1 + t / alpha)
        roots = np.roots([*slope, 0.0] - value * np.eye(len(alphas) + 2)[-1])
        t = float(roots[(np.abs(roots.imag) < 1e-12) & (roots.real > 0)].real[0])
        strengths.append(np.prod(1 + t / np.array(alphas)))
    np.testing.assert_allclose(saddle.mixing, (vectors * strengths) @ vectors.T, rtol=1e-10)


def test_rotated_outputs_rotate_the_minimiser():
    architecture = Architecture((2, 3), n_outputs=2)
    c, s = math.cos(0.7), math.sin(0.7)
    rotation = np.array([[c, -s], [s, c]])
    one = minimizer(TWO, architecture, BETA)
    other = minimizer(compress_kernel(KERNEL, Y_TWO @ rotation.T), architecture, BETA)
    np.testing.assert_allclose(other.mixing, rotation @ one.mixing @ rotation.T, rtol=1e-11)
    assert other.rate == pytest.approx(one.rate, rel=1e-13)


def test_fluctuations_of_two_outputs():
    curve = finite_width_curve(TWO, Architecture((1,), n_outputs=2), BETA, [100, 400])
    saddle, n = curve.saddle, curve.sizes
    away = n[:, None, None] * (curve.mixing_mean - saddle.mixing)
    spread = n[:, None, None] * curve.mixing_sd**2
    for limit, values in ((saddle.mixing_shift, away), (saddle.mixing_variance, spread)):
        extrapolated = (n[1] * values[1] - n[0] * values[0]) / (n[1] - n[0])
        np.testing.assert_allclose(limit, extrapolated, rtol=2e-3, atol=1e-3)


def test_rate_function():
    architecture = Architecture((2, 4), n_outputs=2, precisions=(1, 2, 0.5))
    # the prior's part vanishes at the prior mean, the data's is the Gaussian quadratic form
    both = np.kron(np.eye(2), KERNEL) + np.eye(6) / BETA
    y = Y_TWO.T.ravel()
    value = rate_function(np.eye(2), TWO, architecture, BETA)
    assert value == pytest.approx(0.5 * y @ np.linalg.solve(both, y), rel=1e-12)
    # elsewhere the prior's part is the infimum over both layers
    mixing = np.array([[1.5, 0.4], [0.4, 0.3]])
    limit = limit_of(architecture, 2, log_det=False)

    def cost(lower):
        inner = np.array([[math.exp(lower[0]), 0], [lower[2], math.exp(lower[1])]])
        top = np.linalg.solve(inner, np.linalg.solve(inner, mixing).T)
        pair = ((2.0, inner @ inner.T), (1.0, top))
        return sum(
            a / 2 * (np.trace(w) - 2 - np.linalg.slogdet(w)[1]) for a, w in pair
        )  # the upper layer first, as (alpha, W)

    free = scipy.optimize.minimize(cost, np.zeros(3), method="Nelder-Mead", tol=1e-13)
    assert limit.alphas == (2.0, 1.0)
    both = np.kron(mixing, KERNEL) + np.eye(6) / BETA
    expected = free.fun + 0.5 * y @ np.linalg.solve(both, y)
    assert rate_function(mixing, TWO, architecture, BETA) == pytest.approx(expected, rel=1e-9)
    # a singular matrix is out of reach
    assert rate_function(np.ones((2, 2)) * 0, TWO, architecture, BETA) == math.inf
    assert rate_function([[1.0]], ONE, Architecture((3,)), BETA, size=7.0) > 0


def test_responses_invert_the_growth():
    alphas = np.array([0.3, 2.0, 50.0])
    t = np.array([-0.29999, -0.1, 0.0, 1e-9, 3.0, 1e7])
    grown = np.prod(1 + t[:, None] / alphas, axis=1)
    found = response_of(2.0 * grown, alphas, math.log(2.0))
    np.testing.assert_allclose(found, t, rtol=1e-6, atol=1e-15)
    np.testing.assert_allclose(np.prod(1 + found[:, None] / alphas, axis=1), grown, rtol=1e-13)


def test_coordinates_of_the_search():
    limit = limit_of(Architecture((1, 3), n_outputs=2), 1, log_det=False)
    assert limit.rows == (2, 2)  # a single neuron is widened until its matrix is invertible
    assert limit.alphas == (3.0, 1.0)
    rng = np.random.default_rng(0)
    x = rng.normal(size=6)
    factors = [np.asarray(factor) for factor in factors_of(jnp.asarray(x), limit.rows)]
    np.testing.assert_allclose(coordinates_of(factors), x, rtol=1e-12)
    product = factors[0] @ factors[1]
    np.testing.assert_allclose(mixing_of(jnp.asarray(x), limit), product @ product.T, rtol=1e-12)
    # layers of the starts commute and have the responses that were asked for
    basis = np.array([[0.6, -0.8], [0.8, 0.6]])
    (start,) = commuting_starts(limit, basis, [[5.0], [0.3]])
    strengths = [(1 + t / 3) * (1 + t) for t in (5.0, 0.3)]
    expected = (basis * strengths) @ basis.T
    np.testing.assert_allclose(mixing_of(jnp.asarray(start), limit), expected, rtol=1e-12)
    upper, lower = (np.asarray(f) for f in factors_of(jnp.asarray(start), limit.rows))
    np.testing.assert_allclose(upper @ upper.T, (basis * [8 / 3, 1.1]) @ basis.T, rtol=1e-12)
    np.testing.assert_allclose(np.linalg.eigvalsh(lower @ lower.T), [1.3, 6.0], rtol=1e-12)
    # all starts lead to one minimum
    args = (TWO.training_part, jnp.asarray(BETA))
    found = minima(limit, [*common_starts(limit), start], args)
    assert len(found) == 1
    value = action_of(limit)(jnp.asarray(found[0].coordinates), *args)
    assert float(value) == pytest.approx(found[0].action)
    with pytest.raises(ValueError, match="finite action at one of the starts"):
        minima(limit, [np.full(6, np.nan)], args)


# --- convolutions --------------------------------------------------------------------------------


def test_local_renormalisers():
    x = np.array([(1.0, 0.5, -0.3, 0.8), (-0.6, 0.9, 0.4, 0.1), (0.2, -1.1, 0.7, 0.5)])[:, None]
    network = ConvArchitecture(4, (ConvLayer(2, channels=1, stride=2),))
    data = conv_data(x, [0.8, -0.5, 0.6], network)
    saddle = minimizer(data, network, BETA)
    assert (saddle.status, saddle.stationary[0].is_minimum) == (Status.CONVERGED, True)
    assert saddle.rate == digits("0.7463206857")
    # the table, from a free descent: 0.84623161, -0.09983068, 0.70739221
    expected = [[0.8462316183, -0.0998306736], [-0.0998306736, 0.7073922029]]
    np.testing.assert_allclose(saddle.mixing, expected, atol=1e-10)
    # the table's exact means at 10, 100 and 1000 channels approach it as predicted
    at_thousand = np.array([[0.84579363, -0.09979413], [-0.09979413, 0.70705942]])
    np.testing.assert_allclose(1000 * (at_thousand - saddle.mixing), saddle.mixing_shift, atol=1e-3)
    assert saddle.mixing_shift[0, 0] == digits("-0.438")
    with pytest.raises(ValueError, match="expected a fully connected Architecture"):
        rate_function(saddle.mixing, data, network, BETA)


# --- samples in proportion to the widths ---------------------------------------------------------


def proportional_data(n_samples, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n_samples, 2 * n_samples))
    y = x @ rng.normal(size=2 * n_samples) / math.sqrt(2 * n_samples)
    return compress(x, 1.3 * y + 0.1 * rng.normal(size=n_samples), Architecture((1,)))


class TestProportional:
    @pytest.mark.parametrize("width", [3, 50])
    def test_closed_form_without_noise(self, width):
        data = proportional_data(25)
        gamma = 25 / width
        total = float(jnp.sum(data.targets**2 / data.eigenvalues))
        b = 1 - gamma
        q = (b + math.sqrt(b**2 + 4 * gamma * total / 25)) / 2
        saddle = proportional_saddle(data, Architecture((width,)), math.inf)
        assert saddle.mixing[0, 0] == pytest.approx(q, rel=1e-10)
        assert saddle.status is Status.CONVERGED

    def test_closed_form_of_several_outputs(self):
        rng = np.random.default_rng(0)
        x, y = rng.normal(size=(5, 8)), rng.normal(size=(5, 2))
        architecture = Architecture((20,), n_outputs=2)
        saddle = proportional_saddle(compress(x, y, architecture), architecture, math.inf)
        values, vectors = np.linalg.eigh(y.T @ np.linalg.solve(x @ x.T / 8, y))
        b = 1 - 5 / 20
        strengths = (b + np.sqrt(b**2 + 4 * values / 20)) / 2
        np.testing.assert_allclose(saddle.mixing, (vectors * strengths) @ vectors.T, rtol=1e-10)

    def test_bounded_distance_from_exact_posteriors(self):
        away = []
        for width in (50, 200, 800):
            data, architecture = proportional_data(width // 2), Architecture((width,))
            saddle = proportional_saddle(data, architecture, math.inf)
            exact = posterior(data, architecture, math.inf)
            difference = float(exact.mixing_mean[0, 0]) - saddle.mixing[0, 0]
            away.append(width * difference)
            # the next order is predicted too
            assert difference == pytest.approx(saddle.mixing_shift[0, 0], rel=2 / width)
            variance = float(exact.mixing_variance[0, 0])
            assert variance == pytest.approx(saddle.mixing_variance[0, 0], rel=5 / width)
            # and minus the action is the log evidence, but for a prefactor of order one
            assert abs(exact.log_evidence + saddle.rate) < 1
            # Laplace's method in log q, by hand: only q* and P / N = 1 / 2 enter
            q = saddle.mixing[0, 0]
            by_hand = q * (0.5 / (q - 0.25) - 0.125 / (q - 0.25) ** 2)
            assert width * saddle.mixing_shift[0, 0] == pytest.approx(by_hand, rel=1e-10)
        assert all(0.4 < value < 0.5 for value in away)

    def test_noise_layers_and_a_kernel_of_low_rank(self):
        rng = np.random.default_rng(2)
        x = rng.normal(size=(60, 20))
        y = 0.3 * x[:, 0] + rng.normal(size=60)
        architecture = Architecture((300, 600), precisions=(1, 2, 1))
        data = compress(x, y, architecture)
        saddle, exact = (
            proportional_saddle(data, architecture, 1.0),
            posterior(data, architecture, 1.0),
        )
        difference = float(exact.mixing_mean[0, 0]) - saddle.mixing[0, 0]
        assert difference == pytest.approx(saddle.mixing_shift[0, 0], rel=0.03)
        assert abs(exact.log_evidence + saddle.rate) < 0.1
        # the general search finds the same
        limit = limit_of(architecture, 1.0, log_det=True)
        (found,) = minima(limit, common_starts(limit), (data.training_part, jnp.asarray(1.0)))
        assert found.action == pytest.approx(saddle.rate, rel=1e-12)

    def test_two_outputs_against_the_exact_posterior(self):
        rng = np.random.default_rng(3)
        x, y = rng.normal(size=(30, 10)), rng.normal(size=(30, 2))
        architecture = Architecture((400,), n_outputs=2)
        data = compress(x, y, architecture)
        saddle, exact = (
            proportional_saddle(data, architecture, 2.0),
            posterior(data, architecture, 2.0),
        )
        difference = np.asarray(exact.mixing_mean) - saddle.mixing
        np.testing.assert_allclose(difference, saddle.mixing_shift, rtol=0.03, atol=1e-5)
        np.testing.assert_allclose(exact.mixing_variance, saddle.mixing_variance, rtol=0.03)

    def test_no_maximum(self):
        data = compress_kernel(KERNEL, 0 * Y_ONE)
        shrunk = proportional_saddle(data, Architecture((6,)), math.inf)
        assert shrunk.mixing[0, 0] == pytest.approx(1 - 3 / 6, rel=1e-12)
        with pytest.raises(ValueError, match="the evidence has no maximum"):
            proportional_saddle(data, Architecture((3,)), math.inf)


# --- curves over widths --------------------------------------------------------------------------


class TestCurve:
    def test_lazy_scaling_flows_to_the_prior_mean(self):
        architecture = Architecture((2, 1), precisions=(1, 2, 2))
        curve = finite_width_curve(ONE, architecture, BETA, [100, 1000], scaling="lazy")
        assert curve.saddle is None
        np.testing.assert_array_equal(curve.limit, [[0.25]])
        np.testing.assert_array_equal(
            curve.limit, infinite_width(ONE, architecture, BETA).mixing_mean
        )
        away = curve.sizes * (curve.mixing_mean[:, 0, 0] - 0.25)
        assert away[0] == pytest.approx(away[1], rel=0.05)
        exact = posterior(ONE, Architecture((200, 100), precisions=(1, 2, 2)), BETA)
        assert curve.log_evidence[0] == exact.log_evidence
        with pytest.raises(ValueError, match="rates: expected a curve in the feature scaling"):
            _ = curve.rates

    def test_feature_scaling_scales_kernel_and_noise(self):
        curve = finite_width_curve(ONE, Architecture((2,)), BETA, [6], size=2, progress=True)
        by_hand = compress_kernel(KERNEL / 6, Y_ONE, CROSS / 6, TEST_KERNEL / 6)
        expected = posterior(by_hand, Architecture((6,)), 6 * BETA)
        assert curve.log_evidence[0] == pytest.approx(expected.log_evidence, rel=1e-12)
        for found, exact in zip(
            (curve.posteriors[0].predict().mean, curve.posteriors[0].predict().covariance),
            (expected.predict().mean, expected.predict().covariance),
        ):
            np.testing.assert_allclose(found, exact, rtol=1e-10)
        remainder = scaled_data(ONE, 6.0).test_remainder
        np.testing.assert_allclose(remainder, by_hand.test_remainder, rtol=1e-9)

    def test_convolutional_data_are_scaled_too(self):
        x = np.array([(1.0, 0.5, -0.3, 0.8), (-0.6, 0.9, 0.4, 0.1)])[:, None]
        network = ConvArchitecture(4, (ConvLayer(2, channels=3, stride=2),))
        data = conv_data(x, [0.8, -0.5], network, x)
        scaled = scaled_data(data, 4.0)
        np.testing.assert_allclose(scaled.patches, data.patches / 2)
        np.testing.assert_allclose(scaled.test_patches, data.test_patches / 2)

    @pytest.mark.slow
    def test_two_layers_by_importance_sampling(self):
        architecture = Architecture((1, 1), n_outputs=2)
        curve = finite_width_curve(TWO, architecture, BETA, [80], key=jax.random.key(3))
        assert curve.posteriors[0].method == "laplace"
        predicted = curve.limit + curve.saddle.mixing_shift / 80
        # beyond the predicted first order: standard errors and 1 / N^2
        slack = 4 * curve.mixing_error + 60 / 80**2
        assert np.all(np.abs(curve.mixing_mean - predicted) < slack)
        assert np.all(curve.mixing_error > 0)
        with pytest.raises(ValueError, match="order: expected less than the number of sizes, 1"):
            curve.extrapolate()

    def test_extrapolation_is_exact_for_polynomials(self):
        curve = finite_width_curve(ONE, Architecture((1,)), BETA, [10, 20, 40, 80])
        n = curve.sizes[:, None, None]
        made_up = dataclasses.replace(curve, mixing_mean=3 - 2 / n + 5 / n**2 - 7 / n**3)
        np.testing.assert_allclose(made_up.extrapolate(3), [[3.0]], rtol=1e-11)
        with pytest.raises(ValueError, match="less than the number of sizes, 4, got 4"):
            curve.extrapolate(4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"data": TWO}, "architecture.n_outputs: expected 2 as the data have, got 1"),
        ({"architecture": Architecture(())}, "expected a hidden layer, got none"),
        ({"beta": 0.0}, "beta: expected a positive number"),
        ({"size": -1.0}, "size: expected a positive finite number"),
        (
            {"data": compress(np.ones((3, 1)), Y_ONE, DEEP), "beta": math.inf},
            "beta: infinite precision needs a kernel of full rank, got rank 1 for 3 samples",
        ),
    ],
)
def test_bad_problems(arguments, message):
    given = {"data": ONE, "architecture": DEEP, "beta": BETA, **arguments}
    with pytest.raises(ValueError, match=message):
        minimizer(**given)
    with pytest.raises(ValueError, match=message):
        rate_function(np.eye(1), **given)
    with pytest.raises(ValueError, match=message):
        finite_width_curve(**given, sizes=[10])
    if "size" not in arguments:
        with pytest.raises(ValueError, match=message):
            proportional_saddle(**given)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sizes": [10, 10]}, "sizes: expected distinct numbers"),
        ({"sizes": []}, "sizes: expected distinct numbers"),
        ({"sizes": [5]}, r"integer widths alpha \* N, got 2.5 for alpha\[1\] = 0.5 and N = 5"),
        ({"sizes": [-2]}, "sizes: expected a positive finite number"),
        ({"sizes": [4], "scaling": "rich"}, "scaling: expected one of feature, lazy"),
        ({"sizes": [4], "method": "magic"}, "method: expected one of"),
    ],
)
def test_bad_curves(options, message):
    with pytest.raises(ValueError, match=message):
        finite_width_curve(ONE, Architecture((2, 1)), BETA, size=2, **options)


def test_bad_mixing_matrices():
    with pytest.raises(ValueError, match=r"mixing: expected shape \(1, 1\)"):
        rate_function(np.eye(2), ONE, DEEP, BETA)
    with pytest.raises(ValueError, match="mixing: expected a positive semi-definite matrix"):
        rate_function([[-1.0]], ONE, DEEP, BETA)


def test_single_precision_is_refused():
    data = one_sample(1.0)
    with jax.enable_x64(False):
        for refused in (
            lambda: rate_function([[1.0]], data, DEEP, BETA),
            lambda: minimizer(data, DEEP, BETA),
            lambda: proportional_saddle(data, DEEP, BETA),
            lambda: finite_width_curve(data, DEEP, BETA, [10]),
        ):
            with pytest.raises(PrecisionError):
                refused()
