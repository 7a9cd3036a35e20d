"""A picture of the risk: who is at risk, and how the epidemic went."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
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
    from inference.plotting import new_figure, save_figure

    figure, (left, right) = new_figure(2, width=5.5, height=4.5)
    risk = state_prob[:, day, 1]
    if network.n_people <= MOST_PEOPLE:
        _draw_network(left, network, risk)
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


def _draw_network(ax: Axes, network: ContactNetwork, risk: NDArray[Any]) -> None:
    import networkx as nx

    graph = nx.Graph()
    graph.add_nodes_from(range(network.n_people))
    graph.add_edges_from(zip(network.first.tolist(), network.second.tolist()))
    tied = graph.copy()  # to one more point, so that separate groups do not drift away
    tied.add_edges_from(((-1, person) for person in graph), weight=0.3)
    place = nx.spring_layout(tied, k=2.0 / len(tied) ** 0.5, seed=0, iterations=200)
    del place[-1]
    nx.draw_networkx_edges(graph, place, ax=ax, alpha=0.25, width=0.8)
    dots = nx.draw_networkx_nodes(
        graph,
        place,
        ax=ax,
        node_color=risk.tolist(),
        cmap="Reds",
        vmin=0.0,
        vmax=max(float(risk.max()), 1e-12),
        node_size=4000 / (network.n_people + 20),
        edgecolors="0.3",
        linewidths=0.5,
    )
    if network.n_people <= _NAMED:
        labels = {person: str(label)[:12] for person, label in enumerate(network.people)}
        above = {person: (x, y + 0.06) for person, (x, y) in place.items()}
        nx.draw_networkx_labels(graph, above, labels, ax=ax, font_size=7)
    ax.set_axis_off()
    ax.figure.colorbar(dots, ax=ax, label="probability to be infected", shrink=0.8)
