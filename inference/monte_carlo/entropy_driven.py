"""Entropy-driven Monte Carlo: a walk of a reference towards the most solutions around it.

Not the energy of the reference is followed but its local free entropy, the log of the number of
solutions that a coupling holds near it, as message passing estimates it. That landscape is smooth
where the one of the energy is rugged, and a reference surrounded by many solutions becomes one
(Baldassi, Ingrosso, Lucibello, Saglietti, Zecchina, arXiv 1511.05634).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inference.checkpoints import NOWHERE, Keeper
from inference.checks import Floats, Spins, finite_array, one_of, positive_int
from inference.progress import Stop, never, progress_bar
from inference.status import Status

M = TypeVar("M")
Proposals = Literal["random", "heuristic"]


class Surroundings(NamedTuple, Generic[M]):
    """What message passing says about the solutions around a reference."""

    free_entropy: float
    """Log of the sum of ``exp(coupling * reference . s)`` over the solutions ``s``; minus infinity
    if the messages did not converge."""
    local_entropy: float
    """Log of the number of solutions at the distance that the coupling selects."""
    fields: Floats
    """``(n,)`` half-fields of the constraints alone: the sign is what they want a spin to be."""
    n_sweeps: int
    messages: M
    """To start from at a reference nearby; never changed in place."""


Look = Callable[[Spins, float, M | None], Surroundings[M]]
"""From a reference ``(n,)``, a coupling and the messages of a reference nearby."""


class EntropyDrivenTrace(NamedTuple):
    """The walk: its start, every accepted move, and every change of the coupling."""

    step: NDArray[np.int64]
    """``(n,)`` proposals made so far."""
    coupling: Floats
    energy: NDArray[np.int64]
    free_entropy: Floats
    """Of the reference; never decreases from one accepted move to the next."""
    local_entropy: Floats
    n_flips: NDArray[np.int64]
    """Spins that the move flipped; 0 at a start and where the coupling changed."""
    n_sweeps: NDArray[np.int64]
    """Sweeps of message passing so far."""


@dataclass
class Walk(Generic[M]):
    """A walk in progress, changed in place: hand it back to go on."""

    reference: Spins
    generator: np.random.Generator
    rung: int = 0
    """Index of the coupling."""
    coupling: float = 0.0
    """The one that ``here`` was looked at with."""
    share: float = 1.0
    """Of the candidates that the next proposal flips, relative to the largest."""
    n_rejected: int = 0
    """Proposals in a row."""
    n_steps: int = 0
    n_sweeps: int = 0
    here: Surroundings[M] | None = None
    best: Spins | None = None
    """The reference of lowest energy so far."""
    rows: list[tuple[float, ...]] = field(default_factory=list)


def random_walk(n_spins: int, seed: int) -> Walk[Any]:
    """Return a walk that starts from random spins."""
    generator = np.random.default_rng(seed)
    return Walk(_random_spins(generator, n_spins), generator)


def check_walk(walk: Walk[Any], n_spins: int, shapes: tuple[tuple[int, ...], ...]) -> Walk[Any]:
    """Return a walk whose spins and messages have these sizes; else raise ``ValueError``."""
    sizes = shapes
    if walk.here is not None:
        messages = walk.here.messages
        parts = messages if isinstance(messages, tuple) else (messages,)
        sizes = tuple(np.shape(part) for part in parts)
    if len(walk.reference) != n_spins or sizes != shapes:
        raise ValueError(
            f"init: expected a walk on a problem of this size, {n_spins} spins and messages of "
            f"shape {shapes}, got {len(walk.reference)} and {sizes}"
        )
    return walk


class SearchResult(NamedTuple, Generic[M]):
    """The best configuration of an entropy-driven search, and the walk itself, which can go on."""

    configuration: Spins
    """±1 of the shape of the problem's weights, or ``(n,)``: the reference of lowest energy."""
    energy: int
    """Its number of violated constraints: clauses, or patterns it gets wrong."""
    n_steps: int
    """Proposals, each of which ran message passing."""
    status: Status
    """CONVERGED if the energy is 0, CONTRADICTION if unit propagation refutes a formula, else
    MAX_STEPS."""
    trace: EntropyDrivenTrace | None
    """Free and local entropies are sums over the spins (those that unit clauses leave free), in
    nats; None after a contradiction."""
    walk: Walk[M] | None
    """Hand it back as ``init`` to go on; None after a contradiction."""

    @property
    def residual(self) -> float:
        """What has to vanish: the energy."""
        return float(self.energy)

    @property
    def weights(self) -> Spins:
        """The configuration, as learning problems call it."""
        return self.configuration

    @property
    def assignment(self) -> Spins:
        """The configuration, as formulas call it."""
        return self.configuration


