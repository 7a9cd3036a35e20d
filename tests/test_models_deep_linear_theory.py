"""Architecture, moments of the mixing matrix and densities of one output, against closed forms."""

import itertools
import math

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import scipy.integrate
import scipy.special
from suite_helpers import assert_z

from inference.status import PrecisionError
from models.deep_linear import Architecture, log_mixing_density, prior
from models.deep_linear.theory import log_prior_density, stirling_remainder

EPS = np.finfo(float).eps

# Reference problem: the training block of the kernel, and its targets.
KERNEL = np.array([[1.0, 0.4, 0.2], [0.4, 0.8, -0.1], [0.2, -0.1, 1.2]])
TARGETS = np.array([0.7, -0.3, 1.1])
# Numbers found once by two independent methods: iterated log-space convolution, and mpmath.
LOG_MIXING = {  # at x = -6, -2, 0, 2
    ((3,), 1.0): (-8.274738228468, -2.474023025057, -0.771020100203, -7.354604248598),
    ((4, 7), (1, 1, 2)): (-8.099526911295, -1.474054600105, -1.388854687768, -9.324734096839),
    ((5, 3, 6), 1.0): (-6.472307317599, -1.797513624753, -1.246393386836, -3.714251767927),
}
LOG_PRIOR = {  # at the targets
    ((5,), 1.0): -3.455209105071,
    ((4, 7), (1, 1, 2)): -3.649360087259,
    ((5, 3, 6), 1.0): -3.757778351324,
    ((100,), 1.0): -3.376031452512,
    ((2,), 1.0): -3.680027821675,
    ((3,), 1.0): -3.558594710199,
}


def padded(function, points):
    """Values of a function of an array at any points: one shape, hence one program a depth."""
    flat = np.ravel(np.asarray(points, float))
    return np.asarray(function(jnp.asarray(np.resize(flat, 640))))[: flat.size]


def log_density(widths, points, precisions=1.0):
    network = Architecture(widths, precisions=precisions)
    return padded(lambda x: log_mixing_density(network, x), points)


def log_prior(widths, n_samples, squared_norm, precisions=1.0):
    network = Architecture(widths, precisions=precisions)
    return padded(lambda rho: log_prior_density(rho, n_samples, network), squared_norm)


# --- the architecture ----------------------------------------------------------------------------


def test_one_precision_serves_every_layer():
    network = Architecture((10, 7), n_outputs=3, precisions=2)
    assert network.widths == (10, 7)
    assert network.n_outputs == 3
    assert network.precisions == (2.0, 2.0, 2.0)
    assert all(type(number) is float for number in network.precisions)
    assert network.mean_mixing == 1 / 4  # the first precision is in the kernel


def test_precisions_go_from_the_inputs_up():
    network = Architecture((4, 3), precisions=(5.0, 0.5, 8.0))
    assert network.precisions == (5.0, 0.5, 8.0)
    assert network.mean_mixing == 1 / (0.5 * 8.0)


@pytest.mark.parametrize("precision", [np.float32(0.5), np.array(0.5), jnp.array(0.5)])
def test_a_scalar_of_an_array_library_is_one_precision(precision):
    assert Architecture((3, 2), precisions=precision).precisions == (0.5, 0.5, 0.5)


def test_no_hidden_layer_is_linear_regression():
    network = Architecture(())
    assert network.precisions == (1.0,)
    assert network.mean_mixing == 1.0
    assert network.mixing_moments() == (1.0, 0.0)
    assert network.full_rank


@pytest.mark.parametrize(
    "widths", [[4, 3], np.array([4, 3]), (np.int32(4), np.int64(3)), jnp.array([4, 3])]
)
def test_integers_of_every_kind_are_widths(widths):
    network = Architecture(widths, n_outputs=np.int64(2), precisions=np.ones(3))
    assert network == Architecture((4, 3), n_outputs=2)
    assert hash(network) == hash(Architecture((4, 3), n_outputs=2))
    assert {type(n) for n in network.widths} == {int}
    assert type(network.n_outputs) is int


def test_networks_that_differ_are_not_equal():
    networks = [
        Architecture((4, 3)),
        Architecture((3, 4)),
        Architecture((4, 3), n_outputs=2),
        Architecture((4, 3), precisions=2.0),
        Architecture((4,)),
    ]
    assert len(set(networks)) == len(networks)


