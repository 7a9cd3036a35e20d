"""One face for both ArviZ majors: containers, convergence diagnostics and Pareto smoothing."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import scipy.special
import scipy.stats
import xarray
from numpyro.infer import MCMC, NUTS
from suite_helpers import assert_z

from inference.interop import MIN_DRAWS, diagnostics, pareto_smooth, posterior_array, to_arviz


def autoregressive(rng, rho, shape):
    """Stationary AR(1) chains along axis 1, of mean zero and variance one."""
    noise = rng.normal(size=shape)
    noise[:, 1:] *= np.sqrt(1 - rho**2)
    for t in range(1, shape[1]):
        noise[:, t] += rho * noise[:, t - 1]
    return noise


# --- diagnostics -----------------------------------------------------------------------------


@pytest.mark.statistical
@pytest.mark.parametrize("rho", [0.0, 0.7, -0.4])
def test_ess_and_mcse_of_an_autoregression_are_those_of_its_autocorrelation_time(rho):
    n_chains, n_draws, n_elements = 4, 2000, 40
    rng = np.random.default_rng(2)
    draws = autoregressive(rng, rho, (n_chains, n_draws, n_elements))
    got = diagnostics(draws)
    time = (1 + rho) / (1 - rho)
    exact = n_chains * n_draws / time
    # a factor, because the truncated sum of autocorrelations has a bias of a few per cent
    assert np.mean(got.ess) == pytest.approx(exact, rel=0.06)
    assert np.mean(got.mcse**2) == pytest.approx(1 / exact, rel=0.06)
    z = got.mean / got.mcse
    assert_z((z**2).sum(), n_elements, np.sqrt(2 * n_elements))
    assert np.all(got.r_hat < 1.01)


def split_r_hat(draws):
    """R-hat of the halves of the chains, as in arXiv:1903.08008 (3)."""
    half = draws.shape[1] // 2
    chains = np.concatenate([draws[:, :half], draws[:, -half:]])
    within = chains.var(axis=1, ddof=1).mean()
    between = half * chains.mean(axis=1).var(ddof=1)
    return np.sqrt(((half - 1) / half * within + between / half) / within)


def rank_normalised(draws):
    rank = scipy.stats.rankdata(draws).reshape(draws.shape)
    return scipy.special.ndtri((rank - 3 / 8) / (draws.size + 1 / 4))


def r_hat_of_the_paper(draws):
    folded = np.abs(draws - np.median(draws))
    return max(split_r_hat(rank_normalised(draws)), split_r_hat(rank_normalised(folded)))


@pytest.mark.parametrize("defect", ["none", "location", "scale", "trend"])
def test_r_hat_is_the_rank_normalised_split_r_hat(defect):
    draws = np.random.default_rng(3).exponential(size=(3, 200))
    if defect == "location":
        draws[0] += 0.7
    if defect == "scale":  # the folded draws alone show this one
        draws[0] = 1 + 4 * (draws[0] - 1)
    if defect == "trend":
        draws += np.linspace(0, 2, 200)
    got = diagnostics(draws)
    assert float(got.r_hat) == pytest.approx(r_hat_of_the_paper(draws), rel=1e-12)
    assert (got.r_hat < 1.01) == (defect == "none")


def test_every_element_is_diagnosed_alone():
    draws = np.random.default_rng(4).normal(size=(3, 50, 2, 3)) ** 2
    got = diagnostics(draws)
    for field, array in got._asdict().items():
        assert array.shape == (2, 3)
        assert array.dtype == np.float64
        for i, j in np.ndindex(2, 3):
            alone = getattr(diagnostics(draws[:, :, i, j]), field)
            assert alone.shape == ()
            np.testing.assert_allclose(alone, array[i, j], rtol=1e-12)
    np.testing.assert_allclose(got.mean, draws.mean(axis=(0, 1)), rtol=1e-14)


@pytest.mark.parametrize("scale", [1e-200, 1e-18, 1e200])
def test_diagnostics_have_no_unit(scale):
    draws = autoregressive(np.random.default_rng(5), 0.8, (4, 300))
    one, other = diagnostics(draws), diagnostics(scale * draws)
    assert float(one.ess) < 400
    np.testing.assert_allclose(other.ess, one.ess, rtol=1e-9)
    np.testing.assert_allclose(other.r_hat, one.r_hat, rtol=1e-9)
    np.testing.assert_allclose(other.mcse / scale, one.mcse, rtol=1e-9)


def test_equal_draws_tell_nothing_about_mixing():
    draws = np.random.default_rng(6).normal(size=(4, 50, 2))
    draws[..., 1] = 0.3
    got = diagnostics(draws)
    assert got.mean[1] == pytest.approx(0.3, rel=1e-15)
    for array in (got.mcse, got.ess, got.r_hat):
        np.testing.assert_array_equal(np.isnan(array), [False, True])


def test_chains_that_never_move_do_not_pass_for_mixed():
    got = diagnostics(np.repeat(np.arange(4.0)[:, None], 100, axis=1))
    assert got.ess < 10
    assert got.r_hat > 100
    assert got.mcse > 0.5


def test_a_single_chain_is_judged_by_its_halves():
    rng = np.random.default_rng(7)
    still = rng.normal(size=(1, 1001))
    drifting = still + np.linspace(0, 2, 1001)
    assert diagnostics(still).r_hat < 1.01
    assert diagnostics(drifting).r_hat > 1.1
    halves = np.concatenate([still[:, :500], still[:, 501:]])
    assert diagnostics(still).r_hat == diagnostics(halves).r_hat


@pytest.mark.parametrize(
    ("draws", "message"),
    [
        (np.zeros(100), r"draws of x: expected a 2-dimensional array, got shape \(100,\)"),
        (1.0, r"draws of x: expected a 2-dimensional array, got shape \(\)"),
        (np.zeros((4, MIN_DRAWS - 1)), r"draws of x: expected at least 8 draws a chain .*\(4, 7\)"),
        (np.zeros((4, 0)), r"draws of x: expected at least one entry"),
        (np.where(np.eye(10) > 0, np.nan, 0), r"draws of x: expected finite.*index \(0, 0\)"),
        (np.where(np.eye(10) > 0, np.inf, 0), r"draws of x: expected finite.*index \(0, 0\)"),
    ],
)
def test_draws_that_cannot_be_diagnosed_are_refused(draws, message):
    with pytest.raises(ValueError, match=message):
        diagnostics(draws, name="draws of x")


# --- Pareto smoothing ------------------------------------------------------------------------


@pytest.mark.statistical
@pytest.mark.parametrize("k", [0.2, 0.5, 0.9])
def test_k_of_pareto_weights_is_their_shape(k):
    rng = np.random.default_rng(8)
    n, n_tail = 10_000, 300
    found = [pareto_smooth(-k * np.log(rng.random(n)))[1] for _ in range(25)]
    # the fit counts as ten more weights of shape one half (arXiv:1507.02646, appendix C)
    expected = (n_tail * k + 10 * 0.5) / (n_tail + 10)
    assert_z(np.mean(found), expected, np.std(found, ddof=1) / 5)


@pytest.mark.parametrize("shift", [0.0, -2000.0, 500.0])
def test_smoothing_changes_the_largest_weights_alone_and_keeps_their_order(shift):
    rng = np.random.default_rng(9)
    raw = -0.6 * np.log(rng.random(400)) + shift
    before = raw.copy()
    smoothed, k = pareto_smooth(raw)
    np.testing.assert_array_equal(raw, before)
    assert 0.2 < k < 1
    assert np.exp(smoothed).sum() == pytest.approx(1, rel=1e-12)
    order = np.argsort(raw)
    assert np.all(np.diff(smoothed[order]) >= 0)
    change = (smoothed - raw)[order]
    np.testing.assert_allclose(change[:339], change[0], rtol=0, atol=1e-9)
    assert np.ptp(change[-60:]) > 0.01
    assert np.ptp(smoothed) <= np.ptp(raw) + 1e-9


def test_equal_weights_have_no_tail():
    smoothed, k = pareto_smooth(np.full(100, -7.0))
    assert k == -np.inf
    np.testing.assert_allclose(smoothed, -np.log(100), rtol=1e-14)


def test_rounding_is_no_tail():
    rounding = 1e-12 * np.random.default_rng(10).integers(0, 3, size=1000)
    assert pareto_smooth(rounding)[1] == -np.inf
    assert np.isfinite(pareto_smooth(1e6 * rounding * np.arange(1000))[1])


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param([3.0], id="one weight"),
        pytest.param(np.linspace(0, 1, 24), id="few weights"),
        pytest.param(np.append(np.linspace(0, 1, 999), 800.0), id="one dwarfs all"),
    ],
)
def test_weights_that_cannot_be_judged_are_not_trusted(raw):
    smoothed, k = pareto_smooth(raw)
    assert k == np.inf
    np.testing.assert_allclose(smoothed, scipy.special.log_softmax(raw), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("spread", [1e3, 1e5, 1e300])
def test_wildly_uneven_weights_are_not_trusted(spread):
    smoothed, k = pareto_smooth(spread * np.random.default_rng(13).uniform(-1, 1, size=1000))
    assert k > 0.7
    assert np.isfinite(smoothed).all()
    assert np.exp(smoothed).sum() == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (np.zeros((3, 40)), r"log_weights: expected a 1-dimensional array, got shape \(3, 40\)"),
        ([], r"log_weights: expected at least one entry"),
        ([0.0, np.nan], r"log_weights: expected finite numbers, got nan at index \(1,\)"),
        ([0.0, -np.inf], r"log_weights: expected finite numbers, got -inf at index \(1,\)"),
    ],
)
def test_weights_must_be_a_vector_of_finite_numbers(raw, message):
    with pytest.raises(ValueError, match=message):
        pareto_smooth(raw)


# --- containers ------------------------------------------------------------------------------


def test_a_mapping_becomes_a_container_and_comes_back():
    draws = np.random.default_rng(11).normal(size=(2, 10, 3))
    data = to_arviz(
        {"w": draws, "spin": np.sign(draws).astype(np.int8), "b": jnp.asarray(draws[..., 0])},
        sample_stats={"lp": draws[..., 1]},
        log_likelihood={"y": 2 * draws},
        dims={"w": ("unit",), "y": ("unit",)},
        coords={"unit": ("x", "y", "z")},
    )
    np.testing.assert_array_equal(posterior_array(data, "w"), draws)
    np.testing.assert_array_equal(posterior_array(data, "b"), jnp.asarray(draws[..., 0]))
    assert posterior_array(data, "spin").dtype == np.int8
    np.testing.assert_array_equal(data["sample_stats"]["lp"].values, draws[..., 1])
    np.testing.assert_array_equal(data["log_likelihood"]["y"].sel(unit="z"), 2 * draws[..., 2])
    assert data["posterior"]["w"].dims == ("chain", "draw", "unit")
    np.testing.assert_array_equal(data["posterior"]["w"].sel(unit="y").values, draws[..., 1])


def test_many_short_chains_are_nothing_to_warn_of():
    data = to_arviz({"x": np.zeros((30, 10))})
    assert posterior_array(data, "x").shape == (30, 10)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({}, "source: expected at least one variable"),
        ({"x": np.zeros(5)}, r"source: expected draws \(chain, draw, ...\) of 'x', got shape"),
        ({"x": np.zeros((2, 5)), "y": np.zeros((2, 6))}, r"one \(chain, draw\) for all, got .*6"),
        # ArviZ 0.23 would make one object variable of this without a word
        ({"posterior": {"x": np.zeros((2, 5))}}, "source: expected draws .* of 'posterior'"),
    ],
)
def test_mappings_that_are_no_draws_are_refused(source, message):
    with pytest.raises(ValueError, match=message):
        to_arviz(source)


def test_statistics_must_fit_the_draws():
    with pytest.raises(ValueError, match=r"one \(chain, draw\) for all"):
        to_arviz({"x": np.zeros((2, 5))}, sample_stats={"lp": np.zeros((2, 4))})
    with pytest.raises(ValueError, match="sample_stats: expected at least one"):
        to_arviz({"x": np.zeros((2, 5))}, sample_stats={})
    with pytest.raises(ValueError, match="log_likelihood: expected draws"):
        to_arviz({"x": np.zeros((2, 5))}, log_likelihood={"y": np.zeros(5)})


def test_a_source_of_another_type_is_refused():
    with pytest.raises(TypeError, match=r"source: expected a NumPyro MCMC, a result.*ndarray"):
        to_arviz(np.zeros((2, 5)))


def test_posterior_array_names_the_variables_there_are():
    data = to_arviz({"x": np.zeros((2, 5)), "y": np.zeros((2, 5))})
    with pytest.raises(ValueError, match="name: expected one of x, y; got 'z'"):
        posterior_array(data, "z")


def test_posterior_array_puts_chain_and_draw_first():
    draws = np.random.default_rng(12).normal(size=(2, 10, 3))
    data = to_arviz({"x": draws}, dims={"x": ["unit"]})
    turned = {"posterior": xarray.Dataset({"x": data["posterior"]["x"].transpose()})}
    assert turned["posterior"]["x"].dims == ("unit", "draw", "chain")
    np.testing.assert_array_equal(posterior_array(turned, "x"), draws)


def model(y):
    mean = numpyro.sample("mean", dist.Normal(0, 1))
    with numpyro.plate("unit", 3):
        numpyro.sample("effect", dist.Normal(0, 1))
    numpyro.sample("y", dist.Normal(mean, 1), obs=y)


def sampler():
    return MCMC(
        NUTS(model),
        num_warmup=10,
        num_samples=12,
        num_chains=2,
        chain_method="vectorized",
        progress_bar=False,
    )


@pytest.fixture(scope="module")
def mcmc():
    run = sampler()
    fields = ("potential_energy", "accept_prob", "num_steps")
    run.run(jax.random.key(0), jnp.ones(4), extra_fields=fields)
    return run


def test_an_mcmc_run_becomes_a_container_with_all_it_collected(mcmc):
    data = to_arviz(mcmc)
    samples = mcmc.get_samples(group_by_chain=True)
    for name in ("mean", "effect"):
        np.testing.assert_array_equal(posterior_array(data, name), samples[name])
    assert data["posterior"]["effect"].dims == ("chain", "draw", "unit")
    stats = data["sample_stats"]
    fields = mcmc.get_extra_fields(group_by_chain=True)
    np.testing.assert_array_equal(stats["lp"].values, -fields["potential_energy"])
    np.testing.assert_array_equal(stats["acceptance_rate"].values, fields["accept_prob"])
    np.testing.assert_array_equal(stats["n_steps"].values, fields["num_steps"])
    with pytest.raises(KeyError):
        data["log_likelihood"]


def test_the_names_of_dimensions_can_be_given(mcmc):
    data = to_arviz(mcmc, dims={"effect": ["site"]}, coords={"site": ["x", "y", "z"]})
    assert list(data["posterior"]["effect"]["site"].values) == ["x", "y", "z"]


def test_an_mcmc_brings_its_own_statistics(mcmc):
    with pytest.raises(TypeError, match="sample_stats: an MCMC run brings its own"):
        to_arviz(mcmc, sample_stats={"lp": np.zeros((2, 12))})
    with pytest.raises(TypeError, match="log_likelihood: expected it with a mapping only"):
        to_arviz(mcmc, log_likelihood={"y": np.zeros((2, 12))})


def test_an_mcmc_that_has_not_run_is_refused():
    with pytest.raises(ValueError, match="source: this MCMC has no draws yet"):
        to_arviz(sampler())


def test_slow_imports_wait_for_their_first_use():
    code = (
        "import sys\n"
        "import inference.comparison, inference.interop, inference.plotting\n"
        "import inference.progress, inference.storage\n"
        "print({'arviz', 'arviz_stats', 'matplotlib', 'xarray', 'pandas'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stdout.strip() == "set()", run.stdout + run.stderr


@pytest.mark.slow
def test_the_daily_announcement_of_arviz_is_not_passed_on(tmp_path):
    # ArviZ 0.23 remembers in the user's cache folder that it has spoken today
    code = (
        "import numpy as np, warnings\n"
        "from inference.interop import diagnostics\n"
        "warnings.filterwarnings('error', '.*ArviZ', FutureWarning)\n"
        "diagnostics(np.arange(40.0).reshape(2, 20))\n"
    )
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "HOME": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert run.returncode == 0, run.stderr
    assert "ArviZ" not in run.stderr
