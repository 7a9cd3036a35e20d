"""Which variable enters which factor: index arrays for the algorithms, networkx at the border."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._checks import indices, whole_number

Integers = NDArray[np.int64]

_KINDS = {"variable": "variable", "factor": "factor", 0: "variable", 1: "factor"}


class NodeIndex(NamedTuple):
    """Labels of the nodes of a networkx graph by index, and the indices by label."""

    variables: tuple[Hashable, ...]
    factors: tuple[Hashable, ...]
    variable_index: dict[Hashable, int]
    factor_index: dict[Hashable, int]

    @classmethod
    def from_labels(
        cls, variables: tuple[Hashable, ...], factors: tuple[Hashable, ...]
    ) -> NodeIndex:
        """Return the index of two tuples of labels."""
        return cls(
            variables,
            factors,
            {label: i for i, label in enumerate(variables)},
            {label: a for a, label in enumerate(factors)},
        )


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class FactorGraph:
    """The wiring of a factor graph: a pytree of index arrays, edges grouped by factor.

    Build it with `from_edges`, `from_table` or `from_networkx`, which check. Hand it to a jitted
    function as an argument, not by closure: then a second graph of equal shape re-uses the program.

    Attributes
    ----------
    edge_variable
        ``(n_edges,)`` int32, the variable end of each edge.
    edge_factor
        ``(n_edges,)`` int32, the factor end of each edge, never falling.
    n_variables, n_factors
        Static. Variables in no factor and factors without variables are allowed.
    """

    edge_variable: jax.Array
    edge_factor: jax.Array
    n_variables: int = field(metadata={"static": True})
    n_factors: int = field(metadata={"static": True})

    @classmethod
    def from_edges(
        cls, variable: ArrayLike, factor: ArrayLike, *, n_variables: int, n_factors: int
    ) -> FactorGraph:
        """Build the graph from its edges.

        Parameters
        ----------
        variable, factor
            ``(n_edges,)`` integers: edge ``e`` joins ``variable[e]`` to ``factor[e]``. The graph
            holds them in the order of ``np.argsort(factor, kind="stable")``.
        n_variables, n_factors
            Numbers of nodes.

        Returns
        -------
        FactorGraph
            The graph.

        Raises
        ------
        TypeError, ValueError
            If an index is no integer or out of range, the lengths differ, or an edge comes twice.

        Examples
        --------
        >>> from graphs.factor_graph import FactorGraph
        >>> graph = FactorGraph.from_edges([0, 1, 1, 2], [1, 0, 1, 0], n_variables=3, n_factors=2)
        >>> graph.edge_variable.tolist(), graph.edge_factor.tolist()
        ([1, 2, 0, 1], [0, 0, 1, 1])
        """
        n_variables = whole_number("n_variables", n_variables)
        n_factors = whole_number("n_factors", n_factors)
        variable = indices("variable", variable, n_variables)
        factor = indices("factor", factor, n_factors)
        if variable.shape != factor.shape:
            raise ValueError(
                f"factor: expected {variable.size} entries as in variable, got {factor.size}"
            )
        order = np.argsort(factor, kind="stable")
        variable, factor = variable[order], factor[order]
        edges = np.sort(factor * n_variables + variable)
        repeated = edges[1:][edges[1:] == edges[:-1]]
        if repeated.size:
            twice = divmod(int(repeated[0]), n_variables)
            raise ValueError(
                "variable: expected each variable at most once in a factor, "
                f"got variable {twice[1]} twice in factor {twice[0]}"
            )
        return cls(
            jnp.asarray(variable, jnp.int32), jnp.asarray(factor, jnp.int32), n_variables, n_factors
        )

    @classmethod
    def from_table(cls, variables: ArrayLike, *, n_variables: int) -> FactorGraph:
        """Build a graph whose factors all have ``k`` variables.

        Parameters
        ----------
        variables
            ``(n_factors, k)`` integers, the variables of each factor, as the generators return
            them. Reshape arrays over edges to ``(n_factors, k)`` to come back to this layout.
        n_variables
            Number of variables.

        Returns
        -------
        FactorGraph
            The graph.

        Raises
        ------
        TypeError, ValueError
            As `from_edges`; the messages say ``variables``.

        Examples
        --------
        >>> from graphs.factor_graph import FactorGraph
        >>> FactorGraph.from_table([[0, 1], [2, 1]], n_variables=3).edge_factor.tolist()
        [0, 0, 1, 1]
        """
        table = indices("variables", variables, whole_number("n_variables", n_variables), ndim=2)
        ordered = np.sort(table, axis=1)
        repeated = np.flatnonzero((ordered[:, 1:] == ordered[:, :-1]).any(axis=1))
        if repeated.size:
            raise ValueError(
                "variables: expected each variable at most once in a factor, "
                f"got {table[repeated[0]].tolist()} in factor {repeated[0]}"
            )
        n_factors, k = table.shape
        return cls(
            jnp.asarray(table.ravel(), jnp.int32),
            jnp.asarray(np.repeat(np.arange(n_factors), k), jnp.int32),
            int(n_variables),
            n_factors,
        )

    @classmethod
    def from_networkx(cls, graph: Any, *, kind: str = "kind") -> tuple[FactorGraph, NodeIndex]:
        """Build the graph from an undirected bipartite networkx graph.

        Parameters
        ----------
        graph
            ``networkx.Graph``. Its order of nodes is kept, and so is that of the neighbours of
            each factor.
        kind
            Node attribute that is ``"variable"`` or ``"factor"``, or 0 or 1 as networkx marks the
            sides of a bipartite graph.

        Returns
        -------
        graph : FactorGraph
            The wiring.
        index : NodeIndex
            Which label has which index.

        Raises
        ------
        TypeError
            If ``graph`` is directed or no networkx graph.
        ValueError
            If a node has no kind, an edge joins two nodes of one kind, or an edge comes twice.
        """
        if not hasattr(graph, "is_directed") or graph.is_directed():
            raise TypeError(f"graph: expected an undirected networkx graph, got {graph!r:.60}")
        sides: dict[str, list[Hashable]] = {"variable": [], "factor": []}
        for node, value in graph.nodes(data=kind):
            side = _KINDS.get(value) if isinstance(value, Hashable) else None
            if side is None:
                raise ValueError(
                    f"graph: expected every node to have {kind}='variable' or 'factor' (or 0 or "
                    f"1), got {value!r:.60} at node {node!r:.60}"
                )
            sides[side].append(node)
        index = NodeIndex.from_labels(tuple(sides["variable"]), tuple(sides["factor"]))
        variable: list[int] = []
        factor: list[int] = []
        for a, node in enumerate(index.factors):
            for neighbour in graph.adj[node]:
                if neighbour not in index.variable_index:
                    raise _one_kind("factor", node, neighbour)
                variable.append(index.variable_index[neighbour])
                factor.append(a)
        if len(variable) != graph.number_of_edges():
            for node, neighbour, *_ in graph.edges:
                if node in index.variable_index and neighbour in index.variable_index:
                    raise _one_kind("variable", node, neighbour)
            raise ValueError("graph: expected no parallel edges, got a multigraph that has some")
        sizes = {"n_variables": len(index.variables), "n_factors": len(index.factors)}
        return cls.from_edges(variable, factor, **sizes), index

    def to_networkx(self, index: NodeIndex | None = None, *, kind: str = "kind") -> Any:
        """Return the graph as a ``networkx.Graph``.

        Parameters
        ----------
        index
            Labels, as `from_networkx` returned them; without it variables are called ``"x0"``,
            ``"x1"``, ... and factors ``"f0"``, ``"f1"``, ...
        kind
            Node attribute that becomes ``"variable"`` or ``"factor"``. The attribute ``bipartite``
            (0 or 1), which the bipartite algorithms of networkx read, is set beside it.

        Returns
        -------
        networkx.Graph
            Variables first, then factors; neighbours of each factor in the order of its edges.

        Raises
        ------
        ValueError
            If ``index`` has other numbers of nodes.

        Examples
        --------
        >>> import networkx as nx
        >>> from graphs.factor_graph import FactorGraph
        >>> graph = FactorGraph.from_table([[0, 1, 2], [2, 3, 4]], n_variables=5)
        >>> nx.is_tree(graph.to_networkx())
        True
        """
        import networkx as nx

        if index is None:
            index = NodeIndex.from_labels(
                tuple(f"x{i}" for i in range(self.n_variables)),
                tuple(f"f{a}" for a in range(self.n_factors)),
            )
        sizes = (len(index.variables), len(index.factors))
        if sizes != (self.n_variables, self.n_factors):
            raise ValueError(
                f"index: expected labels of {self.n_variables} variables and {self.n_factors} "
                f"factors, got {sizes[0]} and {sizes[1]}"
            )
        graph = nx.Graph()
        graph.add_nodes_from(index.variables, **{"bipartite": 0, kind: "variable"})
        graph.add_nodes_from(index.factors, **{"bipartite": 1, kind: "factor"})
        ends = (np.asarray(self.edge_factor).tolist(), np.asarray(self.edge_variable).tolist())
        graph.add_edges_from((index.factors[a], index.variables[i]) for a, i in zip(*ends))
        return graph

    @property
    def n_edges(self) -> int:
        """Number of edges."""
        return self.edge_variable.shape[0]

    def arities(self) -> Integers:
        """Return the number of variables of each factor, ``(n_factors,)`` int64 on the host."""
        return np.diff(self.factor_offsets())

    def factor_offsets(self) -> Integers:
        """Return ``(n_factors + 1,)`` int64 on the host: where the edges of each factor start."""
        return _offsets(np.asarray(self.edge_factor), self.n_factors)

    def edges_by_variable(self) -> tuple[Integers, Integers]:
        """Return the edges of each variable, on the host.

        Returns
        -------
        offsets : ndarray
            ``(n_variables + 1,)`` int64.
        edges : ndarray
            ``(n_edges,)`` int64: variable ``i`` has ``edges[offsets[i]:offsets[i + 1]]``, rising.
        """
        return grouped(np.asarray(self.edge_variable), self.n_variables)


def grouped(ids: NDArray[Any], n_groups: int) -> tuple[Integers, Integers]:
    """Return ``(offsets, members)``: group ``g`` has ``members[offsets[g]:offsets[g + 1]]``."""
    return _offsets(ids, n_groups), np.argsort(ids, kind="stable").astype(np.int64)


def _offsets(ids: NDArray[Any], n_groups: int) -> Integers:
    offsets = np.zeros(n_groups + 1, np.int64)
    np.cumsum(np.bincount(ids, minlength=n_groups), out=offsets[1:])
    return offsets


def _one_kind(side: str, *nodes: Hashable) -> ValueError:
    pair = " and ".join(f"{node!r:.40}" for node in nodes)
    return ValueError(f"graph: expected edges between a variable and a factor, got {side}s {pair}")
