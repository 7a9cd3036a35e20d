"""Posteriors of the mixture: exact enumeration against Gibbs, its NumPyro kernel and NUTS; SBC."""

import jax
import numpy as np
import pytest
from numpyro.diagnostics import effective_sample_size
from numpyro.infer import MCMC, NUTS, Predictive
from scipy import stats
from suite_helpers import assert_z

from models.cell_types import MixtureGibbs, fit, gibbs, mixture_model, simulate_benchmark

# Case C of the specification: exact sums over the 2^9 types of nine cells
TABLE = np.array([[2, 1, 0], [0, 1, 2], [1, 0, 2]])
PRIOR = {"concentration": 0.5, "map_concentration": 0.8}
OVERLAP = np.array(
    [
        [0.753032247789, 0.434813619001, 0.464556812230],
        [0.434813619001, 0.745595458019, 0.534109368751],
        [0.464556812230, 0.534109368751, 0.736307205156],
    ]
)
MEAN = np.array(
    [
        [0.405266532976, 0.283204658230, 0.311528808794],
        [0.269798963062, 0.269251519430, 0.460949517509],
        [0.323009166405, 0.227096784070, 0.449894049524],
    ]
)


def assert_exact(membership, maps):
    """Compare what no order of the types changes, ``(chain, draw, ...)``, with exact numbers."""
    membership, maps = np.asarray(membership, float), np.asarray(maps, float)
    for draws, exact in (
        (np.einsum("cngk,cnhk->cngh", membership, membership), OVERLAP),
        (membership @ maps, MEAN),
    ):
        size = effective_sample_size(draws)
        error = draws.std(axis=(0, 1)) / np.sqrt(size)
        assert_z(draws.mean(axis=(0, 1)), exact, error, ess=size)


@pytest.mark.statistical
def test_gibbs_is_exact():
    draws = gibbs(TABLE, 2, **PRIOR, num_samples=20_000, seed=1, progress=False)
    assert_exact(draws.membership, draws.maps)
    value = np.log(draws.membership[2, 7].astype(float) @ draws.maps[2, 7])
    assert draws.log_likelihood[2, 7] == pytest.approx((TABLE * value).sum(), abs=1e-5)


def test_a_stopped_sampler_returns_the_draws_so_far():
    values = np.full((50, 50), 1000)  # many cells: few sweeps between two looks
    options = {"num_warmup": 10, "num_samples": 40, "num_chains": 2, "progress": False}
    whole = gibbs(values, 2, **options)
    asked = iter([False, True])
    part = gibbs(values, 2, **options, should_stop=lambda: next(asked))
    n_draws = part.membership.shape[1]
    assert part.maps.shape == (2, n_draws, 2, 50)
    assert part.log_likelihood.shape == (2, n_draws)
    assert 0 < n_draws < 40
    np.testing.assert_array_equal(part.membership, whole.membership[:, :n_draws])
    none = gibbs(values, 2, **options | {"num_warmup": 100}, should_stop=lambda: True)
    assert none.membership.shape == (2, 0, 50, 2)


@pytest.mark.slow
@pytest.mark.statistical
def test_the_numpyro_kernel_is_exact():
    mcmc = MCMC(
        MixtureGibbs(), num_warmup=200, num_samples=8000, num_chains=4,
        chain_method="vectorized", progress_bar=False,
    )  # fmt: skip
    mcmc.run(jax.random.key(0), TABLE, 2, **PRIOR)
    draws = mcmc.get_samples(group_by_chain=True)
    assert_exact(draws["membership"], draws["maps"])
    mean = draws["membership"][1, 5] @ draws["maps"][1, 5]
    energy = mcmc.get_extra_fields(group_by_chain=True)["potential_energy"][1, 5]
    assert energy == pytest.approx(-(TABLE * np.log(mean)).sum())


@pytest.mark.slow
@pytest.mark.statistical
def test_nuts_is_exact():
    mcmc = MCMC(
        NUTS(mixture_model, target_accept_prob=0.97), num_warmup=500, num_samples=3000,
        num_chains=4, chain_method="vectorized", progress_bar=False,
    )  # fmt: skip
    mcmc.run(jax.random.key(2), TABLE, 2, **PRIOR)
    draws = mcmc.get_samples(group_by_chain=True)
    assert_exact(draws["membership"], draws["maps"])