@pytest.mark.parametrize(
    ("widths", "n_outputs", "full_rank"),
    [((2, 5), 2, True), ((5, 2), 3, False), ((1,), 1, True), ((), 4, True)],
)
def test_full_rank_needs_no_layer_narrower_than_the_outputs(widths, n_outputs, full_rank):
    assert Architecture(widths, n_outputs=n_outputs).full_rank is full_rank


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"widths": 5}, ValueError, r"^widths: .*got 5; one layer is \(n,\)"),
        ({"widths": None}, ValueError, r"^widths: .*got None"),
        ({"widths": (4, 0)}, ValueError, r"^widths\[1\]: .*got 0"),
        ({"widths": (-3,)}, ValueError, r"^widths\[0\]: .*got -3"),
        ({"widths": (4.0,)}, ValueError, r"^widths\[0\]: .*got 4\.0"),
        ({"widths": (np.float64(4.0),)}, ValueError, r"^widths\[0\]: .*4\.0"),
        ({"widths": (4, True)}, ValueError, r"^widths\[1\]: .*got True"),
        ({"widths": (np.True_,)}, ValueError, r"^widths\[0\]: .*True"),
        ({"widths": "43"}, ValueError, r"^widths\[0\]: .*got '4'"),
        ({"widths": (None,)}, ValueError, r"^widths\[0\]: .*got None"),
        ({"widths": np.array([[4, 3]])}, ValueError, r"^widths\[0\]: "),
        ({"precisions": (1.0, 1.0)}, ValueError, r"^precisions: .*one number or 3.*got 2"),
        ({"precisions": (1.0,) * 4}, ValueError, r"^precisions: .*2 hidden layers.*got 4"),
        ({"precisions": (1.0, 0.0, 1.0)}, ValueError, r"^precisions\[1\]: .*got 0"),
        ({"precisions": (1.0, 1.0, -2.0)}, ValueError, r"^precisions\[2\]: .*got -2"),
        ({"precisions": -1}, ValueError, r"^precisions\[0\]: .*got -1"),
        ({"precisions": math.nan}, ValueError, r"^precisions\[0\]: .*got nan"),
        ({"precisions": (1.0, math.inf, 1.0)}, ValueError, r"^precisions\[1\]: .*got inf"),
        ({"precisions": ("a", "b", "c")}, TypeError, r"^precisions\[0\]: .*got 'a'"),
        ({"precisions": None}, TypeError, r"^precisions\[0\]: .*got None"),
        ({"n_outputs": 0}, ValueError, r"^n_outputs: .*got 0"),
        ({"n_outputs": -1}, ValueError, r"^n_outputs: .*got -1"),
        ({"n_outputs": 2.0}, ValueError, r"^n_outputs: .*got 2\.0"),
        ({"n_outputs": True}, ValueError, r"^n_outputs: .*got True"),
        ({"n_outputs": None}, ValueError, r"^n_outputs: .*got None"),
    ],
)
def test_other_architectures_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        Architecture(**{"widths": (4, 3), **arguments})


# --- second moments of the mixing matrix ---------------------------------------------------------


def test_second_moments_of_two_layers():
    u, v = Architecture((4, 3), n_outputs=2).mixing_moments()
    assert (u, v) == pytest.approx((7 / 6, 2 / 3), rel=4 * EPS)


@pytest.mark.parametrize("width", [1, 2, 17, 10**6])
def test_second_moments_of_one_layer_are_those_of_a_wishart(width):
    assert Architecture((width,)).mixing_moments() == (1.0, 1 / width)


@pytest.mark.parametrize("widths", [(3,), (4, 7), (5, 3, 6), (1, 1, 1, 1), (10**6, 2)])
def test_one_output_has_the_second_moment_of_a_product_of_gammas(widths):
    # E g^2 = 1 + 2/N for a Gamma of shape N/2 and unit mean
    u, v = Architecture(widths, precisions=(3.0, *(0.5 for _ in widths))).mixing_moments()
    expected = math.prod(1 + 2 / n for n in widths) * 0.5 ** (-2 * len(widths))
    assert u + 2 * v == pytest.approx(expected, rel=20 * EPS)


