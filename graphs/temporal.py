"""Who met whom on which day, and how likely the infection passes: contacts of many people."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _contact_rows as rows
from ._checks import whole_number
from ._contact_networkx import as_graph, edge_rows
from ._contact_pieces import NetworkPart, cut_out, followed_by, part_of_people

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class Events(NamedTuple):
    """Possible transmissions, one a row, by day; of one day first those with source < target."""

    source: NDArray[np.int32]
    target: NDArray[np.int32]
    day: NDArray[np.int16]
    transmission_prob: Floats


@dataclass(frozen=True, eq=False)
class ContactNetwork:
    """Contacts between people, day by day.

    Build it with `from_events`, `from_networkx` or a generator of `graphs.contacts`, which check.
    One row is one pair on one day, sorted by ``(first, second, day)``, none twice.

    Attributes
    ----------
    first, second
        ``(n_contacts,)`` int32 indices of the two people, ``first < second``.
    day
        ``(n_contacts,)`` int16, from 0 to ``n_days - 1``.
    forward_prob
        ``(n_contacts,)`` probability that ``first``, if infectious that day, infects ``second``, if
        susceptible. Read-only; a view of one number (stride 0) where all contacts are alike.
    backward_prob
        The same for ``second`` infecting ``first``.
    n_people, n_days
        Numbers of people, also of those without contacts, and of days.
    people
        ``(n_people,)`` labels by index, ``range(n_people)`` if the labels are the indices.
    """

    first: NDArray[np.int32]
    second: NDArray[np.int32]
    day: NDArray[np.int16]
    forward_prob: Floats
    backward_prob: Floats
    n_people: int
    n_days: int
    people: Sequence[Hashable]

    def __post_init__(self) -> None:
        """Protect the probabilities: the two directions often share one array."""
        for prob in (self.forward_prob, self.backward_prob):
            prob.setflags(write=False)

    @classmethod
    def from_events(
        cls,
        source: ArrayLike,
        target: ArrayLike,
        day: ArrayLike,
        transmission_prob: ArrayLike,
        *,
        n_people: int | None = None,
        n_days: int | None = None,
        symmetric: bool = False,
    ) -> ContactNetwork:
        """Build the network from its rows.

        Parameters
        ----------
        source, target
            ``(n_rows,)`` labels: in a row ``source`` can infect ``target``. Integers from 0 to
            ``n_people - 1`` (without ``n_people``: if every integer up to the largest occurs) are
            the rows of every result; other labels are numbered by first appearance, the source of a
            row before its target.
        day
            ``(n_rows,)`` whole numbers of at least 0.
        transmission_prob
            Probability that an infectious source infects a susceptible target: a number, or
            ``(n_rows,)``.
        n_people
            Number of people; None takes those that occur.
        n_days
            Number of days; None takes the last day + 1.
        symmetric
            Whether a row is a contact in both directions (each contact then comes once).

        Returns
        -------
        ContactNetwork
            Rows of one source, target and day become one, with probability ``1 - prod(1 - p)``.

        Raises
        ------
        TypeError, ValueError
            If somebody meets itself, a day is negative, no whole number or not below ``n_days``, a
            probability is outside [0, 1], a label does not fit ``n_people``, or lengths differ. The
            message says in which row.

        Notes
        -----
        O(n log n) in the number of rows. With one probability for all rows, the memory above that
        of the input is 8 bytes a row and the result, 10 bytes a contact.

        Examples
        --------
        >>> from graphs.temporal import ContactNetwork
        >>> network = ContactNetwork.from_events(
        ...     ["ann", "bob", "bob"], ["bob", "cid", "ann"], [0, 1, 0], [0.1, 0.2, 0.3]
        ... )
        >>> network.people, network.n_days
        (('ann', 'bob', 'cid'), 2)
        >>> network.first, network.second, network.day
        (array([0, 1], dtype=int32), array([1, 2], dtype=int32), array([0, 1], dtype=int16))
        >>> network.forward_prob, network.backward_prob
        (array([0.1, 0.2]), array([0.3, 0. ]))
        """
        n_people = None if n_people is None else whole_number("n_people", n_people)
        n_days = None if n_days is None else _day_count(n_days)
        one, other, people = rows.numbered(source, target, n_people)
        days, n_days = rows.whole_days(day, len(one), n_days)
        rows.check_self_contacts(one, other, people)
        prob = rows.checked_probability("transmission_prob", transmission_prob, len(one))
        key = rows.pair_key(one, other, days, len(people), n_days)
        if not symmetric:
            key <<= 1
            key += one > other
        return cls._from_key(key, prob, n_days=n_days, people=people, symmetric=symmetric)

    @classmethod
    def from_networkx(
        cls,
        graph: Any,
        *,
        day: str = "day",
        transmission_prob: str | float = "transmission_prob",
        n_days: int | None = None,
    ) -> ContactNetwork:
        """Build the network from a networkx graph, temporal or static.

        Parameters
        ----------
        graph
            Of any kind; an undirected edge is a contact in both directions. Nodes 0 to
            ``n_people - 1`` are indices, others are numbered in the order of the graph.
        day
            Name of the attribute of edges with the day or the days, integers. If no edge has it,
            the contact is on every day.
        transmission_prob
            Name of the attribute with the probability, or one number for all.
        n_days
            Number of days; None takes the attribute ``n_days`` of the graph, or else the last day
            + 1.

        Returns
        -------
        ContactNetwork
            Several edges between two people on one day are combined.

        Raises
        ------
        TypeError, ValueError
            As in `from_events`, or if an attribute is missing or of the wrong type; the message
            names the edge.

        Examples
        --------
        >>> import networkx as nx
        >>> from graphs.temporal import ContactNetwork
        >>> graph = nx.Graph()
        >>> graph.add_edge("ann", "bob", day=[0, 2])
        >>> network = ContactNetwork.from_networkx(graph, transmission_prob=0.1)
        >>> network.day.tolist(), network.n_days
        ([0, 2], 3)
        >>> path = nx.path_graph(3)
        >>> ContactNetwork.from_networkx(path, transmission_prob=0.1, n_days=4).n_contacts
        8
        """
        edges = edge_rows(graph, day, transmission_prob, n_days)
        network = cls.from_events(
            np.array(edges.source, np.int64),
            np.array(edges.target, np.int64),
            edges.day,
            edges.transmission_prob or 0.0,
            n_people=len(edges.people),
            n_days=edges.n_days,
            symmetric=not graph.is_directed(),
        )
        return replace(network, people=edges.people)

    @classmethod
    def _from_key(
        cls,
        key: Integers,
        prob: ArrayLike,
        *,
        n_days: int,
        people: Sequence[Hashable],
        symmetric: bool = True,
    ) -> ContactNetwork:
        """Build from keys of `pair_key`, overwritten; directed ones are doubled, odd backward."""
        key, row_prob = rows.combined(key, np.asarray(prob, np.float64))
        if symmetric:
            forward = backward = np.broadcast_to(row_prob, len(key))
        else:
            key, forward, backward = rows.two_ways(key, row_prob)
        return cls._from_sorted(key, forward, backward, n_days=n_days, people=people)

    @classmethod
    def _from_sorted(
        cls,
        key: Integers,
        forward: Floats,
        backward: Floats,
        *,
        n_days: int,
        people: Sequence[Hashable],
    ) -> ContactNetwork:
        forward, backward = rows.shared(forward, backward)
        first, second, day = rows.split_key(key, len(people), n_days)
        return cls(first, second, day, forward, backward, len(people), n_days, people)

    @property
    def n_contacts(self) -> int:
        """Number of pairs that meet, added over days."""
        return len(self.first)

    @property
    def common_prob(self) -> float | None:
        """The transmission probability if it is one number in memory; None otherwise."""
        views = (self.forward_prob, self.backward_prob)
        if not self.n_contacts or any(prob.strides != (0,) for prob in views):
            return None
        forward, backward = (float(prob[0]) for prob in views)
        return forward if forward == backward else None

    def events(self) -> Events:
        """Return the possible transmissions as directed rows sorted by day.

        Returns
        -------
        Events
            ``source``, ``target``, ``day``, ``transmission_prob``; rows of probability 0 are left
            out. ``from_events(*network.events())`` is the network again.

        Examples
        --------
        >>> from graphs.temporal import ContactNetwork
        >>> network = ContactNetwork.from_events([0, 1], [1, 2], [1, 0], 0.5, symmetric=True)
        >>> events = network.events()
        >>> events.source.tolist(), events.target.tolist(), events.day.tolist()
        ([1, 2, 0, 1], [2, 1, 1, 0], [0, 0, 1, 1])
        """
        prob = np.concatenate([self.forward_prob, self.backward_prob])
        day = np.concatenate([self.day, self.day])
        order = np.argsort(day, kind="stable")
        if not prob.all():
            order = order[prob[order] > 0.0]
        source = np.concatenate([self.first, self.second])[order]
        target = np.concatenate([self.second, self.first])[order]
        return Events(source, target, day[order], prob[order])

    def index_of(self, labels: Iterable[Hashable]) -> Integers:
        """Return the indices of people, ``(n_labels,)``.

        Raises
        ------
        ValueError
            If a label is nobody's.

        Examples
        --------
        >>> from graphs.temporal import ContactNetwork
        >>> network = ContactNetwork.from_events(["ann"], ["bob"], [0], 0.1)
        >>> network.index_of(["bob", "ann"])
        array([1, 0])
        """
        labels = labels.tolist() if isinstance(labels, np.ndarray) else list(labels)
        index = np.empty(len(labels), np.int64)
        for place, label in enumerate(labels):
            try:
                index[place] = self._index[label]
            except (KeyError, TypeError):
                raise ValueError(
                    f"labels: expected people of the network, got {label!r:.60} at {place}"
                ) from None
        return index

    @cached_property
    def _index(self) -> dict[Hashable, int]:
        return {label: index for index, label in enumerate(self.people)}

    def scaled(self, factor: float) -> ContactNetwork:
        """Return the same contacts with all transmission probabilities multiplied.

        Raises
        ------
        ValueError
            If the factor is negative or no number, or a probability would exceed 1.

        Examples
        --------
        >>> from graphs.temporal import ContactNetwork
        >>> network = ContactNetwork.from_events([0], [1], [0], 0.5, symmetric=True)
        >>> network.scaled(0.2).common_prob
        0.1
        """
        probs = [self.forward_prob, self.backward_prob]
        largest = max(float(prob.max(initial=0.0)) for prob in probs)
        if not 0.0 <= factor * largest <= 1.0 or not factor >= 0.0:
            raise ValueError(
                f"factor: expected a number of at least 0 that keeps the largest probability, "
                f"{largest}, within 1; got {factor}"
            )
        if self.common_prob is not None:
            probs = [prob[:1] for prob in probs]
        forward, backward = (np.broadcast_to(prob * factor, self.day.shape) for prob in probs)
        return replace(self, forward_prob=forward, backward_prob=backward)

    def window(self, first_day: int, n_days: int) -> ContactNetwork:
        """Return the contacts of ``n_days`` days from ``first_day``, which becomes day 0.

        The window may end after the last day of contacts: nobody meets then. People without a
        contact left stay.

        Raises
        ------
        ValueError
            If ``first_day`` is negative or ``n_days`` smaller than 1.

        Examples
        --------
        >>> from graphs.temporal import ContactNetwork
        >>> network = ContactNetwork.from_events([0, 1, 0], [1, 2, 2], [0, 1, 2], 0.5)
        >>> network.window(1, 2).day.tolist()
        [1, 0]
        """
        first_day, n_days = whole_number("first_day", first_day), _day_count(n_days)
        kept = (self.day >= first_day) & (self.day < first_day + n_days)
        if self.common_prob is None:
            forward, backward = self.forward_prob[kept], self.backward_prob[kept]
        else:
            forward = backward = np.broadcast_to(self.forward_prob[0], int(kept.sum()))
        return replace(
            self,
            first=self.first[kept],
            second=self.second[kept],
            day=self.day[kept] - np.int16(min(first_day, rows.MAX_DAYS)),
            forward_prob=forward,
            backward_prob=backward,
            n_days=n_days,
        )

    def extended(self, later: ContactNetwork) -> ContactNetwork:
        """Return this network followed by the days of another, for daily use.

        Parameters
        ----------
        later
            Its day 0 is the day after the last one here. Its people are recognised by their labels;
            new ones are added behind.

        Raises
        ------
        ValueError
            If the days are too many.

        Examples
        --------
        >>> from graphs.temporal import ContactNetwork
        >>> monday = ContactNetwork.from_events(["ann"], ["bob"], [0], 0.1)
        >>> tuesday = ContactNetwork.from_events(["cid"], ["ann"], [0], 0.2)
        >>> both = monday.extended(tuesday)
        >>> both.people, both.day.tolist(), both.n_days
        (('ann', 'bob', 'cid'), [0, 1], 2)
        """
        return followed_by(self, later, n_days=_day_count(self.n_days + later.n_days))

    def partition(self, parts: int | ArrayLike) -> tuple[NetworkPart, ...]:
        """Return parts that could live on different machines.

        Parameters
        ----------
        parts
            Number of parts of consecutive people, or ``(n_people,)`` integers of at least 0: the
            part of each person.

        Returns
        -------
        tuple of NetworkPart
            Every person is owned once. A contact between two parts is in both of them.

        Raises
        ------
        TypeError, ValueError
            If there is no part, or not one for each person.

        Examples
        --------
        >>> from graphs.temporal import ContactNetwork
        >>> network = ContactNetwork.from_events([0, 1, 2], [1, 2, 3], [0, 0, 0], 0.5)
        >>> left, right = network.partition(2)
        >>> left.owned.tolist(), left.halo.tolist(), left.network.n_contacts
        ([0, 1], [2], 2)
        """
        part_of, n_parts = part_of_people(parts, self.n_people)
        return tuple(cut_out(self, part_of == part) for part in range(n_parts))

    def to_networkx(self) -> Any:
        """Return the possible transmissions as a ``networkx.MultiDiGraph``.

        Returns
        -------
        networkx.MultiDiGraph
            Nodes are the labels; each edge has ``day`` and ``transmission_prob``, the graph
            ``n_days``. `from_networkx` reads it back.
        """
        return as_graph(self)


def _day_count(n_days: int) -> int:
    return whole_number("n_days", n_days, least=1, most=rows.MAX_DAYS)
