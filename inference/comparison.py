"""The table that decides whether sampled draws agree with an analytic answer."""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .checks import finite_array
from .interop import diagnostics

_HEADER = ("quantity", "analytic", "sampled", "MCSE", "z", "ESS", "R-hat")

Analytic = ArrayLike | tuple[ArrayLike, ArrayLike]


class Comparison(NamedTuple):
    """One number computed twice: analytically, and as the mean of Markov chain draws."""

    quantity: str
    analytic: float
    analytic_error: float
    """Standard error of ``analytic``; zero if it is exact."""
    sampled: float
    mcse: float
    """Monte Carlo standard error of ``sampled``."""
    z: float
    """``(sampled - analytic) / sqrt(mcse**2 + analytic_error**2)``."""
    ess: float
    r_hat: float


@dataclass(frozen=True)
class ComparisonTable:
    """Rows of analytic against sampled numbers; ``print`` shows them aligned."""

    rows: tuple[Comparison, ...]

    def __post_init__(self) -> None:
        """Refuse an empty table, which would agree with everything."""
        if not self.rows:
            raise ValueError("expected at least one quantity to compare, got none")

    @property
    def worst_z(self) -> float:
        """The largest ``|z|``; NaN if any z is NaN."""
        return float(np.max([abs(row.z) for row in self.rows]))

    def failures(
        self,
        *,
        max_z: float | None = 5.0,
        max_r_hat: float | None = 1.01,
        min_ess: float | None = 400.0,
    ) -> list[str]:
        """Say in sentences what is wrong.

        Parameters
        ----------
        max_z
            Largest accepted ``|z|``.
        max_r_hat
            Largest accepted R-hat.
        min_ess
            Smallest accepted bulk effective sample size.

        Returns
        -------
        list of str
            One sentence a violated threshold, none if all agree. A threshold of None is waived;
            a number that is not finite violates every other. Draws that are all equal are a
            failure whatever is waived.
        """
        sentences = []
        for row in self.rows:
            if math.isnan(row.mcse):
                sentences.append(
                    f"{row.quantity}: all draws equal {row.sampled:.6g}, "
                    f"which has no Monte Carlo error to compare with (analytic {row.analytic:.6g})"
                )
                continue
            if max_z is not None and not abs(row.z) <= max_z:
                sentences.append(
                    f"{row.quantity}: |z| = {abs(row.z):.3g}, expected at most {max_z:g} "
                    f"(analytic {row.analytic:.6g}, sampled {row.sampled:.6g})"
                )
            if max_r_hat is not None and not row.r_hat <= max_r_hat:
                sentences.append(
                    f"{row.quantity}: R-hat = {row.r_hat:.4f}, expected at most {max_r_hat:g}; "
                    "run longer chains"
                )
            if min_ess is not None and not min_ess <= row.ess < math.inf:
                sentences.append(
                    f"{row.quantity}: ESS = {row.ess:.0f}, expected at least {min_ess:g}; "
                    "run longer chains"
                )
        return sentences

    def agrees(
        self,
        *,
        max_z: float | None = 5.0,
        max_r_hat: float | None = 1.01,
        min_ess: float | None = 400.0,
    ) -> bool:
        """Return whether :meth:`failures` with the same thresholds finds nothing."""
        return not self.failures(max_z=max_z, max_r_hat=max_r_hat, min_ess=min_ess)

    def to_pandas(self) -> Any:
        """Return a ``pandas.DataFrame`` with the fields of :class:`Comparison` as columns."""
        pandas = importlib.import_module("pandas")  # ships no types
        return pandas.DataFrame(list(self.rows), columns=Comparison._fields)

    def __str__(self) -> str:
        """Return the aligned table, one line a row."""
        return aligned([_HEADER, *map(_cells, self.rows)])