@pytest.mark.slow
def test_predictive_draws_have_the_mean_of_the_model():
    totals = np.full((3, 5), 40)
    drawn = Predictive(mixture_model, num_samples=400)(jax.random.key(1), totals, 2, observe=False)[
        "counts"
    ]
    sums = drawn.sum(axis=2)
    assert_z(sums.mean(axis=0), 200.0, np.sqrt(200.0 / 400))


def functionals(membership, maps, table):
    """Return quantities that no order of the types changes, and the raw first membership."""
    mean = membership @ maps
    return np.stack(
        [
            (membership[..., 0, :] * membership[..., 1, :]).sum(axis=-1),
            mean[..., 0, 0],
            np.sum(table * np.log(mean), axis=(-1, -2)),
            membership[..., 0, :].max(axis=-1),
            np.abs(maps[..., 0, :] - maps[..., 1, :]).sum(axis=-1),
            membership[..., 0, 0],
        ],
        axis=-1,
    )


def rank_p_values(concentration, n_data, seed):
    """Return p-values of uniform ranks, drawing data at 0.7 and fitting with ``concentration``."""
    rng = np.random.default_rng(seed)
    ranks = []
    for number in range(n_data):
        membership = rng.dirichlet(np.full(2, 0.7), 6)
        maps = rng.dirichlet(np.ones(6), 2)
        table = np.array([rng.multinomial(30, row) for row in membership @ maps])
        draws = gibbs(
            table, 2, concentration=concentration, num_warmup=300, num_samples=49, thinning=25,
            num_chains=1, seed=number, progress=False,
        )  # fmt: skip
        found = functionals(draws.membership[0].astype(float), draws.maps[0], table)
        ranks.append((found < functionals(membership, maps, table)).sum(axis=0))
    counts = [np.bincount(column // 5, minlength=10) for column in np.array(ranks).T]
    return np.array([stats.chisquare(count).pvalue for count in counts])


@pytest.mark.slow
@pytest.mark.statistical
def test_calibration_on_what_no_order_changes():
    """Ranks of five invariants are uniform; those of a raw label are not, for a right sampler."""
    p_values = rank_p_values(0.7, 2000, 0)
    assert np.all(p_values[:5] > 0.01), p_values
    assert p_values[5] < 1e-6
    wrong = rank_p_values(0.2, 1000, 1)
    assert np.all(wrong[[0, 3, 4]] < 1e-4), wrong  # and mean intensities do not notice


def test_relabelled_chains_agree_on_a_well_separated_problem():
    data = simulate_benchmark(3, n_genes=80, n_types=3, shape=(8, 8))
    found = fit(data.counts, 3, key=jax.random.key(0))
    draws = gibbs(
        data.counts, 3, start=found, num_warmup=200, num_samples=400, num_chains=2, progress=False
    ).relabelled(found.maps)
    between = np.abs(draws.maps[0].mean(axis=0) - draws.maps[1].mean(axis=0)).sum(axis=1)
    assert np.all(between < 0.05)
    data_set = draws.to_arviz()
    assert set(data_set["posterior"].data_vars) == {"membership", "maps", "log_lik"}


def test_same_seed_same_draws():
    one, two = (gibbs(TABLE, 2, num_samples=20, seed=3, progress=False) for _ in range(2))
    np.testing.assert_array_equal(one.maps, two.maps)
    other = gibbs(TABLE, 2, num_samples=20, seed=4, progress=False)
    assert np.abs(one.maps - other.maps).max() > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_types": 0}, "n_types: expected an integer of at least 1"),
        ({"concentration": 0.0}, "concentration: expected a positive"),
        ({"map_concentration": -1.0}, "map_concentration: expected a positive"),
        ({"num_samples": 0}, "num_samples: expected an integer of at least 1"),
        ({"thinning": 0}, "thinning: expected an integer of at least 1"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        gibbs(TABLE, **({"n_types": 2} | options))
