"""What the verbs print and write: strict JSON and tables, whole files only."""

from __future__ import annotations

import argparse
import csv
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TextIO


def report(arguments: argparse.Namespace, status: str, **values: Any) -> dict[str, Any]:
    """Return what ``--json`` prints: what all verbs say, and then ``values``."""
    return {
        "schema_version": 1,
        "command": f"{arguments.system} {arguments.verb}".strip(),  # certify has no verb
        "seed": arguments.seed,
        "status": status,
        **values,
    }


def as_json(value: Any) -> str:
    """Return strict JSON; infinities and NaN become strings that ``float`` can read."""
    return json.dumps(_plain(value), indent=2, allow_nan=False)


def write_text(path: Path, text: str) -> None:
    """Write a file and its last line feed, or replace it."""
    from inference.files import replacing

    with replacing(path) as partial:
        partial.write_text(text + "\n", encoding="utf-8", newline="\n")


def write_table(path: Path, header: Iterable[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write comma-separated values; numbers read back as they are, None is an empty cell."""
    from inference.files import replacing

    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        write_rows(file, header, rows)


def write_rows(file: TextIO, header: Iterable[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write the same to an open file."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, dict):
        return {name: _plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