def entropy_driven_monte_carlo(
    look: Look[M],
    energy: Callable[[Spins], int],
    walk: Walk[M],
    *,
    couplings: ArrayLike,
    proposals: Proposals = "heuristic",
    largest_batch: float | None = None,
    patience: int | None = None,
    max_steps: int | None = None,
    should_stop: Stop = never,
    progress: bool | None = None,
    keep: Keeper = NOWHERE,
) -> SearchResult[M]:
    """Move a reference uphill in local free entropy until its energy is zero.

    Parameters
    ----------
    look
        Message passing around a reference.
    energy
        Number of violated constraints of a reference.
    walk
        ``Walk(reference, generator)``, or the walk of an earlier result to go on, as if it had
        never stopped; other couplings than before start their ladder anew.
    couplings
        ``gamma`` of the ladder: the next one is taken when the walk is stuck (scoping); after the
        last, the walk starts again from random spins.
    proposals
        ``"random"`` spins, or, ``"heuristic"``, random ones among those that the constraints want
        to be the other way.
    largest_batch
        Largest share of the candidates flipped at once. It halves with every rejection, down to a
        single spin, and doubles again with every success; 0 for single flips throughout. None is
        1/4 of the heuristic candidates, and single flips of random ones.
    patience
        Rejections of single flips in a row until the next coupling; None is 10 with heuristic
        proposals, and twice the number of spins with random ones.
    max_steps
        Most proposals of this call; None is 20 a spin.
    should_stop
        Asked before every proposal; True ends the walk.
    progress
        Whether to draw a bar; None draws on a terminal.
    keep
        Keeps the walk between proposals.

    Returns
    -------
    SearchResult
        A move is accepted if the free entropy does not decrease.

    Raises
    ------
    ValueError
        If an argument is out of range.
    """
    one_of("proposals", proposals, ("random", "heuristic"))
    ladder = coupling_ladder(couplings)
    n, heuristic = len(walk.reference), proposals == "heuristic"
    if largest_batch is None:
        largest_batch = 0.25 if heuristic else 0.0
    if patience is None:
        patience = 10 if heuristic else 2 * max(1, n)
    max_steps = 20 * max(1, n) if max_steps is None else max_steps
    if not 0.0 <= largest_batch <= 1.0:
        raise ValueError(f"largest_batch: expected a number in [0, 1], got {largest_batch}")
    positive_int("patience", patience)
    positive_int("max_steps", max_steps)
    first = walk.n_steps
    if keep.restored is not None:
        first, walk = keep.restored[0], _restored(keep.restored[1])
    value = energy(walk.reference)
    best = walk.reference.copy() if walk.best is None else walk.best
    lowest = energy(best)
    if walk.here is not None and walk.coupling not in ladder[walk.rung : walk.rung + 1]:
        walk.rung, walk.here = 0, None
    if walk.here is None:
        _settle(walk, look, ladder, value)

    def so_far() -> tuple[int, dict[str, Any]]:
        return first, vars(walk)

    with progress_bar(max_steps, "entropy-driven search", progress) as bar:
        bar.update(walk.n_steps - first)
        while lowest > 0 and walk.n_steps - first < max_steps and not should_stop():
            here = _here(walk)
            sites = _propose(walk, here.fields, proposals, largest_batch)
            proposed = walk.reference.copy()
            proposed[sites] *= -1
            there = look(proposed, ladder[walk.rung], here.messages)
            walk.n_steps += 1
            walk.n_sweeps += there.n_sweeps
            bar.update(1)
            if there.free_entropy >= here.free_entropy and there.free_entropy > -np.inf:
                walk.reference, walk.here, walk.n_rejected = proposed, there, 0
                walk.share = min(1.0, 2.0 * walk.share)
                value = energy(proposed)
                _record(walk, ladder, value, len(sites))
            elif len(sites) > 1:
                walk.share *= 0.5
            else:
                walk.n_rejected += 1
                if walk.n_rejected > patience:
                    value = _climb(walk, look, energy, ladder, value)
            if value < lowest:
                best, lowest = walk.reference.copy(), value
                bar.set_postfix(energy=lowest, refresh=False)
            walk.best = best
            keep.offer(so_far)
    walk.best = best
    keep.offer(so_far, last=True)
    return SearchResult(
        best.copy(), lowest, walk.n_steps - first,
        Status.CONVERGED if lowest == 0 else Status.MAX_STEPS, _trace(walk), walk,
    )  # fmt: skip


