"""A picture of the risk: who is at risk, and how the epidemic went."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from graphs.temporal import ContactNetwork

MOST_PEOPLE = 250
"""Larger networks are drawn as a histogram: nobody could tell the people apart."""
_NAMED = 60


def draw_risk(path: Path, network: ContactNetwork, state_prob: NDArray[Any], day: int) -> None:
    """Draw the risk on a day, and the expected numbers of people against time.

    Parameters
    ----------
    path
        File to write.
    network
        The contacts.
    state_prob
        ``(n_people, n_days + 1, 3)``.
    day
        Day of the risk.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    OSError, ValueError
        As :func:`inference.plotting.save_figure`.
    """
    from inference.plotting import colored_network, new_figure, save_figure

    figure, (left, right) = new_figure(2, width=5.5, height=4.5)
    risk = state_prob[:, day, 1]
    if network.n_people <= MOST_PEOPLE:
        few = network.n_people <= _NAMED
        colored_network(
            left,
            _meetings(network),
            risk,
            label="probability to be infected",
            names=network.people if few else None,
        )
    else:
        left.hist(risk, bins=40, log=True)
        left.set_xlabel("probability to be infected")
        left.set_ylabel("people")
    left.set_title(f"risk on day {day}")
    for state, name in enumerate(("susceptible", "infected", "recovered")):
        if state:  # those susceptible would hide the others
            right.plot(state_prob[:, :, state].sum(axis=0), label=name)
    right.axvline(day, color="0.6", linewidth=1, linestyle=":")
    right.set_xlabel("day")
    right.set_ylabel("expected number of people")
    right.set_ylim(bottom=0)
    right.legend()
    save_figure(figure, path)


def _meetings(network: ContactNetwork) -> Any:
    """Return who ever met whom, as a networkx graph over the indices."""
    import networkx as nx

    graph = nx.Graph()
    graph.add_nodes_from(range(network.n_people))
    graph.add_edges_from(zip(network.first.tolist(), network.second.tolist()))
    return graph
