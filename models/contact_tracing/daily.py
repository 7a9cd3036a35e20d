"""Contacts in the order of the days, for everything that walks through an epidemic day by day."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from graphs.temporal import ContactNetwork
from inference.checks import Floats


class DayContacts(NamedTuple):
    """The contacts of one day, one row a pair."""

    first: NDArray[np.int32]
    second: NDArray[np.int32]
    forward_prob: Floats
    """Probability that the first infects the second."""
    backward_prob: Floats
    """Probability that the second infects the first."""

    def select(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> DayContacts:
        """Return some of the rows."""
        return DayContacts._make(column[rows] for column in self)

    def directed(self) -> tuple[NDArray[np.int32], NDArray[np.int32], Floats]:
        """Return source, target and transmission probability of both directions."""
        return (
            np.concatenate([self.first, self.second]),
            np.concatenate([self.second, self.first]),
            np.concatenate([self.forward_prob, self.backward_prob]),
        )


class ContactsByDay:
    """The contacts of a network, day by day.

    Parameters
    ----------
    network
        The contacts.
    """

    def __init__(self, network: ContactNetwork) -> None:
        order = np.argsort(network.day, kind="stable")
        self.order = order
        """``(n_contacts,)`` rows of the network in the order of the days."""
        self.start = np.searchsorted(network.day[order], np.arange(network.n_days + 1))
        """``(n_days + 1,)``: those of day ``t`` are ``order[start[t] : start[t + 1]]``."""
        self._columns = (
            network.first[order],
            network.second[order],
            taken(network.forward_prob, order),
            taken(network.backward_prob, order),
        )

    def __getitem__(self, day: int) -> DayContacts:
        """Return the contacts of a day."""
        rows = slice(self.start[day], self.start[day + 1])
        return DayContacts._make(np.ascontiguousarray(column[rows]) for column in self._columns)


def taken(values: Floats, rows: NDArray[np.intp]) -> Floats:
    """Return ``values[rows]``, as a view of one number if it is one number repeated."""
    return values[: len(rows)] if values.strides == (0,) else values[rows]
