"""Random and regular wirings as host arrays: rows of variables, never networkx objects.

Every ``seed`` is an integer of at least 0, or a ``numpy.random.Generator`` that is then advanced.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ._checks import random_generator, whole_number

Seed = int | np.random.Generator
Integers = NDArray[np.int64]


def random_clauses(n_variables: int, n_clauses: int, k: int, *, seed: Seed) -> Integers:
    """Draw clauses of ``k`` different variables, each negated with probability 1/2.

    Parameters
    ----------
    n_variables
        Number of variables N, at least ``k``.
    n_clauses
        Number of clauses M; the clause density is M / N.
    k
        Literals in a clause, at least 1.
    seed
        Integer or generator. The draws are part of the interface: the same integer gives the same
        formula in every version of this library.

    Returns
    -------
    ndarray
        ``(n_clauses, k)`` int64 literals: ``v + 1`` asks that variable ``v`` be +1, ``-(v + 1)``
        that it be -1.

    Raises
    ------
    ValueError
        If an argument is out of range, or if ``k`` is so close to a large ``n_variables`` that
        clauses without a repeated variable are practically never drawn.

    Notes
    -----
    Variables ``rng.integers(0, N, (M, k))``, rows with a repeated variable drawn again together
    until there are none, then signs ``1 - 2 * rng.integers(0, 2, (M, k))``. Clauses may repeat.

    Examples
    --------
    >>> from graphs.generators import random_clauses
    >>> random_clauses(10, 3, 3, seed=0)
    array([[-9, -7, -6],
           [-3, -4, -1],
           [-9, -7, 10]])
    """
    rng = random_generator(seed)
    variables = _distinct_rows(n_variables, n_clauses, k, rng, rows="n_clauses")
    return (variables + 1) * _signs(rng, variables.shape)


def planted_clauses(
    n_variables: int, n_clauses: int, k: int, *, seed: Seed
) -> tuple[Integers, NDArray[np.int8]]:
    """Draw clauses uniformly among those that a hidden assignment satisfies.

    Parameters
    ----------
    n_variables, n_clauses, k, seed
        As in `random_clauses`.

    Returns
    -------
    clauses : ndarray
        ``(n_clauses, k)`` int64 literals.
    assignment : ndarray
        ``(n_variables,)`` int8, the hidden assignment, uniform over all ±1 vectors.

    Raises
    ------
    ValueError
        As `random_clauses`.

    Notes
    -----
    All signs of a violated clause are drawn again, so the 2**k - 1 patterns of satisfied literals
    are equally likely. The literals then lean towards the hidden assignment, which local methods
    feel: planted formulas of this kind are easier than random ones of the same density.

    Examples
    --------
    >>> import numpy as np
    >>> from graphs.generators import planted_clauses
    >>> clauses, assignment = planted_clauses(20, 80, 3, seed=0)
    >>> satisfied = np.sign(clauses) == assignment[np.abs(clauses) - 1]
    >>> bool(satisfied.any(axis=1).all())
    True
    """
    rng = random_generator(seed)
    variables = _distinct_rows(n_variables, n_clauses, k, rng, rows="n_clauses")
    assignment = _signs(rng, (n_variables,)).astype(np.int8)
    hidden = assignment[variables]
    signs = _signs(rng, variables.shape)
    violated = np.flatnonzero((signs != hidden).all(axis=1))
    while violated.size:
        signs[violated] = _signs(rng, (violated.size, k))
        violated = violated[(signs[violated] != hidden[violated]).all(axis=1)]
    return (variables + 1) * signs, assignment


def _signs(rng: np.random.Generator, shape: tuple[int, ...]) -> Integers:
    return 1 - 2 * rng.integers(0, 2, shape)


def _distinct_rows(
    n_variables: int, n_rows: int, k: int, rng: np.random.Generator, *, rows: str
) -> Integers:
    """Draw ``(n_rows, k)`` variables, uniform among rows without a repeat."""
    n_rows = whole_number(rows, n_rows)
    k = whole_number("k", k, least=1)
    n_variables = whole_number("n_variables", n_variables, least=k)
    accepted = math.prod(1 - i / n_variables for i in range(k))
    if accepted < 1e-6:
        raise ValueError(
            f"k: expected rows much shorter than the number of variables, got {k} of "
            f"{n_variables} (a row without repeats has probability {accepted:.1g})"
        )
    variables = rng.integers(0, n_variables, (n_rows, k))
    repeated = np.flatnonzero(_has_repeat(variables))
    while repeated.size:  # rows that were right stay: only the new ones can be wrong
        variables[repeated] = rng.integers(0, n_variables, (repeated.size, k))
        repeated = repeated[_has_repeat(variables[repeated])]
    return variables


def _has_repeat(rows: Integers) -> NDArray[np.bool_]:
    ordered = np.sort(rows, axis=1)
    repeat: NDArray[np.bool_] = (ordered[:, 1:] == ordered[:, :-1]).any(axis=1)
    return repeat
