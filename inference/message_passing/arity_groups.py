"""Factors of different arity as dense blocks: one array for all factors of ``k`` variables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from graphs.factor_graph import FactorGraph


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class ArityGroups:
    """Which factors have how many variables, and where their edges are.

    Edges are numbered as a `FactorGraph` holds them, grouped by factor. If all factors have the
    same arity, blocks are reshaped views and the index arrays are absent.

    Attributes
    ----------
    edges
        For each group ``(n_factors_k, k)``, the edges of its factors; empty if there is one group.
    edge_order, factor_order
        ``(n_edges,)`` and ``(n_factors,)``: where the rows of the joined blocks belong; or None.
    sizes
        Static: ``(k, n_factors_k)`` of each group, ``k`` rising.
    """

    edges: tuple[jax.Array, ...]
    edge_order: jax.Array | None
    factor_order: jax.Array | None
    sizes: tuple[tuple[int, int], ...] = field(metadata={"static": True})

    @classmethod
    def from_arities(cls, arities: ArrayLike) -> tuple[ArityGroups, list[NDArray[np.int64]]]:
        """Group factors by arity, on the host.

        Parameters
        ----------
        arities
            ``(n_factors,)``, the number of variables of each.

        Returns
        -------
        groups : ArityGroups
            The groups.
        members : list of ndarray
            For each group the factors in it, rising.
        """
        arities = np.asarray(arities, dtype=np.int64)
        if not arities.size:
            return cls((), None, None, ((0, 0),)), [arities]
        members = [np.flatnonzero(arities == k) for k in np.unique(arities)]
        sizes = tuple((int(arities[factors[0]]), len(factors)) for factors in members)
        if len(sizes) == 1:
            return cls((), None, None, sizes), members
        starts = np.cumsum(arities) - arities
        edges = [
            starts[factors][:, None] + np.arange(k)
            for factors, (k, _) in zip(members, sizes, strict=True)
        ]
        groups = cls(
            tuple(jnp.asarray(block, jnp.int32) for block in edges),
            jnp.asarray(np.argsort(np.concatenate([b.ravel() for b in edges])), jnp.int32),
            jnp.asarray(np.argsort(np.concatenate(members)), jnp.int32),
            sizes,
        )
        return groups, members

    def check(self, graph: FactorGraph) -> None:
        """Raise ``ValueError`` unless the factors of ``graph`` have these arities in this order."""
        n_factors = sum(size for _, size in self.sizes)
        if graph.n_factors != n_factors:
            raise ValueError(f"graph: expected {n_factors} factors, got {graph.n_factors}")
        traced = (graph.edge_factor, self.factor_order)
        if any(isinstance(array, jax.core.Tracer) for array in traced):
            return
        sorted_arities = np.repeat([k for k, _ in self.sizes], [size for _, size in self.sizes])
        expected = sorted_arities
        if self.factor_order is not None:
            expected = sorted_arities[np.asarray(self.factor_order)]
        arities = graph.arities()
        wrong = np.flatnonzero(arities != expected)
        if wrong.size:
            first = wrong[0]
            raise ValueError(
                f"graph: expected {expected[first]} variables in factor {first}, "
                f"got {arities[first]}"
            )

    def blocks(self) -> list[NDArray[Any]]:
        """Return for each group ``(n_factors_k, k)``, the edges of its factors, on the host."""
        if not self.edges:
            return [np.arange(size * k).reshape(size, k) for k, size in self.sizes]
        return [np.asarray(edges) for edges in self.edges]

    def split(self, values: jax.Array) -> list[jax.Array]:
        """Return the blocks ``(n_factors_k, k, ...)`` of an array over edges ``(n_edges, ...)``."""
        if not self.edges:
            return [values.reshape(size, k, *values.shape[1:]) for k, size in self.sizes]
        return [values[edges] for edges in self.edges]

    def join(self, blocks: Sequence[jax.Array]) -> jax.Array:
        """Return the array over edges whose blocks these are: the inverse of `split`."""
        rows = [
            block.reshape(block.shape[0] * block.shape[1], *block.shape[2:]) for block in blocks
        ]
        return _joined(rows, self.edge_order)

    def join_factors(self, blocks: Sequence[jax.Array]) -> jax.Array:
        """Return the array over factors ``(n_factors, ...)`` of blocks ``(n_factors_k, ...)``."""
        return _joined(blocks, self.factor_order)


def _joined(rows: Sequence[jax.Array], order: jax.Array | None) -> Any:
    return rows[0] if order is None else jnp.concatenate(rows)[order]
