"""Couplings, and the currents of probability that they drive, as directed networkx graphs.

Plain arrays in: a matrix of couplings; a column generator ``R`` of a Markov process (``R[t, s]`` is
the rate from ``s`` to ``t``, columns sum to zero) and its stationary law.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

_STATIONARY_TOL = 1e-9
"""Rate at which a law may move, in units of the largest rate, and still count as stationary."""


class CycleAffinities(NamedTuple):
    """A basis of the cycles of a steady state: what drives each, and how much flows around it."""

    cycles: tuple[tuple[Hashable, ...], ...]
    """Nodes of each cycle in the direction of its current, which starts along the chord."""
    current: Floats
    """``(n_cycles,)``, at least 0: times around the cycle by unit time."""
    affinity: Floats
    """``(n_cycles,)``: log of the product of all rates forwards over that backwards."""

    @property
    def entropy_production(self) -> float:
        """``sum(current * affinity)``, in nats by unit time: that of the steady state."""
        return float(self.current @ self.affinity)


def coupling_graph(couplings: ArrayLike, names: Sequence[Hashable] | None = None) -> Any:
    """Return who acts on whom.

    Parameters
    ----------
    couplings
        ``(n, n)``: ``J[i, j]`` is how ``j`` acts on ``i``.
    names
        ``(n,)`` distinct labels of the nodes; None counts from 0.

    Returns
    -------
    networkx.DiGraph
        An edge from ``j`` to ``i`` with the attribute ``weight`` where ``J[i, j]`` is not zero.

    Raises
    ------
    TypeError, ValueError
        If the couplings are not a square matrix of finite numbers, or the names are not distinct.

    Examples
    --------
    >>> from graphs.currents import coupling_graph
    >>> list(coupling_graph([[0.0, 2.0], [0.0, 0.0]], names=["left", "right"]).edges(data="weight"))
    [('right', 'left', 2.0)]
    """
    import networkx as nx

    matrix = _square("couplings", couplings)
    labels = _labels(names, len(matrix))
    graph = nx.DiGraph()
    graph.add_nodes_from(labels)
    for target, source in np.argwhere(matrix).tolist():
        graph.add_edge(labels[source], labels[target], weight=float(matrix[target, source]))
    return graph


def current_graph(
    generator: ArrayLike, law: ArrayLike, names: Sequence[Hashable] | None = None
) -> Any:
    """Return how probability circulates in a steady state.

    Parameters
    ----------
    generator
        ``(n_states, n_states)`` column generator.
    law
        ``(n_states,)``, its stationary law.
    names
        ``(n_states,)`` distinct labels of the states; None counts from 0.

    Returns
    -------
    networkx.DiGraph
        Nodes have the attribute ``prob``. Two states with transitions have one edge, in the
        direction of the net current, with ``current``, at least 0, and ``affinity``, the log of the
        flow forwards over the flow backwards: infinite where there is no way back. The sum of
        their products is the entropy production.

    Raises
    ------
    TypeError, ValueError
        If the matrix is no column generator, or the law is not its stationary law.

    Examples
    --------
    >>> from graphs.currents import current_graph
    >>> rates = [[-2.5, 0.5, 2.0], [2.0, -2.5, 0.5], [0.5, 2.0, -2.5]]
    >>> graph = current_graph(rates, [1 / 3, 1 / 3, 1 / 3])
    >>> [(a, b, round(current, 12)) for a, b, current in sorted(graph.edges(data="current"))]
    [(0, 1, 0.5), (1, 2, 0.5), (2, 0, 0.5)]
    """
    import networkx as nx

    matrix = _square("generator", generator)
    prob = _stationary(matrix, law)
    labels = _labels(names, len(matrix))
    flow = matrix * prob
    graph = nx.DiGraph()
    graph.add_nodes_from((label, {"prob": float(p)}) for label, p in zip(labels, prob))
    joined = np.triu((matrix > 0) | (matrix.T > 0), 1)
    for one, other in np.argwhere(joined).tolist():
        source, target = (one, other) if flow[other, one] >= flow[one, other] else (other, one)
        ahead, back = float(flow[target, source]), float(flow[source, target])
        affinity = np.log(ahead / back) if back > 0 else np.inf if ahead > 0 else 0.0
        graph.add_edge(
            labels[source], labels[target], current=ahead - back, affinity=float(affinity)
        )
    return graph


def cycle_affinities(graph: Any) -> CycleAffinities:
    """Return Schnakenberg's decomposition of the entropy production over a basis of cycles.

    Parameters
    ----------
    graph
        From :func:`current_graph`.

    Returns
    -------
    CycleAffinities
        One cycle for each edge outside a spanning tree, along which its current flows: an edge of
        the tree carries the sum of the currents of the cycles through it.

    Raises
    ------
    ValueError
        If a transition has no reverse, which would produce entropy without bound.

    Notes
    -----
    The tree goes breadth first from the most probable state, so that cycles are short. Other trees
    have other cycles and the same sum. Schnakenberg, Rev. Mod. Phys. 48, 571 (1976).

    Examples
    --------
    >>> from graphs.currents import current_graph, cycle_affinities
    >>> rates = [[-2.5, 0.5, 2.0], [2.0, -2.5, 0.5], [0.5, 2.0, -2.5]]
    >>> found = cycle_affinities(current_graph(rates, [1 / 3, 1 / 3, 1 / 3]))
    >>> found.cycles, round(found.entropy_production, 12)
    (((1, 2, 0),), 2.07944154168)
    """
    one_way = [pair for *pair, affinity in graph.edges(data="affinity") if np.isinf(affinity)]
    if one_way:
        source, target = one_way[0]
        raise ValueError(
            f"graph: expected a way back of every transition, but from {target!r} none leads to "
            f"{source!r}"
        )
    parent, potential = _tree(graph)
    cycles, currents, affinities = [], [], []
    for source, target, edge in graph.edges(data=True):
        if parent[source] == target or parent[target] == source:
            continue
        cycles.append((source, *_path(parent, target, source)[:-1]))
        currents.append(edge["current"])
        affinities.append(edge["affinity"] + potential[source] - potential[target])
    return CycleAffinities(tuple(cycles), np.array(currents), np.array(affinities))


def _tree(graph: Any) -> tuple[dict[Hashable, Hashable], dict[Hashable, float]]:
    """Return the parents of nodes in spanning trees, and the affinity of the way to each node."""
    import networkx as nx

    both_ways = graph.to_undirected(as_view=True)
    parent: dict[Hashable, Hashable] = {}
    potential: dict[Hashable, float] = {}
    # roots need a parent that is no node and none of their neighbours
    nobody = object()
    for root in sorted(graph, key=lambda node: -graph.nodes[node]["prob"]):
        if root in parent:
            continue
        parent[root], potential[root] = nobody, 0.0
        for before, node in nx.bfs_edges(both_ways, root):
            forwards = graph.has_edge(before, node)
            gained = graph[before][node] if forwards else graph[node][before]
            parent[node] = before
            potential[node] = potential[before] + (1 if forwards else -1) * gained["affinity"]
    return parent, potential


def _path(parent: dict[Hashable, Hashable], start: Hashable, end: Hashable) -> list[Hashable]:
    """Return the nodes of the way from one node to another through the tree, both included."""

    def to_root(node: Hashable) -> list[Hashable]:
        way = [node]
        while parent[way[-1]] in parent:
            way.append(parent[way[-1]])
        return way

    up, down = to_root(start), to_root(end)
    while len(up) > 1 and len(down) > 1 and up[-2] == down[-2]:
        up.pop()
        down.pop()
    return up + down[-2::-1]


def _square(name: str, value: ArrayLike) -> Floats:
    try:
        matrix = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as fault:
        raise TypeError(f"{name}: expected a matrix of numbers, got {value!r:.60}") from fault
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not matrix.size:
        raise ValueError(f"{name}: expected a square matrix, got shape {matrix.shape}")
    if not np.isfinite(matrix).all():
        raise ValueError(f"{name}: expected finite numbers")
    return matrix


def _labels(names: Sequence[Hashable] | None, n: int) -> list[Hashable]:
    labels: list[Hashable] = list(range(n)) if names is None else list(names)
    if len(labels) != n or len(set(labels)) != n:
        raise ValueError(f"names: expected {n} distinct names, got {labels!r:.60}")
    return labels


def _stationary(matrix: Floats, law: ArrayLike) -> Floats:
    """Return the law if it is a stationary law of what is a generator."""
    largest = float(np.abs(np.diagonal(matrix)).max())
    negative = np.argwhere(matrix - np.diag(np.diagonal(matrix)) < 0)
    if negative.size:
        target, source = negative[0]
        raise ValueError(
            f"generator: expected rates of at least 0, got {matrix[target, source]:g} from "
            f"{source} to {target}"
        )
    off = int(np.abs(matrix.sum(axis=0)).argmax())
    if abs(matrix[:, off].sum()) > _STATIONARY_TOL * largest:
        raise ValueError(
            "generator: expected columns that sum to 0 (the rate from s to t is R[t, s]), got "
            f"{matrix[:, off].sum():g} in column {off}"
        )
    prob = np.asarray(law, dtype=np.float64)
    if prob.shape != (len(matrix),):
        raise ValueError(f"law: expected {len(matrix)} probabilities, got shape {prob.shape}")
    if not (prob >= 0).all() or not abs(prob.sum() - 1.0) <= 1e-8:
        raise ValueError("law: expected probabilities that sum to 1")
    moves = float(np.abs(matrix @ prob).max())
    if moves > _STATIONARY_TOL * largest:
        raise ValueError(f"law: expected the stationary law, but it moves at a rate of {moves:.2g}")
    return prob
