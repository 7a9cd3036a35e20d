"""Convolutional deep linear networks: geometry, and how Wishart layers make the local renormaliser.

Read from the outputs down, every hidden layer of ``C_l`` channels on ``S_l`` sites is a Wishart
matrix ``B_l`` over (output, site) pairs whose scale ``A_l`` is the previous one seen through the
convolution: ``A_l[(d,j),(e,j')] = (1/M_l) sum_m (T_m^T B_{l+1,de} T_m)[j,j']`` with ``T_m`` the map
from output sites to the sites that mask position ``m`` reads (arXiv 2406.03260; ``M_l`` positions).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from inference.checks import Floats, one_of, positive_int

from .theory import checked_precisions

Padding = Literal["valid", "zero", "circular"]
_RANK_TOLERANCE = 1e-9  # singular values below this share of the largest are rounding


@dataclass(frozen=True)
class ConvLayer:
    """A convolution to ``channels`` hidden channels.

    Parameters
    ----------
    kernel_shape
        Size of the mask along each axis; an integer for one axis.
    channels
        Number of channels it produces, ``C_{l+1}``.
    stride
        Distance between neighbouring output sites, one number for all axes.
    padding
        ``"valid"``: the mask stays inside; ``"zero"`` and ``"circular"``: it is centred on every
        ``stride``-th site and reads zeros, or around the edge, beyond the input.

    Raises
    ------
    TypeError, ValueError
        If a size is not a positive integer, or the padding unknown.
    """

    kernel_shape: Any
    channels: int
    stride: int = 1
    padding: Padding = "valid"

    def __post_init__(self) -> None:
        object.__setattr__(self, "kernel_shape", _shape("kernel_shape", self.kernel_shape))
        object.__setattr__(self, "channels", positive_int("channels", self.channels))
        object.__setattr__(self, "stride", positive_int("stride", self.stride))
        one_of("padding", self.padding, ("valid", "zero", "circular"))


@dataclass(frozen=True)
class ConvArchitecture:
    """A convolutional deep linear network with independent Gaussian weights.

    ``h_{l+1}[a, i] = (M_l C_l)^{-1/2} sum_{m, c} W_l[m, a, c] h_l[c, j(i, m)]`` with entries
    ``N(0, 1 / lambda_l)``, then a linear readout of the last hidden layer.

    Parameters
    ----------
    input_shape
        Sites of an input: ``(length,)`` or ``(height, width)``; an integer for one axis.
    layers
        Convolutions from the input up, at least one.
    in_channels
        Channels ``C_0`` of an input.
    n_outputs
        Number of outputs ``D``.
    precisions
        ``(lambda_0, ..., lambda_L)``, the last that of the readout; one number sets all.
    readout
        ``"flatten"``: a weight for every channel and site; ``"gap"``: global average pooling, a
        weight for the mean of every channel.

    Raises
    ------
    TypeError, ValueError
        If a layer does not fit (a mask larger than its input with ``"valid"``, another number of
        axes), there is none, or a parameter is out of range.

    Examples
    --------
    >>> network = ConvArchitecture((8, 8), (ConvLayer((4, 4), channels=5, stride=4),))
    >>> network.site_shapes
    ((8, 8), (2, 2))
    """

    input_shape: Any
    layers: tuple[ConvLayer, ...]
    in_channels: int = 1
    n_outputs: int = 1
    precisions: Any = 1.0
    readout: Literal["flatten", "gap"] = "flatten"

    def __post_init__(self) -> None:
        shape = _shape("input_shape", self.input_shape)
        layers = (self.layers,) if isinstance(self.layers, ConvLayer) else tuple(self.layers)
        if not layers or not all(isinstance(layer, ConvLayer) for layer in layers):
            raise ValueError(f"layers: expected at least one ConvLayer, got {self.layers!r}")
        one_of("readout", self.readout, ("flatten", "gap"))
        object.__setattr__(self, "input_shape", shape)
        object.__setattr__(self, "layers", layers)
        object.__setattr__(self, "in_channels", positive_int("in_channels", self.in_channels))
        object.__setattr__(self, "n_outputs", positive_int("n_outputs", self.n_outputs))
        precisions = checked_precisions(self.precisions, len(layers))
        object.__setattr__(self, "precisions", precisions)
        for index, (layer, sites) in enumerate(zip(layers, self.site_shapes)):
            if len(layer.kernel_shape) != len(sites):
                raise ValueError(
                    f"layers[{index}].kernel_shape: expected {len(sites)} axes as the input has, "
                    f"got {layer.kernel_shape}"
                )
            if layer.padding == "valid" and any(k > s for k, s in zip(layer.kernel_shape, sites)):
                raise ValueError(
                    f"layers[{index}].kernel_shape: expected at most {sites}, the sites it reads, "
                    f"got {layer.kernel_shape}; use padding 'zero' or 'circular'"
                )

    @cached_property
    def site_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Grid of every layer, from the input ``(S_0)`` to the last hidden layer ``(S_L)``."""
        shapes = [self.input_shape]
        for layer in self.layers:
            shapes.append(_output_shape(shapes[-1], layer))
        return tuple(shapes)

    @property
    def n_sites(self) -> int:
        """Number of sites ``S_1`` of the first hidden layer: the renormaliser is local on them."""
        return math.prod(self.site_shapes[1])

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels ``(C_1, ..., C_L)``."""
        return tuple(layer.channels for layer in self.layers)

    def widened(self, factor: int) -> ConvArchitecture:
        """Return the same network with ``factor`` times as many channels in every layer."""
        layers = (replace(layer, channels=factor * layer.channels) for layer in self.layers)
        return replace(self, layers=tuple(layers))

    def reads(self, index: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Return which site each output site of a layer reads, ``(S_{l+1}, M_l)``; -1: padding."""
        return _reads(self.site_shapes[index], self.layers[index])

    @property
    def wisharts(self) -> tuple[tuple[int, int], ...]:
        """``(rows, width)`` of every Wishart layer, from the outputs down."""
        return tuple((step.rows, step.width) for step in _plan(self))

    def assemble(self, factors: Sequence[jax.Array]) -> jax.Array:
        """Return a root of ``B_1``, ``(..., D S_1, k)``, from a unit-mean factor of each Wishart.

        Rows are (output, site) pairs, site fastest.
        """
        root = _assemble(_plan(self), factors, self.n_outputs)
        return root / math.sqrt(math.prod(self.precisions[1:]))

    @cached_property
    def mean_matrix(self) -> Floats:
        """``E B_1``, ``(D S_1, D S_1)``: the renormaliser of infinitely many channels."""
        n_top = math.prod(self.site_shapes[-1])
        sites = np.eye(n_top) / n_top
        if self.readout == "gap":
            sites = np.full((n_top, n_top), 1.0 / n_top**2)
        for index in range(len(self.layers) - 1, 0, -1):
            maps = selection(self, index)
            sites = np.einsum("mij,ik,mkl->jl", maps, sites, maps) / len(maps)
        return np.kron(np.eye(self.n_outputs), sites) / math.prod(self.precisions[1:])

    @cached_property
    def site_weights(self) -> Floats | None:
        """``u``, ``(S_1,)``, if ``B_1 = Q (x) u u^T``: then nothing is local; None otherwise.

        With such a law (global averages of circular layers, a single site) the network is a fully
        connected one with the channels as widths on the inputs ``sum_i u_i patch_i``.
        """
        last = _plan(self)[-1]
        return last.sites[:, 0] if last.kind == "product" and last.sites is not None else None


