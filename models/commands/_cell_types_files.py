"""What a fit of cell types found, as tables in a folder."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ._results import as_json, write_table, write_text

if TYPE_CHECKING:
    from inference.checks import Floats
    from inference.status import Status
    from models.cell_types import Bins, Emission, Fit, GibbsDraws, MarkedFit, Points, TypeChoice

_ROWS_AT_ONCE = 100_000
_DENSITY_REACH = 0.05
"""Radius of the local density, of the shorter side of the window."""


class Start(NamedTuple):
    """Where one start led."""

    name: str
    bound: float
    status: Status
    steps: Sequence[int]
    trace: Floats


class Outcome(NamedTuple):
    """What files and pictures show, be it of a fit with marks or without; types by falling size."""

    membership: Floats
    """``(n_genes, n_types)``."""
    beta: Floats
    """``(n_genes, n_types)``."""
    maps: Floats
    """``(n_types, n_bins)``."""
    bins: Bins
    share: Floats
    """``(n_types,)`` of all cells."""
    probability: Floats
    """``(n_cells, n_types)``."""
    features: dict[str, Floats]
    """``{name: (n_types,)}``."""
    starts: list[Start]
    """Of which the first is the outcome."""
    bound_of: str
    status: Status
    near_tie_gap: float | None
    near_ties: list[str] | None
    """Names of starts that are as good; None if only the best is known."""
    density_radius: float | None
    stability: dict[str, list[Any]] | None = None
    """How much the types of other starts differ, one row a start."""
    interval: tuple[Floats, Floats] | None = None
    """5 % and 95 % quantiles of membership."""
    n_draws: int = 0
    emissions: tuple[Emission, ...] = ()
    """Of the marks."""
    order: Any = None
    """``(n_types,)`` place of each type in the emissions."""
    pseudo_likelihood: bool = False

    @property
    def n_types(self) -> int:
        """Number of types."""
        return len(self.maps)

    @property
    def bound(self) -> float:
        """Of the evidence, or with marks the log posterior, in nats."""
        return self.starts[0].bound

    def top_genes(self, n: int) -> Any:
        """Return ``(n, n_types)`` genes that a type has most of, by the lower end of intervals."""
        import numpy as np

        n_cells = self.beta.sum(axis=1, keepdims=True)
        # without intervals: as if twenty cells more had been of other types
        low = self.beta / (n_cells + 20.0) if self.interval is None else self.interval[0]
        return np.argsort(-low, axis=0, kind="stable")[:n]


def outcome_of_fit(found: Fit, points: Points, draws: GibbsDraws | None) -> Outcome:
    """Gather what a fit of positions says about its points."""
    import numpy as np

    from models.cell_types import stability

    bins = found.bins
    if bins is None:
        raise ValueError("found: expected a fit of positions, got one without bins")
    probability = found.assign(points)
    radius, features = _features(found.type_share, found.maps, bins, points, probability)
    interval, n_draws = None, 0
    if draws is not None:
        drawn = draws.relabelled(found.maps).membership.reshape(-1, *found.membership.shape)
        low, high = np.quantile(drawn, [0.05, 0.95], axis=0)
        interval, n_draws = (low, high), len(drawn)
    return Outcome(
        found.membership,
        found.beta,
        found.maps,
        bins,
        found.type_share,
        probability,
        features,
        [Start(s.start, s.elbo, s.status, s.steps, s.trace) for s in found.solutions],
        "lower bound of the log evidence",
        found.status,
        found.near_tie_gap,
        [s.start for s in found.near_ties],
        radius,
        stability(found).columns(),
        interval,
        n_draws,
    )


def outcome_of_marked(found: MarkedFit, points: Points) -> Outcome:
    """Gather what a fit of positions and marks says about its points."""
    import numpy as np

    total = found.beta.sum(axis=0)
    order = np.argsort(-total, kind="stable")
    space: Any = found.emissions[0]
    share, maps = (total / total.sum())[order], space.maps[order]
    probability = found.assign(points)[:, order]
    radius, features = _features(share, maps, space.bins, points, probability)
    return Outcome(
        found.membership[:, order],
        found.beta[:, order],
        maps,
        space.bins,
        share,
        probability,
        features,
        [Start("best random start", found.objective, found.status, found.steps, found.trace)],
        "log posterior",
        found.status,
        None,
        None,
        radius,
        emissions=found.emissions[1:],
        order=order,
        pseudo_likelihood=found.pseudo_likelihood,
    )


def _features(
    share: Floats, maps: Floats, bins: Bins, points: Points, probability: Floats
) -> tuple[float | None, dict[str, Floats]]:
    from models.cell_types.profiles import map_features, mark_features

    features = {"share": share} | map_features(maps, bins) | mark_features(points, probability)
    if "density" in points.marks:
        return None, features
    radius = _DENSITY_REACH * float(points.window.extent.min())
    density = points.local_density(radius)
    return radius, features | {"local_density": density @ (probability / probability.sum(axis=0))}


def write_files(
    folder: Path, points: Points, outcome: Outcome, choice: TypeChoice | None, *, degrees: bool
) -> list[str]:
    """Write all tables but the summary; return the names of the files."""
    import numpy as np

    from inference.files import replacing

    types = range(1, outcome.n_types + 1)
    _write_table(folder / "profiles.csv", *_profiles(outcome, points.genes))
    features = outcome.features
    _write_table(
        folder / "features.csv",
        ["type", *features],
        zip(types, *(column.tolist() for column in features.values())),
    )
    with replacing(folder / "maps.npy") as partial:
        np.save(partial, outcome.maps.reshape(-1, *outcome.bins.shape))
    _write_cells(folder / "cells.csv", points, outcome.probability, degrees)
    _write_table(
        folder / "bound.csv",
        ["start", "step", "bound"],
        (
            (start.name, step, value)
            for start in outcome.starts
            for step, value in zip(start.steps, start.trace.tolist())
        ),
    )
    files = ["profiles.csv", "features.csv", "maps.npy", "cells.csv", "bound.csv"]
    if outcome.stability is not None:
        files.append("stability.csv")
        columns = outcome.stability
        _write_table(folder / "stability.csv", list(columns), zip(*columns.values()))
    if choice is not None:
        files.append("held_out.csv")
        curves = (choice.log_likelihood, choice.difference, choice.standard_error)
        _write_table(
            folder / "held_out.csv",
            ["types", "log_likelihood", "below_best", "standard_error"],
            zip(choice.candidates, *(curve.tolist() for curve in curves)),
        )
    return files


def summary_of(
    given: dict[str, Any],
    sampling: dict[str, int],
    points: Points,
    outcome: Outcome,
    choice: TypeChoice | None,
) -> dict[str, Any]:
    """Return what ``summary.json`` says, but for the time it took."""
    if outcome.n_draws:
        kind = {"level": 0.9, "of": "fraction", "sampler": "gibbs, from the fit"}
        intervals: Any = kind | {"draws": outcome.n_draws} | sampling
    elif outcome.emissions:
        intervals = "none: there is no sampler of fits with marks"
    else:
        intervals = "none: too few draws"
    summary = {
        "schema_version": 1,
        "command": "cell-types fit",
        "seed": given["seed"],
        "status": outcome.status.name,
        "versions": {name: version(name) for name in ("cavity", "jax", "numpy")},
        "points": given["points"],
        "n_cells": len(points),
        "n_genes": len(points.genes),
        "n_types": outcome.n_types,
        "held_out": None,
        "bound": outcome.bound,
        "bound_of": outcome.bound_of,
        "pseudo_likelihood": outcome.pseudo_likelihood,
        "starts": [
            {"start": s.name, "bound": s.bound, "status": s.status.name, "steps": s.steps[-1]}
            for s in outcome.starts
        ],
        "near_tie_gap": outcome.near_tie_gap,
        "near_ties": outcome.near_ties,
        "type_share": outcome.share,
        "intervals": intervals,
        "window": {"x": points.window.x_range, "y": points.window.y_range},
        "local_density_radius": outcome.density_radius,
    }
    for name in ("bins", "marks", "restarts", "prior"):
        summary[name] = given[name]
    if choice is not None:
        place = choice.candidates.index(choice.n_types)
        summary["held_out"] = {
            "n_cells": choice.n_held_out,
            "tried": choice.candidates,
            "log_likelihood_a_cell": float(choice.log_likelihood[place]),
        }
    return summary


def write_summary(folder: Path, summary: dict[str, Any]) -> None:
    """Write ``summary.json``."""
    write_text(folder / "summary.json", as_json(summary))


def _profiles(outcome: Outcome, genes: Sequence[str]) -> tuple[list[str], Iterator[Any]]:
    header, columns = ["type", "gene", "beta", "fraction"], [outcome.beta, outcome.membership]
    if outcome.interval is not None:
        header += ["low", "high"]
        columns += outcome.interval
    numbers = [array.T.tolist() for array in columns]
    rows = (
        (k + 1, gene, *row)
        for k in range(outcome.n_types)
        for gene, *row in zip(genes, *(column[k] for column in numbers))
    )
    return header, rows


def _write_table(path: Path, header: Sequence[str], rows: Any) -> None:
    shown = ([f"{cell:.8g}" if isinstance(cell, float) else cell for cell in row] for row in rows)
    write_table(path, header, shown)


def _write_cells(path: Path, points: Points, probability: Floats, degrees: bool) -> None:
    """Write the cells in their order with the probabilities of their types."""
    import numpy as np

    from inference.files import replacing

    columns = points.columns()
    if degrees and "orientation" in columns:
        columns["orientation"] = np.rad2deg(columns["orientation"])
    genes = np.array([_quoted(gene) for gene in points.genes], object)
    texts = np.array([f"{i / 1e4:g}" for i in range(10_001)], object)
    header = [*columns, *(f"p_type_{k}" for k in range(1, probability.shape[1] + 1))]
    del columns["gene"]
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        file.write(",".join(map(_quoted, header)) + "\n")
        for first in range(0, len(points), _ROWS_AT_ONCE):
            part = slice(first, first + _ROWS_AT_ONCE)
            chances = texts[np.rint(probability[part] * 1e4).astype(np.int64)].T.tolist()
            measured = (map(repr, column[part].tolist()) for column in columns.values())
            rows = zip(genes[points.gene[part]].tolist(), *measured, *chances)
            file.write("\n".join(map(",".join, rows)) + "\n")


def _quoted(cell: str) -> str:
    """Return a cell as CSV writes it."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow([cell])
    return text.getvalue()
