"""The evidence for a system: the same numbers by several routes, and what it takes to agree."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np
from numpy.typing import ArrayLike, NDArray

from .calibration import Calibration
from .comparison import Comparison, ComparisonTable, aligned
from .keys import split_named
from .progress import Stop, never, progress_bar
from .status import CavityWarning

MAX_Z = 4.0
"""Largest accepted ``|z|``: chance exceeds it in one of 160 runs of a hundred normal z."""
MIN_ESS = 400.0
MAX_R_HAT = 1.03
"""Largest accepted R-hat: means of 400 effective draws often exceed 1.01 by chance."""
MIN_P = 1e-4
"""Smallest accepted p-value of a calibration."""


class Exact(NamedTuple):
    """Numbers computed by two routes without random numbers, or whose error is bounded."""

    quantity: str
    n: int
    """How many numbers."""
    error: float
    """Largest absolute difference."""
    tolerance: float
    """Largest accepted difference, from the accuracy of the routes."""


class Estimate(NamedTuple):
    """A number known exactly, and an estimate with a standard error of its own."""

    quantity: str
    exact: float
    estimate: float
    standard_error: float
    z: float


Row = Exact | Estimate | Comparison | Calibration


def exact(quantity: str, expected: ArrayLike, found: ArrayLike, *, tolerance: float) -> Exact:
    """Compare the numbers of two routes.

    Parameters
    ----------
    quantity
        Name in the table.
    expected, found
        Arrays of one shape.
    tolerance
        Largest accepted absolute difference.

    Raises
    ------
    ValueError
        If the shapes differ or there are no numbers.

    Examples
    --------
    >>> exact("sum of 1/n^2", 1.6449, 1.6449341, tolerance=1e-3).error < 1e-4
    True
    """
    one, other = np.asarray(expected, np.float64), np.asarray(found, np.float64)
    if one.shape != other.shape or not one.size:
        raise ValueError(
            f"{quantity}: expected arrays of one shape, got {one.shape} and {other.shape}"
        )
    with np.errstate(invalid="ignore"):  # infinity less infinity: NaN fails, as it should
        error = float(np.abs(one - other).max())
    return Exact(quantity, one.size, error, tolerance)


def at_most(quantity: str, value: ArrayLike, bound: ArrayLike, *, tolerance: float) -> Exact:
    """Ask that numbers do not exceed a bound; the error is by how much they do."""
    excess = np.asarray(value, np.float64) - np.asarray(bound, np.float64)
    name = f"excess of {quantity}"
    return exact(name, np.zeros(excess.shape), excess.clip(0.0), tolerance=tolerance)


def estimates(
    quantity: str, expected: ArrayLike, found: ArrayLike, standard_error: ArrayLike
) -> list[Estimate]:
    """Compare exact numbers with estimates, element by element; the arrays broadcast."""
    arrays = np.broadcast_arrays(
        *(np.asarray(value, np.float64) for value in (expected, found, standard_error))
    )
    rows = []
    for index in np.ndindex(arrays[0].shape):
        value, estimate, error = (float(array[index]) for array in arrays)
        z = (estimate - value) / error if error > 0 else math.nan
        name = f"{quantity}[{','.join(map(str, index))}]" if index else quantity
        rows.append(Estimate(name, value, estimate, error, z))
    return rows


def independent(quantity: str, expected: ArrayLike, draws: ArrayLike) -> list[Estimate]:
    """Compare exact means with those of independent draws ``(draw, ...)``."""
    sample = np.asarray(draws, np.float64)
    error = sample.std(axis=0, ddof=1) / math.sqrt(len(sample))
    return estimates(quantity, expected, sample.mean(axis=0), error)


def run_chains(
    kernel: Any,
    key: jax.Array,
    *args: Any,
    num_warmup: int,
    num_samples: int,
    num_chains: int = 4,
    thinning: int = 1,
) -> dict[str, NDArray[Any]]:
    """Run a NumPyro kernel and return its draws by name, ``(chain, draw, ...)``."""
    from numpyro.infer import MCMC

    mcmc = MCMC(
        kernel, num_warmup=num_warmup, num_samples=num_samples, num_chains=num_chains,
        thinning=thinning, chain_method="vectorized", progress_bar=False,
    )  # fmt: skip
    mcmc.run(key, *args)
    draws = mcmc.get_samples(group_by_chain=True)
    return {name: np.asarray(values) for name, values in draws.items()}


def failures_of(row: Row) -> list[str]:
    """Say in sentences what is wrong with a row; NaN violates every limit."""
    if isinstance(row, Comparison):
        table = ComparisonTable((row,))
        return table.failures(max_z=MAX_Z, max_r_hat=MAX_R_HAT, min_ess=MIN_ESS)
    if isinstance(row, Estimate):
        if abs(row.z) <= MAX_Z:
            return []
        return [
            f"{row.quantity}: |z| = {abs(row.z):.3g}, expected at most {MAX_Z:g} "
            f"(exact {row.exact:.6g}, estimate {row.estimate:.6g} +/- {row.standard_error:.2g})"
        ]
    if isinstance(row, Exact):
        if row.error <= row.tolerance:
            return []
        return [f"{row.quantity}: off by {row.error:.3g}, expected at most {row.tolerance:.2g}"]
    if row.p_value >= MIN_P:
        return []
    return [f"{row.quantity}: p = {row.p_value:.2g}, expected at least {MIN_P:g}"]


@dataclass(frozen=True)
class Setting:
    """What a comparison may depend on."""

    seed: int
    full: bool

    def key(self, name: str) -> jax.Array:
        """Return the random key of a comparison or of a part of one."""
        return split_named(jax.random.key(self.seed), name)[name]

    def draws(self, quick: int, full: int) -> int:
        """Return a number of draws or of repetitions."""
        return full if self.full else quick


Check = Callable[[Setting], Sequence[Row]]
"""A comparison: its name is that of the function, its docstring says what it compares."""


@dataclass(frozen=True)
class Outcome:
    """What one comparison found."""

    name: str
    title: str
    rows: tuple[Row, ...]
    seconds: float
    broken: str = ""
    """Why there are no rows: an algorithm failed."""

    def failures(self) -> list[str]:
        """Say in sentences what is wrong; a comparison of nothing is."""
        if self.broken:
            return [f"{self.name}: {self.broken}"]
        if not self.rows:
            return [f"{self.name}: nothing was compared"]
        return [f"{self.name}: {why}" for row in self.rows for why in failures_of(row)]

    def __str__(self) -> str:
        """Return the title and one aligned table a kind of row."""
        parts = [f"{self.name}: {self.title} ({self.seconds:.1f} s)"]
        if self.broken:
            parts.append(f"FAILED: {self.broken}")
        sampled = tuple(row for row in self.rows if isinstance(row, Comparison))
        if sampled:
            parts.append(str(ComparisonTable(sampled)))
        for kind, columns in _COLUMNS.items():
            cells = [_cells(row) for row in self.rows if isinstance(row, kind)]
            if cells:
                parts.append(aligned([columns, *cells]))
        return "\n\n".join(parts)


class Summary(NamedTuple):
    """A certificate in one line; NaN where it has no row of the kind."""

    system: str
    n_comparisons: int
    n_quantities: int
    worst_error: float
    """Largest exact error."""
    worst_share: float
    """Largest exact error in units of its tolerance."""
    worst_z: float
    smallest_p: float
    seconds: float
    verdict: str


@dataclass(frozen=True)
class Certificate:
    """All comparisons of a system."""

    system: str
    outcomes: tuple[Outcome, ...]
    complete: bool = True
    """Whether no comparison that was asked for is missing."""

    @property
    def seconds(self) -> float:
        """Wall time of all comparisons."""
        return sum(outcome.seconds for outcome in self.outcomes)

    def failures(self) -> list[str]:
        """Say in sentences what is wrong, none if everything agrees; an empty certificate is."""
        if not self.outcomes:
            return [f"{self.system}: nothing was compared"]
        return [f"{self.system}, {why}" for outcome in self.outcomes for why in outcome.failures()]

    def agrees(self) -> bool:
        """Return whether :meth:`failures` finds nothing."""
        return not self.failures()

    def summary(self) -> Summary:
        """Return the row of the table of evidence."""
        rows = [row for outcome in self.outcomes for row in outcome.rows]
        exact_rows = [row for row in rows if isinstance(row, Exact)]
        scores = [abs(row.z) for row in rows if isinstance(row, Comparison | Estimate)]
        p_values = [row.p_value for row in rows if isinstance(row, Calibration)]
        n_failures = len(self.failures())
        return Summary(
            system=self.system,
            n_comparisons=len(self.outcomes),
            n_quantities=len(scores) + len(p_values) + sum(row.n for row in exact_rows),
            worst_error=_largest([row.error for row in exact_rows]),
            worst_share=_largest([row.error / row.tolerance for row in exact_rows]),
            worst_z=_largest(scores),
            smallest_p=-_largest([-p for p in p_values]),
            seconds=self.seconds,
            verdict=f"{n_failures} disagree"
            if n_failures
            else ("agrees" if self.complete else "agrees so far"),
        )

    def as_dict(self) -> dict[str, Any]:
        """Return names, numbers and lists alone, as JSON wants them."""
        return {
            **self.summary()._asdict(),
            "complete": self.complete,
            "failures": self.failures(),
            "comparisons": [
                {
                    "name": outcome.name,
                    "title": outcome.title,
                    "seconds": outcome.seconds,
                    "broken": outcome.broken,
                    "rows": [
                        {"kind": type(row).__name__.lower(), **row._asdict()}
                        for row in outcome.rows
                    ],
                }
                for outcome in self.outcomes
            ],
        }

    def __str__(self) -> str:
        """Return the detailed tables."""
        return "\n\n\n".join([f"== {self.system} ==", *map(str, self.outcomes)])


def certify(
    system: str,
    checks: Sequence[Check],
    *,
    full: bool = False,
    seed: int = 0,
    only: Iterable[str] | None = None,
    should_stop: Stop = never,
    progress: bool | None = None,
) -> Certificate:
    """Run the comparisons of a system.

    Parameters
    ----------
    system
        Its name.
    checks
        The comparisons, in order.
    full
        Whether to take time: more draws, and the comparisons that are worth them.
    seed
        Of all random numbers.
    only
        Names of the comparisons to run; all if None.
    should_stop
        Asked before each comparison.
    progress
        Whether to draw a bar on standard error; None draws if that is a terminal.

    Returns
    -------
    Certificate
        With an outcome a comparison, also for one whose algorithm failed.

    Raises
    ------
    ValueError
        If ``only`` names none of the comparisons.
    """
    known = [check.__name__ for check in checks]
    wanted = known if only is None else list(only)
    for name in wanted:
        if name not in known:
            raise ValueError(f"only: expected names among {', '.join(known)}; got {name!r}")
    outcomes: list[Outcome] = []
    setting = Setting(seed, full)
    with progress_bar(len(wanted), system, progress) as bar:
        for check in checks:
            if check.__name__ not in wanted:
                continue
            if should_stop():
                return Certificate(system, tuple(outcomes), complete=False)
            outcomes.append(_outcome(check, setting))
            bar.update(1)
    return Certificate(system, tuple(outcomes))


def _outcome(check: Check, setting: Setting) -> Outcome:
    """Run one comparison; an algorithm that fails or warns that it did is an outcome too."""
    title = (check.__doc__ or "").partition("\n")[0].rstrip(".")
    start = time.perf_counter()
    rows: tuple[Row, ...] = ()
    broken = ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", CavityWarning)
            rows = tuple(check(setting))
    except (ArithmeticError, RuntimeError, ValueError, CavityWarning) as fault:
        broken = f"{type(fault).__name__}: {fault}".partition("\n")[0]
    return Outcome(check.__name__, title, rows, time.perf_counter() - start, broken)


def summary_table(certificates: Sequence[Certificate]) -> str:
    """Return the table of evidence, aligned, one line a system."""
    return aligned([_HEADER, *(_summary_cells(found.summary()) for found in certificates)])


def markdown_table(certificates: Sequence[Certificate]) -> str:
    """Return the table of evidence in Markdown."""
    lines = [_HEADER, ("---",) * len(_HEADER)]
    lines += [_summary_cells(found.summary()) for found in certificates]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


_HEADER = (
    "system", "comparisons", "quantities", "worst exact error", "of its tolerance", "worst abs z",
    "smallest p", "seconds", "verdict",
)  # fmt: skip

_COLUMNS: dict[type[Row], tuple[str, ...]] = {
    Exact: ("two routes", "numbers", "error", "tolerance"),
    Estimate: ("estimate", "exact", "estimate", "std. error", "z"),
    Calibration: ("calibration", "replicates", "distance", "p"),
}


def _cells(row: Row) -> tuple[str, ...]:
    if isinstance(row, Exact):
        return row.quantity, str(row.n), f"{row.error:.2g}", f"{row.tolerance:.2g}"
    if isinstance(row, Estimate):
        numbers = f"{row.exact:.6g}", f"{row.estimate:.6g}", f"{row.standard_error:.2g}"
        return row.quantity, *numbers, f"{row.z:+.2f}"
    if isinstance(row, Calibration):
        return row.quantity, str(row.n), f"{row.distance:.3f}", f"{row.p_value:.3g}"
    raise TypeError(f"row: expected no {type(row).__name__} here")


def _summary_cells(row: Summary) -> tuple[str, ...]:
    def shown(value: float, form: str) -> str:
        return "-" if math.isnan(value) else format(value, form)

    return (
        row.system,
        str(row.n_comparisons),
        str(row.n_quantities),
        shown(row.worst_error, ".1e"),
        shown(row.worst_share, ".2g"),
        shown(row.worst_z, ".2f"),
        shown(row.smallest_p, ".2g"),
        f"{row.seconds:.0f}",
        row.verdict,
    )


def _largest(values: Sequence[float]) -> float:
    """Return the largest number; NaN if there is one among them, or none at all."""
    return float(np.max(values)) if values else math.nan
