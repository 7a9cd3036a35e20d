"""Analytic against sampled as figures, drawn on axes that the caller owns, without a style."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from .checks import finite_array, same_length
from .files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DOTS_AN_INCH = 150
_ANALYTIC, _SAMPLED = "C0", "C1"  # in every picture: exact blue, sampled orange


def new_figure(
    n_axes: int = 1, *, n_rows: int = 1, width: float = 4.5, height: float = 3.5
) -> tuple[Figure, list[Axes]]:
    """Return a figure with rows of axes that no display and no global state knows of.

    Parameters
    ----------
    n_axes
        Number of axes, from left to right and from top to bottom.
    n_rows
        Number of rows; a divisor of ``n_axes``.
    width, height
        Size of one of them in inches.

    Returns
    -------
    figure : matplotlib.figure.Figure
        Save it with :func:`save_figure`.
    axes : list of matplotlib.axes.Axes
        ``n_axes`` of them.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If the axes do not fill the rows.
    """
    if n_rows < 1 or n_axes < 1 or n_axes % n_rows:
        raise ValueError(f"n_rows: expected a divisor of {n_axes} axes, got {n_rows}")
    try:
        from matplotlib.figure import Figure
    except ImportError as fault:
        raise ImportError("figures need matplotlib: pip install 'cavity[plot]'") from fault
    n_columns = n_axes // n_rows
    figure = Figure(figsize=(n_columns * width, n_rows * height), layout="constrained")
    return figure, list(figure.subplots(n_rows, n_columns, squeeze=False).ravel())


def overlay_density(
    ax: Axes,
    x: ArrayLike,
    density: ArrayLike | None,
    draws: ArrayLike,
    *,
    label_analytic: str,
    label_sampled: str,
    weights: ArrayLike | None = None,
    bins: int = 50,
) -> Axes:
    """Draw the histogram of draws under the analytic density.

    Parameters
    ----------
    ax
        Axes to draw on.
    x
        Points ``(n,)``: the grid of the density or, with ``weights``, analytic draws.
    density
        Analytic density ``(n,)`` at ``x``; None if ``weights`` are given.
    draws
        Sampled draws of any shape, taken together.
    label_analytic, label_sampled
        Entries of the legend (which the caller draws).
    weights
        Importance weights ``(n,)`` of the analytic draws ``x``, up to a common factor; then the
        analytic side is a histogram too, of the same bins.
    bins
        Number of bins over the range of ``draws``.

    Returns
    -------
    matplotlib.axes.Axes
        ``ax``.

    Raises
    ------
    TypeError
        If an argument is not numeric.
    ValueError
        If not exactly one of ``density`` and ``weights`` is given, lengths differ, an entry is
        not finite, or weights are negative or all zero.
    """
    points = finite_array("x", x, ndim=1)
    sampled = finite_array("draws", draws, ndim=np.ndim(draws)).ravel()
    if (density is None) == (weights is None):
        raise ValueError("density and weights: expected one of them and not both")
    edges = np.histogram_bin_edges(sampled, bins)
    ax.hist(sampled, edges.tolist(), density=True, color=_SAMPLED, alpha=0.5, label=label_sampled)
    if density is not None:
        curve = finite_array("density", density, ndim=1)
        same_length("density", len(curve), "x", len(points))
        ax.plot(points, curve, color=_ANALYTIC, label=label_analytic)
    if weights is not None:
        mass = finite_array("weights", weights, ndim=1)
        same_length("weights", len(mass), "x", len(points))
        if (mass < 0).any() or not mass.any():
            raise ValueError("weights: expected no negative and at least one positive number")
        # divided by all the mass: what lies beyond the draws must show as a lower histogram
        heights = np.histogram(points, edges, weights=mass)[0] / (mass.sum() * np.diff(edges))
        ax.stairs(heights, edges, color=_ANALYTIC, label=label_analytic)
    return ax


def predictive_band(ax: Axes, x: ArrayLike, mean: ArrayLike, sd: ArrayLike, *, label: str) -> Axes:
    """Draw a predictive mean and, around it, the band of two standard deviations.

    Parameters
    ----------
    ax
        Axes to draw on.
    x
        Positions ``(n,)`` in any order.
    mean
        Predictive means ``(n,)``.
    sd
        Predictive standard deviations ``(n,)``.
    label
        Entry of the legend (which the caller draws).

    Returns
    -------
    matplotlib.axes.Axes
        ``ax``.

    Raises
    ------
    TypeError
        If an argument is not numeric.
    ValueError
        If lengths differ, an entry is not finite, or a standard deviation is negative.
    """
    points = finite_array("x", x, ndim=1)
    centre = finite_array("mean", mean, ndim=1)
    spread = finite_array("sd", sd, ndim=1)
    same_length("mean", len(centre), "x", len(points))
    same_length("sd", len(spread), "x", len(points))
    if (spread < 0).any():
        raise ValueError("sd: expected no negative number")
    order = np.argsort(points)
    points, centre, spread = points[order], centre[order], spread[order]
    (line,) = ax.plot(points, centre, label=label)
    ax.fill_between(
        points,
        centre - 2 * spread,
        centre + 2 * spread,
        color=line.get_color(),
        alpha=0.25,
        linewidth=0,
    )
    return ax


def matrix_image(
    ax: Axes, matrix: ArrayLike, *, label: str, limits: tuple[float, float] | None = None
) -> Axes:
    """Draw a matrix as an image with a colour bar.

    Parameters
    ----------
    ax
        Axes to draw on.
    matrix
        ``(rows, columns)``.
    label
        What the colours mean, written along the colour bar.
    limits
        Values at the ends of the colour scale; those of the matrix if None. A scale from minus to
        plus the same number is drawn in colours that diverge from white.

    Returns
    -------
    matplotlib.axes.Axes
        ``ax``.

    Raises
    ------
    TypeError
        If an argument is not numeric.
    ValueError
        If the matrix has not two axes, an entry is not finite, or the limits do not increase.
    """
    values = finite_array("matrix", matrix, ndim=2)
    low, high = (float(values.min()), float(values.max())) if limits is None else limits
    if limits is not None and not low < high:
        raise ValueError(f"limits: expected two increasing numbers, got {limits}")
    colours = "RdBu_r" if low == -high else "viridis"
    image = ax.imshow(values, cmap=colours, vmin=low, vmax=high)
    ax.figure.colorbar(image, ax=ax, label=label, shrink=0.8)
    return ax


def colored_network(
    ax: Axes,
    graph: Any,
    values: ArrayLike,
    *,
    label: str,
    names: Sequence[Any] | None = None,
    top: float | None = None,
    ringed: Sequence[int] = (),
) -> Axes:
    """Draw a network whose nodes are colored by a number, with the scale beside it.

    Parameters
    ----------
    ax
        Where to draw.
    graph
        networkx graph with the nodes ``0 .. n - 1``.
    values
        ``(n,)`` numbers from 0 upwards.
    label
        Of the color scale.
    names
        ``(n,)`` text above each node; None writes none.
    top
        Number of the darkest color; None is the largest.
    ringed
        Nodes with a bold blue rim.

    Returns
    -------
    Axes
        ``ax``.

    Raises
    ------
    TypeError, ValueError
        If ``values`` is not one finite number a node.

    Examples
    --------
    >>> import networkx as nx
    >>> from inference.plotting import colored_network, new_figure
    >>> figure, (ax,) = new_figure()
    >>> _ = colored_network(ax, nx.path_graph(3), [0.1, 0.5, 0.2], label="risk")
    """
    import networkx as nx

    colors = finite_array("values", values, ndim=1)
    n = graph.number_of_nodes()
    same_length("values", len(colors), "graph", n)
    tied = graph.copy()  # to one more point, so that separate groups do not drift away
    tied.add_edges_from(((-1, node) for node in graph), weight=0.3)
    place = nx.spring_layout(tied, k=2.0 / len(tied) ** 0.5, seed=0, iterations=200)
    del place[-1]
    nx.draw_networkx_edges(graph, place, ax=ax, alpha=0.25, width=0.8)
    dots = nx.draw_networkx_nodes(
        graph,
        place,
        nodelist=range(n),
        ax=ax,
        node_color=colors.tolist(),
        cmap="Reds",
        vmin=0.0,
        vmax=max(float(colors.max()) if top is None else top, 1e-12),
        node_size=4000 / (n + 20),
        edgecolors=["C0" if node in set(ringed) else "0.3" for node in range(n)],
        linewidths=[1.6 if node in set(ringed) else 0.5 for node in range(n)],
    )
    if names is not None:
        above = {node: (x, y + 0.07) for node, (x, y) in place.items()}
        texts = {node: str(name)[:12] for node, name in enumerate(names)}
        nx.draw_networkx_labels(graph, above, texts, ax=ax, font_size=7)
    ax.set_axis_off()
    ax.figure.colorbar(dots, ax=ax, label=label, shrink=0.8)
    return ax


def save_figure(fig: Figure, path: str | os.PathLike[str]) -> Path:
    """Write a figure to a file, whole or not at all: cut to its contents, at 150 dots an inch.

    A PNG has at most 256 colours, a third of the size of one with all.

    Parameters
    ----------
    fig
        The figure.
    path
        File to write or replace; its ending chooses the format, its folder is created if need be.

    Returns
    -------
    Path
        ``path``.

    Raises
    ------
    OSError
        If the file cannot be written.
    ValueError
        If matplotlib knows no format with this ending.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as partial:
        fig.savefig(partial, dpi=_DOTS_AN_INCH, bbox_inches="tight")
        if target.suffix.lower() == ".png":
            _reduce_colours(partial)
    return target


def _reduce_colours(path: Path) -> None:
    from PIL import Image  # matplotlib needs it, too

    with Image.open(path) as image:
        few = image.convert("RGB").quantize(
            256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE
        )
    few.save(path, optimize=True, dpi=(_DOTS_AN_INCH, _DOTS_AN_INCH))
