"""Eager checks of what constructors are handed: each message names the argument."""

from __future__ import annotations

import operator

import numpy as np
from numpy.typing import ArrayLike, NDArray

INT32_MAX = 2**31 - 1


def whole_number(name: str, value: int, *, least: int = 0, most: int = INT32_MAX) -> int:
    """Return ``value`` as an int from ``least`` to ``most``.

    Raises
    ------
    ValueError
        If it is outside or not an integer (a float is refused even if it is whole).
    """
    try:
        number = least - 1 if isinstance(value, bool | np.bool_) else operator.index(value)
    except TypeError:
        number = least - 1
    if not least <= number <= most:
        bound = f"of at least {least}" if number < least else f"of at most {most}"
        raise ValueError(f"{name}: expected an integer {bound}, got {value!r:.60}")
    return number


def integer_array(name: str, value: ArrayLike, *, ndim: int) -> NDArray[np.int64]:
    """Return ``value`` as an int64 array with ``ndim`` axes; an empty list is an integer array.

    Raises
    ------
    TypeError
        If the entries are not integers.
    ValueError
        If the number of axes is wrong or an entry does not fit.
    """
    try:
        array = np.asarray(value)
    except ValueError as fault:  # rows of different lengths
        raise ValueError(f"{name}: expected an array of integers, got {value!r:.60}") from fault
    if array.size and not np.issubdtype(array.dtype, np.integer):
        raise TypeError(f"{name}: expected an array of integers, got the type {array.dtype}")
    if array.ndim != ndim:
        raise ValueError(f"{name}: expected {ndim}-dimensional, got shape {array.shape}")
    if array.dtype == np.uint64 and array.size and int(array.max()) > np.iinfo(np.int64).max:
        raise ValueError(f"{name}: expected integers below 2**63, got {int(array.max())}")
    return array.astype(np.int64, copy=False)


def indices(name: str, value: ArrayLike, n: int, *, ndim: int = 1) -> NDArray[np.int64]:
    """Return ``value`` as an int64 array of indices from 0 to ``n - 1``.

    Raises
    ------
    TypeError, ValueError
        As `integer_array`, or if an entry is outside; the message says where the first one is.
    """
    array = integer_array(name, value, ndim=ndim)
    outside = (array < 0) | (array >= n)
    if outside.any():
        where = tuple(int(i) for i in np.argwhere(outside)[0])
        place = where[0] if ndim == 1 else where
        expected = f"an index from 0 to {n - 1}" if n else "no entry (there is nothing to index)"
        raise ValueError(f"{name}: expected {expected}, got {array[where]} at {place}")
    return array


def random_generator(seed: int | np.random.Generator) -> np.random.Generator:
    """Return the generator of a seed, or the generator itself.

    Raises
    ------
    ValueError
        If ``seed`` is neither a generator nor an integer of at least 0.
    """
    if isinstance(seed, np.random.Generator):
        return seed
    try:
        number = -1 if isinstance(seed, bool) else operator.index(seed)
    except TypeError:
        number = -1
    if number < 0:
        raise ValueError(
            f"seed: expected an integer of at least 0 or a numpy Generator, got {seed!r:.60}"
        )
    return np.random.default_rng(number)
