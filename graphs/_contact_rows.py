"""Rows of contacts as one sorted integer key each: labels to indices, repeats to one row."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

MAX_DAYS = 2**15 - 1
_CHUNK = 1 << 22


def numbered(
    source: ArrayLike, target: ArrayLike, n_people: int | None
) -> tuple[NDArray[Any], NDArray[Any], Sequence[Hashable]]:
    """Return the indices of sources and of targets, and the people by index.

    Integers from 0 to ``n_people - 1`` (without it: if none below the largest is missing) are the
    indices; all other labels are numbered as they first appear, the source of a row first.

    Raises
    ------
    TypeError, ValueError
        If the lengths differ, a label is a float, missing or not hashable, or does not fit
        ``n_people``.
    """
    ends = [_labels("source", source), _labels("target", target)]
    if len(ends[0]) != len(ends[1]):
        raise ValueError(f"target: expected {len(ends[0])} rows as in source, got {len(ends[1])}")
    if not len(ends[0]):
        if n_people is None:
            raise ValueError("n_people: expected the number of people, since there is no contact")
        empty = np.empty(0, np.int32)
        return empty, empty, range(n_people)
    if all(isinstance(end, np.ndarray) for end in ends):
        return _numbered_integers(np.asarray(ends[0]), np.asarray(ends[1]), n_people)
    index: dict[Hashable, int] = {}
    codes = np.empty((2, len(ends[0])), np.int32)
    for row, pair in enumerate(zip(*ends)):
        for side, label in enumerate(pair):
            if label is None or label != label:
                raise ValueError(f"source, target: expected labels, got {label!r} at row {row}")
            try:
                codes[side, row] = index.setdefault(label, len(index))
            except TypeError as fault:
                raise TypeError(
                    f"source, target: expected hashable labels, got {label!r:.60} at row {row}"
                ) from fault
    people = tuple(index)
    _check_count(n_people, len(people))
    return codes[0], codes[1], people


def whole_days(day: ArrayLike, n_rows: int, n_days: int | None) -> tuple[NDArray[Any], int]:
    """Return the days as an integer vector and the number of days, at least 1.

    Raises
    ------
    TypeError, ValueError
        If a day is not a whole number from 0 to ``n_days - 1``, the length is wrong, or there are
        more days than fit.
    """
    array = np.asarray(day)
    if array.shape != (n_rows,):
        raise ValueError(f"day: expected {n_rows} rows as in source, got shape {array.shape}")
    if n_rows == 0:
        if n_days is None:
            raise ValueError("n_days: expected the number of days, since there is no contact")
        return np.empty(0, np.int16), n_days
    if array.dtype.kind not in "iuf":
        raise TypeError(f"day: expected integers, got {day!r:.60}")
    if array.dtype.kind == "f" and (array != np.floor(array)).any():
        row = int(np.argmax(array != np.floor(array)))
        raise ValueError(f"day: expected whole days, got {array[row]} at row {row}")
    if array.min() < 0:
        row = int(np.argmax(array < 0))
        raise ValueError(f"day: expected days of at least 0, got {array[row]} at row {row}")
    limit = MAX_DAYS if n_days is None else n_days
    if array.max() >= limit:
        row = int(np.argmax(array >= limit))
        name = "the largest" if n_days is None else "n_days ="
        raise ValueError(f"day: expected days below {name} {limit}, got {array[row]} at row {row}")
    whole = array.astype(np.int16) if array.dtype.kind == "f" else array
    return whole, int(array.max()) + 1 if n_days is None else n_days


def checked_probability(name: str, value: ArrayLike, n_rows: int) -> Floats:
    """Return probabilities as float64, ``(n_rows,)``, or ``()`` where all are one number.

    Raises
    ------
    TypeError, ValueError
        If they are not numbers in [0, 1], or neither one nor one for each row.
    """
    try:
        prob = np.asarray(value, np.float64)
    except (TypeError, ValueError) as fault:
        raise TypeError(f"{name}: expected numbers, got {value!r:.60}") from fault
    if prob.ndim and prob.shape != (n_rows,):
        raise ValueError(f"{name}: expected one number or {n_rows}, got shape {prob.shape}")
    wrong = ~((prob >= 0.0) & (prob <= 1.0))
    if wrong.any():
        row = int(np.argmax(wrong))
        place = f" at row {row}" if prob.ndim else ""
        raise ValueError(f"{name}: expected a probability in [0, 1], got {prob.flat[row]}{place}")
    if prob.ndim and n_rows and (prob == prob[0]).all():
        return prob[0].reshape(())
    return prob


def check_self_contacts(
    source: NDArray[Any], target: NDArray[Any], people: Sequence[Hashable]
) -> None:
    """Raise ``ValueError`` if somebody meets itself."""
    same = source == target
    if same.any():
        row = int(np.argmax(same))
        label = people[int(source[row])]
        raise ValueError(
            f"source, target: expected two different people, got {label!r} twice at row {row}"
        )


def pair_key(
    one: NDArray[Any], other: NDArray[Any], day: NDArray[Any] | int, n_people: int, n_days: int
) -> Integers:
    """Return ``(smaller * n_people + larger) * n_days + day`` for each row, ``(n_rows,)``.

    Raises
    ------
    ValueError
        If people and days are too many for 62 bits.
    """
    if n_people**2 * n_days >= 2**62:
        raise ValueError(
            f"n_people, n_days: expected n_people**2 * n_days below 2**62, got {n_people}, {n_days}"
        )
    key = np.minimum(one, other).astype(np.int64)
    key *= n_people
    key += np.maximum(one, other)
    key *= n_days
    key += day
    return key


def split_key(
    key: Integers, n_people: int, n_days: int
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int16]]:
    """Return the smaller index, the larger index and the day of each key."""
    first, second = np.empty(len(key), np.int32), np.empty(len(key), np.int32)
    day = np.empty(len(key), np.int16)
    for start in range(0, len(key), _CHUNK):  # temporaries of 64 bits stay small
        rows = slice(start, start + _CHUNK)
        pair = key[rows] // n_days
        day[rows] = key[rows] - pair * n_days
        first[rows] = pair // n_people
        second[rows] = pair - first[rows].astype(np.int64) * n_people
    return first, second, day


def different_pairs(one: Integers, other: Integers, n_people: int) -> Integers:
    """Return the sorted keys of the different pairs, without those of one person."""
    key = pair_key(one, other, 0, n_people, 1)[one != other]
    key.sort()
    return key[np.diff(key, prepend=-1) > 0]


def pairs_within(group: Integers, n_people: int) -> tuple[Integers, Integers]:
    """Return all pairs of people of one group as sorted keys, and the size of their group."""
    if len(group) != n_people:
        raise ValueError(f"groups: expected {n_people} people, got {len(group)}")
    members = np.flatnonzero(group >= 0)
    members = members[np.argsort(group[members], kind="stable")]
    _, sizes = np.unique(group[members], return_counts=True)
    ends = np.repeat(np.cumsum(sizes), sizes)
    n_later = ends - np.arange(len(members)) - 1  # each member with those behind it
    one = np.repeat(np.arange(len(members)), n_later)
    behind = np.arange(len(one)) - np.repeat(np.cumsum(n_later) - n_later, n_later)
    key = pair_key(members[one], members[one + 1 + behind], 0, n_people, 1)
    order = np.argsort(key)
    return key[order], np.repeat(np.repeat(sizes, sizes), n_later)[order]


def combined(key: Integers, prob: Floats) -> tuple[Integers, Floats]:
    """Return the sorted unique keys and the probability that one of the rows of each transmits.

    ``key`` is overwritten where all rows have one probability. A single row keeps its number, and
    the probabilities stay one number ``()`` where they can.
    """
    if prob.ndim:
        order = np.argsort(key, kind="stable")
        key, prob = key[order], prob[order]
    else:
        key.sort()
    repeated = key[1:] == key[:-1]
    if not repeated.any():
        return key, prob
    starts = np.flatnonzero(np.concatenate([[True], ~repeated]))
    counts = np.diff(starts, append=len(key))
    with np.errstate(divide="ignore"):
        escape = np.log1p(-prob)
    if prob.ndim:
        logs, single = np.add.reduceat(escape, starts), prob[starts]
    else:
        logs, single = escape * counts, np.broadcast_to(prob, counts.shape)
    return key[starts], np.where(counts == 1, single, -np.expm1(logs))


def two_ways(key: Integers, prob: Floats) -> tuple[Integers, Floats, Floats]:
    """Return unique keys with the probabilities forward (even ``key``) and backward (odd)."""
    pair, odd = key >> 1, (key & 1).astype(bool)
    new = np.ones(len(pair), bool)
    np.not_equal(pair[1:], pair[:-1], out=new[1:])
    place = np.cumsum(new) - 1
    n_pairs = int(new.sum())
    row_prob = np.broadcast_to(prob, len(key))
    forward, backward = np.zeros(n_pairs), np.zeros(n_pairs)
    forward[place[~odd]] = row_prob[~odd]
    backward[place[odd]] = row_prob[odd]
    return pair[new], forward, backward


def shared(forward: Floats, backward: Floats) -> tuple[Floats, Floats]:
    """Return views of one number if all probabilities are equal, the arrays themselves if not."""
    if len(forward) and all((prob == forward[0]).all() for prob in (forward, backward)):
        view = np.broadcast_to(forward[0], len(forward))
        return view, view
    return forward, backward


def _labels(name: str, value: ArrayLike) -> NDArray[Any] | list[Hashable]:
    """Return integers as an array, other labels as a list."""
    if isinstance(value, np.ndarray):
        array = value
    else:  # an array made of text and numbers would turn the numbers into text
        labels = list(value) if isinstance(value, Iterable) else [value]
        if all(type(label) is int for label in labels):
            array = np.array(labels, np.int64)
        else:
            array = np.empty(len(labels), object)
            array[:] = labels
    if array.ndim != 1:
        raise ValueError(f"{name}: expected a vector of labels, got shape {array.shape}")
    if array.dtype.kind in "iu":
        return array
    if array.dtype.kind in "fcb" or any(isinstance(label, float) for label in array):
        raise TypeError(f"{name}: expected integers or text as labels, got {value!r:.60}")
    return array.tolist()


def _numbered_integers(
    source: NDArray[Any], target: NDArray[Any], n_people: int | None
) -> tuple[NDArray[Any], NDArray[Any], Sequence[Hashable]]:
    lowest = min(int(source.min()), int(target.min()))
    highest = max(int(source.max()), int(target.max()))
    if n_people is not None:
        if lowest < 0 or highest >= n_people:
            outside = np.flatnonzero(
                (source < 0) | (source >= n_people) | (target < 0) | (target >= n_people)
            )
            row = int(outside[0])
            raise ValueError(
                f"source, target: expected integers from 0 to n_people - 1 = {n_people - 1}, got "
                f"{source[row]} and {target[row]} at row {row}"
            )
        return source, target, range(n_people)
    if lowest == 0 and highest < 2 * len(source):
        seen = np.zeros(highest + 1, bool)
        seen[source] = True
        seen[target] = True
        if seen.all():
            return source, target, range(highest + 1)
    labels, first_place, place = np.unique(
        np.stack([source, target], axis=1).ravel(), return_index=True, return_inverse=True
    )
    order = np.argsort(first_place)
    rank = np.empty(len(order), np.int32)
    rank[order] = np.arange(len(order))
    codes = rank[place.reshape(-1, 2)]
    return codes[:, 0], codes[:, 1], tuple(labels[order].tolist())


def _check_count(n_people: int | None, n_labels: int) -> None:
    if n_people is not None and n_people != n_labels:
        raise ValueError(
            f"n_people: expected {n_labels}, the number of different labels, got {n_people}"
        )
