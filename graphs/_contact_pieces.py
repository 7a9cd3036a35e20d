"""Networks of contacts cut by people and put together by days."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._checks import integer_array, whole_number
from ._contact_rows import pair_key

if TYPE_CHECKING:
    from .temporal import ContactNetwork

Integers = NDArray[np.int64]


class NetworkPart(NamedTuple):
    """Some of the people, those they meet, and all contacts of the former."""

    network: ContactNetwork
    """The contacts that touch the part; its people are ``owned`` and then ``halo``."""
    owned: Integers
    """``(n_owned,)`` indices, in the whole network, of the people of the part."""
    halo: Integers
    """``(n_halo,)`` indices of the people of other parts that they meet."""


def part_of_people(parts: int | ArrayLike, n_people: int) -> tuple[Integers, int]:
    """Return the part of each person, ``(n_people,)``, and the number of parts.

    Raises
    ------
    TypeError, ValueError
        If there is no part, or not one for each person.
    """
    if np.ndim(parts) == 0:
        n_parts = whole_number("parts", parts, least=1)  # type: ignore[arg-type]
        return np.arange(n_people) * n_parts // max(n_people, 1), n_parts
    part_of = integer_array("parts", parts, ndim=1)
    if len(part_of) != n_people or (part_of < 0).any():
        raise ValueError(f"parts: expected {n_people} integers of at least 0, got {parts!r:.60}")
    return part_of, int(part_of.max(initial=-1)) + 1


def cut_out(network: ContactNetwork, mine: NDArray[np.bool_]) -> NetworkPart:
    """Return the part of the people where ``mine`` is true."""
    kept = mine[network.first] | mine[network.second]
    first, second = network.first[kept], network.second[kept]
    touched = np.zeros(network.n_people, bool)
    touched[first] = True
    touched[second] = True
    owned, halo = np.flatnonzero(mine), np.flatnonzero(touched & ~mine)
    members = np.concatenate([owned, halo])
    place = np.empty(network.n_people, np.int32)
    place[members] = np.arange(len(members))
    one, other = place[first], place[second]
    key = pair_key(one, other, network.day[kept], len(members), network.n_days)
    people = tuple(network.people[person] for person in members.tolist())
    if network.common_prob is not None:
        small = network._from_key(key, network.common_prob, n_days=network.n_days, people=people)
        return NetworkPart(small, owned, halo)
    order = np.argsort(key)
    turned = (one > other)[order]
    forward, backward = network.forward_prob[kept][order], network.backward_prob[kept][order]
    small = network._from_sorted(
        key[order],
        np.where(turned, backward, forward),
        np.where(turned, forward, backward),
        n_days=network.n_days,
        people=people,
    )
    return NetworkPart(small, owned, halo)


def followed_by(earlier: ContactNetwork, later: ContactNetwork, *, n_days: int) -> ContactNetwork:
    """Return ``earlier`` and, from its last day on, ``later``; see `ContactNetwork.extended`."""
    people, place = _joined(earlier, later)
    n_people = len(people)
    one, other = place[later.first], place[later.second]
    key = np.concatenate(
        [
            pair_key(earlier.first, earlier.second, earlier.day, n_people, n_days),
            pair_key(one, other, later.day + np.int32(earlier.n_days), n_people, n_days),
        ]
    )
    common = earlier.common_prob
    if common is not None and common == later.common_prob:
        return earlier._from_key(key, common, n_days=n_days, people=people)
    turned = one > other  # a new pair may come in the other order here
    forward = np.where(turned, later.backward_prob, later.forward_prob)
    backward = np.where(turned, later.forward_prob, later.backward_prob)
    order = np.argsort(key, kind="stable")
    return earlier._from_sorted(
        key[order],
        np.concatenate([earlier.forward_prob, forward])[order],
        np.concatenate([earlier.backward_prob, backward])[order],
        n_days=n_days,
        people=people,
    )


def _joined(
    one: ContactNetwork, other: ContactNetwork
) -> tuple[Sequence[Hashable], NDArray[np.int32]]:
    """Return the people of both, and the place among them of each person of ``other``."""
    if isinstance(one.people, range) and isinstance(other.people, range):
        return range(max(one.n_people, other.n_people)), np.arange(other.n_people, dtype=np.int32)
    index = {label: place for place, label in enumerate(one.people)}
    place = [index.setdefault(label, len(index)) for label in other.people]
    people = one.people if len(index) == one.n_people else tuple(index)
    return people, np.array(place, np.int32)
