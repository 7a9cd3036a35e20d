"""How an algorithm ended: a value inside ``jit``, a warning or an error on the host."""

from __future__ import annotations

import enum
import warnings
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

OnFailure = Literal["warn", "raise", "ignore"]


class CavityWarning(UserWarning):
    """A result was returned although its algorithm reports a failure."""


class ConvergenceError(RuntimeError):
    """An algorithm ended without an answer that can be trusted."""


class PrecisionError(RuntimeError):
    """The computation needs double precision and JAX runs in single precision."""


class Status(enum.IntEnum):
    """How an algorithm ended; zero is success, everything else says what failed."""

    CONVERGED = 0
    MAX_STEPS = 1
    NON_FINITE = 2
    CONTRADICTION = 3
    TRUNCATED = 4
    UNRELIABLE_WEIGHTS = 5
    COLLAPSED = 6
    WEAK_MOMENTS = 7
    DEGENERATE = 8
    EMPTY = 9
    OVERFLOW = 10
    UNRELAXED = 11

    @property
    def message(self) -> str:
        """One sentence: what happened."""
        return _SENTENCES[self][0]

    @property
    def hint(self) -> str:
        """One sentence: what to try."""
        return _SENTENCES[self][1]


_SENTENCES: dict[Status, tuple[str, str]] = {
    Status.CONVERGED: ("the algorithm converged", ""),
    Status.MAX_STEPS: (
        "the step limit was reached before the tolerance",
        "raise max_steps, add damping, or accept a larger tol",
    ),
    Status.NON_FINITE: (
        "a NaN or an infinity appeared",
        "check the scale of the inputs; the last finite iterate was kept",
    ),
    Status.CONTRADICTION: (
        "the constraints or the evidence contradict each other",
        "check the hard constraints and the observations",
    ),
    Status.TRUNCATED: (
        "the integration grid does not resolve the integrand",
        "use a sampling method instead of quadrature",
    ),
    Status.UNRELIABLE_WEIGHTS: (
        "the importance weights are dominated by a few draws",
        "use a proposal closer to the target or a tempered method",
    ),
    Status.COLLAPSED: (
        "messages saturated, and their free entropy means nothing",
        "add damping, or lower the field or the number of constraints",
    ),
    Status.WEAK_MOMENTS: (
        "the moments of the data do not determine so many components",
        "ask for fewer components, or compare with random starts",
    ),
    Status.DEGENERATE: (
        "the data have fewer independent patterns than components were asked for",
        "ask for fewer components",
    ),
    Status.EMPTY: (
        "nothing was found in the data",
        "check the contrast and the scale of the data",
    ),
    Status.OVERFLOW: (
        "the events that there is room for did not suffice for the time asked for",
        "raise n_events, or shorten the duration",
    ),
    Status.UNRELAXED: (
        "the averages of the two halves of the run differ, which is not chance",
        "raise burn_in, or start from the end of this run",
    ),
}


def worst_status(status: ArrayLike) -> Status:
    """Return the highest code in ``status`` (a scalar or an array of codes)."""
    return Status(int(np.max(np.asarray(status))))


def raise_for_status(status: ArrayLike, what: str = "the computation") -> None:
    """Raise unless every code is ``CONVERGED``.

    Parameters
    ----------
    status
        A status code or an array of them (for instance from ``vmap``).
    what
        The subject of the sentence in the message.

    Raises
    ------
    ConvergenceError
        With the message and the hint of the highest code.
    """
    worst = worst_status(status)
    if worst is not Status.CONVERGED:
        raise ConvergenceError(_sentence(worst, what))


def report_status(
    status: ArrayLike, what: str, *, on_failure: OnFailure, stacklevel: int = 3
) -> None:
    """Warn, raise or stay silent about a failed status, as the caller's ``on_failure`` asks.

    Raises
    ------
    ConvergenceError
        If ``on_failure="raise"`` and a code is not ``CONVERGED``.
    ValueError
        If ``on_failure`` is not one of ``"warn"``, ``"raise"``, ``"ignore"``.
    """
    check_on_failure(on_failure)
    worst = worst_status(status)
    if worst is Status.CONVERGED or on_failure == "ignore":
        return
    if on_failure == "raise":
        raise ConvergenceError(_sentence(worst, what))
    warnings.warn(_sentence(worst, what), CavityWarning, stacklevel=stacklevel)


def check_on_failure(on_failure: str) -> None:
    """Raise ``ValueError`` unless ``on_failure`` is a known mode (call before the long work)."""
    if on_failure not in ("warn", "raise", "ignore"):
        raise ValueError(f"on_failure: expected 'warn', 'raise' or 'ignore', got {on_failure!r}")


def _sentence(status: Status, what: str) -> str:
    return f"{what}: {status.name}: {status.message}; {status.hint}"