def selection(architecture: ConvArchitecture, index: int) -> Floats:
    """Return the maps ``T_m`` of a layer, ``(M_l, S_{l+1}, S_l)``, of zeros and ones."""
    reads = architecture.reads(index)
    n_sites = math.prod(architecture.site_shapes[index])
    return np.asarray((reads.T[:, :, None] == np.arange(n_sites)).astype(float))


def _shape(name: str, value: Any) -> tuple[int, ...]:
    sizes = tuple(value) if isinstance(value, Iterable) else (value,)
    if len(sizes) not in (1, 2):
        raise ValueError(f"{name}: expected one or two axes, got {value!r}")
    return tuple(positive_int(f"{name}[{i}]", size) for i, size in enumerate(sizes))


def _output_shape(sites: tuple[int, ...], layer: ConvLayer) -> tuple[int, ...]:
    if layer.padding == "valid":
        return tuple((s - k) // layer.stride + 1 for s, k in zip(sites, layer.kernel_shape))
    return tuple(-(-s // layer.stride) for s in sites)


@lru_cache(maxsize=256)
def _reads(sites: tuple[int, ...], layer: ConvLayer) -> np.ndarray[Any, np.dtype[np.int64]]:
    axes = []
    for size, kernel, n_out in zip(sites, layer.kernel_shape, _output_shape(sites, layer)):
        offset = 0 if layer.padding == "valid" else (kernel - 1) // 2
        at = layer.stride * np.arange(n_out)[:, None] + np.arange(kernel) - offset
        if layer.padding == "circular":
            at = at % size
        axes.append(np.where((at < 0) | (at >= size), -1, at))
    if len(axes) == 1:
        return axes[0]
    row, column = axes[0][:, None, :, None], axes[1][None, :, None, :]
    flat = np.where((row < 0) | (column < 0), -1, row * sites[1] + column)
    return flat.reshape(flat.shape[0] * flat.shape[1], -1)


# --- the chain of Wishart layers -----------------------------------------------------------------


class _Step(NamedTuple):
    """How one Wishart layer continues the root of the layer above.

    With ``C`` or ``F`` what stands above and ``W`` the factor of this layer:
    ``"product"``: ``C <- C W``, the root being ``C (x) sites[:, 0]`` (all sites share one scale);
    ``"spread"``: ``F <- (C (x) sites) W``; ``"stacked"``: ``F <- [T_m^T F]_m W``;
    ``"compact"``: the same with a triangular root of the stack on the sites that are read.
    """

    kind: Literal["product", "spread", "stacked", "compact"]
    rows: int
    width: int
    sites: Floats | None = None  # constant root (S_l, r) of the sites' part
    maps: Floats | None = None  # T_m / sqrt(M), (M, S_{l+1}, S_l)
    live: tuple[int, ...] = ()  # sites that are read


@lru_cache(maxsize=256)
def _plan(architecture: ConvArchitecture) -> tuple[_Step, ...]:
    """Decide each step; ranks that the geometry may lower are measured at a random draw."""
    n_outputs, layers = architecture.n_outputs, architecture.layers
    n_top = math.prod(architecture.site_shapes[-1])
    gap = architecture.readout == "gap"
    sites: Floats = np.full((n_top, 1), 1.0 / n_top) if gap else np.eye(n_top) / math.sqrt(n_top)
    steps: list[_Step] = []
    columns = n_outputs
    for index in range(len(layers) - 1, -1, -1):
        width = layers[index].channels
        if index < len(layers) - 1:  # the convolution above this layer
            maps = selection(architecture, index + 1)
            maps = maps / math.sqrt(len(maps))
        if not steps or steps[-1].kind == "product":
            if steps:
                sites = _root(np.einsum("mij,ia,ka,mkl->jl", maps, sites, sites, maps))
            kind: Any = "product" if sites.shape[1] == 1 else "spread"
            step = _Step(kind, columns * sites.shape[1], width, sites=sites)
        else:
            step = _dense_step(steps, maps, n_outputs, columns, width)
        steps.append(step)
        columns = min(step.rows, width)
    return tuple(steps)


def _dense_step(
    steps: list[_Step], maps: Floats, n_outputs: int, columns: int, width: int
) -> _Step:
    live = tuple(np.flatnonzero(maps.any(axis=(0, 1))).tolist())
    full, stacked = n_outputs * len(live), len(maps) * columns
    if stacked >= full:
        rng = np.random.default_rng(0)
        factors = [rng.normal(size=(s.rows, min(s.rows, s.width))) for s in steps]
        above = np.asarray(_assemble(tuple(steps), factors, n_outputs))
        singular = np.linalg.svd(_stack(maps, above, n_outputs), compute_uv=False)
        if int(np.sum(singular > _RANK_TOLERANCE * singular[0])) == full:
            return _Step("compact", full, width, maps=maps, live=live)
    return _Step("stacked", stacked, width, maps=maps)


def _root(matrix: Floats) -> Floats:
    """Return a root of least width of a positive semi-definite matrix."""
    values, vectors = np.linalg.eigh(matrix)
    kept = values > _RANK_TOLERANCE * values[-1]
    return np.asarray(vectors[:, kept] * np.sqrt(values[kept]))


def _assemble(steps: tuple[_Step, ...], factors: Sequence[Any], n_outputs: int) -> jax.Array:
    root: Any = jnp.eye(n_outputs)
    for step, factor in zip(steps, factors):
        if step.kind == "spread":
            root = _spread(root, step.sites)
        elif step.kind != "product":
            root = _stack(step.maps, root, n_outputs)
            if step.kind == "compact":
                root = _triangular_root(root, n_outputs, step.live)
        root = root @ factor
    return _spread(root, steps[-1].sites) if steps[-1].kind == "product" else root


def _spread(root: jax.Array, sites: Any) -> jax.Array:
    """Kronecker product ``(..., D, k) (x) (S, r) -> (..., D S, k r)``."""
    product = jnp.einsum("...dk,sr->...dskr", root, sites)
    shape = (root.shape[-2] * sites.shape[0], root.shape[-1] * sites.shape[1])
    return product.reshape(*root.shape[:-2], *shape)


def _stack(maps: Any, root: Any, n_outputs: int) -> jax.Array:
    """Columns ``T_m^T F`` for all mask positions, ``(..., D S_l, M k)``."""
    batch, columns = root.shape[:-2], root.shape[-1]
    by_site = root.reshape(*batch, n_outputs, -1, columns)
    moved = jnp.einsum("mij,...dik->...djmk", maps, by_site)
    return moved.reshape(*batch, n_outputs * maps.shape[2], maps.shape[0] * columns)


def _triangular_root(wide: jax.Array, n_outputs: int, live: tuple[int, ...]) -> jax.Array:
    """Return a root of least width, zero on sites that are not read; continuous in ``wide``."""
    batch, columns = wide.shape[:-2], wide.shape[-1]
    n_sites = wide.shape[-2] // n_outputs
    kept = wide.reshape(*batch, n_outputs, n_sites, columns)[..., np.array(live), :]
    kept = kept.reshape(*batch, -1, columns)
    upper = jnp.linalg.qr(jnp.swapaxes(kept, -1, -2), mode="r")
    signs = jnp.where(jnp.diagonal(upper, axis1=-2, axis2=-1) < 0, -1.0, 1.0)
    lower = jnp.swapaxes(upper * signs[..., None], -1, -2)
    if len(live) == n_sites:
        return lower
    rank = lower.shape[-1]
    blank = jnp.zeros((*batch, n_outputs, n_sites, rank), lower.dtype)
    filled = blank.at[..., np.array(live), :].set(lower.reshape(*batch, n_outputs, len(live), rank))
    return filled.reshape(*batch, n_outputs * n_sites, rank)
