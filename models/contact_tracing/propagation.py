"""The risk of everybody: belief propagation on the contacts, given the tests.

Exact where the pairs that ever meet form a tree; on other networks an approximation whose quality
``examples/contact_tracing_risk.py`` shows. Equations: Baker et al., PNAS 118 e2106548118 (2021),
arXiv 2009.09422; the compressed messages: :mod:`models.contact_tracing.pair_layout`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from graphs.temporal import ContactNetwork
from inference.checks import one_of, positive_int
from inference.progress import progress_bar
from inference.status import OnFailure, Status, check_on_failure, report_status

from .carry_over import carry_over
from .epidemic import Epidemic
from .explanation import Explanation, explain_person
from .node_weights import NodeWeights, node_weights
from .observations import Observations
from .pair_layout import Messages, PairLayout, pair_layout, start_messages
from .sequential import sweep_to_fixed_point

Schedule = Literal["sequential", "parallel"]
_DEFAULT_BLOCKS = 16


@dataclass(frozen=True, eq=False)
class RiskResult:
    """What belief propagation says about everybody, and all it needs to go on tomorrow."""

    state_prob: NDArray[np.floating]
    """``(n_people, n_days + 1, 3)``: probability to be susceptible, infected, recovered on each day
    (of the window, if there is one)."""
    infection_day_prob: NDArray[np.floating]
    """``(n_people, n_days + 2)``: infected before the first day, by a contact of day 0, 1, ...,
    never."""
    log_evidence: float
    """Bethe approximation of the log-probability of the observations, in nats; exact on trees."""
    residual: float
    """Largest change of a probability in the last sweep."""
    n_steps: int
    """Sweeps over all people."""
    status: Status
    first_day: int
    """Day of the network that is day 0 of the results: 0 without a window."""
    network: ContactNetwork = field(repr=False)
    """The contacts of the results' days."""
    epidemic: Epidemic = field(repr=False)
    weights: NodeWeights = field(repr=False)
    layout: PairLayout = field(repr=False)
    messages: Messages = field(repr=False)
    filtered: Mapping[int, NDArray[np.floating]] = field(repr=False)
    """State of everybody on a day, as it was believed on that day: the start of later windows."""

    def explain(self, person: Any) -> Explanation:
        """Return how a person may have been infected: by whom, and when.

        Parameters
        ----------
        person
            A label, as in ``network.people``.

        Returns
        -------
        Explanation
            The contacts that carry the risk, most probable first.

        Raises
        ------
        ValueError
            If nobody has that label.
        """
        index = int(self.network.index_of([person])[0])
        return explain_person(
            index, self.network, self.epidemic, self.weights, self.layout, self.messages
        )


