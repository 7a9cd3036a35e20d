"""Convolutional deep linear networks: their prior, exact posterior, and NumPyro models."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from numpy.typing import ArrayLike
from numpyro import distributions as dist

from inference.precision import require_x64
from inference.status import OnFailure

from .arrays import checked_targets
from .compression import compress
from .conv_architecture import ConvArchitecture
from .conv_conditional import ConvData, checked_images, conv_data, patches
from .coordinates import MixingCoordinates, mixing_factor
from .network import collapsed_model, noise_scale
from .predictive import PosteriorResult
from .solvers import Method, posterior
from .theory import Architecture


class ConvPrior(dist.Distribution):  # type: ignore[misc]
    """Function values of a convolutional network on fixed inputs; build it with `conv_prior`.

    Parameters
    ----------
    patches
        Scaled patches ``(n, S_1, q)``.
    architecture
        The network. Event shape ``(n, D)``.
    """

    support = dist.constraints.real_matrix
    reparametrized_params: ClassVar[list[str]] = []
    pytree_data_fields = ("patches",)
    pytree_aux_fields = ("architecture",)

    def __init__(
        self,
        patches: jax.Array,
        architecture: ConvArchitecture,
        *,
        validate_args: bool | None = None,
    ) -> None:
        self.patches = patches
        self.architecture = architecture
        shape = (patches.shape[0], architecture.n_outputs)
        super().__init__((), shape, validate_args=validate_args)

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> jax.Array:
        """Draw function values, ``sample_shape + (n, D)``."""
        mixing_key, weight_key = jax.random.split(key)
        root = self.sample_root(mixing_key, sample_shape)
        shape = (*sample_shape, root.shape[-1], self.patches.shape[2])
        weights = root @ jax.random.normal(weight_key, shape, root.dtype)
        by_site = weights.reshape(*sample_shape, self.event_shape[1], -1, shape[-1])
        return jnp.einsum("nic,...dic->...nd", self.patches, by_site)

    def sample_root(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> jax.Array:
        """Draw ``F``, ``sample_shape + (D S_1, k)``: the local renormaliser is ``F F^T``."""
        coordinates = MixingCoordinates(self.architecture).sample(key, sample_shape)
        return mixing_factor(coordinates, self.architecture)

    def covariance_given(self, mixing: ArrayLike) -> jax.Array:
        """Return the covariance of the values given ``B_1``, ``(n, D, n, D)``."""
        n_outputs, n_sites = self.event_shape[1], self.patches.shape[1]
        by_pair = jnp.asarray(mixing).reshape(n_outputs, n_sites, n_outputs, n_sites)
        return jnp.einsum(
            "mic,diej,njc->mdne", self.patches, by_pair, self.patches, optimize="optimal"
        )

    @property
    def mean(self) -> jax.Array:
        """Zero, ``(n, D)``."""
        return jnp.zeros(self.event_shape)

    @property
    def variance(self) -> jax.Array:
        """Variance of every value, ``(n, D)``, exact."""
        n, n_outputs = self.event_shape
        covariance = self.covariance_given(self.architecture.mean_matrix)
        return jnp.diagonal(covariance.reshape(n * n_outputs, -1)).reshape(n, n_outputs)

    def log_prob(self, value: jax.Array) -> jax.Array:
        """Raise NotImplementedError: the mixture over ``B_1`` has no closed density."""
        raise NotImplementedError(
            "log_prob: a convolutional prior has no closed density; conv_posterior(...) gives the "
            "log evidence of noisy values"
        )

    def characteristic_function(self, t: ArrayLike) -> jax.Array:
        """Return ``E exp(i sum t S)``, real and positive, for one hidden layer.

        Parameters
        ----------
        t
            Frequencies, ``(n, D)``.

        Raises
        ------
        NotImplementedError
            For several hidden layers.
        ValueError
            If ``t`` has another shape.

        Notes
        -----
        ``E_B exp(-tr(B M)/2) = det(I + E[B] M / C_1)^(-C_1/2)`` with
        ``M[(d,i),(e,j)] = sum t_d t_e p_i . p_j``, ``B`` being Wishart (arXiv 2406.03260).
        """
        frequencies = jnp.asarray(t, float)
        if frequencies.shape != self.event_shape:
            raise ValueError(f"t: expected shape {self.event_shape}, got {frequencies.shape}")
        if len(self.architecture.layers) > 1:
            raise NotImplementedError(
                "characteristic_function: closed form for one hidden layer only"
            )
        if self.architecture.readout == "gap":  # B = Q (x) u u^T: the Wishart is over outputs
            sites = jnp.asarray(self.architecture.site_weights)
            pulled = jnp.einsum("nd,nic,i->dc", frequencies, self.patches, sites)
            scale = jnp.eye(self.event_shape[1]) / self.architecture.precisions[1]
        else:
            pulled = jnp.einsum("nd,nic->dic", frequencies, self.patches)
            pulled = pulled.reshape(-1, self.patches.shape[2])
            scale = jnp.asarray(self.architecture.mean_matrix)
        channels = self.architecture.widths[0]
        shrunk = jnp.eye(len(scale)) + scale @ pulled @ pulled.T / channels
        return jnp.exp(-0.5 * channels * jnp.linalg.slogdet(shrunk)[1])


def conv_prior(x: ArrayLike, architecture: ConvArchitecture) -> ConvPrior:
    """Return the exact prior over function values as a NumPyro distribution.

    Parameters
    ----------
    x
        Inputs, ``(n, in_channels, *input_shape)``.
    architecture
        The network.

    Returns
    -------
    ConvPrior
        Event shape ``(n, D)``: ``sample``, ``mean``, ``variance``, ``covariance_given``,
        ``sample_root``; ``characteristic_function`` for one hidden layer. No ``log_prob``.

    Raises
    ------
    TypeError, ValueError
        If the inputs do not fit the architecture or are not finite.

    Notes
    -----
    A Gaussian process given the local renormaliser ``B_1``, a chain of Wishart matrices
    (arXiv 2406.03260): channels cost nothing.

    Examples
    --------
    >>> from models.deep_linear import ConvArchitecture, ConvLayer
    >>> network = ConvArchitecture(4, (ConvLayer(2, channels=3, stride=2),))
    >>> round(float(conv_prior([[[1.0, 0.5, -0.3, 0.8]]], network).variance[0, 0]), 6)
    0.495
    """
    return ConvPrior(
        jnp.asarray(patches(checked_images("x", x, architecture), architecture)), architecture
    )


def conv_posterior(
    x: ArrayLike,
    y: ArrayLike,
    architecture: ConvArchitecture,
    beta: float,
    *,
    x_test: ArrayLike | None = None,
    method: Method = "auto",
    key: jax.Array | None = None,
    on_failure: OnFailure = "warn",
    n_draws: int = 20_000,
    progress: bool | None = None,
) -> PosteriorResult:
    """Return the exact posterior of a convolutional deep linear network.

    Parameters
    ----------
    x
        Training inputs, ``(n, in_channels, *input_shape)``.
    y
        Targets, ``(n, D)``, or ``(n,)`` for one output; centre them (the model has mean zero).
    architecture
        The network.
    beta
        Noise precision, finite.
    x_test
        Test inputs, ``(m, in_channels, *input_shape)``, for predictions.
    method, key, on_failure, n_draws, progress
        As in `posterior`; ``"quadrature"`` needs at most three free coordinates.

    Returns
    -------
    PosteriorResult
        Its ``mixing`` is the local renormaliser ``B_1``, ``(D S_1, D S_1)``, with ``S_1`` sites of
        the first hidden layer. Where nothing is local (``architecture.site_weights``) the network
        is solved as the fully connected one it equals, and ``mixing`` is its ``(D, D)`` matrix.

    Raises
    ------
    PrecisionError
        In single precision.
    TypeError, ValueError
        If shapes do not fit, an entry is not finite, or ``beta`` is not positive and finite.
    ConvergenceError
        If the status is a failure and ``on_failure="raise"``.

    Notes
    -----
    One evidence costs O((D n)^3 + (D n)^2 S_1 q), the number of coordinates is about
    ``(D S_1)^2 / 2`` a layer: meant for ``D S_1`` up to about 30 (arXiv 2406.03260).

    A hundred examples and 465 coordinates by tempering, two cores shared with other work: one
    output on 30 sites two minutes and 1 GB; three outputs on ten sites, whose covariance has three
    times the rows, 150 s a temperature (several are needed) and 0.9 GB. Set
    ``OPENBLAS_NUM_THREADS=1`` before NumPy is imported: its threads made a gradient of the second
    up to a hundred times slower.

    Examples
    --------
    >>> from models.deep_linear import ConvArchitecture, ConvLayer
    >>> network = ConvArchitecture(4, (ConvLayer(2, channels=3, stride=2),))
    >>> x = [[[1.0, 0.5, -0.3, 0.8]], [[-0.6, 0.9, 0.4, 0.1]], [[0.2, -1.1, 0.7, 0.5]]]
    >>> result = conv_posterior(x, [0.8, -0.5, 0.6], network, beta=10.0)
    >>> round(result.log_evidence, 6), result.mixing_mean.shape
    (-2.803944, (2, 2))
    """
    require_x64("conv_posterior")
    data = conv_data(x, y, architecture, x_test)
    solve: tuple[Any, Any] = (data, architecture)
    if architecture.site_weights is not None:
        solve = _fully_connected(data, architecture, architecture.site_weights)
    return posterior(
        *solve,
        beta,
        method=method,
        key=key,
        on_failure=on_failure,
        n_draws=n_draws,
        progress=progress,
    )


def _fully_connected(
    data: ConvData, architecture: ConvArchitecture, sites: np.ndarray[Any, Any]
) -> tuple[Any, Architecture]:
    """Return the fully connected problem that a network without local structure is."""
    precisions = (1.0, *architecture.precisions[1:])
    network = Architecture(architecture.widths, architecture.n_outputs, precisions)
    scale = math.sqrt(data.patches.shape[2])  # undoes the 1/sqrt(N_0) of the input layer
    train = np.einsum("i,nic->nc", sites, data.patches) * scale
    tests = None
    if data.test_patches is not None:
        tests = np.einsum("i,nic->nc", sites, data.test_patches) * scale
    return compress(train, data.targets, network, tests), network


def conv_collapsed_model(
    x: ArrayLike, y: ArrayLike, architecture: ConvArchitecture, beta: float
) -> None:
    """Sample the local renormaliser alone; weights and function values are integrated out.

    Parameters
    ----------
    x, y, architecture, beta
        As in `conv_posterior`.

    Notes
    -----
    Site ``coordinates``, factor ``evidence``, deterministic ``mixing``, ``(D S_1, D S_1)``.
    """
    collapsed_model(conv_data(x, y, architecture), architecture, beta)


def conv_weights_model(
    x: ArrayLike,
    y: ArrayLike | None,
    architecture: ConvArchitecture,
    beta: float,
    x_test: ArrayLike | None = None,
) -> None:
    """Sample every weight of the convolutional network: the reference for samplers.

    Parameters
    ----------
    x
        Inputs, ``(n, in_channels, *input_shape)``.
    y
        Targets, ``(n, D)`` or ``(n,)``; None for the prior predictive.
    architecture
        The network.
    beta
        Noise precision, finite.
    x_test
        Where ``f`` is recorded; at ``x`` if None.

    Notes
    -----
    Sites: ``w0 .. wL`` standard normal, ``w_l`` of shape ``(C_{l+1}, C_l, M_l)``, the readout
    ``(D, C_L, S_L)`` or, with global average pooling, ``(D, C_L)``; and ``y``. Deterministics:
    ``mixing``, the local renormaliser ``B_1`` that the weights realise; ``f``, ``(m, D)``.
    """
    inputs = checked_images("x", x, architecture)
    targets = None
    if y is not None:
        targets = checked_targets(y, architecture.n_outputs, inputs.shape[0], "x")
    scale = noise_scale(beta)
    fan_in = (architecture.in_channels, *architecture.widths)
    shapes: list[tuple[int, ...]] = [
        (layer.channels, fan_in[index], architecture.reads(index).shape[1])
        for index, layer in enumerate(architecture.layers)
    ]
    n_top = math.prod(architecture.site_shapes[-1])
    flat = architecture.readout == "flatten"
    shapes.append((architecture.n_outputs, fan_in[-1], *([n_top] if flat else [])))
    weights = []
    for index, shape in enumerate(shapes):
        law = dist.Normal(0, 1).expand(shape).to_event(len(shape))
        white = numpyro.sample(f"w{index}", law)
        weights.append(white / math.sqrt(architecture.precisions[index]))
    root = _upper_layers(weights, architecture)
    numpyro.deterministic("mixing", root @ root.T)

    def forward(images: Any) -> jax.Array:
        # patches hold sqrt(M_0 C_0 lambda_0), hence the white first layer
        white = weights[0] * math.sqrt(architecture.precisions[0])
        kernel = white.reshape(white.shape[0], -1)
        hidden = jnp.einsum("nic,ac->nia", patches(images, architecture), kernel)
        by_site = root.reshape(architecture.n_outputs, -1, root.shape[1])
        return jnp.einsum("nia,dia->nd", hidden, by_site)

    output = forward(inputs)
    tests = None if x_test is None else checked_images("x_test", x_test, architecture)
    numpyro.deterministic("f", output if tests is None else forward(tests))
    numpyro.sample("y", dist.Normal(output, scale).to_event(2), obs=targets)


def _upper_layers(weights: list[jax.Array], architecture: ConvArchitecture) -> jax.Array:
    """Pull the readout back to the first hidden layer, ``(D S_1, C_1)``: ``B_1 = F F^T``."""
    readout = weights[-1]
    n_top = math.prod(architecture.site_shapes[-1])
    if architecture.readout == "gap":
        pulled = jnp.repeat(readout[..., None], n_top, -1) / (n_top * math.sqrt(readout.shape[1]))
    else:
        pulled = readout / math.sqrt(n_top * readout.shape[1])
    for index in range(len(architecture.layers) - 1, 0, -1):
        kernel = weights[index]
        reads = architecture.reads(index)
        n_sites = math.prod(architecture.site_shapes[index])
        spread = jnp.einsum("dai,acm->dcim", pulled, kernel)
        spread = jnp.where(reads >= 0, spread, 0.0) / math.sqrt(kernel.shape[1] * kernel.shape[2])
        blank = jnp.zeros((*spread.shape[:2], n_sites), spread.dtype)
        pulled = blank.at[:, :, np.maximum(reads, 0)].add(spread)
    return jnp.swapaxes(pulled, 1, 2).reshape(-1, pulled.shape[1])
