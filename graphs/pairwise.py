"""Graphs of pairs as directed half-edges: each edge carries a message either way."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._checks import indices, whole_number
from .factor_graph import grouped

Integers = NDArray[np.int64]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class PairwiseGraph:
    """The half-edges of an undirected simple graph, a pytree of index arrays.

    Build it with `from_edges` or `from_networkx`, which check. Half-edge ``e`` is edge ``e`` as
    given, half-edge ``e + n_edges`` the same edge backwards: what belongs to edges, such as a
    coupling, becomes an array over half-edges by ``jnp.concatenate([coupling, coupling])``.

    Attributes
    ----------
    source, target
        ``(2 n_edges,)`` int32: half-edge ``e`` leads from ``source[e]`` to ``target[e]``.
    reverse
        ``(2 n_edges,)`` int32, the half-edge of the other direction.
    n_nodes
        Static. Nodes without edges are allowed.
    """

    source: jax.Array
    target: jax.Array
    reverse: jax.Array
    n_nodes: int = field(metadata={"static": True})

    @classmethod
    def from_edges(cls, edges: ArrayLike, *, n_nodes: int) -> PairwiseGraph:
        """Build the graph from its edges.

        Parameters
        ----------
        edges
            ``(n_edges, 2)`` integers, each edge once in either direction, as the generators return
            them.
        n_nodes
            Number of nodes.

        Returns
        -------
        PairwiseGraph
            The graph.

        Raises
        ------
        TypeError, ValueError
            If an index is no integer or out of range, a node is joined to itself, or an edge comes
            twice.

        Examples
        --------
        >>> from graphs.pairwise import PairwiseGraph
        >>> graph = PairwiseGraph.from_edges([[0, 1], [2, 1]], n_nodes=3)
        >>> graph.source.tolist(), graph.target.tolist(), graph.reverse.tolist()
        ([0, 2, 1, 1], [1, 1, 0, 2], [2, 3, 0, 1])
        """
        n_nodes = whole_number("n_nodes", n_nodes)
        pairs = (
            indices("edges", edges, n_nodes, ndim=2) if np.size(edges) else np.empty((0, 2), int)
        )
        if pairs.shape[1] != 2:
            raise ValueError(f"edges: expected shape (n_edges, 2), got {pairs.shape}")
        loops = np.flatnonzero(pairs[:, 0] == pairs[:, 1])
        if loops.size:
            node = pairs[loops[0], 0]
            raise ValueError(f"edges: expected two different nodes, got {node} twice at {loops[0]}")
        ordered = np.sort(np.sort(pairs, axis=1) @ np.array([n_nodes, 1]))
        repeated = ordered[1:][ordered[1:] == ordered[:-1]]
        if repeated.size:
            pair = divmod(int(repeated[0]), n_nodes)
            raise ValueError(f"edges: expected each edge once, got {pair} twice")
        source, target = np.concatenate([pairs, pairs[:, ::-1]]).T
        reverse = np.roll(np.arange(source.size), len(pairs))
        return cls(
            jnp.asarray(source, jnp.int32),
            jnp.asarray(target, jnp.int32),
            jnp.asarray(reverse, jnp.int32),
            n_nodes,
        )

    @classmethod
    def from_networkx(cls, graph: Any) -> tuple[PairwiseGraph, tuple[Hashable, ...]]:
        """Build the graph from an undirected networkx graph.

        Parameters
        ----------
        graph
            ``networkx.Graph``; its order of nodes and of edges is kept, so that
            ``[w for *_, w in graph.edges(data="weight")]`` is an array over the edges.

        Returns
        -------
        graph : PairwiseGraph
            The half-edges.
        nodes : tuple
            ``(n_nodes,)``, the labels by index.

        Raises
        ------
        TypeError
            If ``graph`` is directed or no networkx graph.
        ValueError
            If a node is joined to itself or an edge comes twice; the message has the indices.
        """
        if not hasattr(graph, "is_directed") or graph.is_directed():
            raise TypeError(f"graph: expected an undirected networkx graph, got {graph!r:.60}")
        nodes = tuple(graph.nodes)
        index = {node: i for i, node in enumerate(nodes)}
        edges = [(index[one], index[other]) for one, other, *_ in graph.edges]
        return cls.from_edges(edges, n_nodes=len(nodes)), nodes

    def to_networkx(self, nodes: Sequence[Hashable] | None = None) -> Any:
        """Return the graph as a ``networkx.Graph``.

        Parameters
        ----------
        nodes
            Labels by index, as `from_networkx` returned them; 0, 1, ... without it.

        Returns
        -------
        networkx.Graph
            Nodes and edges in the order of this graph.

        Raises
        ------
        ValueError
            If the number of labels is wrong.
        """
        import networkx as nx

        nodes = range(self.n_nodes) if nodes is None else nodes
        if len(nodes) != self.n_nodes:
            raise ValueError(f"nodes: expected {self.n_nodes} labels, got {len(nodes)}")
        graph = nx.Graph()
        graph.add_nodes_from(nodes)
        forward = [np.asarray(ends[: self.n_edges]).tolist() for ends in (self.source, self.target)]
        graph.add_edges_from((nodes[i], nodes[j]) for i, j in zip(*forward))
        return graph

    @property
    def n_edges(self) -> int:
        """Number of undirected edges, half that of half-edges."""
        return self.source.shape[0] // 2

    def incoming(self) -> tuple[Integers, Integers]:
        """Return the half-edges that lead to each node, on the host.

        Returns
        -------
        offsets : ndarray
            ``(n_nodes + 1,)`` int64; its differences are the degrees.
        half_edges : ndarray
            ``(2 n_edges,)`` int64: those to ``i`` are ``half_edges[offsets[i]:offsets[i + 1]]``.
        """
        return grouped(np.asarray(self.target), self.n_nodes)
