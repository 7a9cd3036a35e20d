"""Everything that differs between ArviZ 0.2x and 1.x, in one place.

"ArviZ data container" means whatever the installed ArviZ uses, ``InferenceData`` or
``xarray.DataTree``; code that follows the functions below never asks which.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .checks import Floats, finite_array
from .status import Status

_MAJOR = int(version("arviz").split(".")[0])

MIN_DRAWS = 8
"""Fewest draws a chain from which :func:`diagnostics` are computed."""

MOST_R_HAT = 1.05
"""Chains with a larger R-hat have not converged to one law."""

_MIN_TAIL = 5  # weights; ArviZ fits no fewer
_FLAT = 1e-8  # log weights that differ less are equal: rounding of differences of log densities


class Diagnostics(NamedTuple):
    """How well the mean of Markov chain draws is known; arrays of the shape of one draw."""

    mean: Floats
    """Mean over chains and draws."""
    mcse: Floats
    """Monte Carlo standard error of ``mean``."""
    ess: Floats
    """Bulk effective sample size."""
    r_hat: Floats
    """Rank-normalised split R-hat, the larger of bulk and folded."""


def to_arviz(
    source: Any,
    *,
    sample_stats: Mapping[str, ArrayLike] | None = None,
    log_likelihood: Mapping[str, ArrayLike] | None = None,
    coords: Mapping[str, Sequence[Any]] | None = None,
    dims: Mapping[str, Sequence[str]] | None = None,
) -> Any:
    """Wrap draws as an ArviZ data container.

    Parameters
    ----------
    source
        A NumPyro ``MCMC`` that has run, a mapping from names to posterior draws
        ``(chain, draw, ...)``, or the result of one of our samplers. Of an MCMC run every extra
        field that it collected becomes a sample statistic; the pointwise log-likelihood is never
        computed. A result of ours has a method of this name, which names its variables.
    sample_stats
        Statistics ``(chain, draw, ...)`` to go with a mapping, such as ``{"lp": ...}``.
    log_likelihood
        Of every observation ``(chain, draw, ...)``, to go with a mapping: what ``arviz.loo`` needs.
    coords
        Labels of the named dimensions.
    dims
        Names of the dimensions behind ``(chain, draw)``, by variable.

    Returns
    -------
    ArviZ data container
        With group ``posterior``, and ``sample_stats`` and ``log_likelihood`` if there are any.

    Raises
    ------
    TypeError
        If ``source`` is none of these, or one of these groups comes with an MCMC run.
    ValueError
        If an MCMC has not run, a mapping is empty, or its arrays have fewer than two axes or
        differ in ``(chain, draw)``.
    """
    labels = {
        "coords": None if coords is None else {name: list(c) for name, c in coords.items()},
        "dims": None if dims is None else {name: list(d) for name, d in dims.items()},
    }
    if hasattr(source, "to_arviz"):
        if (sample_stats, log_likelihood, coords, dims) != (None,) * 4:
            raise TypeError("source: a result names its variables itself; pass nothing else")
        return source.to_arviz()
    if isinstance(source, Mapping):
        groups = {"posterior": _draw_arrays("source", source)}
        for name, group in (("sample_stats", sample_stats), ("log_likelihood", log_likelihood)):
            if group is not None:
                groups[name] = _draw_arrays(name, group)
        sizes = {array.shape[:2] for group in groups.values() for array in group.values()}
        if len(sizes) > 1:
            raise ValueError(f"source: expected one (chain, draw) for all, got {sorted(sizes)}")
        az = _import_arviz()
        with _many_short_chains():
            if _MAJOR == 0:
                return az.from_dict(**groups, **labels)
            return az.from_dict(groups, **labels)
    if not hasattr(source, "get_samples"):
        raise TypeError(
            "source: expected a NumPyro MCMC, a result of a sampler or a mapping from "
            f"names to draws, got {type(source).__name__}"
        )
    if sample_stats is not None:
        raise TypeError("sample_stats: an MCMC run brings its own, pass them with a mapping only")
    if log_likelihood is not None:
        raise TypeError("log_likelihood: expected it with a mapping only, not with an MCMC run")
    if source.last_state is None:
        raise ValueError("source: this MCMC has no draws yet; call its run first")
    az = _import_arviz()
    with _many_short_chains():
        data = az.from_numpyro(source, log_likelihood=False, **labels)
    energy = source.get_extra_fields(group_by_chain=True).get("potential_energy")
    if energy is not None:
        # the log density; up to ArviZ 0.22 and in 1.0 it arrives with the sign of the energy
        lp = data["sample_stats"]["lp"]
        data["sample_stats"]["lp"] = lp.copy(data=-np.asarray(energy))
    return data


def posterior_array(data: Any, name: str) -> NDArray[Any]:
    """Return the posterior draws of one variable.

    Parameters
    ----------
    data
        An ArviZ data container.
    name
        The variable.

    Returns
    -------
    ndarray
        Draws ``(chain, draw, ...)`` in the dtype of the container.

    Raises
    ------
    ValueError
        If there is no such variable; the message lists those there are.
    """
    posterior = data["posterior"]
    known = sorted(map(str, posterior.data_vars))
    if name not in known:
        raise ValueError(f"name: expected one of {', '.join(known)}; got {name!r}")
    return np.asarray(posterior[name].transpose("chain", "draw", ...).values)


def diagnostics(draws: ArrayLike, *, name: str = "draws") -> Diagnostics:
    """Return mean, Monte Carlo error, effective sample size and R-hat of every element.

    Parameters
    ----------
    draws
        Finite numbers ``(chain, draw, ...)`` with at least ``MIN_DRAWS`` draws a chain.
    name
        How error messages call ``draws``.

    Returns
    -------
    Diagnostics
        Four float64 arrays of shape ``draws.shape[2:]``.

    Raises
    ------
    TypeError
        If ``draws`` are not numbers.
    ValueError
        If an entry is NaN or infinite, or there are too few axes or draws.

    Notes
    -----
    Bulk effective sample size, Monte Carlo standard error of the mean and rank-normalised split
    R-hat of Vehtari et al. (arXiv:1903.08008), as ArviZ computes them, with three additions.
    An element whose draws are all equal tells nothing about mixing: its ``mcse``, ``ess`` and
    ``r_hat`` are NaN (ArviZ: ``ess`` = number of draws, ``mcse`` = 0), which fails every
    threshold of :mod:`inference.comparison`. Draws are brought to unit range first, because ArviZ
    takes any range below 1e-15 for constant. The R-hat of a single chain compares its two halves
    as if they were two chains (ArviZ: NaN).

    About a millisecond an element for 1000 draws.
    """
    values = finite_array(name, draws, ndim=max(2, np.ndim(draws)))
    if values.shape[1] < MIN_DRAWS:
        raise ValueError(
            f"{name}: expected at least {MIN_DRAWS} draws a chain as (chain, draw, ...), "
            f"got shape {values.shape}"
        )
    az = _import_arviz()
    elements = values.reshape(*values.shape[:2], -1)
    mcse, ess, r_hat = (np.full(elements.shape[2], np.nan) for _ in range(3))
    for i in range(elements.shape[2]):
        element = elements[:, :, i]
        low = element.min()
        width = element.max() - low
        if width == 0:
            continue
        unit = (element - low) / width
        # item: beside Numba ArviZ 0.23 makes an array of one number
        mcse[i] = width * np.asarray(az.mcse(unit)).item()
        ess[i] = np.asarray(az.ess(unit)).item()
        with np.errstate(divide="ignore", invalid="ignore"):  # chains that never moved: infinity
            r_hat[i] = np.asarray(az.rhat(unit if len(unit) > 1 else _halves(unit))).item()
    shape = values.shape[2:]
    return Diagnostics(
        np.asarray(values.mean(axis=(0, 1))),
        mcse.reshape(shape),
        ess.reshape(shape),
        r_hat.reshape(shape),
    )


def status_of_r_hat(r_hat: float) -> Status:
    """Return CONVERGED if an R-hat is at most `MOST_R_HAT`, else (or if it is NaN) MAX_STEPS."""
    return Status.CONVERGED if r_hat <= MOST_R_HAT else Status.MAX_STEPS


def pareto_smooth(log_weights: ArrayLike) -> tuple[Floats, float]:
    """Smooth the largest importance weights and judge all of them.

    Parameters
    ----------
    log_weights
        Finite log weights ``(n,)`` of independent draws, up to a common constant.

    Returns
    -------
    log_weights : ndarray
        Smoothed log weights ``(n,)``, normalised: their exponentials sum to one.
    k : float
        Shape of the generalised Pareto distribution fitted to the largest weights. Below 0.5 the
        weighted means obey a central limit theorem, above 0.7 they are not to be trusted. Never
        NaN: ``-inf`` if the largest fifth of the weights (or largest ``3 sqrt(n)``) are equal,
        as for a proposal that is the target (no tail, nothing to smooth); ``+inf`` if no
        distribution can be fitted, above all for fewer than 25 weights, or when a few weights
        dwarf all others beyond the range of a float.

    Raises
    ------
    TypeError
        If ``log_weights`` are not numbers.
    ValueError
        If they are not a vector of finite numbers.

    Notes
    -----
    Vehtari, Simpson, Gelman, Yao and Gabry, arXiv:1507.02646, by ArviZ. The two major versions of
    ArviZ may take tails that differ by one weight, so ``k`` agrees to a few per cent between them.
    """
    raw = finite_array("log_weights", log_weights, ndim=1)
    raw = raw - raw.max()
    plain: Floats = raw - np.log(np.exp(raw).sum())
    n_tail = int(min(len(raw) / 5, 3 * len(raw) ** 0.5))
    if n_tail < _MIN_TAIL:
        return plain, np.inf
    smallest_of_tail = np.partition(raw, -n_tail)[-n_tail]
    if -smallest_of_tail <= _FLAT:  # the largest is zero
        return plain, -np.inf
    with np.errstate(all="ignore"):  # underflow, or a degenerate fit: both end as k = inf below
        smoothed, k = _psislw(raw)
    if np.isnan(k) or not np.isfinite(smoothed).all():
        return plain, np.inf
    return smoothed, k


def read_netcdf(path: str | os.PathLike[str]) -> Any:
    """Read an ArviZ data container into memory and close the file.

    :func:`inference.storage.load` checks the file first; call that one.
    """
    if _MAJOR == 0:
        az = _import_arviz()
        with az.rc_context({"data.load": "eager"}):
            return az.from_netcdf(os.fspath(path), engine="h5netcdf")
    import xarray

    with xarray.open_datatree(path, engine="h5netcdf") as tree:
        return tree.load()


def _psislw(log_weights: Floats) -> tuple[Floats, float]:
    if _MAJOR == 0:
        smoothed, k = _import_arviz().psislw(log_weights)
    else:
        # from 1.0 on the argument is a log-likelihood, the negative of a log weight
        stats = importlib.import_module("arviz_stats.base").array_stats
        smoothed, k = stats.psislw(-log_weights)
    return np.asarray(smoothed, dtype=np.float64), float(k)


def _halves(chain: Floats) -> Floats:
    """Cut one chain ``(1, n)`` into two ``(2, n // 2)``, without the middle draw of an odd n."""
    half = chain.shape[1] // 2
    return np.concatenate([chain[:, :half], chain[:, -half:]])


def _draw_arrays(name: str, draws: Mapping[str, ArrayLike]) -> dict[str, NDArray[Any]]:
    if not draws:
        raise ValueError(f"{name}: expected at least one variable, got an empty mapping")
    arrays = {variable: np.asarray(array) for variable, array in draws.items()}
    for variable, array in arrays.items():
        if array.ndim < 2:
            raise ValueError(
                f"{name}: expected draws (chain, draw, ...) of {variable!r}, "
                f"got shape {array.shape}"
            )
    return arrays


def _import_arviz() -> Any:
    """Import ArviZ late (seconds) and without the announcement that 0.23 makes once a day."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"\s*ArviZ is undergoing", FutureWarning)
        return importlib.import_module("arviz")


@contextlib.contextmanager
def _many_short_chains() -> Iterator[None]:
    """Silence the guess that the two leading axes were swapped: many short chains are normal."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "More chains", UserWarning)
        warnings.filterwarnings("ignore", "Found chain dimension to be longer", UserWarning)
        yield
