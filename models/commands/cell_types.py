"""``cavity cell-types VERB``: cell types from images of stained cells."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._arguments import NO_SEED, add_common, complain, positive, say
from ._cell_types_fit import add_fit
from ._cell_types_validate import add_validate
from ._results import as_json, report, write_table

if TYPE_CHECKING:
    from models.cell_types import DetectedCells

COLUMNS = ("gene", "x", "y", "area", "orientation", "eccentricity", "intensity", "density")

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""How such files begin."""


def add_verbs(parser: argparse.ArgumentParser) -> None:
    """Add the verbs of the system and their arguments."""
    verbs = parser.add_subparsers(metavar="VERB", required=True, dest="verb")
    _add_detect(verbs.add_parser("detect", help="cells of images, as a table of points"))
    add_fit(verbs)
    add_validate(verbs)


def _add_detect(detect: argparse.ArgumentParser) -> None:
    detect.description = (
        "Find the stained cells of images, one image a gene, and write one row a cell, "
        f"{','.join(COLUMNS)}: lengths in pixels (or as --pixel-size says), orientation in "
        "radians. A summary goes to standard error. Exit code 1: no cell in any image, the table "
        "is written all the same; 2: bad input. Needs the extra 'images'."
    )
    detect.set_defaults(handler=_detect)
    add = detect.add_argument
    add(
        "images",
        metavar="IMAGE",
        nargs="+",
        help="PNG, TIFF or JPEG, grey or colour; the name of the file is that of the gene",
    )
    add("--gene", metavar="NAME", help="name of the gene, for one image")
    add(
        "--radius",
        type=positive,
        metavar="PX",
        help="typical radius of a cell in pixels (default: estimated from each image)",
    )
    add("--bright", action="store_true", help="cells are brighter than the background")
    add(
        "--pixel-size",
        type=positive,
        metavar="L",
        default=1.0,
        help="length of a pixel, the unit of the table (default 1)",
    )
    add_common(detect, "POINTS.csv", "write the table here", required=True, seed_help=NO_SEED)


def _detect(arguments: argparse.Namespace) -> int:
    genes = _gene_names(arguments)
    import warnings

    from inference.status import CavityWarning
    from models.cell_types import detect_cells

    found = {}
    for gene, path in zip(genes, arguments.images):
        image = _read_image(path)
        try:
            with warnings.catch_warnings(record=True) as doubts:
                warnings.simplefilter("always", CavityWarning)
                cells = detect_cells(
                    image,
                    radius_px=arguments.radius,
                    bright=arguments.bright,
                    pixel_size=arguments.pixel_size,
                )
        except ValueError as fault:
            raise ValueError(f"{path}: {fault}") from None
        for doubt in doubts:
            say(arguments, f"{path}: {doubt.message}")
        found[gene] = cells
        say(
            arguments,
            f"{path}: {len(cells):,} cells, typical radius {cells.radius_px:.3g} pixels, "
            f"{cells.n_border} at the border left out",
        )
    write_table(arguments.out, COLUMNS, _rows(found))
    some = any(map(len, found.values()))
    if arguments.json:
        images = [
            {
                "gene": gene,
                "image": path,
                "n_cells": len(cells),
                "radius_px": cells.radius_px,
                "n_border": cells.n_border,
            }
            for path, (gene, cells) in zip(arguments.images, found.items())
        ]
        status = "FOUND" if some else "NONE_FOUND"
        print(as_json(report(arguments, status, out=str(arguments.out), images=images)))
    if some:
        return 0
    complain("no cells found; check the images, --radius and --bright")
    return 1


def _gene_names(arguments: argparse.Namespace) -> list[str]:
    if arguments.gene is not None:
        if len(arguments.images) > 1 or not arguments.gene.strip():
            raise ValueError("--gene: expected the name of a gene, and one image with it")
        return [arguments.gene.strip()]
    names = [Path(path).stem for path in arguments.images]
    for i, name in enumerate(names):
        if name in names[:i]:
            raise ValueError(f"IMAGE: expected one image a gene, got two of {name}")
    return names


def _read_image(path: str) -> Any:
    import logging
    import warnings

    try:
        from imageio.v3 import imread  # comes with scikit-image
    except ImportError:
        raise ValueError(
            "reading images needs scikit-image, the extra 'images': pip install 'cavity[images]'"
        ) from None
    content = Path(path).read_bytes()
    plugin = "tifffile" if content[:4] in _TIFF else "pillow"  # others are tried, loudly
    logging.getLogger("tifffile").addHandler(logging.NullHandler())  # else on standard error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damage: what can be read is read
            return imread(content, plugin=plugin)
    except Exception:  # every format has errors of its own
        raise ValueError(f"{path}: expected an image (PNG, TIFF, JPEG), got another file") from None


def _rows(found: dict[str, DetectedCells]) -> Iterator[list[Any]]:
    for gene, cells in found.items():
        columns = [*cells.centroid.T, *(cells.marks[name] for name in COLUMNS[3:])]
        for numbers in zip(*(column.tolist() for column in columns)):
            yield [gene, *numbers]
