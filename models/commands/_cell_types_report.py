"""Pictures of cell types, and a page that holds them all."""

from __future__ import annotations

import base64
import importlib.util
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._results import write_text

if TYPE_CHECKING:
    from models.cell_types import Points, TypeChoice

    from ._cell_types_files import Outcome

Picture = tuple[str, str]
"""Name of the file, and what it shows."""
_SHOWN_GENES, _GENES_A_TYPE, _GENES_LISTED = 60, 6, 8
_MAPS_A_ROW = 5
_NEAR = 0.15
"""Of the range of the held-out curve: what is drawn again, larger."""


def draw_pictures(
    folder: Path, points: Points, outcome: Outcome, choice: TypeChoice | None
) -> list[Picture]:
    """Draw all pictures as PNG and return them, none without matplotlib."""
    if importlib.util.find_spec("matplotlib") is None:
        return []
    pictures = [
        _maps(folder / "maps.png", outcome),
        _profiles(folder / "profiles.png", points.genes, outcome),
        _bounds(folder / "bound.png", outcome),
    ]
    if choice is not None:
        pictures.append(_held_out(folder / "held_out.png", choice))
    if outcome.emissions:
        pictures.append(_marks(folder / "marks.png", points, outcome))
    return pictures


def _maps(path: Path, outcome: Outcome) -> Picture:
    import numpy as np

    from inference.plotting import new_figure, save_figure

    window, (rows, columns) = outcome.bins.window, outcome.bins.shape
    n_columns = min(outcome.n_types, _MAPS_A_ROW)
    n_rows = -(-outcome.n_types // n_columns)
    figure, axes = new_figure(n_rows * n_columns, n_rows=n_rows, width=2.4, height=2.5)
    for ax in axes[outcome.n_types :]:
        ax.set_axis_off()
    area = outcome.bins.area.reshape(rows, columns)
    for k, (ax, cells) in enumerate(zip(axes, outcome.maps)):
        density = np.ma.masked_where(area == 0, cells.reshape(rows, columns))
        ax.imshow(density, extent=(*window.x_range, *window.y_range[::-1]), vmin=0.0)
        ax.set(xticks=[], yticks=[])
        ax.set_title(f"type {k + 1}: {outcome.share[k]:.1%}", fontsize=9)
    save_figure(figure, path)
    return path.name, "Where the cells of each type lie, and its share of all cells."


def _profiles(path: Path, genes: Sequence[str], outcome: Outcome) -> Picture:
    import numpy as np

    from inference.plotting import matrix_image, new_figure, save_figure

    n_each = max(1, min(_GENES_A_TYPE, _SHOWN_GENES // outcome.n_types))
    rows = list(dict.fromkeys(outcome.top_genes(n_each).T.ravel().tolist()))
    height = 1.0 + 0.16 * len(rows)
    figure, (ax,) = new_figure(width=3.0 + 0.25 * outcome.n_types, height=height)
    matrix_image(ax, outcome.membership[rows], label="share of the gene's cells", limits=(0.0, 1.0))
    ax.set_aspect("auto")
    ax.set_yticks(np.arange(len(rows)), [_short(genes[g]) for g in rows], fontsize=7)
    ax.set_xticks(np.arange(outcome.n_types), [str(k + 1) for k in range(outcome.n_types)])
    ax.set_xlabel("type")
    save_figure(figure, path)
    return path.name, f"The {n_each} genes most specific to each type."


def _short(name: str) -> str:
    # matplotlib reads what stands between dollars as a formula
    shown = name if len(name) <= 20 else name[:19] + "…"
    return shown.replace("$", r"\$")


def _bounds(path: Path, outcome: Outcome) -> Picture:
    from inference.plotting import new_figure, save_figure

    figure, (ax,) = new_figure(width=5.5)
    top = max(start.trace.max() for start in outcome.starts)
    for start in outcome.starts:
        ax.plot(start.steps, top - start.trace + 1.0, marker=".", label=start.name)
    if outcome.near_tie_gap:
        ax.axhspan(1.0, 1.0 + outcome.near_tie_gap, color="0.9", label="as good")
    ax.set(xlabel="steps", ylabel="nats below the best, plus 1", yscale="log")
    ax.invert_yaxis()
    ax.legend(fontsize=7)
    save_figure(figure, path)
    return path.name, f"The {outcome.bound_of} from each start."


def _held_out(path: Path, choice: TypeChoice) -> Picture:
    from inference.plotting import new_figure, save_figure

    near = choice.difference <= _NEAR * choice.difference.max()
    figure, axes = new_figure(2)
    for ax, shown in zip(axes, (near | True, near)):
        numbers = [n for n, kept in zip(choice.candidates, shown) if kept]
        ax.errorbar(
            numbers, -choice.difference[shown], choice.standard_error[shown], fmt="o-", ms=4
        )
        ax.axvline(choice.n_types, color="0.6", linestyle=":")
        ax.set(xlabel="number of types", ylabel="nats a held-out cell, less the best")
    save_figure(figure, path)
    text = (
        f"How well numbers of types predict {choice.n_held_out:,} cells held out, with standard "
        "errors of the differences between genes; dotted: the smallest number within one "
        "of the best. Right: near the best."
    )
    return path.name, text


def _marks(path: Path, points: Points, outcome: Outcome) -> Picture:
    import numpy as np
    from matplotlib import colormaps
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

    from inference.plotting import new_figure, save_figure
    from models.cell_types import Points as Cells

    figure, axes = new_figure(len(outcome.emissions), width=4.2, height=3.8)
    shades = colormaps["tab10" if outcome.n_types <= 10 else "tab20"]
    for ax, law in zip(axes, outcome.emissions):
        name = law.mark  # type: ignore[attr-defined]
        values = points.marks[name]
        axial = name == "orientation"
        if axial:
            grid = np.linspace(0.0, np.pi, 181)
        else:
            low, high = np.quantile(values, [0.001, 0.999]).tolist()
            grid = np.geomspace(low, high, 200)
        corner = np.tile(points.window.lower, (len(grid), 1))
        at = Cells(np.zeros(len(grid), np.int32), corner, ("any",), points.window, {name: grid})
        density = np.exp(law.log_density(at))[:, outcome.order]
        if axial:
            place: Any = ax.get_subplotspec()
            polar: Any = figure.add_subplot(place, projection="polar")
            ax.remove()
            polar.set_theta_direction(-1)  # y runs down
            polar.set_yticklabels([])
            ax, grid = polar, np.concatenate([grid, grid + np.pi])
            density = np.concatenate([density, density])
        else:
            edges = np.geomspace(grid[0], grid[-1], 61)
            ax.hist(values, edges.tolist(), density=True, color="0.85", label="all")
            ax.set(xscale="log", xlabel=name, ylabel="density")
            ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            ax.xaxis.set_major_formatter(FormatStrFormatter("%g"))
            ax.xaxis.set_minor_formatter(NullFormatter())
        for k in range(outcome.n_types):
            ax.plot(grid, density[:, k], color=shades(k % shades.N), lw=1.2, label=str(k + 1))
        ax.set_title(name)
    axes[0].figure.legend(
        *ax.get_legend_handles_labels(), loc="outside right center", title="type", fontsize=7
    )
    save_figure(figure, path)
    return path.name, "Densities of the marks in each type."


def write_report(
    folder: Path,
    outcome: Outcome,
    choice: TypeChoice | None,
    summary: dict[str, Any],
    genes: Sequence[str],
    pictures: Sequence[Picture],
) -> None:
    """Write ``report.html``, which needs no other file."""
    figures = [
        f'<figure><img alt="{escape(name)}" src="data:image/png;base64,'
        f'{base64.b64encode((folder / name).read_bytes()).decode("ascii")}">'
        f"<figcaption>{escape(text)}</figcaption></figure>"
        for name, text in pictures
    ]
    page = "\n".join(
        [
            _HEAD,
            f"<h1>Cell types of {escape(Path(summary['points']).name)}</h1>",
            *(f"<p>{escape(line)}</p>" for line in _sentences(outcome, choice, summary)),
            "<h2>Types</h2>",
            '<div class="types">',
            _table(*_types(outcome, genes)),
            "</div>",
            *figures,
            "<h2>Starts</h2>",
            _table(*_starts(outcome)),
            "<h2>Time</h2>",
            _table(("stage", "seconds"), ((k, f"{v:.1f}") for k, v in summary["seconds"].items())),
            "</html>",
        ]
    )  # fmt: skip
    write_text(folder / "report.html", page)


def _sentences(outcome: Outcome, choice: TypeChoice | None, summary: dict[str, Any]) -> list[str]:
    """Return what to know before reading the table."""
    how = "as asked" if choice is None else f"by {choice.n_held_out:,} cells held out"
    marks = f", by positions and {', '.join(summary['marks'])}" if summary["marks"] else ""
    lines = [
        f"{summary['n_cells']:,} cells of {summary['n_genes']:,} genes{marks}. "
        f"{outcome.n_types} types, {how}. Status {outcome.status.name}, {outcome.bound_of} "
        f"{outcome.bound:.1f} nats, seed {summary['seed']}.",
        "Profiles of types are comparable up to a factor each: how many cells a type has in the "
        "tissue cannot be told from such images. The share is that of the cells of all images.",
    ]
    if summary["interrupted"]:
        lines.insert(0, "Interrupted: this is the best fit until then.")
    if outcome.near_ties:
        lines.append(
            f"As good as the one shown, within {outcome.near_tie_gap:.0f} nats: "
            f"{', '.join(outcome.near_ties)}. Trust what these have in common."
        )
    if outcome.n_draws:
        lines.append(
            f"Intervals in profiles.csv: 90 %, from {outcome.n_draws} draws by Gibbs sampling from "
            "the fit; they do not span other solutions."
        )
    else:
        lines.append(f"Intervals: {summary['intervals']}.")
    if outcome.pseudo_likelihood:
        lines.append("A mark is computed from positions: the log posterior compares no models.")
    return lines


def _types(outcome: Outcome, genes: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    top = outcome.top_genes(_GENES_LISTED).T
    header = ["type", *(name.replace("_", " ") for name in outcome.features), "genes (share of "]
    header[-1] += "their cells)"
    rows = []
    for k in range(outcome.n_types):
        named = ", ".join(f"{genes[g]} {outcome.membership[g, k]:.2f}" for g in top[k])
        values = [f"{column[k]:.4g}" for column in outcome.features.values()]
        rows.append([str(k + 1), *values, named])
    return header, rows


def _starts(outcome: Outcome) -> tuple[list[str], list[list[str]]]:
    header = ["start", "bound", "nats below", "steps", "status"]
    rows = [
        [
            s.name,
            f"{s.bound:.1f}",
            f"{outcome.bound - s.bound:.1f}",
            f"{s.steps[-1]}",
            s.status.name,
        ]
        for s in outcome.starts
    ]
    if outcome.stability is not None:
        header += ["least cosine of maps", "least correlation of profiles"]
        for row, cosine, r in zip(
            rows,
            outcome.stability["map_cosine_min"],
            outcome.stability["profile_correlation_min"],
        ):
            row += [f"{cosine:.3f}", f"{r:.3f}"]
    return header, rows


def _table(header: Iterable[Any], rows: Iterable[Iterable[Any]]) -> str:
    def row(tag: str, cells: Iterable[Any]) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(str(c))}</{tag}>" for c in cells) + "</tr>"

    body = "\n".join(row("td", cells) for cells in rows)
    return f'<div class="wide"><table>{row("th", header)}\n{body}</table></div>'


_HEAD = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Cell types</title>
<style>
body { font: 15px/1.5 sans-serif; max-width: 70em; margin: 2em auto; padding: 0 1em; }
table { border-collapse: collapse; font-size: 13px; }
th, td { padding: .2em .7em; text-align: right; border-bottom: 1px solid #ddd; }
.types th:last-child, .types td:last-child { text-align: left; min-width: 30em; }
.wide { overflow-x: auto; }
figure { margin: 2em 0; }
img { max-width: 100%; }
figcaption { color: #555; }
</style>"""
