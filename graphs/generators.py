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


def erdos_renyi_factor_graph(n_variables: int, n_factors: int, k: int, *, seed: Seed) -> Integers:
    """Draw factors of ``k`` variables, each uniform among all sets of that size.

    Parameters
    ----------
    n_variables
        Number of variables, at least ``k``.
    n_factors
        Number of factors; the degree of a variable is binomial with mean ``k n_factors /
        n_variables``.
    k
        Variables in a factor, at least 1.
    seed
        Integer or generator.

    Returns
    -------
    ndarray
        ``(n_factors, k)`` int64 variables, for `FactorGraph.from_table`. Two factors may have the
        same variables.

    Raises
    ------
    ValueError
        If an argument is out of range, or ``k`` is too close to a large ``n_variables``.
    """
    rng = random_generator(seed)
    return _distinct_rows(n_variables, n_factors, k, rng, rows="n_factors")


def regular_factor_graph(n_variables: int, degree: int, k: int, *, seed: Seed) -> Integers:
    """Draw a wiring where all variables have one degree and all factors one arity.

    Parameters
    ----------
    n_variables
        Number of variables, at least ``k``.
    degree
        Factors of each variable; ``n_variables * degree`` must be a multiple of ``k``.
    k
        Variables in a factor, at least 1.
    seed
        Integer or generator.

    Returns
    -------
    ndarray
        ``(n_variables * degree / k, k)`` int64 variables, for `FactorGraph.from_table`, all
        different within a factor. Two factors may have the same variables.

    Raises
    ------
    ValueError
        If an argument is out of range or the product is no multiple of ``k``.

    Notes
    -----
    The configuration model: edge stubs of variables are matched to those of factors at random, then
    the O((k - 1) (degree - 1)) factors with a repeated variable swap it with random stubs until
    none is left. Uniform up to this repair, which touches a share O(1 / n_variables) of the edges.

    Examples
    --------
    >>> import numpy as np
    >>> from graphs.generators import regular_factor_graph
    >>> table = regular_factor_graph(6, 2, 3, seed=0)
    >>> table.shape, np.bincount(table.ravel()).tolist()
    ((4, 3), [2, 2, 2, 2, 2, 2])
    """
    rng = random_generator(seed)
    k = whole_number("k", k, least=1)
    n_variables = whole_number("n_variables", n_variables, least=k)
    degree = whole_number("degree", degree)
    if n_variables * degree % k:
        raise ValueError(
            f"degree: expected n_variables * degree to be a multiple of k, got {n_variables} * "
            f"{degree} and k = {k}"
        )
    table = rng.permutation(np.repeat(np.arange(n_variables), degree)).reshape(-1, k)

    def n_repeats(row: int) -> int:
        return k - len(set(table[row].tolist()))

    pending = np.flatnonzero(_has_repeat(table)).tolist()
    while pending:
        a = pending.pop()
        while (before := n_repeats(a)) > 0:
            b = int(rng.integers(0, len(table)))
            one, other = rng.integers(0, k, 2)
            if a == b:
                continue
            before += n_repeats(b)
            table[a, one], table[b, other] = table[b, other], table[a, one]
            if n_repeats(a) + n_repeats(b) > before:  # swap back: there are never more repeats
                table[a, one], table[b, other] = table[b, other], table[a, one]
            elif n_repeats(b):
                pending.append(b)
    return table