def compare(
    quantity: str,
    analytic: ArrayLike,
    draws: ArrayLike,
    *,
    analytic_error: ArrayLike = 0.0,
) -> list[Comparison]:
    """Compare an analytic mean with Markov chain draws, element by element.

    Parameters
    ----------
    quantity
        Name in the table. Elements of an array get their index, ``E Q[0,1]``.
    analytic
        Exact or computed means, ``draws.shape[2:]``.
    draws
        Draws ``(chain, draw, ...)`` whose mean estimates ``analytic``: of the quantity itself or,
        with less noise, of its conditional mean (Rao-Blackwellised).
    analytic_error
        Standard errors of ``analytic``, a scalar or ``draws.shape[2:]``; added in quadrature.

    Returns
    -------
    list of Comparison
        One row an element, in C order.

    Raises
    ------
    TypeError
        If an argument is not numeric.
    ValueError
        If the shapes do not fit, an entry is NaN or infinite, an error is negative, or the draws
        are too few; the message names the quantity.

    Notes
    -----
    Draws that are all equal have no Monte Carlo error: their ``mcse``, ``z``, ``ess`` and
    ``r_hat`` are NaN (see :func:`inference.interop.diagnostics`), which every verdict counts as
    a failure.
    """
    sampled = diagnostics(draws, name=f"draws of {quantity}")
    shape = sampled.mean.shape
    value = finite_array(f"analytic value of {quantity}", analytic, ndim=len(shape))
    error = finite_array(f"analytic error of {quantity}", analytic_error, ndim=(0, len(shape)))
    if value.shape != shape:
        raise ValueError(
            f"analytic value of {quantity}: expected shape {shape} as of one draw, "
            f"got {value.shape}"
        )
    if error.shape not in ((), shape):
        raise ValueError(
            f"analytic error of {quantity}: expected a scalar or shape {shape}, got {error.shape}"
        )
    if (error < 0).any():
        raise ValueError(f"analytic error of {quantity}: expected no negative number")
    error = np.broadcast_to(error, shape)
    rows = []
    for index in np.ndindex(shape):
        label = f"{quantity}[{','.join(map(str, index))}]" if index else quantity
        mean, mcse = float(sampled.mean[index]), float(sampled.mcse[index])
        expected, margin = float(value[index]), float(error[index])
        spread = math.hypot(mcse, margin)
        rows.append(
            Comparison(
                quantity=label,
                analytic=expected,
                analytic_error=margin,
                sampled=mean,
                mcse=mcse,
                z=(mean - expected) / spread if spread > 0 else math.nan,
                ess=float(sampled.ess[index]),
                r_hat=float(sampled.r_hat[index]),
            )
        )
    return rows


def compare_table(
    analytic: Mapping[str, Analytic], draws: Mapping[str, ArrayLike]
) -> ComparisonTable:
    """Compare several quantities; see :func:`compare`.

    Parameters
    ----------
    analytic
        From names to means or, as a tuple of two, to ``(mean, standard error)``. A tuple is
        always the latter: give several means as an array or a list.
    draws
        From the same names to draws ``(chain, draw, ...)``.

    Returns
    -------
    ComparisonTable
        Rows in the order of ``analytic``.

    Raises
    ------
    TypeError
        If an entry is not numeric.
    ValueError
        If there is nothing to compare, the names differ, a tuple has not two entries, or
        :func:`compare` refuses an entry.

    Examples
    --------
    >>> import numpy as np
    >>> draws = np.random.default_rng(0).normal(size=(4, 500))
    >>> table = compare_table({"E x": 0.0, "E x^2": 1.0}, {"E x": draws, "E x^2": draws**2})
    >>> table.agrees()
    True
    >>> table.rows[0].quantity
    'E x'
    """
    if analytic.keys() != draws.keys():
        differing = ", ".join(sorted(analytic.keys() ^ draws.keys()))
        raise ValueError(f"analytic and draws: expected the same names, they differ in {differing}")
    rows: list[Comparison] = []
    for quantity, entry in analytic.items():
        mean: Any = entry
        error: Any = 0.0
        if isinstance(entry, tuple):
            if len(entry) != 2:
                raise ValueError(
                    f"analytic value of {quantity}: expected (mean, standard error), "
                    f"got a tuple of {len(entry)}; give an array of means as an array"
                )
            mean, error = entry
        rows += compare(quantity, mean, draws[quantity], analytic_error=error)
    return ComparisonTable(tuple(rows))


def aligned(cells: Sequence[Sequence[str]]) -> str:
    """Return a table as text: a row a line, the first column to the left, the others to the right.

    Examples
    --------
    >>> print(aligned([("quantity", "value"), ("x", "10")]))
    quantity | value
    x        |    10
    """
    widths = [max(map(len, column)) for column in zip(*cells)]
    return "\n".join(
        " | ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])])
        for line in cells
    )


def _cells(row: Comparison) -> tuple[str, ...]:
    margin = f" +/- {row.analytic_error:.2g}" if row.analytic_error else ""
    return (
        row.quantity,
        f"{row.analytic:.6g}{margin}",
        f"{row.sampled:.6g}",
        f"{row.mcse:.2g}",
        f"{row.z:+.2f}",
        f"{row.ess:.0f}",
        f"{row.r_hat:.4f}",
    )
