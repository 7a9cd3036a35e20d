"""Gaussian scale mixtures: Gaussian processes whose covariance is multiplied by a random scale.

``s | q ~ N(0, q K)`` for a scalar scale, ``S | Q ~ N(0, Q (x) K)`` for a matrix one: rows share the
kernel ``K``, columns the scale ``Q``.
"""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike
from numpyro import distributions as dist

from .checks import positive_semidefinite

_RANK_TOLERANCE = 1e-12  # eigenvalues below this share of the largest are rounding


class GaussianScaleMixture(dist.Distribution):  # type: ignore[misc]
    """Function values under a random scale, as a NumPyro distribution.

    Parameters
    ----------
    mixing
        NumPyro distribution of the scale: event shape ``()`` gives events ``(n,)``, event shape
        ``(D, D)`` (symmetric positive) gives events ``(n, D)``. Its ``mean`` gives the variance.
        A method ``log_gaussian_average(rho, n)``, the logarithm of
        ``E_q (2 pi q)^(-n/2) exp(-rho / 2q)``, makes ``log_prob`` exact.
    kernel
        ``K``, ``(n, n)``, symmetric positive semi-definite.

    Raises
    ------
    ValueError
        If shapes do not fit, or the kernel is not symmetric positive semi-definite.
    """

    reparametrized_params: ClassVar[list[str]] = []
    pytree_data_fields = ("mixing", "kernel", "_factor")

    def __init__(
        self,
        mixing: dist.Distribution,
        kernel: ArrayLike,
        *,
        validate_args: bool | None = None,
    ) -> None:
        gram = positive_semidefinite("kernel", kernel)
        values, vectors = np.linalg.eigh(gram)
        shape = tuple(mixing.event_shape)
        if shape and (len(shape) != 2 or shape[0] != shape[1]):
            raise ValueError(f"mixing: expected event shape () or (D, D), got {shape}")
        self.mixing = mixing
        self.kernel = jnp.asarray(gram)
        # NumPy, so that its rank can be judged while a compiled function is traced
        self._factor = vectors * np.sqrt(np.maximum(values, 0.0))
        super().__init__((), (gram.shape[0], *shape[1:]), validate_args=validate_args)

    @property
    def support(self) -> Any:
        """All real vectors or matrices of the event shape."""
        return dist.constraints.real_vector if self.event_dim == 1 else dist.constraints.real_matrix

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> jax.Array:
        """Draw function values, ``sample_shape + event_shape``."""
        scale_key, value_key = jax.random.split(key)
        scale = self.mixing.sample(scale_key, sample_shape)
        normal = jax.random.normal(value_key, (*sample_shape, *self.event_shape))
        if self.event_dim == 1:
            return jnp.sqrt(scale)[..., None] * (normal @ self._factor.T)
        values, vectors = jnp.linalg.eigh(scale)
        root = vectors * jnp.sqrt(jnp.maximum(values, 0.0))[..., None, :]
        return self._factor @ normal @ jnp.swapaxes(root, -1, -2)

    def log_prob(self, value: jax.Array) -> jax.Array:
        """Return the exact log-density of events ``(..., n)`` or ``(..., n, 1)``.

        Raises
        ------
        NotImplementedError
            If the density has no closed form: the scale is a matrix, or its law has no
            ``log_gaussian_average``.
        ValueError
            If the kernel is singular.
        """
        average = getattr(self.mixing, "log_gaussian_average", None)
        if average is None or (self.event_dim == 2 and self.event_shape[1] > 1):
            raise NotImplementedError(
                "log_prob: this scale mixture has no closed density; sample the scale as a latent "
                "variable and condition on it, or use an evidence by quadrature or sampling"
            )
        n = self.event_shape[0]
        eigenvalues = (self._factor**2).sum(axis=0)
        if (
            not isinstance(eigenvalues, jax.core.Tracer)  # data of a compiled function's argument
            and eigenvalues[0] <= _RANK_TOLERANCE * eigenvalues[-1]
        ):
            raise ValueError(
                "kernel: expected full rank for a density, got a singular kernel; "
                "drop linearly dependent inputs"
            )
        flat = value[..., 0] if self.event_dim == 2 else value
        # the factor is vectors times roots of eigenvalues: its inverse needs no solve
        white = (flat @ self._factor) / eigenvalues
        log_det = jnp.sum(jnp.log(eigenvalues))
        return average(jnp.sum(white**2, axis=-1), n) - 0.5 * log_det

    @property
    def mean(self) -> jax.Array:
        """Zero, of the event shape."""
        return jnp.zeros(self.event_shape)

    @property
    def variance(self) -> jax.Array:
        """``K[i, i] E Q[d, d]``, of the event shape."""
        scale = jnp.asarray(self.mixing.mean)
        diagonal = jnp.diagonal(self.kernel)
        if self.event_dim == 1:
            return diagonal * scale
        return diagonal[:, None] * jnp.diagonal(scale)
