"""Counts on the device or devices that fit them."""

from __future__ import annotations

import warnings
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from numpy.typing import NDArray

from inference.checks import Floats, one_of
from inference.precision import require_x64
from inference.status import CavityWarning

Precision = Literal["float32", "float64"]

_EXACT_IN_SINGLE = 10_000_000


class GeneTable(NamedTuple):
    """A table of counts on its device; rows of zeros fill it up where devices share the genes."""

    values: jax.Array
    n_cells: Floats
    """``(n_genes,)`` cells of each gene."""
    mesh: jax.sharding.Mesh | None

    def put(self, array: NDArray[Any]) -> jax.Array:
        """Return an array that every device holds, in the precision of the table."""
        return self._place(jnp.asarray(array, self.values.dtype), PartitionSpec())

    def put_state(self, by_gene: Floats, by_type: Floats) -> tuple[jax.Array, jax.Array]:
        """Return ``(n_genes, n_types)``, shared like the table, and ``(n_types, n_bins)``."""
        n_more = len(self.values) - len(by_gene)
        rows = np.pad(by_gene, ((0, n_more), (0, 0)), constant_values=1.0 / by_gene.shape[1])
        shared = self._place(jnp.asarray(rows, self.values.dtype), PartitionSpec("genes", None))
        return shared, self.put(by_type)

    def number(self, value: float) -> jax.Array:
        """Return a number in the precision of the table."""
        return jnp.asarray(value, self.values.dtype)

    def host_rows(self, array: jax.Array) -> Floats:
        """Return ``(n_genes, ...)`` in double precision, without the rows that fill up."""
        return self.host(array)[: len(self.n_cells)]

    def host(self, array: jax.Array) -> Floats:
        """Return an array in double precision."""
        return np.asarray(array).astype(np.float64)

    def _place(self, array: jax.Array, spec: PartitionSpec) -> jax.Array:
        if self.mesh is None:
            return array
        return jax.device_put(array, NamedSharding(self.mesh, spec))


def gene_table(
    values: NDArray[Any], precision: Precision | None, mesh: jax.sharding.Mesh | None = None
) -> GeneTable:
    """Return ``(n_genes, n_bins)`` counts on their device.

    Parameters
    ----------
    values
        The counts.
    precision
        None is that of JAX.
    mesh
        Devices that share the genes, along an axis ``"genes"``.

    Raises
    ------
    ValueError
        If the precision is unknown or the mesh has no such axis.
    PrecisionError
        If double precision is needed and JAX runs in single.
    """
    if precision is None:
        precision = "float64" if jax.config.jax_enable_x64 else "float32"  # type: ignore[attr-defined]
    one_of("precision", precision, ("float32", "float64"))
    if precision == "float32" and values.max() > _EXACT_IN_SINGLE:
        warnings.warn(
            f"counts up to {values.max()} are too many for single precision; fitting in double",
            CavityWarning,
            stacklevel=3,
        )
        precision = "float64"
    if precision == "float64":
        require_x64("this fit")
    n_cells = values.sum(axis=1, dtype=np.float64)
    if mesh is None:
        return GeneTable(jnp.asarray(values, precision), n_cells, None)
    if "genes" not in mesh.axis_names:
        raise ValueError(f"mesh: expected an axis 'genes', got {mesh.axis_names}")
    # axes that the compiler shards by itself, whatever the caller's are
    mesh = jax.sharding.Mesh(mesh.devices, mesh.axis_names)
    padded = np.pad(values, ((0, -len(values) % mesh.shape["genes"]), (0, 0)))
    place = NamedSharding(mesh, PartitionSpec("genes", None))
    return GeneTable(jax.device_put(padded.astype(precision), place), n_cells, mesh)
