"""Eager checks of user input: each raises at once and says what, got, expected, hint."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Spins = NDArray[np.int8]


def finite_array(name: str, value: ArrayLike, *, ndim: int | tuple[int, ...]) -> Floats:
    """Return ``value`` as a float64 array with an allowed number of axes and no NaN or infinity.

    Raises
    ------
    TypeError
        If ``value`` is not numeric.
    ValueError
        If the number of axes is wrong, an axis is empty, or an entry is not finite (the message
        names the first such entry).
    """
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as fault:
        raise TypeError(f"{name}: expected an array of numbers, got {value!r:.60}") from fault
    allowed = (ndim,) if isinstance(ndim, int) else ndim
    if array.ndim not in allowed:
        expected = " or ".join(f"{n}-dimensional" for n in allowed)
        raise ValueError(f"{name}: expected a {expected} array, got shape {array.shape}")
    if array.size == 0:
        raise ValueError(f"{name}: expected at least one entry, got shape {array.shape}")
    if not np.isfinite(array).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise ValueError(
            f"{name}: expected finite numbers, got {array[where]} at index {where}; "
            "drop or impute missing values first"
        )
    return array


def plus_minus_one(name: str, value: ArrayLike, *, ndim: int) -> Spins:
    """Return a copy of ``value`` as int8 if it is an array of ±1 with ``ndim`` axes.

    Raises
    ------
    TypeError
        If ``value`` is not numeric.
    ValueError
        If rows differ in length, the number of axes is wrong, or an entry is not ±1 (the message
        names the first such one).
    """
    try:
        array = np.asarray(value)
    except ValueError as fault:
        raise ValueError(f"{name}: expected rows of equal length, got {value!r:.60}") from fault
    if array.dtype.kind not in "iuf":
        raise TypeError(f"{name}: expected an array of ±1, got {value!r:.60}")
    if array.ndim != ndim:
        raise ValueError(f"{name}: expected a {ndim}-dimensional array, got shape {array.shape}")
    # integers, of which there may be many, without a mask of their size
    whole = array.dtype.kind in "iu" and array.size
    good = (
        whole and array.min() >= -1 and array.max() <= 1 and np.count_nonzero(array) == array.size
    )
    wrong = np.zeros(1, bool) if good else (array != 1) & (array != -1)
    if wrong.any():
        where = tuple(int(i) for i in np.argwhere(wrong)[0])
        place = where[0] if ndim == 1 else where
        raise ValueError(f"{name}: expected +1 or -1, got {array[where]} at index {place}")
    return np.array(array, dtype=np.int8, order="C")


def positive_semidefinite(name: str, value: ArrayLike, *, tol: float = 1e-8) -> Floats:
    """Return ``value`` as a symmetric float64 matrix without negative eigenvalues.

    Parameters
    ----------
    name
        Argument name for the message.
    value
        Square matrix.
    tol
        Asymmetry and negative eigenvalues up to this share of the largest entry are rounding.

    Raises
    ------
    TypeError, ValueError
        As `finite_array`, or if the matrix is not square, symmetric, positive semi-definite.
    """
    matrix = finite_array(name, value, ndim=2)
    if matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"{name}: expected a square matrix, got shape {matrix.shape}")
    scale = float(np.abs(matrix).max())
    asymmetry = float(np.abs(matrix - matrix.T).max())
    if asymmetry > tol * scale:
        raise ValueError(
            f"{name}: expected a symmetric matrix, got entries that differ by {asymmetry:.3g}; "
            "symmetrise it with (k + k.T) / 2 if that is rounding"
        )
    matrix = (matrix + matrix.T) / 2
    lowest = float(np.linalg.eigvalsh(matrix)[0])
    if lowest < -tol * scale:
        raise ValueError(
            f"{name}: expected a positive semi-definite matrix, got the eigenvalue {lowest:.6g}"
        )
    return matrix


def positive(name: str, value: float, *, allow_inf: bool = False) -> float:
    """Return ``value`` as a float if it is positive (and finite, unless ``allow_inf``).

    Raises
    ------
    TypeError
        If ``value`` is not a number.
    ValueError
        If it is not positive, is NaN, or is infinite where that has no meaning.
    """
    try:
        number = float(value)
    except (TypeError, ValueError) as fault:
        raise TypeError(f"{name}: expected a positive number, got {value!r}") from fault
    if not number > 0 or (math.isinf(number) and not allow_inf):
        bound = "a positive number" if allow_inf else "a positive finite number"
        raise ValueError(f"{name}: expected {bound}, got {number}")
    return number


def at_least_zero(name: str, value: float) -> float:
    """Return ``value`` as a float if it is finite and not negative.

    Raises
    ------
    TypeError
        If ``value`` is not a number.
    ValueError
        If it is negative, infinite or NaN.
    """
    try:
        number = float(value)
    except (TypeError, ValueError) as fault:
        raise TypeError(f"{name}: expected a number, got {value!r}") from fault
    if not 0.0 <= number < math.inf:
        raise ValueError(f"{name}: expected a finite number of at least 0, got {value!r}")
    return number


def positive_int(name: str, value: int) -> int:
    """Return ``value`` as an int if it is a whole number of at least 1.

    Raises
    ------
    ValueError
        If it is smaller than 1 or not an integer (a float is refused even if it is whole).
    """
    try:
        number = 0 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = 0
    if number < 1:
        raise ValueError(f"{name}: expected an integer of at least 1, got {value!r}")
    return number


def one_of(name: str, value: str, allowed: Sequence[str]) -> None:
    """Raise ``ValueError`` unless ``value`` is one of ``allowed``."""
    if value not in allowed:
        raise ValueError(f"{name}: expected one of {', '.join(allowed)}; got {value!r}")


def same_length(name: str, got: int, reference: str, expected: int) -> None:
    """Raise ``ValueError`` unless two related axes have one length."""
    if got != expected:
        raise ValueError(f"{name}: expected {expected} rows as in {reference}, got {got}")


def distributions(name: str, value: ArrayLike, *, ndim: int) -> Floats:
    """Return probability distributions along the last axis, as doubles.

    Raises
    ------
    TypeError, ValueError
        If the value is not finite or of other dimensions, negative, or off 1 by more than 1e-8.
    """
    prob = finite_array(name, value, ndim=ndim)
    if (prob < 0).any():
        raise ValueError(f"{name}: expected probabilities, got {prob.min():g}")
    total = np.atleast_1d(prob.sum(axis=-1))
    worst = total[np.abs(total - 1.0).argmax()]
    if abs(worst - 1.0) > 1e-8:
        raise ValueError(f"{name}: expected probabilities that sum to 1, got a sum of {worst:g}")
    return prob