def infer(
    network: ContactNetwork,
    observations: Observations,
    epidemic: Epidemic,
    *,
    schedule: Schedule = "sequential",
    message_dtype: DTypeLike = np.float64,
    window: int | None = None,
    warm_start: RiskResult | None = None,
    damping: float = 0.0,
    tol: float = 1e-6,
    max_steps: int = 200,
    n_blocks: int | None = None,
    n_threads: int = 1,
    on_failure: OnFailure = "warn",
    progress: bool | None = None,
) -> RiskResult:
    """Return everybody's probabilities to be susceptible, infected and recovered on every day.

    Parameters
    ----------
    network
        Who met whom, when, and how likely the infection passes.
    observations
        Tests and symptoms.
    epidemic
        How infections start and end.
    schedule
        ``"sequential"``: compiled, one person after another, the fastest on a CPU.
        ``"parallel"``: the same equations in JAX, on any device.
    message_dtype
        Precision of messages and results; float32 halves the memory and costs about 1e-7.
        The sequential schedule computes everything in between in double precision.
    window
        Only the last so many days are looked at, and observations before them forgotten. The
        window starts from what was believed about its first day when that day was the last one
        (``warm_start``, run day by day), so no evidence counts twice; without that from
        ``seed_prob``.
    warm_start
        An earlier result over the same people: its messages are the start of the iteration.
    damping
        Share of each old message that is kept, from 0 to below 1, to begin with: where the sweeps
        stall, as on networks full of triangles, it rises by itself (0.3, 0.65, ...). The point at
        which they rest does not depend on it.
    tol
        The sweeps end when no probability of a state changes by more.
    max_steps
        Largest number of sweeps.
    n_blocks
        Update the people ``i % n_blocks`` at once, one block after the other. None: one person
        after another (sequential), 16 (parallel, or with several threads).
    n_threads
        Threads of the sequential schedule; the numbers do not depend on how many.
    on_failure
        What to do about a result that did not converge.
    progress
        Whether to draw a bar; None does so on a terminal.

    Returns
    -------
    RiskResult
        Probabilities, evidence, and how the iteration ended.

    Raises
    ------
    TypeError, ValueError
        If arguments do not fit each other, or the evidence is contradictory: some person has no
        possible history. The message names the person and its tests.
    ConvergenceError
        If ``on_failure="raise"`` and the sweeps did not converge.

    Notes
    -----
    O(1) a sweep for two people who meet once, O(n_days**2) for two who meet often.

    Examples
    --------
    >>> import numpy as np
    >>> from graphs.temporal import ContactNetwork
    >>> from models.contact_tracing import Epidemic, Observations, infer
    >>> met = ContactNetwork.from_events(
    ...     ["Ada", "Bea"], ["Bea", "Cy"], [0, 1], 0.3, n_days=3, symmetric=True
    ... )
    >>> test = Observations.from_tests(met.index_of(["Cy"]), [2], [True], false_positive=0.01)
    >>> risk = infer(met, test, Epidemic(seed_prob=0.05, recovery_prob=0.1))
    >>> np.round(risk.state_prob[:, 2, 1], 3).tolist()
    [0.145, 0.436, 0.859]
    >>> [(who, day, round(prob, 3)) for who, day, prob in risk.explain("Cy").table()]
    [('Bea', 1, 0.253)]
    """
    one_of("schedule", schedule, ("sequential", "parallel"))
    check_on_failure(on_failure)
    dtype = np.dtype(message_dtype)
    if dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise ValueError(f"message_dtype: expected float32 or float64, got {dtype}")
    if not 0.0 <= damping < 1.0:
        raise ValueError(f"damping: expected a number from 0 to below 1, got {damping!r}")
    if not tol > 0.0:
        raise ValueError(f"tol: expected a positive number, got {tol!r}")
    positive_int("max_steps", max_steps)
    positive_int("n_threads", n_threads)
    if n_blocks is not None:
        positive_int("n_blocks", n_blocks)
    observations.check(network.n_people, network.n_days, network.people)
    seen, tests, start, first_day = _windowed(network, observations, epidemic, window, warm_start)
    weights = node_weights(start, tests, seen.n_people, seen.n_days)
    if schedule == "parallel" or n_threads > 1:
        n_blocks = n_blocks or _DEFAULT_BLOCKS
    layout = pair_layout(seen, n_blocks=n_blocks, dtype=dtype)
    messages = _start(seen, layout, first_day, warm_start, dtype)
    options: dict[str, Any] = {
        "markov": start.is_markov or bool(np.all(start.profile(seen.n_days) == 1.0)),
        "n_days": seen.n_days,
        "damping": float(damping),
        "tol": float(tol),
        "max_steps": max_steps,
        "n_blocks": n_blocks,
    }
    profile = np.ascontiguousarray(start.profile(seen.n_days))
    if schedule == "parallel":
        from .parallel import parallel_sweeps  # JAX, which the sequential schedule can do without

        swept = parallel_sweeps(layout, messages, weights, profile, **options)
    else:
        with progress_bar(max_steps * seen.n_people, "sweeps", progress) as bar:
            swept = sweep_to_fixed_point(
                layout,
                messages,
                weights,
                profile,
                n_threads=n_threads,
                advance=bar.update,
                **options,
            )
    if swept.status is Status.CONTRADICTION:
        raise ValueError(_contradiction(swept.contradicted, network, observations, first_day))
    report_status(swept.status, "infer", on_failure=on_failure)
    earlier = warm_start.filtered if warm_start is not None else {}
    filtered = {day: states for day, states in earlier.items() if day > first_day}
    filtered[network.n_days] = swept.state_prob[:, -1]
    return RiskResult(
        swept.state_prob,
        swept.infection_day_prob,
        swept.log_evidence,
        swept.residual,
        swept.n_steps,
        swept.status,
        first_day,
        seen,
        start,
        weights,
        layout,
        messages,
        MappingProxyType(filtered if window is not None else {}),
    )


def _windowed(
    network: ContactNetwork,
    observations: Observations,
    epidemic: Epidemic,
    window: int | None,
    warm_start: RiskResult | None,
) -> tuple[ContactNetwork, Observations, Epidemic, int]:
    """Return what the last days hold, in days of the window, and which day is its first."""
    if warm_start is not None and warm_start.network.n_people != network.n_people:
        raise ValueError(
            f"warm_start: expected a result for {network.n_people} people, got one for "
            f"{warm_start.network.n_people}"
        )
    if window is None or positive_int("window", window) >= network.n_days:
        return network, observations, epidemic, 0
    first_day = network.n_days - window
    seen = network.window(first_day, window)
    known = warm_start.filtered.get(first_day) if warm_start is not None else None
    if known is None:
        return seen, observations.since(first_day), epidemic, first_day
    start = np.clip(np.asarray(known, np.float64), 0.0, 1.0)
    epidemic = replace(epidemic, initial_state_prob=start / start.sum(axis=1, keepdims=True))
    # that belief already knows the tests of its own day
    return seen, observations.since(first_day, inclusive=False), epidemic, first_day


def _start(
    network: ContactNetwork,
    layout: PairLayout,
    first_day: int,
    warm_start: RiskResult | None,
    dtype: np.dtype[Any],
) -> Messages:
    if warm_start is None:
        return start_messages(layout, dtype)
    return carry_over(
        warm_start.network,
        warm_start.layout,
        warm_start.messages,
        network,
        layout,
        shift=first_day - warm_start.first_day,
        dtype=dtype,
    )


def _contradiction(
    person: int, network: ContactNetwork, observations: Observations, first_day: int
) -> str:
    own = (observations.person == person) & (observations.day >= first_day)
    days = ", ".join(map(str, sorted(set(observations.day[own].tolist()))))
    tests = f"its tests on day {days}" if days else "the tests of its contacts (it has none)"
    return (
        f"person {network.people[person]}: the evidence is contradictory, no history of infection "
        f"is compatible with {tests} and all others; check perfect tests (false_positive and "
        "false_negative of 0), seed_prob and self_infection_prob"
    )
