"""Networks of contacts: random, on a plane, in households and workplaces, on trees.

Every ``seed`` is an integer of at least 0, or a ``numpy.random.Generator`` that is then advanced.
The draws are part of the interface: the same integer gives the same network in every version.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._checks import integer_array, random_generator, whole_number
from ._contact_rows import (
    MAX_DAYS,
    checked_probability,
    different_pairs,
    pair_key,
    pairs_within,
)
from .temporal import ContactNetwork

Seed = int | np.random.Generator
Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

REACH = 5.0
"""Distance, in units of the scale, above which nobody meets in `proximity_contacts`."""
_WORKDAYS, _WEEK = 5, 7


class Groups(NamedTuple):
    """Where people live and work."""

    household: Integers
    """``(n_people,)``, consecutive people share one."""
    workplace: Integers
    """``(n_people,)``, -1 for those without."""


def static_contacts(
    n_people: int,
    n_days: int,
    *,
    transmission_prob: float = 0.02,
    seed: Seed,
    mean_degree: int = 10,
) -> ContactNetwork:
    """Draw pairs once; they meet every day.

    Parameters
    ----------
    n_people, n_days
        Size of the network.
    transmission_prob
        Probability of each contact to transmit, either way.
    seed
        Integer or generator.
    mean_degree
        People that each person meets, before the few pairs drawn twice and the people paired with
        themselves are dropped.

    Returns
    -------
    ContactNetwork
        About ``n_people * mean_degree / 2 * n_days`` contacts.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range.

    Notes
    -----
    The configuration model: a permutation of ``mean_degree`` copies of everybody, read two by two.

    Examples
    --------
    >>> from graphs.contacts import static_contacts
    >>> static_contacts(1000, 15, seed=0).n_contacts // 15
    4963
    """
    n_people, n_days, rng = _checked(n_people, n_days, seed)
    degree = whole_number("mean_degree", mean_degree)
    stubs = rng.permutation(np.repeat(np.arange(n_people), degree))
    half = len(stubs) // 2
    pairs = different_pairs(stubs[: 2 * half : 2], stubs[1 : 2 * half : 2], n_people)
    key = (pairs[:, None] * n_days + np.arange(n_days)).ravel()
    return _network([key], transmission_prob, n_people, n_days)


def fresh_contacts(
    n_people: int,
    n_days: int,
    *,
    transmission_prob: float = 0.02,
    seed: Seed,
    mean_degree: int = 10,
) -> ContactNetwork:
    """Draw new pairs every day.

    Parameters
    ----------
    n_people, n_days, transmission_prob, seed
        As in `static_contacts`.
    mean_degree
        People that each person meets in a day, before the few pairs drawn twice and the people
        paired with themselves are dropped.

    Returns
    -------
    ContactNetwork
        About ``n_people * mean_degree / 2 * n_days`` contacts, nearly all between people who meet
        once.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range.

    Notes
    -----
    Each day ``rng.integers(0, N, N * mean_degree // 2)``, twice.

    Examples
    --------
    >>> from graphs.contacts import fresh_contacts
    >>> fresh_contacts(1000, 15, seed=0).n_contacts
    74562
    """
    n_people, n_days, rng = _checked(n_people, n_days, seed)
    n_pairs = n_people * whole_number("mean_degree", mean_degree) // 2
    keys = (_met_at_random(rng, n_people, n_pairs) * n_days + day for day in range(n_days))
    return _network(keys, transmission_prob, n_people, n_days)


def proximity_contacts(
    n_people: int,
    n_days: int,
    *,
    transmission_prob: float = 0.02,
    seed: Seed,
    scale: float = math.sqrt(10.0 / (2.0 * math.pi)),
    positions: ArrayLike | None = None,
) -> ContactNetwork:
    """Draw contacts between people who live close to each other.

    Parameters
    ----------
    n_people, n_days, transmission_prob, seed
        As in `static_contacts`.
    scale
        People at distance ``d`` meet in a day with probability ``exp(-d / scale)``, at more than
        five times the scale never. The mean number of contacts a day is ``2 pi scale**2`` at one
        person per unit area, less near the border.
    positions
        ``(n_people, 2)``; None draws them with `random_positions`, first of all, so that the same
        integer seed gives them back.

    Returns
    -------
    ContactNetwork
        Contacts that repeat between neighbours, and triangles.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range.

    Notes
    -----
    The candidate pairs are sorted, then kept each day where ``rng.random(n_pairs)`` is below their
    probability. At the default scale there are about 62 candidate pairs a person, 24 bytes each.

    Examples
    --------
    >>> from graphs.contacts import proximity_contacts
    >>> proximity_contacts(1000, 15, seed=0).n_contacts
    64498
    """
    from scipy.spatial import cKDTree

    n_people, n_days, rng = _checked(n_people, n_days, seed)
    if not 0.0 < scale < math.inf:
        raise ValueError(f"scale: expected a positive finite number, got {scale}")
    places = random_positions(n_people, rng) if positions is None else np.asarray(positions, float)
    if places.shape != (n_people, 2) or not np.isfinite(places).all():
        raise ValueError(
            f"positions: expected finite numbers ({n_people}, 2), got shape {places.shape}"
        )
    close = cKDTree(places).query_pairs(REACH * scale, output_type="ndarray")
    pairs = np.sort(pair_key(close[:, 0], close[:, 1], 0, n_people, 1))
    del close
    apart = places[pairs // n_people] - places[pairs % n_people]
    daily_prob = np.exp(-np.hypot(apart[:, 0], apart[:, 1]) / scale)
    keys = (pairs[rng.random(len(pairs)) < daily_prob] * n_days + day for day in range(n_days))
    return _network(keys, transmission_prob, n_people, n_days)


def household_contacts(
    n_people: int,
    n_days: int,
    *,
    transmission_prob: float = 0.02,
    seed: Seed,
    groups: Groups | None = None,
    household_factor: float = 2.0,
    workplace_contacts: float = 6.0,
    random_contacts: int = 2,
) -> ContactNetwork:
    """Draw contacts at home, at work and in passing.

    Parameters
    ----------
    n_people, n_days, seed
        As in `static_contacts`.
    transmission_prob
        Probability of a contact at work or in passing to transmit, either way.
    groups
        Where people live and work; None draws them with `household_groups`, first of all, so that
        the same integer seed gives them back.
    household_factor
        A contact at home transmits so many times more likely (at most surely).
    workplace_contacts
        Mean number of colleagues that somebody meets on a working day, at most all of them. Days 5
        and 6 of each week are free.
    random_contacts
        Mean number of other people met each day.

    Returns
    -------
    ContactNetwork
        The whole household meets every day. Contacts of one pair on one day are combined.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range.

    Examples
    --------
    >>> from graphs.contacts import household_contacts, household_groups
    >>> groups = household_groups(100, seed=0)
    >>> network = household_contacts(100, 7, seed=0)
    >>> at_home = groups.household[network.first] == groups.household[network.second]
    >>> bool(network.forward_prob[at_home].min() >= 0.04)
    True
    """
    n_people, n_days, rng = _checked(n_people, n_days, seed)
    if not 0.0 <= household_factor < math.inf or not 0.0 <= workplace_contacts < math.inf:
        raise ValueError(
            "household_factor, workplace_contacts: expected finite numbers of at least 0, got "
            f"{household_factor}, {workplace_contacts}"
        )
    n_random = n_people * whole_number("random_contacts", random_contacts) // 2
    where = household_groups(n_people, seed=rng) if groups is None else groups
    home = pairs_within(integer_array("groups.household", where.household, ndim=1), n_people)[0]
    colleagues, size = pairs_within(
        integer_array("groups.workplace", where.workplace, ndim=1), n_people
    )
    work_prob = workplace_contacts / np.maximum(size - 1, 1)
    keys = [(home[:, None] * n_days + np.arange(n_days)).ravel()]
    for day in range(n_days):
        met = [_met_at_random(rng, n_people, n_random)]
        if day % _WEEK < _WORKDAYS:
            met.append(colleagues[rng.random(len(colleagues)) < work_prob])
        keys.extend(pairs * n_days + day for pairs in met)
    prob = float(checked_probability("transmission_prob", transmission_prob, 1))
    row_prob = np.full(sum(map(len, keys)), prob)
    row_prob[: len(keys[0])] = min(household_factor * prob, 1.0)
    return _network(keys, row_prob, n_people, n_days)


def random_tree_contacts(
    n_people: int,
    n_days: int,
    *,
    seed: Seed,
    prob_range: tuple[float, float] = (0.1, 0.7),
    contact_prob: float = 0.7,
) -> ContactNetwork:
    """Draw a tree whose neighbours meet on some days, with another probability each way and day.

    Message passing is exact on it.

    Parameters
    ----------
    n_people, n_days, seed
        As in `static_contacts`.
    prob_range
        The transmission probabilities are uniform in this interval.
    contact_prob
        Probability of two neighbours to meet in a day.

    Returns
    -------
    ContactNetwork
        At most ``(n_people - 1) * n_days`` contacts.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range.

    Notes
    -----
    A random recursive tree: person ``i`` hangs on ``rng.integers(0, i)``. Then the days of all
    edges, then the probabilities from the smaller to the larger index, then those back.

    Examples
    --------
    >>> from graphs.contacts import random_tree_contacts
    >>> network = random_tree_contacts(4, 3, seed=0)
    >>> sorted(set(zip(network.first.tolist(), network.second.tolist())))
    [(0, 1), (1, 2), (1, 3)]
    """
    n_people, n_days, rng = _checked(n_people, n_days, seed)
    checked_probability("contact_prob", contact_prob, 1)
    low, high = np.broadcast_to(checked_probability("prob_range", prob_range, 2), 2)
    if low > high:
        raise ValueError(f"prob_range: expected the smaller number first, got {prob_range}")
    child = np.arange(1, n_people)
    parent = rng.integers(0, child)
    edge, day = np.nonzero(rng.random((n_people - 1, n_days)) < contact_prob)
    there, back = low + (high - low) * rng.random((2, n_people - 1, n_days))
    return ContactNetwork.from_events(
        np.concatenate([parent[edge], child[edge]]),
        np.concatenate([child[edge], parent[edge]]),
        np.concatenate([day, day]),
        np.concatenate([there[edge, day], back[edge, day]]),
        n_people=n_people,
        n_days=n_days,
    )


def random_positions(n_people: int, seed: Seed) -> Floats:
    """Draw points of a square of area ``n_people``, ``(n_people, 2)``.

    Raises
    ------
    ValueError
        If an argument is out of range.
    """
    n_people = whole_number("n_people", n_people, least=1)
    return random_generator(seed).random((n_people, 2)) * math.sqrt(n_people)


def household_groups(
    n_people: int,
    *,
    seed: Seed,
    household_size_prob: Sequence[float] = (0.3, 0.35, 0.15, 0.15, 0.05),
    workplace_size: int = 20,
    working_share: float = 0.6,
) -> Groups:
    """Draw where people live and work.

    Parameters
    ----------
    n_people, seed
        As in `static_contacts`.
    household_size_prob
        Probabilities of households of 1, 2, ... people, with sum 1; the last household may be
        smaller.
    workplace_size
        Colleagues of a workplace, itself included; the last one may be smaller.
    working_share
        Share of the people who work, drawn without regard to households.

    Returns
    -------
    Groups
        ``household`` and ``workplace``, ``(n_people,)`` each.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range.

    Examples
    --------
    >>> from graphs.contacts import household_groups
    >>> household_groups(6, seed=0).household.tolist()
    [0, 0, 1, 2, 3, 4]
    """
    n_people = whole_number("n_people", n_people, least=1)
    workplace_size = whole_number("workplace_size", workplace_size, least=1)
    size_prob = np.atleast_1d(np.asarray(household_size_prob, np.float64))
    checked_probability("household_size_prob", size_prob, len(size_prob))
    if abs(size_prob.sum() - 1.0) > 1e-9:
        raise ValueError(
            f"household_size_prob: expected probabilities of sum 1, got {household_size_prob!r:.60}"
        )
    n_working = round(float(checked_probability("working_share", working_share, 1)) * n_people)
    rng = random_generator(seed)
    sizes = 1 + rng.choice(len(size_prob), n_people, p=size_prob / size_prob.sum())
    household = np.repeat(np.arange(n_people), sizes)[:n_people]
    workplace = np.full(n_people, -1)
    workplace[rng.permutation(n_people)[:n_working]] = np.arange(n_working) // workplace_size
    return Groups(household, workplace)


def _checked(n_people: int, n_days: int, seed: Seed) -> tuple[int, int, np.random.Generator]:
    n_people = whole_number("n_people", n_people, least=1)
    n_days = whole_number("n_days", n_days, least=1, most=MAX_DAYS)
    return n_people, n_days, random_generator(seed)


def _met_at_random(rng: np.random.Generator, n_people: int, n_pairs: int) -> Integers:
    one = rng.integers(0, n_people, n_pairs)
    return different_pairs(one, rng.integers(0, n_people, n_pairs), n_people)


def _network(
    keys: Iterable[Integers], prob: ArrayLike, n_people: int, n_days: int
) -> ContactNetwork:
    parts = list(keys)
    prob = checked_probability("transmission_prob", prob, sum(map(len, parts)))
    key = np.concatenate(parts) if len(parts) > 1 else parts.pop()
    del parts
    return ContactNetwork._from_key(key, prob, n_days=n_days, people=range(n_people))