def _restored(state: dict[str, Any]) -> Walk[Any]:
    walk: Walk[Any] = Walk(**state)
    walk.here = None if walk.here is None else Surroundings(*walk.here)
    walk.rows = [tuple(row) for row in walk.rows]
    return walk


def coupling_ladder(couplings: ArrayLike) -> Floats:
    """Return couplings ``(n,)`` if they are positive and finite; else raise ``ValueError``."""
    ladder = finite_array("couplings", couplings, ndim=(0, 1)).reshape(-1)
    if (ladder <= 0).any():
        raise ValueError(f"couplings: expected positive numbers, got {ladder.tolist()}")
    return ladder


def _random_spins(generator: np.random.Generator, n_spins: int) -> Spins:
    return (1 - 2 * generator.integers(0, 2, n_spins)).astype(np.int8)


def _propose(
    walk: Walk[Any], fields: Floats, proposals: Proposals, largest_batch: float
) -> NDArray[np.int64]:
    n = len(walk.reference)
    candidates = np.arange(n)
    if proposals == "heuristic":
        unhappy = np.flatnonzero(fields * walk.reference < 0)
        candidates = unhappy if len(unhappy) else candidates
        n_flips = max(1, int(largest_batch * walk.share * len(unhappy)))
    else:
        n_flips = max(1, int(largest_batch * walk.share * n))
    return walk.generator.choice(candidates, n_flips, replace=False)


def _settle(walk: Walk[M], look: Look[M], ladder: Floats, energy: int) -> None:
    """Look around the reference at the coupling of the walk, from its last messages."""
    messages = None if walk.here is None else walk.here.messages
    walk.here = look(walk.reference, ladder[walk.rung], messages)
    if walk.here.free_entropy == -np.inf and messages is not None:
        walk.n_sweeps += walk.here.n_sweeps
        walk.here = look(walk.reference, ladder[walk.rung], None)
    walk.n_sweeps += walk.here.n_sweeps
    walk.coupling, walk.share, walk.n_rejected = float(ladder[walk.rung]), 1.0, 0
    _record(walk, ladder, energy, 0)


def _climb(
    walk: Walk[M], look: Look[M], energy: Callable[[Spins], int], ladder: Floats, value: int
) -> int:
    """Go on at the next coupling, or from new spins after the last; return the energy there."""
    walk.rung += 1
    if walk.rung == len(ladder):
        walk.rung, walk.here = 0, None
        walk.reference = _random_spins(walk.generator, len(walk.reference))
        value = energy(walk.reference)
    _settle(walk, look, ladder, value)
    return value


def _here(walk: Walk[M]) -> Surroundings[M]:
    """Return the surroundings of a walk that has settled."""
    if walk.here is None:
        raise ValueError("walk: expected one that has looked around")
    return walk.here


def _record(walk: Walk[Any], ladder: Floats, energy: int, n_flips: int) -> None:
    here = _here(walk)
    walk.rows.append(
        (walk.n_steps, ladder[walk.rung], energy, here.free_entropy, here.local_entropy,
         n_flips, walk.n_sweeps)
    )  # fmt: skip


def _trace(walk: Walk[Any]) -> EntropyDrivenTrace:
    step, coupling, energy, free_entropy, local_entropy, n_flips, n_sweeps = np.array(walk.rows).T
    return EntropyDrivenTrace(
        step.astype(np.int64), coupling, energy.astype(np.int64), free_entropy, local_entropy,
        n_flips.astype(np.int64), n_sweeps.astype(np.int64),
    )  # fmt: skip