def test_the_order_of_layers_does_not_change_the_moments():
    moments = [
        Architecture(widths).mixing_moments() for widths in itertools.permutations((2, 5, 9))
    ]
    np.testing.assert_allclose(moments, moments[:1] * 6, rtol=10 * EPS)


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("widths", "precisions"), [((4, 3), (9.0, 0.5, 1.6)), ((3,), (1.0, 2.0)), ((2, 5, 3), 1.0)]
)
def test_moments_against_products_of_gaussian_matrices(widths, precisions):
    network = Architecture(widths, n_outputs=2, precisions=precisions)
    rng = np.random.default_rng(20240610)
    n, statistics = 1_000_000, []
    for _ in range(4):  # a quarter at a time: memory
        product = np.broadcast_to(np.eye(2), (n // 4, 2, 2))
        for width, precision in zip(widths[::-1], network.precisions[:0:-1]):
            weights = rng.normal(size=(n // 4, product.shape[2], width))
            product = np.einsum("nij,njk->nik", product, weights / math.sqrt(width * precision))
        q = np.einsum("nik,njk->nij", product, product)
        q00, q01, q11 = q[:, 0, 0], q[:, 0, 1], q[:, 1, 1]
        statistics.append(np.stack([q00, q01, q00**2, q00 * q11, q01**2]))
    draws = np.concatenate(statistics, axis=1)
    u, v = network.mixing_moments()
    assert_z(
        draws.mean(axis=1),
        [network.mean_mixing, 0.0, u + 2 * v, u, v],
        draws.std(axis=1) / math.sqrt(n),
    )


# --- the density of x = log q --------------------------------------------------------------------


def log_gamma_density(x, width):
    """Log-density of log g in NumPy, for g of unit mean."""
    shape = width / 2
    return shape * (math.log(shape) + x - np.exp(x)) - math.lgamma(shape)


def convolved(points, widths):
    """Log-density of a sum of log-Gammas by the trapezoid rule on positive terms.

    The integrand is analytic in the strip |Im x| < pi/2: with spacing 0.05 the error is
    exp(-pi^2 / 0.05). A factor at 6 is below exp(-1.5 e^6) for three units, and at -45 below
    exp(-67): the grid cuts off nothing that a double can hold.
    """
    spacing = 0.05
    grid = np.arange(-45.0, 6.0, spacing)
    last = log_gamma_density(np.asarray(points, float)[:, None] - grid, widths[-1])
    rest = widths[:-1]
    first = log_gamma_density(grid, *rest) if len(rest) == 1 else convolved(grid, rest)
    with np.errstate(under="ignore"):
        return scipy.special.logsumexp(last + first, axis=1) + math.log(spacing)


def exact_log_density(x, widths):
    """The closed forms in 40 digits: Gamma, Bessel K, Meijer G."""
    with mpmath.workdps(40):
        shapes = [mpmath.mpf(n) / 2 for n in widths]
        z = mpmath.fprod(shapes) * mpmath.exp(mpmath.mpf(float(x)))
        normaliser = mpmath.fsum(mpmath.loggamma(a) for a in shapes)
        if len(shapes) == 1:
            return shapes[0] * mpmath.log(z) - z - normaliser
        if len(shapes) == 2:
            a, b = shapes
            bessel = mpmath.besselk(a - b, 2 * mpmath.sqrt(z))
            return mpmath.log(2 * z ** ((a + b) / 2) * bessel) - normaliser
        return mpmath.log(mpmath.meijerg([[], []], [shapes, []], z)) - normaliser


@pytest.mark.parametrize(("network", "expected"), LOG_MIXING.items())
def test_reference_numbers_of_the_mixing_density(network, expected):
    widths, precisions = network
    got = log_density(widths, [-6.0, -2.0, 0.0, 2.0], precisions)
    # twelve digits are printed, and the two methods behind them differ by at most 3e-13
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("widths", [(3,), (4, 7), (5, 3, 6)])
def test_mixing_density_against_iterated_convolution(widths):
    x = np.linspace(-6.0, 2.0, 41)
    expected = log_gamma_density(x, widths[0]) if len(widths) == 1 else convolved(x, widths)
    np.testing.assert_allclose(log_density(widths, x), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("widths", [(1,), (3,), (4, 7), (5, 3, 6)])
def test_mixing_density_is_normalised(widths):
    # left tail exp(x N_min / 2): exp(-40) is left out; right tail doubly exponential; error of the
    # trapezoid rule exp(-pi^2 / spacing), as the density is analytic for |Im x| < pi/2
    spacing = 0.15
    x = np.arange(-80.0 / min(widths), 8.0, spacing)
    total = scipy.special.logsumexp(log_density(widths, x)) + math.log(spacing)
    assert abs(total) < 1e-10


TAILS = np.array([-100.0, -60.0, -30.0, -10.0, -3.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0])


@pytest.mark.parametrize("widths", [(1,), (1, 1), (4, 7), (5, 3, 6)])
def test_mixing_density_is_relatively_accurate_in_both_tails(widths):
    got = log_density(widths, TAILS)
    expected = np.array([float(exact_log_density(x, widths)) for x in TAILS])
    # the terms of the exponent are of the size of the result, and each is rounded a few times;
    # at -200 this allows a relative error of 9e-12 of the density
    assert np.all(np.abs(got - expected) < 200 * EPS * (1 + np.abs(expected)))


@pytest.mark.parametrize("widths", [(10**6,), (10**6, 10**6)])
def test_a_million_units_lose_no_digits(widths):
    spread = math.sqrt(2 / 10**6 * len(widths))
    x = spread * np.array([-8.0, -7.0, -6.0, -5.0, 0.0, 5.0, 6.0, 7.0, 8.0])
    got = log_density(widths, x)
    expected = np.array([float(exact_log_density(point, widths)) for point in x])
    # the exponent is at most 40 nats, but a difference of terms of size |x| N/2 = 6000
    assert np.all(np.abs(got - expected) < 6000 * 10 * EPS)


@pytest.mark.parametrize("widths", [(3, 9), (5, 3, 6), (10**6, 2)])
def test_the_order_of_layers_does_not_change_the_density(widths):
    x = np.linspace(-12.0, 3.0, 31)
    straight = log_density(widths, x)
    for order in itertools.permutations(widths):
        # 1e-12 of the density; for a million units 1e-12 of its logarithm
        np.testing.assert_allclose(log_density(order, x), straight, rtol=1e-12, atol=1e-12)


def test_precisions_only_shift_the_logarithm():
    # q scales as 1 / (lambda_1 ... lambda_L); the first precision plays no part
    x = np.linspace(-8.0, 3.0, 23)
    shifted = log_density((4, 7), x, precisions=(123.0, 0.5, 3.0))
    plain = log_density((4, 7), x + math.log(1.5))
    # the slope is below 7/2 e^3, which multiplies the rounding of x
    np.testing.assert_allclose(shifted, plain, rtol=0, atol=1e-12)


def test_derivatives_of_one_layer_are_those_of_a_log_gamma():
    x, shape = jnp.linspace(-20.0, 3.0, 24), 2.5

    def at(point):
        return log_mixing_density(Architecture((5,)), point)

    slope, curvature = jax.jit(jax.vmap(jax.value_and_grad(jax.grad(at))))(x)
    np.testing.assert_allclose(slope, shape * (1 - jnp.exp(x)), rtol=1e-12, atol=1e-12)
    # the second derivative is a difference of numbers of the size of the squared slope
    limit = 1e-12 * (1 + np.asarray(slope) ** 2)
    assert np.all(np.abs(curvature + shape * jnp.exp(x)) < limit)


@pytest.mark.parametrize("widths", [(4, 7), (5, 3, 6), (1, 1)])
def test_gradient_against_central_differences(widths):
    x = jnp.array([-40.0, -6.0, -1.0, 0.5, 3.0])

    def at(point):
        return log_mixing_density(Architecture(widths), point)

    slope = jax.jit(jax.vmap(jax.grad(at)))(x)
    h = 4e-3
    further_down, down, up, further_up = (log_density(widths, x + i * h) for i in (-2, -1, 1, 2))
    difference = (8 * (up - down) - (further_up - further_down)) / (12 * h)
    # truncation h^4/30 f''''' (f''''' < 10 here): 1e-10; rounding EPS |f| / h < 1e-11
    np.testing.assert_allclose(slope, difference, rtol=0, atol=3e-10)


def test_density_compiles_and_batches():
    network = Architecture((7,))

    def at(point):
        return log_mixing_density(network, point)

    x = jnp.linspace(-5.0, 2.0, 6).reshape(2, 3)
    eager = at(x)
    assert eager.shape == (2, 3)
    assert jax.eval_shape(at, 0.5).shape == ()
    # the same operations, fused in another order
    compiled = jax.jit(jax.vmap(jax.vmap(at)))
    np.testing.assert_allclose(compiled(x), eager, rtol=20 * EPS)


def test_a_density_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match=r"^architecture: expected n_outputs=1, got 2"):
        log_mixing_density(Architecture((5,), n_outputs=2), 0.0)
    with pytest.raises(ValueError, match=r"^architecture: without hidden layers"):
        log_mixing_density(Architecture(()), 0.0)


def test_single_precision_is_refused():
    with jax.enable_x64(False), pytest.raises(PrecisionError, match="double precision"):
        log_mixing_density(Architecture((5,)), 0.0)


def test_nan_stays_nan():
    assert np.isnan(log_density((5,), np.nan)).all()


@pytest.mark.parametrize("z", [8.0, 10.5, 100.0, 5e5, 8 + 3j, 9 + 400j])
def test_stirling_remainder(z):
    with mpmath.workdps(40):
        w = mpmath.mpmathify(z)
        stirling = (w - 0.5) * mpmath.log(w) - w + mpmath.log(2 * mpmath.pi) / 2
        exact = mpmath.loggamma(w) - stirling
        assert abs(complex(exact) - stirling_remainder(z)) < 1e-16


# --- the density of the function values ----------------------------------------------------------


def bessel_log_prior(rho, n_samples, width, precision):
    """Closed form of one hidden layer, a variance-gamma law, on a kernel of unit determinant."""
    a, b = width / 2, width * precision / 2
    order = a - n_samples / 2
    argument = np.sqrt(2 * b * rho)
    log_bessel = np.log(scipy.special.kve(order, argument)) - argument
    constant = (
        math.log(2) + a * math.log(b) - math.lgamma(a) - n_samples / 2 * math.log(2 * math.pi)
    )
    return constant + order / 2 * np.log(rho / (2 * b)) + log_bessel


def bessel_density(x, widths):
    """Density of log q of two layers of unit precision in SciPy."""
    a, b = np.array(widths) / 2
    z = a * b * np.exp(x)
    log_normaliser = math.lgamma(a) + math.lgamma(b)
    argument = 2 * np.sqrt(z)
    power = (a + b) / 2 * np.log(z) - argument - log_normaliser
    return 2 * np.exp(power) * scipy.special.kve(a - b, argument)


@pytest.mark.parametrize(("network", "expected"), LOG_PRIOR.items())
def test_reference_numbers_of_the_prior(network, expected):
    widths, precisions = network
    squared_norm = TARGETS @ np.linalg.solve(KERNEL, TARGETS)
    log_det = np.linalg.slogdet(KERNEL)[1]
    direct = log_prior(widths, 3, squared_norm, precisions)[0] - log_det / 2
    # twelve digits are printed; the two methods behind them agree to better than 1e-10
    assert direct == pytest.approx(expected, rel=0, abs=1e-11)
    law = prior(KERNEL, Architecture(widths, precisions=precisions))
    values = law.log_prob(np.broadcast_to(TARGETS[:, None], (640, 3, 1)))
    assert float(values[0]) == pytest.approx(expected, rel=0, abs=1e-11)


@pytest.mark.parametrize("width", [1, 2, 3, 8, 40])
def test_prior_of_one_layer_is_the_bessel_form(width):
    rng = np.random.default_rng(width)
    rho = np.exp(rng.uniform(-12.0, 6.0, size=16))
    for n_samples, precision in ((1, 1.0), (3, 0.3), (6, 4.0)):
        got = log_prior((width,), n_samples, rho, precisions=(7.0, precision))
        # SciPy's Bessel function is good to about 1e-14; its logarithm ranges to 200
        expected = bessel_log_prior(rho, n_samples, width, precision)
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("widths", "n_samples"), [((4, 7), 3), ((2, 3), 5), ((1, 6), 2)])
def test_prior_of_two_layers_against_quadrature(widths, n_samples):
    for rho in (0.05, 1.7, 30.0):

        def integrand(x, rho=rho):
            return bessel_density(x, widths) * np.exp(
                -0.5 * rho * np.exp(-x) - n_samples / 2 * (x + math.log(2 * math.pi))
            )

        # outside of the interval exp(-rho e^-x / 2) or the Bessel function is below exp(-80)
        low, high = math.log(rho / 160), 8.0
        value, error = scipy.integrate.quad(integrand, low, high, epsabs=0, epsrel=1e-12, limit=200)
        got = log_prior(widths, n_samples, rho)[0]
        assert got == pytest.approx(math.log(value), rel=0, abs=1e-11 + 2 * error / value)


@pytest.mark.parametrize(("widths", "n_samples"), [((9,), 3), ((6, 8), 4), ((8, 7), 1)])
def test_prior_at_the_origin_is_an_inverse_moment(widths, n_samples):
    # E (2 pi q)^(-P/2), finite as every layer is wider than the samples are many

    def integrand(x):
        density = (
            np.exp(log_gamma_density(x, widths[0]))
            if len(widths) == 1
            else bessel_density(x, widths)
        )
        return density * np.exp(-n_samples / 2 * (x + math.log(2 * math.pi)))

    # the integrand decays at least as exp(x) to the left: exp(-36) is left out
    value, error = scipy.integrate.quad(integrand, -36.0, 6.0, epsabs=0, epsrel=1e-12, limit=200)
    # and it is the limit: the first correction is linear in rho, or a higher power of 1/2
    at_zero, near = log_prior(widths, n_samples, [0.0, 1e-20])
    assert at_zero == pytest.approx(math.log(value), rel=0, abs=1e-11 + 2 * error / value)
    assert near == pytest.approx(at_zero, rel=0, abs=1e-9)


def test_precisions_at_the_origin():
    # (lambda_1 ... lambda_L)^(P/2) times the value at unit precisions
    scaled = log_prior((9, 7), 3, 0.0, precisions=(5.0, 2.0, 3.0))
    plain = log_prior((9, 7), 3, 0.0)
    assert scaled - plain == pytest.approx(1.5 * math.log(6.0), rel=1e-13)


@pytest.mark.parametrize(("widths", "n_samples"), [((3,), 3), ((2,), 3), ((9, 3), 4)])
def test_prior_diverges_at_the_origin_where_a_layer_is_narrow(widths, n_samples):
    values = log_prior(widths, n_samples, [1e-4, 1e-8, 1e-12, 0.0])
    assert np.all(np.diff(values) > 0)
    assert values[-1] == np.inf


def test_prior_without_hidden_layers_is_gaussian():
    rho = jnp.array([0.0, 0.5, 9.0])
    got = log_prior_density(rho, 4, Architecture(()))
    np.testing.assert_allclose(got, -rho / 2 - 2 * math.log(2 * math.pi), rtol=4 * EPS)


def test_prior_gradient_is_finite_also_at_the_origin():
    slope = jax.jit(jax.vmap(jax.grad(lambda rho: log_prior_density(rho, 3, Architecture((9,))))))
    rho, h = jnp.array([0.0, 0.3, 7.0]), 1e-5
    got = slope(rho)
    assert np.isfinite(got).all()
    high, low = (bessel_log_prior(rho[1:] + shift, 3, 9, 1.0) for shift in (h, -h))
    # truncation h^2 f''' / 6 = 1e-9 at rho = 0.3, rounding 1e-14 / h = 1e-9
    np.testing.assert_allclose(got[1:], (high - low) / (2 * h), rtol=0, atol=1e-8)


def test_prior_of_nan_is_nan():
    assert np.isnan(log_prior((9,), 3, np.nan)).all()


def test_there_is_no_mass_at_infinity_and_nan_stays_nan():
    at = log_mixing_density(Architecture((4, 7)), jnp.array([-jnp.inf, jnp.inf, jnp.nan]))
    assert at[:2].tolist() == [-math.inf, -math.inf]
    assert math.isnan(at[2])
