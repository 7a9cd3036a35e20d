"""The sequential schedule: compiled sweeps over the people until no belief changes.

Without blocks every person sees the newest messages, in the order of the indices, which converges
as fast as a random order and reads memory in a row. With ``n_blocks`` the people of a block,
``i % n_blocks``, are updated at once, on as many threads as asked for; the numbers do not depend on
how many.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from inference.status import Status

from .node_weights import NodeWeights
from .pair_layout import Messages, PairLayout
from .sending import count_waiting, deliver_waiting
from .sweeps import update_people

STALL_STEPS = 15
"""So often it is asked whether the last sweeps brought the beliefs nearer to rest."""
STALL_RATIO = 0.5
"""If they did not shrink the change to this share, messages are damped more."""
_PARTS = 16
"""Pieces of a block, fixed, so that sums do not depend on the number of threads."""
_SLOTS_PER_CALL = 2_000_000
"""Work between two moments at which Ctrl-C is heard and the bar moves."""


def stronger_damping(damping: float) -> float:
    """Return the damping to go on with after a stall: 0.3 first, then half the way to 1."""
    return 0.3 if damping < 0.3 else 0.5 * (1.0 + damping)


class Swept(NamedTuple):
    """Where the sweeps ended."""

    state_prob: NDArray[np.floating]
    infection_day_prob: NDArray[np.floating]
    log_evidence: float
    residual: float
    n_steps: int
    status: Status
    contradicted: int
    """The first person without a possible history, or -1."""


def sweep_to_fixed_point(
    layout: PairLayout,
    messages: Messages,
    weights: NodeWeights,
    profile: NDArray[np.float64],
    *,
    markov: bool,
    n_days: int,
    damping: float,
    tol: float,
    max_steps: int,
    n_blocks: int | None,
    n_threads: int,
    advance: Callable[[int], Any] | None = None,
) -> Swept:
    """Update everybody again and again, in place of ``messages``, until the beliefs stand still.

    Parameters
    ----------
    layout, messages
        Of the network; the messages are changed.
    weights
        Everybody's own weights.
    profile
        ``(1 or n_people, n_days + 1)`` infectivity.
    markov
        Whether the profile is 1 throughout, so that the faster recursion holds.
    n_days
        Horizon.
    damping
        Share of the old message that is kept, to begin with; more when the sweeps stall.
    tol
        Largest change of a probability of a state in the last sweep.
    max_steps
        Largest number of sweeps.
    n_blocks, n_threads
        See the module.
    advance
        Called with the number of people updated, now and then.

    Returns
    -------
    Swept
        O(T) a pair that meets once and sweep, O(T**2) a pair that meets often.
    """
    n_people = len(weights.table_of_person)
    dtype = messages.single.dtype
    state_prob = np.zeros((n_people, n_days + 1, 3), dtype)
    infection_prob = np.zeros((n_people, n_days + 2), dtype)
    tiny = float(np.finfo(dtype).tiny) * 4.0
    per_person = 1 + (len(layout.single_reverse) + len(layout.repeated_reverse) * n_days) / n_people
    chunk = max(1, int(_SLOTS_PER_CALL / per_person))

    def update(part: range, damping: float, waiting: Any, counts: Any) -> Any:
        return update_people(
            part.start,
            part.stop,
            part.step,
            n_days,
            tuple(layout),
            tuple(messages),
            weights.table,
            weights.table_of_person,
            weights.escape,
            profile,
            markov,
            damping,
            tiny,
            waiting,
            counts,
            infection_prob,
            state_prob,
        )

    def one_by_one(damping: float) -> list[Any]:
        waiting, counts = _waiting_room((0, 0, 0), dtype)
        done = []
        for begin in range(0, n_people, chunk):
            part = range(begin, min(begin + chunk, n_people), 1)
            done.append(update(part, damping, waiting, counts))
            if advance is not None:
                advance(len(part))
            if done[-1][2] >= 0:
                break
        return done

    def by_blocks(pool: ThreadPoolExecutor, n: int, damping: float) -> list[Any]:
        done: list[Any] = []
        for block in range(n):
            parts = _split(range(block, n_people, n))
            rooms = [_waiting_room(_count(part, n_days, layout), dtype) for part in parts]
            done += pool.map(lambda job: update(job[0], damping, *job[1]), zip(parts, rooms))
            for waiting, counts in rooms:
                deliver_waiting(waiting, counts, layout.repeated_offset, *messages)
            if advance is not None:
                advance(sum(map(len, parts)))
            if any(answer[2] >= 0 for answer in done):
                break
        return done

    residual, log_evidence, step, residual_before = np.inf, 0.0, 0, np.inf
    with ThreadPoolExecutor(n_threads) as pool:
        while residual > tol and step < max_steps:
            done = by_blocks(pool, n_blocks, damping) if n_blocks else one_by_one(damping)
            residual = max(answer[0] for answer in done)
            log_evidence = float(sum(answer[1] for answer in done))
            step += 1
            contradicted = [answer[2] for answer in done if answer[2] >= 0]
            if contradicted:
                return Swept(
                    state_prob,
                    infection_prob,
                    -np.inf,
                    residual,
                    step,
                    Status.CONTRADICTION,
                    int(contradicted[0]),
                )
            if step == 1:  # the change from no belief at all is no change of belief
                residual = max(residual, 2.0 * tol) if max_steps > 1 else residual
            if step % STALL_STEPS == 0:
                if residual > STALL_RATIO * residual_before:
                    damping = stronger_damping(damping)
                residual_before = residual
    status = Status.CONVERGED if residual <= tol else Status.MAX_STEPS
    if not np.isfinite(log_evidence):
        status = Status.NON_FINITE
    return Swept(state_prob, infection_prob, log_evidence, float(residual), step, status, -1)


def _split(people: range) -> list[range]:
    size = max(1, -(-len(people) // _PARTS))
    return [people[i : i + size] for i in range(0, len(people), size)]


def _count(part: range, n_days: int, layout: PairLayout) -> tuple[int, int, int]:
    return count_waiting(part.start, part.stop, part.step, n_days, tuple(layout))


def _waiting_room(sizes: tuple[int, int, int], dtype: Any) -> tuple[Any, Any]:
    """Return room for what waits for the end of a block, and its counts."""
    singles, slots, entries = sizes
    room = (
        np.empty(singles, np.int32),
        np.empty((singles, 2), dtype),
        np.empty(slots, np.int32),
        np.empty(entries, dtype),
    )
    return room, np.zeros(3, np.int64)
