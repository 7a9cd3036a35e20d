"""The prior over functions, an exact mixture of Gaussians, and the law of its mixing matrix."""

from __future__ import annotations

import math
from typing import ClassVar

import jax
import jax.numpy as jnp
from numpy.typing import ArrayLike
from numpyro import distributions as dist

from inference.gaussian_mixture import GaussianScaleMixture
from inference.precision import require_x64

from .coordinates import MixingCoordinates, mixing_matrix
from .theory import Architecture, log_mixing_density, log_prior_density


class MixingPrior(dist.Distribution):  # type: ignore[misc]
    """Law of the mixing matrix ``Q``, event shape ``(D, D)``; build it with `mixing_prior`."""

    support = dist.constraints.real_matrix
    reparametrized_params: ClassVar[list[str]] = []
    pytree_aux_fields = ("architecture",)

    def __init__(self, architecture: Architecture, *, validate_args: bool | None = None) -> None:
        self.architecture = architecture
        size = architecture.n_outputs
        super().__init__((), (size, size), validate_args=validate_args)

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> jax.Array:
        """Draw ``Q``, ``sample_shape + (D, D)``, through Bartlett factors of every layer."""
        coordinates = MixingCoordinates(self.architecture).sample(key, sample_shape)
        return mixing_matrix(coordinates, self.architecture)

    def log_prob(self, value: jax.Array) -> jax.Array:
        """Return the log-density of ``q`` itself (not of its logarithm), for one output.

        Raises
        ------
        NotImplementedError
            For several outputs.
        ValueError
            Where there is no density: without hidden layers (``q`` is a constant), or with one
            narrower than the outputs (``Q`` is singular).
        """
        _require_density(self.architecture)
        if self.architecture.n_outputs != 1:
            raise NotImplementedError(
                "log_prob: the product of Wishart matrices has no closed density for several "
                "outputs; sample MixingCoordinates, whose density is exact"
            )
        log_q = jnp.log(value[..., 0, 0])
        return log_mixing_density(self.architecture, log_q) - log_q

    def log_gaussian_average(self, rho: jax.Array, n: int) -> jax.Array:
        """Return ``log E_q (2 pi q)^(-n/2) exp(-rho / 2q)`` for one output, exactly."""
        require_x64("the density of the prior")
        return log_prior_density(rho, n, self.architecture)

    @property
    def mean(self) -> jax.Array:
        """``I / (lambda_1 ... lambda_L)``, ``(D, D)``."""
        return self.architecture.mean_mixing * jnp.eye(self.architecture.n_outputs)

    @property
    def variance(self) -> jax.Array:
        """Elementwise variance, ``(D, D)``, from the exact second moments."""
        u, v = self.architecture.mixing_moments()
        eye = jnp.eye(self.architecture.n_outputs)
        return eye * (u + 2 * v) + (1 - eye) * v - self.mean**2


class DeepLinearPrior(GaussianScaleMixture):
    """Function values of the network on fixed inputs; build it with `prior`."""

    @property
    def architecture(self) -> Architecture:
        """The network."""
        found: Architecture = self.mixing.architecture
        return found

    def log_prob(self, value: jax.Array) -> jax.Array:
        """Return the exact log-density of function values ``(..., n, 1)``.

        Raises
        ------
        NotImplementedError
            For several outputs.
        ValueError
            Where there is no density: the kernel is singular, or a hidden layer is narrower than
            the outputs.
        """
        _require_density(self.architecture)
        return super().log_prob(value)

    @property
    def kurtosis(self) -> jax.Array:
        """Pearson's kurtosis of every value, ``3 prod (1 + 2/N_l)``, of the event shape."""
        factor = math.prod(1 + 2 / width for width in self.architecture.widths)
        return jnp.full(self.event_shape, 3.0 * factor)

    def characteristic_function(self, t: ArrayLike) -> jax.Array:
        """Return ``E exp(i sum t S)``, real and positive, for at most one hidden layer.

        Parameters
        ----------
        t
            Frequencies, ``(n, D)``.

        Raises
        ------
        NotImplementedError
            For more than one hidden layer.
        ValueError
            If ``t`` has another shape.

        Notes
        -----
        ``det(I + T K T^T / (N_1 lambda_1))^(-N_1/2)`` with ``T = t^T`` (arXiv 2406.03260).
        """
        frequencies = jnp.asarray(t, float)
        if frequencies.shape != self.event_shape:
            raise ValueError(f"t: expected shape {self.event_shape}, got {frequencies.shape}")
        quadratic = frequencies.T @ self.kernel @ frequencies
        widths = self.architecture.widths
        if not widths:
            return jnp.exp(-0.5 * jnp.trace(quadratic))
        if len(widths) > 1:
            raise NotImplementedError(
                "characteristic_function: closed form for one hidden layer only; average "
                "exp(-tr(T Q T^T K)/2) over mixing_prior(architecture).sample for more"
            )
        shrunk = (
            jnp.eye(self.event_shape[1]) + quadratic * self.architecture.mean_mixing / widths[0]
        )
        return jnp.exp(-0.5 * widths[0] * jnp.linalg.slogdet(shrunk)[1])


def _require_density(architecture: Architecture) -> None:
    if not architecture.full_rank:
        raise ValueError(
            f"architecture: expected widths of at least {architecture.n_outputs} (the outputs) for "
            f"a density, got {architecture.widths}: Q is a product of singular Wishart matrices"
        )


def mixing_prior(architecture: Architecture) -> MixingPrior:
    """Return the law of the mixing matrix ``Q`` as a NumPyro distribution.

    Parameters
    ----------
    architecture
        The network; ``precisions[0]`` plays no part (it sits in the kernel).

    Returns
    -------
    MixingPrior
        Event shape ``(D, D)``; ``sample``, ``mean``, ``variance``, and for one output ``log_prob``.

    Examples
    --------
    >>> mixing_prior(Architecture((4, 3), n_outputs=2)).variance.round(3).tolist()
    [[1.5, 0.667], [0.667, 1.5]]
    """
    return MixingPrior(architecture)


def prior(kernel: ArrayLike, architecture: Architecture) -> DeepLinearPrior:
    """Return the exact prior over function values as a NumPyro distribution.

    Parameters
    ----------
    kernel
        ``K = X X^T / (lambda_0 N_0)``, ``(n, n)``; ``precisions[0]`` is already in it.
    architecture
        The network.

    Returns
    -------
    DeepLinearPrior
        Event shape ``(n, D)``, also for one output: ``sample``, ``mean``, ``variance``,
        ``kurtosis``, ``log_prob`` (one output: exact at any depth; several: NotImplementedError),
        ``characteristic_function`` (at most one hidden layer).

    Raises
    ------
    ValueError
        If the kernel is not a symmetric positive semi-definite matrix.

    Notes
    -----
    ``S | Q ~ N(0, Q (x) K)`` (arXiv 2406.03260). For one output the density follows from that of
    ``s^T K^{-1} s``, a product of Gammas: no integral is left. It is infinite at the origin where
    a hidden layer has at most ``n`` units; that is the law, not an overflow.

    Examples
    --------
    >>> law = prior([[1.0, 0.4], [0.4, 0.8]], Architecture((3,)))
    >>> float(law.log_prob(jnp.array([[0.5], [-0.2]])).round(6))
    -1.740866
    """
    return DeepLinearPrior(MixingPrior(architecture), kernel)
