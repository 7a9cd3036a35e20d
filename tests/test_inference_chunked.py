"""Chains that may be killed are those of ``numpyro.infer.MCMC``."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import pytest
from numpyro.distributions import HalfNormal, Normal
from numpyro.infer import MCMC, NUTS

from inference.checkpoints import Checkpoint, Keeper
from inference.interop import to_arviz
from inference.monte_carlo.chunked import sample_in_chunks
from inference.monte_carlo.spins import SpinMetropolis
from inference.status import Status


def model(data, width=1.0):
    scale = numpyro.sample("scale", HalfNormal(width))
    centre = numpyro.sample("centre", Normal(0.0, 1.0).expand([2]))
    numpyro.deterministic("sum", centre.sum())
    numpyro.sample("y", Normal(centre, scale), obs=data)


DATA = np.array([[0.3, -1.0], [0.9, -0.7], [0.1, -0.2]])
SIZES = {"num_warmup": 60, "num_samples": 50}
FIELDS = ("num_steps", "potential_energy", "accept_prob", "adapt_state.step_size")


def nuts_run(checkpoint=None, chunk=17, **options):
    options = {**SIZES, "num_chains": 2, **options}
    return sample_in_chunks(
        NUTS(model, target_accept_prob=0.9), jax.random.key(3), DATA, width=2.0, chunk=chunk,
        extra_fields=FIELDS, checkpoint=checkpoint, progress=False, **options,
    )  # fmt: skip


def spins():
    return SpinMetropolis(
        lambda s, j: -j * s[0] * s[1], lambda s, site, j: 2 * j * s[0] * s[1], n_spins=2
    )


def spin_run(checkpoint=None, **options):
    return sample_in_chunks(
        spins(), jax.random.key(1), jnp.array(0.5), **{**SIZES, "num_chains": 3, **options},
        checkpoint=checkpoint, progress=False,
    )  # fmt: skip


def by_numpyro(kernel, key, *args, num_chains, extra_fields=(), **kwargs):
    mcmc = MCMC(
        kernel, **SIZES, num_chains=num_chains, chain_method="vectorized", progress_bar=False
    )
    mcmc.run(key, *args, extra_fields=extra_fields, **kwargs)
    return mcmc


@cache
def left_alone(run):
    return run()


def same(one, other):
    assert sorted(one) == sorted(other)
    for name, values in one.items():
        np.testing.assert_array_equal(values, other[name], err_msg=name)


@pytest.mark.slow
def test_draws_and_fields_are_those_of_numpyro():
    found = left_alone(nuts_run)
    mcmc = by_numpyro(
        NUTS(model, target_accept_prob=0.9), jax.random.key(3), DATA, num_chains=2,
        extra_fields=FIELDS, width=2.0,
    )  # fmt: skip
    same(found.draws, mcmc.get_samples(group_by_chain=True))
    same(found.fields, mcmc.get_extra_fields(group_by_chain=True))
    ours, theirs = found.to_arviz(), to_arviz(mcmc)
    for group in ("posterior", "sample_stats"):
        names = set(ours[group].data_vars)
        assert set(theirs[group].data_vars) - names <= {"tree_depth"}
        for name in names:
            np.testing.assert_array_equal(ours[group][name].values, theirs[group][name].values)


@pytest.mark.parametrize("num_chains", [1, 3])
def test_draws_of_our_kernels_are_those_of_numpyro(num_chains):
    found = spin_run(num_chains=num_chains)
    mcmc = by_numpyro(spins(), jax.random.key(1), jnp.array(0.5), num_chains=num_chains)
    same(found.draws, mcmc.get_samples(group_by_chain=True))
    assert found.draws["spin"].dtype == np.int8
    assert found.n_steps == 50
    assert 0.0 <= found.residual < 0.5


@pytest.mark.parametrize(("run", "saves"), [(nuts_run, [5]), (spin_run, [3, 1, 2])])
def test_a_killed_run_goes_on_whatever_the_chunks(run, saves, tmp_path, monkeypatch):
    place, offer, left = Checkpoint(tmp_path / "run.npz", every=0.0), Keeper.offer, [*saves]

    def dangerous(self, state, **options):
        offer(self, state, **options)
        left[0] -= 1
        if left[0] == 0:
            left.pop(0)
            raise KeyboardInterrupt

    expected = left_alone(run)
    monkeypatch.setattr(Keeper, "offer", dangerous)
    for chunk in (17, 23, 17)[: len(saves)]:
        with pytest.raises(KeyboardInterrupt):
            run(place, chunk=chunk)
    monkeypatch.undo()
    found = run(place, chunk=17)
    same(found.draws, expected.draws)
    same(found.fields, expected.fields)
    for changed in ({"num_chains": 4}, {"num_samples": 51}):
        with pytest.raises(
            ValueError, match="holds a run of sample_in_chunks with other arguments"
        ):
            run(place, **changed)


def test_chains_that_disagree_say_so():
    apart = {"spin": jnp.array([[1, 1], [-1, -1]], jnp.int8)}
    stuck = sample_in_chunks(
        spins(), jax.random.key(0), jnp.array(3.0), num_warmup=0, num_samples=200, num_chains=2,
        init_params=apart, progress=False,
    )  # fmt: skip
    assert stuck.status is Status.MAX_STEPS
    assert stuck.residual > 0.1
    assert np.isnan(spin_run(num_samples=7).residual)


def test_wrong_numbers_are_refused():
    for wrong in ({"num_warmup": -1}, {"num_samples": 0}, {"num_chains": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            spin_run(**wrong)
    with pytest.raises(TypeError, match="key"):
        sample_in_chunks(NUTS(model), 0, DATA, **SIZES)
