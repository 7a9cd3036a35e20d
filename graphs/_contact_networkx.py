"""Contacts from and to networkx graphs."""

from __future__ import annotations

import operator
from collections.abc import Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from .temporal import ContactNetwork


class EdgeRows(NamedTuple):
    """The edges of a graph as rows of contacts."""

    source: list[int]
    target: list[int]
    day: list[int]
    transmission_prob: list[float]
    people: Sequence[Hashable]
    n_days: int | None


def edge_rows(graph: Any, day: str, transmission_prob: str | float, n_days: int | None) -> EdgeRows:
    """Return one row for each edge and day; see `ContactNetwork.from_networkx`.

    Raises
    ------
    TypeError, ValueError
        If ``graph`` is no networkx graph, or an edge has no day, a day that is no integer of at
        least 0, no probability, or one outside [0, 1]. The message names the edge.
    """
    if not hasattr(graph, "is_directed") or not hasattr(graph, "edges"):
        raise TypeError(f"graph: expected a networkx graph, got {graph!r:.60}")
    nodes = tuple(graph.nodes)
    plain = all(type(node) is int for node in nodes) and set(nodes) == set(range(len(nodes)))
    people: Sequence[Hashable] = range(len(nodes)) if plain else nodes
    index = {label: place for place, label in enumerate(people)}
    if n_days is None:
        n_days = graph.graph.get("n_days")
    timed = any(day in attributes for *_, attributes in graph.edges(data=True))
    if not timed and graph.number_of_edges() and n_days is None:
        raise ValueError(
            f"n_days: expected the number of days, since no edge has the attribute {day!r}"
        )
    rows = EdgeRows([], [], [], [], people, n_days)
    for one, other, attributes in graph.edges(data=True):
        edge = (one, other)
        days = _days(edge, attributes, day) if timed else range(n_days or 0)
        prob = _probability(edge, attributes, transmission_prob)
        for one_day in days:
            rows.source.append(index[one])
            rows.target.append(index[other])
            rows.day.append(one_day)
            rows.transmission_prob.append(prob)
    return rows


def as_graph(network: ContactNetwork) -> Any:
    """Return a ``networkx.MultiDiGraph``; see `ContactNetwork.to_networkx`."""
    import networkx as nx

    people = network.people
    graph = nx.MultiDiGraph(n_days=network.n_days)
    graph.add_nodes_from(people)
    columns = (column.tolist() for column in network.events())
    graph.add_edges_from(
        (people[source], people[target], {"day": day, "transmission_prob": prob})
        for source, target, day, prob in zip(*columns)
    )
    return graph


def _days(edge: tuple[Any, Any], attributes: dict[str, Any], name: str) -> list[int]:
    if name not in attributes:
        raise ValueError(f"edge {edge!r:.60}: expected the attribute {name!r}, as on other edges")
    value = attributes[name]
    several = isinstance(value, Iterable) and not isinstance(value, str | bytes)
    try:
        days = [operator.index(one) for one in (value if several else [value])]
    except TypeError as fault:
        raise TypeError(f"edge {edge!r:.60}: expected integer days, got {value!r:.60}") from fault
    if min(days, default=0) < 0:
        raise ValueError(f"edge {edge!r:.60}: expected days of at least 0, got {min(days)}")
    return days


def _probability(edge: tuple[Any, Any], attributes: dict[str, Any], name: str | float) -> float:
    value = attributes.get(name) if isinstance(name, str) else name
    if value is None:
        raise ValueError(
            f"edge {edge!r:.60}: expected the attribute {name!r}; give transmission_prob as a "
            "number if all contacts are alike"
        )
    try:
        prob = float(value)
    except (TypeError, ValueError) as fault:
        raise TypeError(f"edge {edge!r:.60}: expected a probability, got {value!r:.60}") from fault
    if not 0.0 <= prob <= 1.0:
        raise ValueError(f"edge {edge!r:.60}: expected a probability in [0, 1], got {prob}")
    return prob
