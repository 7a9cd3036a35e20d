"""Geometry against JAX's own convolutions, and the Wishart chain against plain NumPy sums."""

import dataclasses
import math
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from suite_helpers import assert_z

from models.deep_linear import Architecture, ConvArchitecture, ConvLayer
from models.deep_linear.conv_architecture import _plan, selection
from models.deep_linear.coordinates import MixingCoordinates, layout, mixing_factor, mixing_matrix

CIRCULAR = ConvLayer(3, 4, padding="circular")
NETWORKS = {
    "one layer, circular": ConvArchitecture(5, (CIRCULAR,)),
    "two layers, circular, few channels": ConvArchitecture(
        5,
        (CIRCULAR, ConvLayer(2, 3, padding="circular")),
        in_channels=2,
        n_outputs=2,
        precisions=(1.0, 2.0, 0.5),
    ),
    "strides and zeros": ConvArchitecture(
        6, (ConvLayer(3, 3, 2, "zero"), ConvLayer(3, 4, 2, "zero"))
    ),
    "two axes, valid": ConvArchitecture((4, 5), (ConvLayer((2, 3), 3, stride=2),)),
    "two axes, two layers": ConvArchitecture(
        (3, 3), (ConvLayer((2, 2), 3, padding="circular"), ConvLayer((2, 2), 9, padding="zero"))
    ),
    "pooled, circular": ConvArchitecture(
        5, (CIRCULAR, ConvLayer(2, 3, padding="circular")), readout="gap"
    ),
    "pooled, zeros": ConvArchitecture(
        5, (ConvLayer(3, 4, padding="zero"), ConvLayer(3, 3, padding="zero")), 1, 2, readout="gap"
    ),
    "three layers, a bottleneck": ConvArchitecture(
        9, (ConvLayer(3, 4), ConvLayer(2, 1, padding="zero"), ConvLayer(3, 2, stride=2))
    ),
    "a site that nothing reads": ConvArchitecture(6, (ConvLayer(1, 3), ConvLayer(2, 5, stride=4))),
}
each_network = pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)