def lattice_edges(shape: tuple[int, ...], periodic: bool = True) -> Integers:
    """Return the edges between nearest neighbours of a rectangular lattice.

    Parameters
    ----------
    shape
        Length along each axis. Nodes are numbered in row-major order, so that an array over nodes
        reshapes to ``shape``.
    periodic
        Whether the last site along an axis also neighbours the first (on axes longer than 2, where
        that is a new edge).

    Returns
    -------
    ndarray
        ``(n_edges, 2)`` int64, the smaller end first except where an edge wraps around.

    Raises
    ------
    ValueError
        If ``shape`` is empty or a length is smaller than 1.

    Examples
    --------
    >>> from graphs.generators import lattice_edges
    >>> lattice_edges((2, 2)).tolist()
    [[0, 2], [1, 3], [0, 1], [2, 3]]
    """
    lengths = [whole_number("shape", length, least=1) for length in shape]
    if not lengths:
        raise ValueError("shape: expected at least one axis, got none")
    sites = np.arange(math.prod(lengths)).reshape(lengths)
    pairs = []
    for axis, length in enumerate(lengths):
        n_edges = length if periodic and length > 2 else length - 1
        first = np.take(sites, np.arange(n_edges), axis)
        second = np.take(sites, np.arange(1, n_edges + 1) % length, axis)
        pairs.append(np.stack([first.ravel(), second.ravel()], axis=1))
    return np.concatenate(pairs)


def random_tree_edges(n_nodes: int, seed: Seed) -> Integers:
    """Draw a tree uniformly among the ``n**(n - 2)`` trees on ``n`` labelled nodes.

    Parameters
    ----------
    n_nodes
        Number of nodes, at least 1.
    seed
        Integer or generator.

    Returns
    -------
    ndarray
        ``(n_nodes - 1, 2)`` int64.

    Raises
    ------
    ValueError
        If ``n_nodes`` is smaller than 1.

    Notes
    -----
    Decodes a uniform Prüfer sequence, O(n).

    Examples
    --------
    >>> from graphs.generators import random_tree_edges
    >>> random_tree_edges(4, seed=0).shape
    (3, 2)
    """
    n_nodes = whole_number("n_nodes", n_nodes, least=1)
    sequence = random_generator(seed).integers(0, n_nodes, max(n_nodes - 2, 0))
    if n_nodes == 1:
        return np.empty((0, 2), np.int64)
    degrees: list[int] = (1 + np.bincount(sequence, minlength=n_nodes)).tolist()
    ends = [*sequence.tolist(), n_nodes - 1]
    leaves = []
    smallest = leaf = degrees.index(1)
    for end in ends:
        leaves.append(leaf)
        degrees[end] -= 1
        if degrees[end] == 1 and end < smallest:
            leaf = end
        else:
            smallest += 1
            while smallest < n_nodes and degrees[smallest] != 1:
                smallest += 1
            leaf = smallest
    return np.array([leaves, ends]).T


def random_hypertree(n_factors: int, k: int, seed: Seed) -> Integers:
    """Draw a connected wiring without loops of factors that all have ``k`` variables.

    Parameters
    ----------
    n_factors
        Number of factors M.
    k
        Variables in a factor, at least 1.
    seed
        Integer or generator.

    Returns
    -------
    ndarray
        ``(n_factors, k)`` int64 variables, for `FactorGraph.from_table`; all of the ``M (k - 1) +
        1`` variables occur (the single one of M = 0 excepted).

    Raises
    ------
    ValueError
        If an argument is out of range.

    Notes
    -----
    Each factor shares exactly one variable, uniform among those so far, with the earlier factors (a
    random recursive tree for k = 2; not uniform among all hypertrees). Labels are then permuted.

    Examples
    --------
    >>> import numpy as np
    >>> from graphs.generators import random_hypertree
    >>> table = random_hypertree(4, 3, seed=0)
    >>> table.shape, np.unique(table).size
    ((4, 3), 9)
    """
    n_factors = whole_number("n_factors", n_factors)
    k = whole_number("k", k, least=1)
    n_variables = whole_number("n_factors * (k - 1) + 1", n_factors * (k - 1) + 1)
    rng = random_generator(seed)
    first_new = 1 + np.arange(n_factors) * (k - 1)
    shared = rng.integers(0, first_new)
    table = np.column_stack([shared, first_new[:, None] + np.arange(k - 1)])
    return rng.permuted(rng.permutation(n_variables)[table], axis=1)


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
