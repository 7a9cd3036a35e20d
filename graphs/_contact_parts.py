"""One part of a network of contacts, with those outside that it meets."""

from __future__ import annotations

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