def convolve(images, kernel, layer):
    """The library's convolution: images (n, C, *sites), kernel (C', C, *mask)."""
    sites, mask, n_axes = images.shape[2:], layer.kernel_shape, images.ndim - 2
    pads = [(0, 0)] * n_axes
    if layer.padding != "valid":
        low = [(k - 1) // 2 for k in mask]
        n_out = [-(-s // layer.stride) for s in sites]
        pads = [
            (a, (n - 1) * layer.stride + k - a - s) for a, n, k, s in zip(low, n_out, mask, sites)
        ]
    if layer.padding == "circular":
        high = [max(b, 0) for _, b in pads]
        images = np.pad(
            images, [(0, 0), (0, 0), *[(a, b) for (a, _), b in zip(pads, high)]], "wrap"
        )
        cut = tuple(slice(0, s + a + b) for s, (a, b) in zip(sites, pads))
        images, pads = images[(slice(None), slice(None), *cut)], [(0, 0)] * n_axes
    return np.asarray(jax.lax.conv_general_dilated(images, kernel, [layer.stride] * n_axes, pads))


@pytest.mark.parametrize("padding", ["valid", "zero", "circular"])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize(("sites", "mask"), [((7,), (3,)), ((6,), (2,)), ((5, 6), (2, 3))])
def test_sites_are_read_as_a_convolution_reads_them(sites, mask, stride, padding):
    layer = ConvLayer(mask, 2, stride, padding)
    network = ConvArchitecture(sites, layer, in_channels=3)
    rng = np.random.default_rng(0)
    images = rng.normal(size=(4, 3, *sites))
    kernel = rng.normal(size=(2, 3, *mask))
    expected = convolve(images, kernel, layer)
    assert network.site_shapes[1] == expected.shape[2:]
    maps = selection(network, 0)
    flat = np.einsum("mij,ncj,acm->nai", maps, images.reshape(4, 3, -1), kernel.reshape(2, 3, -1))
    np.testing.assert_allclose(flat, expected.reshape(4, 2, -1), atol=1e-12)


def test_reads_gives_minus_one_for_padding():
    network = ConvArchitecture(4, ConvLayer(3, 2, 2, "zero"))
    assert network.reads(0).tolist() == [[-1, 0, 1], [1, 2, 3]]


def direct_scale(network, index, b):
    """(1/M) sum_m T_m^T B T_m, block by block, with loops over sites."""
    reads, d = network.reads(index), network.n_outputs
    n_in, n_out = (math.prod(network.site_shapes[i]) for i in (index, index + 1))
    blocks = b.reshape(d, n_out, d, n_out)
    a = np.zeros((d, n_in, d, n_in))
    for m in range(reads.shape[1]):
        for i in range(n_out):
            for k in range(n_out):
                if reads[i, m] >= 0 and reads[k, m] >= 0:
                    a[:, reads[i, m], :, reads[k, m]] += blocks[:, i, :, k] / reads.shape[1]
    return a.reshape(d * n_in, d * n_in)


@each_network
def test_the_chain_of_scales(network):
    """With all factors at the identity B_l is A_l over lambda_l: no random number is left."""
    plan = layout(network)
    d, n_top = network.n_outputs, math.prod(network.site_shapes[-1])
    sites = np.full((n_top, n_top), 1 / n_top**2) if network.readout == "gap" else None
    b = np.kron(np.eye(d), np.eye(n_top) / n_top if sites is None else sites)
    for index in range(len(network.layers) - 1, 0, -1):
        b = direct_scale(network, index, b)
    # square factors: as if there were plenty of channels
    factors = [jnp.eye(rows) for rows, _ in network.widened(1000).wisharts]
    root = network.widened(1000).assemble(factors)
    expected = b / math.prod(network.precisions[1:])
    np.testing.assert_allclose(root @ root.T, expected, atol=1e-13)
    np.testing.assert_allclose(network.mean_matrix, expected, atol=1e-13)
    assert plan.size == sum(
        min(rows, width) * rows - min(rows, width) * (min(rows, width) - 1) // 2
        for rows, width in network.wisharts
    )


@pytest.mark.slow
@pytest.mark.statistical
@each_network
def test_the_mean_of_the_renormaliser(network, key):
    n = 20_000
    draws = np.asarray(mixing_matrix(MixingCoordinates(network).sample(key, (n,)), network))
    size = network.n_outputs * network.n_sites
    assert draws.shape == (n, size, size)
    moving = draws.std(0) > 1e-12  # a site that nothing reads stays at zero
    assert_z(draws.mean(0)[moving], network.mean_matrix[moving], draws.std(0)[moving] / n**0.5)
    np.testing.assert_allclose(draws.mean(0)[~moving], network.mean_matrix[~moving], atol=1e-12)


@each_network
def test_the_renormaliser_is_continuous_in_its_coordinates(network):
    """A root by QR may jump in sign; this one must not."""
    rng = np.random.default_rng(0)
    line = rng.normal(size=(2, layout(network).size))
    t = np.linspace(-2, 2, 4001)[:, None]
    root = np.asarray(jax.jit(mixing_factor, static_argnums=1)(line[0] + t * line[1], network))
    steps = np.abs(np.diff(root, axis=0)).max(axis=(1, 2))
    assert steps.max() < 0.02 * np.abs(root).max()


def test_plans_use_as_few_coordinates_as_the_geometry_allows():
    kinds = {name: [step.kind for step in _plan(network)] for name, network in NETWORKS.items()}
    assert kinds["one layer, circular"] == ["spread"]
    assert kinds["two layers, circular, few channels"] == ["spread", "stacked"]
    assert kinds["strides and zeros"] == ["spread", "compact"]
    assert kinds["pooled, circular"] == ["product", "product"]
    assert kinds["pooled, zeros"] == ["product", "spread"]
    # of six sites a mask of two at stride four reads four: 0, 1, 4 and 5
    assert kinds["a site that nothing reads"] == ["spread", "compact"]
    assert NETWORKS["a site that nothing reads"].wisharts == ((2, 5), (4, 3))


def test_a_pooled_circular_network_has_nothing_local():
    network = NETWORKS["pooled, circular"]
    assert network.wisharts == Architecture((4, 3)).wisharts
    u = network.site_weights
    np.testing.assert_allclose(np.outer(u, u), network.mean_matrix, atol=1e-15)
    np.testing.assert_allclose(np.outer(u, u), np.full((5, 5), 1 / 25), atol=1e-15)
    for name in set(NETWORKS) - {"pooled, circular"}:
        assert NETWORKS[name].site_weights is None


def test_widened_multiplies_the_channels():
    network = NETWORKS["two layers, circular, few channels"]
    assert network.widened(3).widths == (12, 9)
    assert network.widened(3).precisions == network.precisions


def test_sizes():
    network = NETWORKS["two axes, valid"]
    assert network.site_shapes == ((4, 5), (2, 2))
    assert (network.n_sites, network.widths, network.precisions) == (4, (3,), (1.0, 1.0))
    assert pickle.loads(pickle.dumps(network)) == network
    assert hash(network) == hash(dataclasses.replace(network))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(kernel_shape=0, channels=1), r"kernel_shape\[0\]"),
        (dict(kernel_shape=(2, 2, 2), channels=1), "kernel_shape: expected one or two axes"),
        (dict(kernel_shape=2, channels=0), "channels"),
        (dict(kernel_shape=2, channels=1, stride=0), "stride"),
        (dict(kernel_shape=2, channels=1, stride=1.5), "stride"),
        (dict(kernel_shape=2, channels=1, padding="same"), "padding"),
    ],
)
def test_bad_layers(arguments, message):
    with pytest.raises(ValueError, match=message):
        ConvLayer(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(input_shape=4, layers=()), "layers: expected at least one"),
        (dict(input_shape=4, layers=((2, 3),)), "layers: expected at least one ConvLayer"),
        (dict(input_shape=(4, 4), layers=ConvLayer(2, 3)), r"layers\[0\].kernel_shape.*2 axes"),
        (dict(input_shape=2, layers=ConvLayer(3, 3)), r"layers\[0\].kernel_shape.*at most \(2,\)"),
        (
            dict(input_shape=4, layers=(ConvLayer(3, 3), ConvLayer(3, 3))),
            r"layers\[1\].kernel_shape.*use padding",
        ),
        (dict(input_shape=4, layers=CIRCULAR, readout="mean"), "readout"),
        (dict(input_shape=4, layers=CIRCULAR, n_outputs=0), "n_outputs"),
        (dict(input_shape=4, layers=CIRCULAR, in_channels=-1), "in_channels"),
        (dict(input_shape=4, layers=CIRCULAR, precisions=(1, 1, 1)), "precisions.*2"),
        (dict(input_shape=4, layers=CIRCULAR, precisions=(1, 0)), r"precisions\[1\]"),
    ],
)
def test_bad_architectures(arguments, message):
    with pytest.raises(ValueError, match=message):
        ConvArchitecture(**arguments)
