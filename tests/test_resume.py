"""Runs that end at a random moment and go on from their file have the numbers of one run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from graphs.contacts import household_contacts
from inference.checkpoints import Checkpoint, Keeper
from inference.elastic import elastic_descent
from models import cell_types, contact_tracing, deep_linear, ksat, mesoscopic, perceptron


class KilledError(Exception):
    """As if the process had ended."""


def loss(params, batch, key):
    return ((params - 3.0) ** 2).sum() + 0.1 * (params * jax.random.normal(key, (2,))).sum()


def sampled(checkpoint):
    network = household_contacts(12, 4, transmission_prob=0.2, seed=0)
    tests = contact_tracing.Observations.of_states([1], [2], [1])
    return contact_tracing.gibbs(
        network, tests, contact_tracing.Epidemic(0.1, 0.1), num_warmup=30, num_samples=40,
        num_chains=2, keep_draws=True, progress=False, checkpoint=checkpoint,
    )  # fmt: skip


def parameters_fitted(checkpoint):
    network = household_contacts(12, 4, transmission_prob=0.2, seed=0)
    tests = contact_tracing.Observations.of_states([1, 7], [2, 3], [1, 0])
    return contact_tracing.fit_epidemic(
        network, tests, contact_tracing.Epidemic(0.1, 0.1), parameters=["recovery_prob"],
        max_steps=2, checkpoint=checkpoint,
    )  # fmt: skip


def couplings_found(checkpoint):
    device = mesoscopic.SpinSystem([[0.0, 0.0], [0.0, 0.0]], [[1.0, 0.5], [-0.5, 1.0]])
    return mesoscopic.bottleneck(
        device, mesoscopic.parity_task(2), [0.0, 1.0], restarts=2, key=jax.random.key(0),
        checkpoint=checkpoint, **quiet,
    )  # fmt: skip


def network_chosen(checkpoint):
    x = np.linspace(-1.0, 1.0, 12)[:, None]
    candidates = [deep_linear.Architecture(widths) for widths in ((), (2,), (3, 3))]
    return deep_linear.select(x, 3.0 * x, candidates, [1.0, 100.0], checkpoint=checkpoint, **quiet)


def marked_cells(n_cells):
    rng = np.random.default_rng(0)
    kind = rng.integers(2, size=n_cells)
    marks = {
        "size": np.exp(rng.normal(kind, 0.4)),
        "orientation": rng.vonmises(2.0 * kind, 4.0) / 2.0,
    }
    position = rng.uniform(size=(n_cells, 2))
    window = cell_types.Window((0, 1), (0, 1))
    return cell_types.Points(
        kind + 2 * rng.integers(2, size=n_cells), position, "abcd", window, marks
    )


MACHINE = perceptron.random_patterns(101, 0.6, seed=1)
SMALL_COMMITTEE = perceptron.random_patterns(21, 0.6, n_hidden=3, seed=1)
COMMITTEE = perceptron.random_patterns(33, 0.6, n_hidden=3, seed=1)
FORMULA = ksat.random_formula(200, 860, 3, seed=1)
MARKED = marked_cells(300)
COUNTS = cell_types.simulate_benchmark(0, n_genes=30, n_types=2, shape=(4, 4)).counts
quiet = {"progress": False}
RUNS = {
    "EdMC": lambda c: perceptron.entropy_driven_monte_carlo(
        MACHINE, max_steps=60, checkpoint=c, **quiet
    ),
    "EdMC, committee": lambda c: perceptron.entropy_driven_monte_carlo(
        SMALL_COMMITTEE, max_steps=8, checkpoint=c, **quiet
    ),
    "EdMC, formula": lambda c: ksat.entropy_driven_monte_carlo(
        FORMULA, max_steps=60, checkpoint=c, **quiet
    ),
    "annealing": lambda c: perceptron.simulated_annealing(
        MACHINE, n_sweeps=300, checkpoint=c, **quiet
    ),
    "annealing, formula": lambda c: ksat.simulated_annealing(
        FORMULA, n_sweeps=300, checkpoint=c, **quiet
    ),
    "replicated annealing": lambda c: perceptron.replicated_annealing(
        MACHINE, n_sweeps=200, centre="explicit", checkpoint=c, **quiet
    ),
    "replicated annealing, formula": lambda c: ksat.replicated_annealing(
        FORMULA, n_sweeps=200, checkpoint=c, **quiet
    ),
    "SGD": lambda c: perceptron.replicated_sgd(
        COMMITTEE, n_replicas=3, n_epochs=30, checkpoint=c, **quiet
    ),
    "elastic descent": lambda c: elastic_descent(
        loss, jnp.zeros(2), n_replicas=3, n_steps=450, key=jax.random.key(0), checkpoint=c, **quiet
    ),
    "focusing": lambda c: perceptron.focusing_bp(
        MACHINE, perceptron.standard_reinforcement(0.1), stop_at_solution=False, checkpoint=c,
        **quiet,
    ),
    "focusing, committee": lambda c: perceptron.focusing_bp(
        SMALL_COMMITTEE, perceptron.standard_reinforcement(0.1), checkpoint=c, **quiet
    ),
    "Gibbs, epidemic": sampled,
    "Gibbs, cell types": lambda c: cell_types.gibbs(
        COUNTS, 2, num_warmup=20, num_samples=30, num_chains=2, checkpoint=c, **quiet
    ),
    "fit of cell types": lambda c: cell_types.fit(
        COUNTS, 2, restarts=2, key=jax.random.key(0), checkpoint=c, on_failure="ignore"
    ),
    "fit of marked cells": lambda c: cell_types.fit_marked(
        MARKED, 2, ["size", "orientation"], restarts=3, bins=4, max_steps=20,
        key=jax.random.key(0), checkpoint=c,
    ),
    "parameters of an epidemic": parameters_fitted,
    "couplings at a price": couplings_found,
    "choice of a network": network_chosen,
    "number of types": lambda c: cell_types.choose_n_types(
        COUNTS, candidates=[1, 2], restarts=1, key=jax.random.key(0), checkpoint=c
    ),
}  # fmt: skip


def numbers(result):
    """Return the arrays and numbers of a result, the generators of walks aside."""
    leaves = jax.tree_util.tree_leaves(getattr(result, "__dict__", result))
    return [leaf for leaf in leaves if isinstance(leaf, (np.ndarray, jax.Array, float, int))]


@pytest.mark.parametrize("name", RUNS)
def test_a_run_that_was_killed_goes_on(name, tmp_path, monkeypatch):
    run, path = RUNS[name], tmp_path / "run.npz"
    expected = numbers(run(None))
    rng, n_killed = np.random.default_rng(sum(map(ord, name))), 0
    offer, once = Keeper.offer, Keeper.once

    def maybe(*_):
        if n_killed == 0 or rng.random() < 0.3:
            raise KilledError

    def dangerous_offer(self, state, **options):
        offer(self, state, **options)
        if not options.get("last"):
            maybe()

    def dangerous_once(self, *args, **options):
        result = once(self, *args, **options)
        maybe()
        return result

    monkeypatch.setattr(Keeper, "offer", dangerous_offer)
    monkeypatch.setattr(Keeper, "once", dangerous_once)
    while True:
        try:
            found = run(Checkpoint(path, every=0.0))
            break
        except KilledError:
            n_killed += 1
        assert n_killed < 100
    monkeypatch.undo()
    assert n_killed > 0
    again = run(Checkpoint(path, every=0.0))
    for result in (found, again):
        got = numbers(result)
        assert len(got) == len(expected) > 0
        for one, other in zip(got, expected):
            np.testing.assert_array_equal(one, other)


def test_another_run_is_refused(tmp_path):
    path = tmp_path / "run.npz"
    perceptron.replicated_sgd(COMMITTEE, n_epochs=2, checkpoint=path, **quiet)
    with pytest.raises(ValueError, match=r"run\.npz: holds a run of perceptron\.replicated_sgd"):
        perceptron.replicated_sgd(COMMITTEE, n_epochs=3, checkpoint=path, **quiet)
