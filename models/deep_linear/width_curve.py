"""How the exact posterior of finite networks approaches its infinite-width limit."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import jax
import numpy as np

from inference.checks import Floats, one_of, positive, positive_int
from inference.keys import check_key
from inference.precision import require_x64
from inference.progress import progress_bar
from inference.status import OnFailure, Status

from .given import Data
from .large_deviations import minimizer
from .predictive import PosteriorResult
from .saddles import Saddle
from .solvers import Method, infinite_width, posterior
from .theory import Architecture

Scaling = Literal["feature", "lazy"]
_INTEGER_TOLERANCE = 1e-9


@dataclass(frozen=True)
class FiniteWidthCurve:
    """Exact posteriors of one network at several widths, and their limit.

    Attributes
    ----------
    sizes
        The numbers ``N``, ``(n,)``; widths are ``alpha_l N``.
    mixing_mean, mixing_sd
        Posterior mean and elementwise standard deviation of ``Q``, ``(n, m, m)``.
    mixing_error
        Standard error of the mean, ``(n, m, m)``; 0 for quadrature.
    log_evidence
        Of the problem that was solved at each ``N`` (scaled, in the feature scaling), ``(n,)``;
        NaN for NUTS.
    statuses
        How each posterior ended.
    limit
        ``Q`` at infinite width, ``(m, m)``: the minimiser of the rate, or the prior mean.
    saddle
        The minimiser in full in the feature scaling, None in the lazy one.
    posteriors
        The posteriors themselves, of the scaled data.
    """

    sizes: Floats
    mixing_mean: Floats
    mixing_sd: Floats
    mixing_error: Floats
    log_evidence: Floats
    statuses: tuple[Status, ...]
    limit: Floats
    saddle: Saddle | None
    posteriors: tuple[PosteriorResult, ...] = field(repr=False)

    @property
    def rates(self) -> Floats:
        """``-(1/N) log p(Y)`` without the Gaussian prefactor, ``(n,)``: tends to ``saddle.rate``.

        Raises
        ------
        ValueError
            In the lazy scaling, where the evidence stays finite.
        """
        if self.saddle is None:
            raise ValueError("rates: expected a curve in the feature scaling, got the lazy one")
        data = self.posteriors[0].data
        half = 0.5 * data.n_outputs * data.n_samples
        return -(self.log_evidence + half * np.log(2 * math.pi / self.sizes)) / self.sizes

    def extrapolate(self, order: int = 2) -> Floats:
        """Return ``E Q`` at infinite width from the polynomial in ``1/N`` through the widest.

        Parameters
        ----------
        order
            Degree: the ``order + 1`` largest sizes are used.

        Raises
        ------
        ValueError
            If there are too few sizes.
        """
        order = positive_int("order", order)
        if order >= len(self.sizes):
            raise ValueError(
                f"order: expected less than the number of sizes, {len(self.sizes)}, got {order}"
            )
        chosen = np.argsort(self.sizes)[-order - 1 :]
        # Lagrange's polynomial at 1/N = 0
        inverse = 1 / self.sizes[chosen]
        weights = [np.prod(np.delete(inverse, i) / (np.delete(inverse, i) - x))
                   for i, x in enumerate(inverse)]  # fmt: skip
        return np.tensordot(np.array(weights), self.mixing_mean[chosen], axes=1)


def finite_width_curve(
    data: Data,
    architecture: Any,
    beta: float,
    sizes: Sequence[float],
    *,
    scaling: Scaling = "feature",
    size: float | None = None,
    method: Method = "auto",
    key: jax.Array | None = None,
    on_failure: OnFailure = "warn",
    progress: bool | None = None,
) -> FiniteWidthCurve:
    """Return the exact posterior of ``Q`` at widths ``alpha_l N`` for several ``N``.

    Parameters
    ----------
    data, architecture, beta, size
        As in `minimizer`: the network at ``N = size``, kernel and noise before they are scaled.
    sizes
        Values of ``N``, distinct; all widths ``alpha_l N`` must be integers.
    scaling
        ``"feature"``: kernel divided by ``N``, ``beta`` multiplied, ``E Q`` tends to the minimiser
        of the rate; ``"lazy"``: as given, ``E Q`` tends to its prior mean.
    method, key, on_failure
        As in `posterior`; every size gets a key of its own.
    progress
        Whether to draw a bar over the sizes; None: if standard error is a terminal.

    Returns
    -------
    FiniteWidthCurve

    Raises
    ------
    PrecisionError
        In single precision.
    TypeError, ValueError
        If a width is not an integer, sizes repeat, or as in `posterior` and `minimizer`.

    Examples
    --------
    >>> from models.deep_linear import compress_kernel
    >>> data = compress_kernel([[1.0]], [2.0])
    >>> curve = finite_width_curve(data, Architecture((1,)), 10.0, [10, 100])
    >>> curve.mixing_mean[:, 0, 0].round(4), curve.limit.round(4)
    (array([2.4675, 2.4847]), array([[2.4866]]))
    """
    require_x64("finite_width_curve")
    one_of("scaling", scaling, ("feature", "lazy"))
    values = [positive("sizes", number) for number in sizes]
    if not values or len(set(values)) < len(values):
        raise ValueError(f"sizes: expected distinct numbers, at least one, got {list(sizes)!r}")
    key = jax.random.key(0) if key is None else key
    check_key(key)
    feature = scaling == "feature"
    saddle = minimizer(data, architecture, beta, size=size)  # also checks what it is given
    size = float(min(architecture.widths) if size is None else size)
    networks = [_resized(architecture, number, size) for number in values]
    found: list[PosteriorResult] = []
    with progress_bar(len(values), "widths", progress) as bar:
        for index, (number, network) in enumerate(zip(values, networks)):
            found.append(
                posterior(
                    scaled_data(data, number) if feature else data,
                    network,
                    beta * number if feature else beta,
                    method=method,
                    key=jax.random.fold_in(key, index),
                    on_failure=on_failure,
                    progress=False,
                )
            )
            bar.update(1)
    errors = [np.asarray(result.nodes.average(result.nodes.mixing)[1]) for result in found]
    evidence = [math.nan if r.log_evidence is None else r.log_evidence for r in found]
    if feature:
        limit = saddle.mixing
    else:
        limit = np.asarray(infinite_width(data, architecture, beta).mixing_mean)
    return FiniteWidthCurve(
        sizes=np.array(values),
        mixing_mean=np.array([result.mixing_mean for result in found]),
        mixing_sd=np.sqrt(np.array([result.mixing_variance for result in found])),
        mixing_error=np.array(errors),
        log_evidence=np.array(evidence),
        statuses=tuple(result.status for result in found),
        limit=limit,
        saddle=saddle if feature else None,
        posteriors=tuple(found),
    )


def scaled_data(data: Data, size: float) -> Data:
    """Return the data with their kernel divided by ``size``, targets unchanged.

    Together with ``size * beta`` this is the feature scaling; test points are scaled with the rest.

    Parameters
    ----------
    data
        From `compress`, `compress_kernel` or their convolutional counterparts.
    size
        The large number ``N``.

    Examples
    --------
    >>> from models.deep_linear import compress_kernel
    >>> scaled_data(compress_kernel([[1.0]], [2.0]), 4.0).eigenvalues
    Array([0.25], dtype=float64)
    """
    size = positive("size", size)
    root = math.sqrt(size)
    powers = {
        "eigenvalues": size,
        "test_features": size,
        "test_variance": size,
        "test_remainder": root,
        "patches": root,
        "test_patches": root,
    }
    given: Any = data
    scaled: dict[str, Any] = {
        name: getattr(given, name) / divisor
        for name, divisor in powers.items()
        if getattr(given, name, None) is not None
    }
    if getattr(given, "basis", None) is not None:
        scaled["basis"] = None  # it would give further test inputs the kernel before the division
    return dataclasses.replace(given, **scaled)


def _resized(architecture: Any, number: float, size: float) -> Any:
    """Return the network at ``N = number`` instead of ``size``."""
    ratio = number / size
    widths = [width * ratio for width in architecture.widths]
    whole = [round(width) for width in widths]
    for index, (width, rounded) in enumerate(zip(widths, whole)):
        if rounded < 1 or abs(width - rounded) > _INTEGER_TOLERANCE * max(1.0, width):
            raise ValueError(
                f"sizes: expected integer widths alpha * N, got {width:g} for "
                f"alpha[{index}] = {architecture.widths[index] / size:g} and N = {number:g}"
            )
    if isinstance(architecture, Architecture):
        return dataclasses.replace(architecture, widths=tuple(whole))
    if abs(ratio - round(ratio)) > _INTEGER_TOLERANCE:
        raise ValueError(f"sizes: expected multiples of {size:g}, got {number:g}")
    return architecture.widened(round(ratio))
