"""Compiled loops for what is inherently sequential and sparse, and their random numbers.

A kernel takes plain NumPy arrays and the state of its own generator, so replicas run on threads
without sharing anything. Kernel and helpers stay in one folder: the cache of compiled code notices
changes of any module there, and of this one, but of no other.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

F = TypeVar("F", bound=Callable[..., Any])

RandomState = NDArray[np.uint64]

_LOG2_E = 1.0 / math.log(2.0)
_LN2_HIGH, _LN2_LOW = 0.6931471803691238, 1.9082149292705877e-10
"""Their sum is ln 2; the first has so few bits that small multiples of it are exact."""
_NO_TANH = 700.0
"""Where exp(-y) nears underflow."""
_SQRT_HALF = math.sqrt(0.5)
_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)
_DEEP_TAIL = -35.0
"""Where erfc nears underflow and four terms of its asymptotic series are exact to rounding."""


def kernel(function: F) -> F:
    """Compile a function without the GIL, keeping the machine code where a cache can be written.

    Numba refuses ``cache=True`` at import where no place is writable; compiling anew in every
    process is then only slower.
    """
    return _compiled(function, fastmath=False)


def reduction_kernel(function: F) -> F:
    """Compile like :func:`kernel`, and let sums be reordered, so that they run in vector registers.

    NaN and infinity keep their meaning.
    """
    return _compiled(function, fastmath={"reassoc", "contract", "nsz"})


def _compiled(function: F, *, fastmath: bool | set[str]) -> F:
    compile_kernel = functools.partial(
        numba.njit, nogil=True, error_model="numpy", fastmath=fastmath
    )
    try:
        compiled: Any = compile_kernel(cache=True)(function)
    except RuntimeError as fault:
        if "cannot cache function" not in str(fault):
            raise
        return cast(F, compile_kernel(cache=False)(function))
    index: Any = getattr(getattr(compiled, "_cache", None), "_cache_file", None)
    if not hasattr(index, "_source_stamp"):  # a Numba whose cache we do not know is not trusted
        return cast(F, compile_kernel(cache=False)(function))
    index._source_stamp = _stamp(Path(function.__code__.co_filename).parent)
    return cast(F, compiled)


@functools.cache
def _stamp(folder: Path) -> tuple[tuple[str, float, int], ...]:
    """Return what changes when a module of the folder does; Numba itself looks at one file."""
    files = [*sorted(folder.glob("*.py")), Path(__file__)]
    return tuple((str(file), file.stat().st_mtime, file.stat().st_size) for file in files)


def random_state(seed: int, stream: int = 0) -> RandomState:
    """Return the state of a xoshiro256++ generator.

    Parameters
    ----------
    seed
        Any integer from 0 to 2**64 - 1.
    stream
        Index of the replica: every pair of seed and stream has numbers of its own.

    Returns
    -------
    ndarray
        ``(4,)`` uint64, changed by :func:`next_float` in place.

    Raises
    ------
    ValueError
        If ``seed`` or ``stream`` is negative or too large.

    Notes
    -----
    The state is filled by NumPy's ``SeedSequence``; the generator is that of Blackman and Vigna,
    "Scrambled linear pseudorandom number generators", ACM TOMS 47 (2021).

    Examples
    --------
    >>> from inference.kernels import next_float, random_state
    >>> state = random_state(0)
    >>> 0 <= next_float(state) < 1
    True
    """
    for name, value in (("seed", seed), ("stream", stream)):
        if isinstance(value, bool) or not 0 <= int(value) < 2**64 or int(value) != value:
            raise ValueError(f"{name}: expected an integer from 0 to 2**64 - 1, got {value!r}")
    words = np.random.SeedSequence([int(seed), int(stream)]).generate_state(4, np.uint64)
    return words.astype(np.uint64)


@kernel
def next_bits(state: RandomState) -> Any:
    """Return 64 random bits and advance the generator in place."""
    total = state[0] + state[3]
    result = ((total << np.uint64(23)) | (total >> np.uint64(41))) + state[0]
    shifted = state[1] << np.uint64(17)
    state[2] ^= state[0]
    state[3] ^= state[1]
    state[1] ^= state[2]
    state[0] ^= state[3]
    state[2] ^= shifted
    state[3] = (state[3] << np.uint64(45)) | (state[3] >> np.uint64(19))
    return result


@kernel
def next_float(state: RandomState) -> float:
    """Return a uniform float64 in [0, 1) and advance the generator in place."""
    return (next_bits(state) >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@kernel
def log_normal_cdf(x: float) -> float:
    """Return the log of the cumulative normal distribution, accurate in both tails."""
    if x > 0.0:
        return math.log1p(-0.5 * math.erfc(x * _SQRT_HALF))
    if x > _DEEP_TAIL:
        return math.log(0.5 * math.erfc(-x * _SQRT_HALF))
    inverse = 1.0 / (x * x)
    series = inverse * (-1.0 + inverse * (3.0 + inverse * (-15.0 + inverse * 105.0)))
    return -0.5 * x * x - math.log(-x) - _HALF_LOG_2PI + math.log1p(series)


@reduction_kernel
def fill_tanh(x: Any, tanh: Any, slope: Any, scratch: NDArray[np.int64]) -> None:
    """Fill in ``tanh(x)`` and its slope ``1 - tanh(x)**2``, both without cancellation.

    Ten times faster than a loop over ``math.tanh``: nothing in it branches, so it runs in vector
    registers. All arrays are ``(n,)``, of any precision; ``scratch`` needs no content.
    """
    powers = scratch.view(np.float64)
    for i in range(x.size):
        # exp(-y) = 2**-n exp(r) with |r| <= ln(2) / 2, where the series needs thirteen terms
        y = min(2.0 * abs(np.float64(x[i])), _NO_TANH)
        n = np.int64(y * _LOG2_E + 0.5)
        scratch[i] = (np.int64(1023) - n) << np.int64(52)  # 2**-n, bit by bit
        r = n * _LN2_HIGH - y + n * _LN2_LOW
        series = 1.0 / 479001600
        series = series * r + 1.0 / 39916800
        series = series * r + 1.0 / 3628800
        series = series * r + 1.0 / 362880
        series = series * r + 1.0 / 40320
        series = series * r + 1.0 / 5040
        series = series * r + 1.0 / 720
        series = series * r + 1.0 / 120
        series = series * r + 1.0 / 24
        series = series * r + 1.0 / 6
        series = series * r + 0.5
        series = series * r + 1.0
        slope[i] = series * r + 1.0
    for i in range(x.size):
        small = slope[i] * powers[i]
        inverse = 1.0 / (1.0 + small)
        tanh[i] = (1.0 - small) * inverse if x[i] > 0 else (small - 1.0) * inverse
        slope[i] = 4.0 * small * inverse * inverse


@kernel
def shuffle(items: NDArray[Any], state: RandomState) -> None:
    """Permute a one-dimensional array in place (Fisher and Yates)."""
    for last in range(items.size - 1, 0, -1):
        chosen = int(next_float(state) * (last + 1))
        held = items[last]
        items[last] = items[chosen]
        items[chosen] = held


@kernel
def uniform(size: int, low: float, high: float, state: RandomState) -> Any:
    """Return ``size`` uniform float64 numbers in [low, high) and advance the generator in place."""
    drawn = np.empty(size)
    for place in range(size):
        drawn[place] = low + (high - low) * next_float(state)
    return drawn


@kernel
def next_normal(state: RandomState) -> float:
    """Return a standard normal number (polar method) and advance the generator in place."""
    while True:
        x = 2.0 * next_float(state) - 1.0
        y = 2.0 * next_float(state) - 1.0
        square = x * x + y * y
        if 0.0 < square < 1.0:
            return x * math.sqrt(-2.0 * math.log(square) / square)


@kernel
def log_gamma_variate(shape: float, state: RandomState) -> float:
    """Return the log of a Gamma number of unit scale, finite however small the shape.

    Marsaglia and Tsang, "A simple method for generating gamma variables", ACM TOMS 26 (2000); a
    shape below one is that of one more, times a power of a uniform number.
    """
    boost = 0.0
    if shape < 1.0:
        boost = math.log(1.0 - next_float(state)) / shape
        shape += 1.0
    d = shape - 1.0 / 3.0
    c = 1.0 / math.sqrt(9.0 * d)
    while True:
        x = next_normal(state)
        v = 1.0 + c * x
        if v <= 0.0:
            continue
        v = v * v * v
        u = 1.0 - next_float(state)
        if math.log(u) < 0.5 * x * x + d - d * v + d * math.log(v):
            return boost + math.log(d * v)


@kernel
def fill_dirichlet(shape: Any, sample: Any, state: RandomState) -> None:
    """Fill ``sample``, ``(n,)``, with a Dirichlet vector of parameters ``shape``.

    Gamma numbers are compared by their logarithms: with small parameters all of them may underflow.
    """
    top = -math.inf
    for k in range(shape.size):
        sample[k] = log_gamma_variate(shape[k], state)
        top = max(top, sample[k])
    total = 0.0
    for k in range(shape.size):
        sample[k] = math.exp(sample[k] - top)
        total += sample[k]
    for k in range(shape.size):
        sample[k] /= total
