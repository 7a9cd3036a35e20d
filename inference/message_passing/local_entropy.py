"""How many solutions surround a reference: message passing pinned to it, over a ladder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inference.checks import Floats, finite_array
from inference.progress import progress_bar
from inference.status import OnFailure, Status, check_on_failure, report_status


class LocalEntropy(NamedTuple):
    """The surroundings of a reference, by the coupling that holds solutions near it.

    Scalars for one coupling, arrays for several. Entropies are per variable, in nats, and minus
    infinity where the messages say nothing about the number of solutions.
    """

    coupling: Floats
    """``gamma``."""
    distance: Floats
    """Mean share of the variables that differ from the reference."""
    local_entropy: Floats
    """Log number of solutions at that distance, over the number of variables."""
    free_entropy: Floats
    """Log of the sum of ``exp(gamma s . reference)`` over the solutions ``s``, likewise."""
    residual: Floats
    n_steps: NDArray[np.int64]
    status: NDArray[np.int64]
    """Of `inference.status.Status`."""


class Pinned(NamedTuple):
    """Message passing under the field ``coupling * reference``."""

    magnetizations: Floats
    free_entropy: float
    """The sum, not the density."""
    residual: float
    n_steps: int
    status: Status
    messages: Any
    """For the next coupling to start from."""


def surround(
    solve: Callable[[Floats, Any], Pinned],
    reference: NDArray[np.int8],
    coupling: ArrayLike,
    *,
    on_failure: OnFailure,
    progress: bool | None,
) -> LocalEntropy:
    """Pin message passing to a reference with one coupling, or several in increasing order.

    Parameters
    ----------
    solve
        From a field of the shape of ``reference`` and messages to start from, or None.
    reference
        ±1.
    coupling
        Scalar or ``(n,)``, at least 0.
    on_failure
        What happens without convergence, next to the status.
    progress
        Whether to draw a bar over the couplings; None draws on a terminal.

    Raises
    ------
    ValueError
        If the couplings are negative, not finite or do not increase.

    Notes
    -----
    With the overlap ``S = dF / dgamma`` the distance is ``(1 - S) / 2`` and the local entropy
    ``F - gamma S``, the Legendre transform of the free entropy (arXiv 1511.05634).
    """
    check_on_failure(on_failure)
    couplings = finite_array("coupling", coupling, ndim=(0, 1))
    ladder = np.atleast_1d(couplings)
    if (ladder < 0).any() or (np.diff(ladder) <= 0).any():
        raise ValueError(f"coupling: expected increasing numbers of at least 0, got {coupling!r}")
    rows: list[tuple[float, ...]] = []
    messages = None
    with progress_bar(len(ladder), "local entropy", progress) as bar:
        for gamma in ladder:
            pinned = solve(gamma * reference.astype(np.float64), messages)
            if pinned.status in (Status.CONVERGED, Status.MAX_STEPS):
                messages = pinned.messages
            overlap = float(np.mean(reference * pinned.magnetizations))
            density = pinned.free_entropy / reference.size
            rows.append(
                (gamma, (1 - overlap) / 2, density - gamma * overlap, density, pinned.residual,
                 pinned.n_steps, pinned.status)
            )  # fmt: skip
            bar.update(1)
    columns = [np.array(column).reshape(couplings.shape) for column in zip(*rows, strict=True)]
    report_status(columns[-1], "local entropy", on_failure=on_failure, stacklevel=4)
    return LocalEntropy(*columns)
