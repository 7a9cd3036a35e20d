"""``cavity cell-types fit``: a table of cells in; types, their maps and what they express out."""

from __future__ import annotations

import argparse
import contextlib
import math
import shutil
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._arguments import add_common, bar, complain, finite, names, positive, say, share, whole
from ._results import as_json

if TYPE_CHECKING:
    from models.cell_types import Fit, GibbsDraws, Points, TypeChoice

    from ._cell_types_files import Outcome

INTERRUPTED = 1
SAMPLING: dict[str, Any] = {"num_chains": 2, "num_warmup": 100, "thinning": 4}
"""Of the sampling for intervals; see `models.cell_types.gibbs`."""
N_DRAWS, LEAST_DRAWS = 300, 40
"""Usual number, and the one below which there are no intervals."""
_DRAWN_BYTES = 1e9
MOST_BINS, LEAST_CELLS = 32, 20
"""Of the usual grid. With few cells a bin, more types than there are predict held-out cells better:
the sum of many noisy maps is more even."""
_PATIENCE = 10.0
"""Seconds without a word, where no bar can be drawn."""

_DESCRIPTION = """\
Read one cell a row, gene,x,y and any marks (size, orientation, intensity, ...). Find cell types:
where their cells lie, and what share of each gene's cells is of each type. Lengths are those of
the table; y is drawn downwards, as in images.

Files in DIR (those of an earlier run are replaced one by one; summary.json lists what was written):
  summary.json    number of types, bound, starts, near ties, seed, versions, seconds a stage
  profiles.csv    type,gene,beta,fraction,low,high: expected cells, their share of the gene's cells
                  and its 90 % interval, from Gibbs sampling (not with --marks)
  features.csv    a row a type: share of all cells, centre, spread, means of marks, local density
  maps.npy        (types, rows, columns): each type's cells over the bins
  cells.csv       the table with p_type_1, p_type_2, ..., to four decimals
  held_out.csv    with --types auto: log likelihood of held-out cells, in nats a cell
  bound.csv       the bound from each start, against steps
  stability.csv   a row a start: how far its types are from those of the fit (not with --marks)
  *.png and report.html, which holds all pictures (they need the extra 'plot')
"""
_EPILOG = """\
Killed, the same command goes on where it was (from DIR/.unfinished, which it removes at the end).
Ctrl-C once ends the search and writes the best fit so far (exit code 1), a second time ends at once
(130). Exit code 1 also if the fit has not converged or there are fewer patterns than types: all is
written all the same; 2: bad input.
"""


