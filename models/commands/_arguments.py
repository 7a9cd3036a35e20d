"""One dialect for all verbs: the four options that each has, number parsers, words to the user."""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

SEED = "seed of all random numbers (default 0)"
NO_SEED = "accepted as by every verb; this one draws no random numbers"
_MOST = 2**31 - 1
_LARGEST_SEED = 2**32 - 1


def add_common(
    verb: argparse.ArgumentParser,
    out: str,
    out_help: str,
    *,
    folder: bool = False,
    required: bool = False,
    seed_help: str = SEED,
) -> None:
    """Add ``--seed``, ``--out``, ``--quiet`` and ``--json``, which every verb has.

    Parameters
    ----------
    verb
        Parser of the verb.
    out
        How the help calls what ``--out`` writes.
    out_help
        What that is.
    folder
        Whether ``--out`` is a folder.
    required
        Whether it must be given.
    seed_help
        `SEED`, or `NO_SEED` for a verb without random numbers.
    """
    whole_seed = whole("a whole number", most=_LARGEST_SEED)
    verb.add_argument("--seed", type=whole_seed, metavar="N", default=0, help=seed_help)
    add_output(verb, "--out", out, out_help, folder=folder, required=required)
    verb.add_argument("--quiet", action="store_true", help="neither progress nor a summary")
    verb.add_argument(
        "--json", action="store_true", help="print one JSON object instead of text for people"
    )


def add_output(
    verb: argparse.ArgumentParser,
    option: str,
    metavar: str,
    text: str,
    *,
    folder: bool = False,
    required: bool = False,
) -> None:
    """Add an option for a file (or a folder) that the verb writes; see `claimed_outputs`."""
    added = verb.add_argument(option, type=Path, metavar=metavar, required=required, help=text)
    known = verb.get_default("outputs") or {}
    verb.set_defaults(outputs=known | {added.dest: folder})


@contextlib.contextmanager
def claimed_outputs(arguments: argparse.Namespace) -> Iterator[None]:
    """Refuse outputs that cannot be written, and keep other writers out of them for the block.

    Raises
    ------
    OSError, ValueError
        If there is no folder for a file, one is a folder, a folder cannot be written to, or
        another process writes to the same place (`inference.files.InUseError`).
    """
    outputs: dict[str, bool] = getattr(arguments, "outputs", {})
    places = {getattr(arguments, name): folder for name, folder in outputs.items()}
    places.pop(None, None)
    if len(places) < sum(getattr(arguments, name) is not None for name in outputs):
        raise ValueError(
            f"expected different files for {', '.join(f'--{name}' for name in outputs)}"
        )
    for path, folder in places.items():
        _check_folder(path) if folder else _check_file(path)
    with contextlib.ExitStack() as held:
        if places:
            from inference.files import sole_writer  # here: --help must not load it

            for path in places:
                held.enter_context(sole_writer(path))
        if getattr(arguments, "figure", None):
            _check_picture(arguments.figure)
        yield


def _check_file(path: Path) -> None:
    if not path.parent.is_dir():
        raise ValueError(f"{path}: there is no folder {path.parent}")
    if path.is_dir():
        raise ValueError(f"{path}: expected a file to write, got a folder")
    if path.exists() and not path.is_file():
        raise ValueError(f"{path}: expected a file to write, got a device or a pipe")


def _check_picture(path: Path) -> None:
    from inference.plotting import new_figure

    known = new_figure()[0].canvas.get_supported_filetypes()
    if path.suffix[1:].lower() not in known:
        raise ValueError(f"{path}: expected the name of a picture, ending in {', '.join(known)}")


def _check_folder(path: Path) -> None:
    path.mkdir(exist_ok=True)
    if not os.access(path, os.W_OK):
        raise ValueError(f"{path}: expected a folder to write to")


def say(arguments: argparse.Namespace, text: str) -> None:
    """Print a line of a summary or of progress on standard error, unless ``--quiet``."""
    if not arguments.quiet:
        print(text, file=sys.stderr, flush=True)


def complain(text: str) -> None:
    """Print the one line of a failure on standard error."""
    print(f"cavity: {text}", file=sys.stderr, flush=True)


def bar(arguments: argparse.Namespace) -> bool | None:
    """Return whether to draw progress bars: None on a terminal."""
    return False if arguments.quiet else None


def number(expected: str, accept: Callable[[float], bool]) -> Callable[[str], float]:
    """Return a parser of the numbers that are accepted."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        # float() also reads "1_0", which no other program takes for a number
        if "_" in text or not accept(value):
            raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}")
        return value

    return parse


def whole(expected: str, *, least: int = 0, most: int = _MOST) -> Callable[[str], int]:
    """Return a parser of whole numbers within bounds."""

    def parse(text: str) -> int:
        digits = text if text.isascii() and text.isdigit() and len(text) <= 20 else "-1"
        if not least <= int(digits) <= most:
            raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}")
        return int(digits)

    return parse


probability = number("a probability from 0 to 1", lambda value: 0.0 <= value <= 1.0)
share = number("a number between 0 and 1", lambda value: 0.0 < value < 1.0)
positive = number("a positive number", lambda value: 0.0 < value < math.inf)
positive_or_inf = number("a positive number or inf", lambda value: value > 0.0)
finite = number("a finite number", math.isfinite)


def names(text: str) -> tuple[str, ...]:
    """Parse distinct names, ``a,b``."""
    found = tuple(name.strip() for name in text.split(","))
    if not all(found) or len(set(found)) < len(found):
        raise argparse.ArgumentTypeError(
            f"expected distinct names separated by commas, got {text!r}"
        )
    return found
