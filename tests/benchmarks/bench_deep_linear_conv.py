"""Convolutional `models.deep_linear`: value and gradient of the evidence given the renormaliser.

Ours reads patches and keeps one inverse of the `D P x D P` covariance for the gradient. The peer is
what the formula says: all patch kernels stored, `(S, S, P, P)`, summed with the renormaliser, and
automatic differentiation of a Cholesky factorisation. `memory_gb` is the memory of the arrays that
each keeps of the data (ours, peer).

Two cores of an AMD EPYC that other work shared: 30 sites and 100 examples (465 coordinates) cost
0.7 ms a gradient, ten sites and three outputs 3 ms.

Conclusion: `D S = 30` with a hundred examples is comfortable; the Cholesky factorisation of all
outputs together, O((D P)^3), is what limits more.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before NumPy: its threads spin and disturb the clock

import harness
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import multivariate_normal

from models.deep_linear import ConvArchitecture, ConvLayer, conv_prior
from models.deep_linear.conv_conditional import conv_data, log_evidence

jax.config.update("jax_enable_x64", True)

BETA = 10.0


def kernels_stored(mixing, kernels, y):
    """The evidence by the book: ``sum_ij B_ij K_ij`` and an unstructured normal density."""
    n_outputs, n = y.shape
    by_pair = mixing.reshape(n_outputs, kernels.shape[0], n_outputs, kernels.shape[1])
    covariance = jnp.einsum("diej,ijmn->dmen", by_pair, kernels).reshape(n_outputs * n, -1)
    noisy = covariance + jnp.eye(n_outputs * n) / BETA
    return multivariate_normal.logpdf(y.ravel(), jnp.zeros(n_outputs * n), noisy)


def gradient(quick):
    for n_sites, n_outputs in ((6, 1),) if quick else ((30, 1), (10, 3)):
        yield compare(n_sites, n_outputs, 20 if quick else 100, 5 if quick else 40)


def compare(n_sites, n_outputs, n, n_pairs):
    network = ConvArchitecture(n_sites + 1, ConvLayer(2, 40), n_outputs=n_outputs)
    x = np.random.default_rng(0).normal(size=(n, 1, n_sites + 1))
    y = conv_prior(x, network).sample(jax.random.key(0))
    data = conv_data(x, np.asarray(y), network)
    kernels = jnp.einsum("mic,njc->ijmn", data.patches, data.patches)
    mixing = jnp.asarray(network.mean_matrix)
    own_args = mixing, data, jnp.asarray(BETA)
    peer_args = mixing, kernels, data.targets.T
    own, compile_s = harness.compiled(jax.value_and_grad(log_evidence), *own_args)
    peer, _ = harness.compiled(jax.value_and_grad(kernels_stored), *peer_args)
    own_s, peer_s = harness.in_turns(lambda: own(*own_args), lambda: peer(*peer_args), n_pairs)
    ours, theirs = own(*own_args)[1], peer(*peer_args)[1]
    symmetric = 0.5 * (theirs + theirs.T) - 0.5 * (ours + ours.T)
    return harness.row(
        "conv_gradient",
        {"n_sites": n_sites, "n_outputs": n_outputs, "n_samples": n},
        reference="stored patch kernels, automatic differentiation of a dense normal density",
        unit="s per value and gradient",
        own_s=own_s,
        reference_s=peer_s,
        compile_s=compile_s,
        difference=jnp.max(jnp.abs(symmetric)) / jnp.max(jnp.abs(theirs)),
        tolerance=1e-9,
        memory_gb=[data.patches.nbytes / 1e9, kernels.nbytes / 1e9],
    )


BENCHMARKS = {"conv_gradient": gradient}

if __name__ == "__main__":
    jax.config.update("jax_enable_compilation_cache", False)  # else compile_s is a lookup
    raise SystemExit(harness.main("deep_linear_conv", BENCHMARKS, __doc__))