def add_fit(verbs: Any) -> None:
    """Add the verb and its arguments to the subparsers of the system."""
    fit = verbs.add_parser(
        "fit",
        help="types of cells, where they lie and what they express, from a table of points",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    fit.set_defaults(handler=_fit)
    add = fit.add_argument
    add("points", metavar="POINTS.csv", help="table gene,x,y and any marks, one cell a row")
    add(
        "--types",
        type=_types,
        metavar="K|auto",
        help="number of types (default auto: the one that predicts held-out cells best, by their "
        "positions alone)",
    )
    add(
        "--bins",
        type=_bins,
        metavar="B|BX,BY",
        help=f"bins an axis (default {MOST_BINS}, or fewer for {LEAST_CELLS} cells a bin)",
    )
    add(
        "--marks",
        type=names,
        default=(),
        metavar="A,B",
        help="tell types apart by these marks, too: orientation is an axis, the others are "
        "log-normal; minutes for a million cells",
    )
    add(
        "--holdout",
        type=share,
        default=0.2,
        metavar="P",
        help="share of cells held out to choose the number of types (default 0.2)",
    )
    add("--restarts", type=_number, default=4, metavar="R", help="random starts (default 4)")
    add(
        "--draws",
        type=_number,
        default=N_DRAWS,
        metavar="N",
        help=f"draws for the intervals (default {N_DRAWS}; 0: no intervals)",
    )
    add(
        "--concentration",
        type=positive,
        metavar="A",
        help="of a gene's shares: small values make genes specific (default 0.1; 1.02 with marks)",
    )
    add(
        "--map-concentration",
        type=positive,
        metavar="A",
        help="of the maps: large values make them even (default 1; 1.5 with marks)",
    )
    add(
        "--window",
        type=_window,
        metavar="X0,X1,Y0,Y1",
        help="where cells were looked for (default: the smallest rectangle around them)",
    )
    add("--clip", action="store_true", help="drop cells outside --window, and say how many")
    add("--degrees", action="store_true", help="orientations are in degrees, not in radians")
    add_common(fit, "DIR", "folder for the results", folder=True, required=True)


def _fit(arguments: argparse.Namespace) -> int:
    from ._session import held_interrupts, start_jax

    with held_interrupts() as pressed:
        start_jax()
        outcome, summary = _run(arguments, _Watch(pressed, arguments))
    if arguments.json:
        print(as_json(summary))
    from inference.status import raise_for_status

    if pressed:
        complain(f"interrupted, the best so far is in {arguments.out}")
        return INTERRUPTED
    raise_for_status(outcome.status, "cell-types fit")
    return 0


class _Watch:
    """What is under way since when, and whether to stop."""

    def __init__(self, pressed: list[int], arguments: argparse.Namespace) -> None:
        self.pressed = pressed
        self.bar = bar(arguments)
        self._arguments = arguments
        self.seconds: dict[str, float] = {}
        self._spoken = time.monotonic()
        self._told = False
        self._stage, self._begun = "", self._spoken

    def __call__(self) -> bool:
        """Return whether Ctrl-C was pressed; raise if it was twice and that got lost."""
        if len(self.pressed) > 1:
            raise KeyboardInterrupt
        if self.pressed and not self._told:
            self._told = True
            self.say("interrupted, finishing with the best so far; Ctrl-C again ends at once")
        if time.monotonic() - self._spoken > _PATIENCE and not sys.stderr.isatty():
            self.say(f"still at it: {self._stage}, {time.monotonic() - self._begun:.0f} s")
        return bool(self.pressed)

    def say(self, text: str) -> None:
        """Print a line of progress."""
        self._spoken = time.monotonic()
        say(self._arguments, text)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure how long a stage takes."""
        self._stage, self._begun = name, time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - self._begun


def _run(arguments: argparse.Namespace, watch: _Watch) -> tuple[Outcome, dict[str, Any]]:
    """Return what was found, and what ``summary.json`` says about it."""
    from ._cell_types_files import (
        outcome_of_fit,
        outcome_of_marked,
        summary_of,
        write_files,
        write_summary,
    )
    from ._cell_types_report import draw_pictures, write_report

    _unfinished(arguments).mkdir(exist_ok=True)
    with watch.stage("reading"):
        points = _read(arguments)
    watch.say(f"{arguments.points}: {len(points):,} cells of {len(points.genes):,} genes")
    if arguments.bins is None:
        arguments.bins = 2 * (min(MOST_BINS, max(2, math.isqrt(len(points) // LEAST_CELLS))),)
    elif len(points) < LEAST_CELLS * math.prod(arguments.bins):
        watch.say(f"few cells a bin, types may be too many: fewer --bins for {LEAST_CELLS} a bin")
    choice, n_types = None, arguments.types
    if n_types is None:
        with watch.stage("number of types"):
            choice = _choose(arguments, points, watch)
        n_types = choice.n_types
        tried = ", ".join(map(str, choice.candidates))
        watch.say(f"{n_types} types by {choice.n_held_out:,} cells held out; tried {tried}")
    if arguments.marks:
        with watch.stage("fit"):
            outcome = outcome_of_marked(_fit_marked(arguments, points, n_types, watch), points)
    else:
        with watch.stage("fit"):
            found = _fit_space(arguments, points, n_types, watch)
        with watch.stage("intervals"):
            draws = _sample(arguments, points, found, watch)
        with watch.stage("cells"):
            outcome = outcome_of_fit(found, points, draws)
    if arguments.degrees and "orientation" in outcome.features:
        outcome.features["orientation"] *= 180.0 / math.pi
    watch.say(f"fit: {outcome.status.name}, {outcome.bound_of} {outcome.bound:.7g} nats")
    if outcome.near_ties:
        watch.say(f"as good, see stability.csv: {', '.join(outcome.near_ties)}")
    given = vars(arguments) | {"prior": _prior(arguments)}
    summary = summary_of(given, SAMPLING, points, outcome, choice)
    summary |= {"interrupted": bool(watch.pressed), "seconds": watch.seconds}
    with watch.stage("files"):
        files = write_files(arguments.out, points, outcome, choice, degrees=arguments.degrees)
    write_summary(arguments.out, summary | {"files": files})
    with watch.stage("pictures"):
        pictures = draw_pictures(arguments.out, points, outcome, choice)
        if not pictures:
            watch.say("no pictures: they need matplotlib, pip install 'cavity[plot]'")
    files += [*(name for name, _ in pictures), "report.html"]
    summary |= {"interrupted": bool(watch.pressed), "files": files}
    write_report(arguments.out, outcome, choice, summary, points.genes, pictures)
    write_summary(arguments.out, summary)
    if not watch.pressed:
        shutil.rmtree(_unfinished(arguments))
    watch.say(f"{arguments.out / 'report.html'}: {sum(watch.seconds.values()):.0f} s in all")
    return outcome, summary


def _read(arguments: argparse.Namespace) -> Points:
    from inference.status import CavityWarning
    from models.cell_types import Window, read_points

    edges = arguments.window
    if arguments.clip and not edges:
        raise ValueError("--clip: expected --window, beyond which cells are dropped")
    with warnings.catch_warnings(record=True) as dropped:
        warnings.simplefilter("always", CavityWarning)
        points = read_points(
            arguments.points,
            window=Window(edges[:2], edges[2:]) if edges else None,
            outside="drop" if arguments.clip else "raise",
            angle_unit="degrees" if arguments.degrees else "radians",
        )
    for one in dropped:
        say(arguments, f"{arguments.points}: {one.message}")
    missing = [mark for mark in arguments.marks if mark not in points.marks]
    if missing:
        raise ValueError(
            f"{arguments.points}:1: header: expected columns of --marks, got no "
            f"{', '.join(map(repr, missing))}; the marks are {', '.join(points.marks) or 'none'}"
        )
    for mark in arguments.marks:
        if mark != "orientation" and points.marks[mark].min() <= 0:
            raise ValueError(
                f"{arguments.points}: column {mark!r}: expected positive numbers for --marks, got "
                f"{points.marks[mark].min():g}"
            )
    return points


def _unfinished(arguments: argparse.Namespace) -> Path:
    """Return the folder from which the same command goes on after it was killed."""
    return Path(arguments.out) / ".unfinished"


def _prior(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the concentrations that were given."""
    given = {
        "concentration": arguments.concentration,
        "map_concentration": arguments.map_concentration,
    }
    return {name: value for name, value in given.items() if value is not None}


def _keys(seed: int) -> dict[str, Any]:
    import jax

    from inference.keys import split_named

    return split_named(jax.random.key(seed), "number of types", "fit")


def _choose(arguments: argparse.Namespace, points: Points, watch: _Watch) -> TypeChoice:
    from models.cell_types import choose_n_types

    return choose_n_types(
        points,
        holdout=arguments.holdout,
        bins=arguments.bins,
        key=_keys(arguments.seed)["number of types"],
        checkpoint=_unfinished(arguments) / "choice.npz",
        progress=watch.bar,
        should_stop=watch,
        **({} if arguments.marks else _prior(arguments)),
    )


def _fit_space(arguments: argparse.Namespace, points: Points, n_types: int, watch: _Watch) -> Fit:
    from models.cell_types import fit

    return fit(
        points,
        n_types,
        restarts=arguments.restarts,
        bins=arguments.bins,
        key=_keys(arguments.seed)["fit"],
        checkpoint=_unfinished(arguments) / "fit.npz",
        progress=watch.bar,
        should_stop=watch,
        on_failure="ignore",
        **_prior(arguments),
    )


def _fit_marked(arguments: argparse.Namespace, points: Points, n_types: int, watch: _Watch) -> Any:
    from models.cell_types import fit_marked

    return fit_marked(
        points,
        n_types,
        arguments.marks,
        restarts=max(1, arguments.restarts),
        bins=arguments.bins,
        key=_keys(arguments.seed)["fit"],
        checkpoint=_unfinished(arguments) / "fit.npz",
        progress=watch.bar,
        should_stop=watch,
        **_prior(arguments),
    )


def _sample(
    arguments: argparse.Namespace, points: Points, found: Fit, watch: _Watch
) -> GibbsDraws | None:
    """Return draws about the fit, None if there are too few for intervals."""
    from models.cell_types import gibbs

    size = 4 * (found.membership.size + found.maps.size)
    n_draws = min(arguments.draws, max(LEAST_DRAWS, int(_DRAWN_BYTES / size)))
    if n_draws < LEAST_DRAWS or watch():
        return None
    draws = gibbs(
        points,
        found.n_types,
        start=found,
        bins=arguments.bins,
        num_samples=-(-n_draws // SAMPLING["num_chains"]),
        seed=arguments.seed,
        checkpoint=_unfinished(arguments) / "draws.npz",
        progress=watch.bar,
        should_stop=watch,
        **SAMPLING,
        **_prior(arguments),
    )
    return draws if draws.log_likelihood.size >= LEAST_DRAWS else None


_number = whole("a whole number")
_n_types = whole("a number of types or auto", least=1)
_n_bins = whole("one or two numbers of bins", least=1)


def _types(text: str) -> int | None:
    return None if text == "auto" else _n_types(text)


def _bins(text: str) -> tuple[int, int]:
    sizes = [_n_bins(part.strip()) for part in text.split(",")]
    if len(sizes) > 2:
        raise argparse.ArgumentTypeError(f"expected one or two numbers of bins, got {text!r}")
    return sizes[0], sizes[-1]


def _window(text: str) -> tuple[float, ...]:
    edges = tuple(finite(part) for part in text.split(","))
    if len(edges) != 4 or not (edges[0] < edges[1] and edges[2] < edges[3]):
        raise argparse.ArgumentTypeError(f"expected rising X0,X1 and Y0,Y1, got {text!r}")
    return edges
