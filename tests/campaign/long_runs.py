"""Runs of some seconds, for kill_and_resume.py: every algorithm that keeps its state in a file."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import test_resume
from numpyro.infer import NUTS

from graphs.contacts import household_contacts, static_contacts
from inference.elastic import elastic_descent
from inference.monte_carlo.chunked import sample_in_chunks
from models import cell_types, contact_tracing, deep_linear, ksat, mesoscopic, perceptron
from models.contact_tracing.mitigation import mitigate
from models.contact_tracing.ranking import ContactTracing, RandomRanking

quiet = {"progress": False}
WIDE = perceptron.random_patterns(5001, 0.6, seed=1)
MACHINE = perceptron.random_patterns(1001, 0.7, seed=1)
COMMITTEE = perceptron.random_patterns(201, 0.5, n_hidden=3, seed=1)
FORMULA = ksat.random_formula(3000, 12600, 3, seed=1)
COUNTS = cell_types.simulate_benchmark(0, n_genes=120, n_types=4, shape=(12, 12)).counts


def key():
    """Return the key of all runs; made late, so that a process may fork after importing this."""
    return jax.random.key(0)


def sampled(checkpoint):
    """Sample who was infected when."""
    network = household_contacts(300, 40, transmission_prob=0.1, seed=0)
    tests = contact_tracing.Observations.of_states([1, 50, 200], [20, 30, 10], [1, 0, 1])
    return contact_tracing.gibbs(
        network, tests, contact_tracing.Epidemic(0.02, 0.1), num_warmup=30, num_samples=80,
        num_chains=2, checkpoint=checkpoint, **quiet,
    )  # fmt: skip


def parameters_fitted(checkpoint):
    """Fit two parameters of an epidemic."""
    network = household_contacts(80, 15, transmission_prob=0.1, seed=0)
    tests = contact_tracing.Observations.of_states([1, 7, 20, 70], [12, 5, 9, 14], [1, 0, 1, 1])
    return contact_tracing.fit_epidemic(
        network, tests, contact_tracing.Epidemic(0.05, 0.1), max_steps=3,
        parameters=["transmission_prob", "recovery_prob"], checkpoint=checkpoint,
        priors={"transmission_prob": (2.0, 2.0), "recovery_prob": (2.0, 8.0)},
    )  # fmt: skip


def couplings_found(checkpoint):
    """Climb to the best couplings at three prices."""
    rng = np.random.default_rng(0)
    device = mesoscopic.SpinSystem(np.zeros((3, 3)), rng.normal(size=(3, 2)))
    return mesoscopic.bottleneck(
        device, mesoscopic.parity_task(2), [0.0, 0.3, 1.0], restarts=8, key=key(),
        checkpoint=checkpoint, **quiet,
    )  # fmt: skip


def network_chosen(checkpoint):
    """Compare networks of one and of more layers by their evidence."""
    x = np.linspace(-1.0, 1.0, 20)[:, None]
    shapes = [(width,) * depth for depth in (1, 2, 3) for width in range(1, 40)]
    candidates = [deep_linear.Architecture(widths) for widths in shapes]
    return deep_linear.select(
        x, 3.0 * x, candidates, [1.0, 100.0], checkpoint=checkpoint, on_failure="ignore", **quiet
    )


def mixing_sampled(checkpoint):
    """Sample the mixing matrix of a network by NUTS."""
    x = np.linspace(-1.0, 1.0, 20)[:, None]
    architecture = deep_linear.Architecture((4, 4), 2)
    data = deep_linear.compress(x, np.hstack([3.0 * x, x - 0.2]), architecture)
    return deep_linear.posterior(
        data, architecture, 10.0, method="nuts", on_failure="ignore", checkpoint=checkpoint, **quiet
    )


def counts_sampled(checkpoint):
    """Sample memberships and maps by a kernel of our own."""
    return sample_in_chunks(
        cell_types.MixtureGibbs(), key(), COUNTS.values, 4, num_warmup=2, num_samples=8,
        num_chains=2, chunk=1, checkpoint=checkpoint, **quiet,
    )  # fmt: skip


def gaussian(scales):
    """Independent normal numbers."""
    import numpyro
    from numpyro.distributions import Normal

    numpyro.sample("x", Normal(0.0, scales))


def normals_sampled(checkpoint):
    """Sample normal numbers of many scales by NUTS."""
    return sample_in_chunks(
        NUTS(gaussian), key(), np.logspace(-2.0, 1.0, 20), num_warmup=300, num_samples=900,
        num_chains=2, chunk=50, checkpoint=checkpoint, **quiet,
    )  # fmt: skip


def policies_compared(folder):
    """Compare policies on the same epidemics; a file a run, in a folder."""
    return mitigate(
        {"random": RandomRanking(), "tracing": ContactTracing()},
        partial(static_contacts, 1500, 60, transmission_prob=0.05),
        contact_tracing.Epidemic(0.01, 0.1), seeds=range(10), progress=False,
        folder=None if folder is None else folder.path,
    )  # fmt: skip


RUNS = {
    "EdMC": lambda c: perceptron.entropy_driven_monte_carlo(
        MACHINE, max_steps=400, checkpoint=c, **quiet
    ),
    "EdMC, committee": lambda c: perceptron.entropy_driven_monte_carlo(
        COMMITTEE, max_steps=10, checkpoint=c, **quiet
    ),
    "EdMC, formula": lambda c: ksat.entropy_driven_monte_carlo(
        FORMULA, max_steps=20, checkpoint=c, **quiet
    ),
    "annealing": lambda c: perceptron.simulated_annealing(
        MACHINE, n_sweeps=6000, checkpoint=c, **quiet
    ),
    "annealing, formula": lambda c: ksat.simulated_annealing(
        FORMULA, n_sweeps=10_000, checkpoint=c, **quiet
    ),
    "replicated annealing": lambda c: perceptron.replicated_annealing(
        MACHINE, n_sweeps=4000, centre="explicit", checkpoint=c, **quiet
    ),
    "replicated annealing, formula": lambda c: ksat.replicated_annealing(
        FORMULA, n_sweeps=5000, checkpoint=c, **quiet
    ),
    "SGD": lambda c: perceptron.replicated_sgd(
        COMMITTEE, n_replicas=3, n_epochs=8000, checkpoint=c, **quiet
    ),
    "elastic descent": lambda c: elastic_descent(
        test_resume.loss, jnp.zeros(2), n_replicas=3, n_steps=20_000, key=key(), checkpoint=c,
        **quiet,
    ),
    "focusing": lambda c: perceptron.focusing_bp(
        WIDE, stop_at_solution=False, max_sweeps=3, checkpoint=c, **quiet
    ),
    "focusing, committee": lambda c: perceptron.focusing_bp(
        COMMITTEE, perceptron.standard_reinforcement(0.003), stop_at_solution=False, checkpoint=c,
        **quiet,
    ),
    "Gibbs, epidemic": sampled,
    "Gibbs, cell types": lambda c: cell_types.gibbs(
        COUNTS, 4, num_warmup=300, num_samples=700, num_chains=2, checkpoint=c, **quiet
    ),
    "Gibbs, cell types, NumPyro": counts_sampled,
    "NUTS": normals_sampled,
    "NUTS, mixing matrices": mixing_sampled,
    "fit of cell types": lambda c: cell_types.fit(
        COUNTS, 4, restarts=8, key=key(), checkpoint=c, on_failure="ignore"
    ),
    "fit of marked cells": lambda c: cell_types.fit_marked(
        test_resume.marked_cells(20_000), 3, ["size", "orientation"], restarts=8, bins=8,
        max_steps=100, key=key(), checkpoint=c,
    ),
    "number of types": lambda c: cell_types.choose_n_types(
        COUNTS, candidates=[1, 2, 3], restarts=2, key=key(), checkpoint=c
    ),
    "parameters of an epidemic": parameters_fitted,
    "couplings at a price": couplings_found,
    "choice of a network": network_chosen,
    "policies, a folder": policies_compared,
}  # fmt: skip
