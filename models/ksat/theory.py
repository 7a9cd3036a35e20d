"""Random K-SAT in the limit of many variables: thresholds from the literature, simple bounds.

Densities are clauses a variable, ``alpha``; entropies are in nats a variable.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from inference.checks import positive_int


class Thresholds(NamedTuple):
    """Where random K-SAT changes as clauses are added; NaN where no value is on record."""

    survey: float
    """From here on survey propagation has a fixed point other than zero."""
    clustering: float
    """Solutions fall apart into exponentially many clusters (``alpha_d``)."""
    condensation: float
    """A few clusters hold most solutions (``alpha_c``)."""
    satisfiability: float
    """No solutions beyond (``alpha_s``)."""


THRESHOLDS: dict[int, Thresholds] = {
    2: Thresholds(math.nan, math.nan, math.nan, 1.0),
    3: Thresholds(3.92, 3.86, 3.86, 4.267),
    4: Thresholds(8.30, 9.38, 9.547, 9.931),
    5: Thresholds(16.1, 19.16, 20.80, 21.117),
    6: Thresholds(math.nan, 36.5, 43.08, 43.37),
}
"""By clause length.

Satisfiability: Mertens, Mézard, Zecchina, Random Struct. Algorithms 28, 340 (2006); 2-SAT exactly
by Chvátal and Reed (1992). Survey: Mézard, Zecchina, Phys. Rev. E 66, 056126 (2002), and Mertens et
al. Clustering and condensation: Krzakala, Montanari, Ricci-Tersenghi, Semerjian, Zdeborová, PNAS
104, 10318 (2007), and Montanari, Ricci-Tersenghi, Semerjian, J. Stat. Mech. P04004 (2008). The
values of satisfiability for K = 3 and 4 are reproduced by this library as zeros of the complexity
(``examples/ksat_solvers.py``); the others are quoted.
"""


def annealed_entropy(k: int, alpha: float) -> float:
    """Return ``ln 2 + alpha ln(1 - 2^-k)``, the log of the mean number of solutions a variable.

    An upper bound of the entropy (Jensen's inequality).

    Parameters
    ----------
    k
        Literals a clause.
    alpha
        Clauses a variable, at least 0.

    Raises
    ------
    ValueError
        If ``k`` is no positive integer or ``alpha`` is negative or NaN.

    Examples
    --------
    >>> round(annealed_entropy(3, 4.2), 4)
    0.1323
    """
    positive_int("k", k)
    if not alpha >= 0.0:
        raise ValueError(f"alpha: expected a number of at least 0, got {alpha}")
    return math.log(2.0) + alpha * math.log1p(-(2.0**-k))


def first_moment_threshold(k: int) -> float:
    """Return the density where the annealed entropy vanishes: no solutions beyond it.

    Examples
    --------
    >>> round(first_moment_threshold(3), 3)
    5.191
    """
    return -math.log(2.0) / math.log1p(-(2.0 ** -positive_int("k", k)))
