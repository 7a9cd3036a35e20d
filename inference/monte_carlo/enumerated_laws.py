"""Samplers of few ±1 spins against sums over all their states."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from inference.calibration import calibration, places_among
from inference.certificates import Row, Setting, run_chains
from inference.checks import Floats, Spins
from inference.comparison import compare
from inference.kernels import random_state

from .constraint_counts import Clauses, ThresholdVotes
from .single_spin import Centre, SweepKernel, anneal, start_ensemble

_RULES: tuple[SweepKernel, ...] = ("metropolis", "rejection-reduced")
_CENTRES: tuple[Centre, ...] = ("traced", "explicit")
_WARMUP = 50


def all_spins(n: int) -> Spins:
    """Return all ``(2**n, n)`` states; bit ``i`` of the number of a row is set for spin +1."""
    bits = np.arange(2**n)[:, None] >> np.arange(n) & 1
    return (2 * bits - 1).astype(np.int8)


def numbers_of(spins: ArrayLike) -> Any:
    """Return the rows of `all_spins` at which states ``(..., n)`` stand."""
    up = np.asarray(spins) > 0
    return up @ (1 << np.arange(up.shape[-1]))


def normalised(log_weights: Floats) -> Floats:
    """Return the probabilities of all states."""
    weights = np.exp(log_weights - log_weights.max())
    return np.asarray(weights / weights.sum())


def at_one_temperature(
    setting: Setting,
    wiring: ThresholdVotes | Clauses,
    energies: Floats,
    beta: float,
    name: str = "",
) -> list[Row]:
    """Compare energies of compiled single-spin moves with the Boltzmann law of all states.

    Parameters
    ----------
    setting
        Seed and number of sweeps.
    wiring
        The constraints.
    energies
        ``(2**n,)`` of all states, in the order of `all_spins`.
    beta
        Inverse temperature.
    name
        Of the problem, before the names of the quantities.
    """
    lowest = energies.min()
    law = normalised(-beta * energies)
    n_sweeps = setting.draws(5000, 50_000)
    rows: list[Row] = []
    for rule in _RULES:
        traces = []
        for chain in range(4):
            state = random_state(setting.seed + chain)
            start = all_spins(wiring.n_spins)[[chain]]
            run = anneal(
                start_ensemble(wiring, start), betas=[beta] * (n_sweeps + _WARMUP), state=state,
                kernel=rule, stop_at=None,
            )  # fmt: skip
            traces.append(run.trace.energies[_WARMUP:, 0].astype(float))
        seen = np.array(traces)
        rows += compare(f"{name}{rule}: E energy", law @ energies, seen)
        rows += compare(f"{name}{rule}: P(lowest)", law @ (energies == lowest), seen == lowest)
    return rows


def of_two_replicas(
    setting: Setting,
    wiring: ThresholdVotes | Clauses,
    energies: Floats,
    beta: float,
    coupling: float,
) -> list[Row]:
    """Compare two replicas that attract each other with the law of all pairs of states.

    Parameters
    ----------
    setting, wiring, energies, beta
        As in `at_one_temperature`; ``4**n`` pairs are looked at.
    coupling
        Of each replica to the centre.
    """
    states = all_spins(wiring.n_spins)
    sums = states[:, None].astype(float) + states
    # summed over the centre: two replicas of one sign pull it, others leave it free
    attraction = np.logaddexp(coupling * sums, -coupling * sums).sum(axis=-1)
    law = normalised(attraction - beta * (energies[:, None] + energies))
    overlap = states.astype(float) @ states.T
    total = energies[:, None] + energies
    rows: list[Row] = []
    n_draws = setting.draws(1500, 15_000)
    for rule in _RULES:
        for centre in _CENTRES:
            seen = np.empty((4, n_draws, 2))
            for chain in range(4):
                state = random_state(setting.seed + chain)
                ensemble = start_ensemble(wiring, states[[chain, chain + 1]], centre)
                for draw in range(-_WARMUP, n_draws):
                    run = anneal(
                        ensemble, betas=[beta] * 3, couplings=[coupling] * 3, state=state,
                        kernel=rule, stop_at=None,
                    )  # fmt: skip
                    if draw >= 0:
                        one, two = run.last.astype(float)
                        seen[chain, draw] = one @ two, run.ensemble.energies.sum()
            name = f"{rule}, {centre} centre"
            rows += compare(f"{name}: E overlap", (law * overlap).sum(), seen[..., 0])
            rows += compare(f"{name}: E energy", (law * total).sum(), seen[..., 1])
    return rows


def of_references(
    setting: Setting, kernel: Any, free_entropies: Floats, n_replicas: float
) -> list[Row]:
    """Compare references drawn by local entropy with the law of all of them.

    Parameters
    ----------
    setting
        Random key, number of draws; in full also the calibration of many chains.
    kernel
        Of `inference.monte_carlo.local_entropy_metropolis`.
    free_entropies
        ``(2**n,)`` around all references, in nats (the sums, not the densities).
    n_replicas
        Their weight.
    """
    law = normalised(n_replicas * free_entropies)
    states = all_spins(int(np.log2(len(law))))
    n_draws = setting.draws(1500, 10_000)
    draws = run_chains(
        kernel, setting.key("references"), num_warmup=_WARMUP, num_samples=n_draws
    )["reference"]  # fmt: skip
    rows: list[Row] = []
    rows += compare("E reference", law @ states, draws)
    rows += compare("E free entropy", law @ free_entropies, free_entropies[numbers_of(draws)])
    if setting.full:
        ends = run_chains(
            kernel, setting.key("calibration"), num_warmup=10 * _WARMUP, num_samples=1,
            num_chains=1000,
        )["reference"][:, 0]  # fmt: skip
        rng = np.random.default_rng(setting.seed)
        rows.append(calibration("references", places_among(law, numbers_of(ends), rng)))
    return rows
