"""``cavity deep-linear VERB``: Bayesian deep linear networks from a table of numbers."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._deep_linear_fit import add_fit
from ._tables import METHODS, inputs_and_targets, names, plain, precisions, widths

if TYPE_CHECKING:
    from inference.checks import Floats


def add_verbs(parser: argparse.ArgumentParser) -> None:
    """Add the verbs of the system and their arguments."""
    verbs = parser.add_subparsers(metavar="VERB", required=True, dest="verb")
    evidence = verbs.add_parser(
        "evidence",
        help="log marginal likelihood of an architecture, and its posterior mean mixing matrix",
        description=(
            "Log evidence of a deep linear network with Gaussian weights for a table of numbers, "
            "and the posterior mean of the mixing matrix Q (outputs x outputs) that rescales the "
            "kernel. Every column that is not a target is an input."
        ),
    )
    evidence.set_defaults(handler=_evidence)
    add = evidence.add_argument
    add("train", metavar="TRAIN.csv", help="table with one header line, one example a row")
    add("--targets", type=names, required=True, metavar="A,B", help="columns to predict")
    add(
        "--widths",
        type=widths,
        required=True,
        metavar="N1,N2",
        help="widths of the hidden layers; 'none' for linear regression",
    )
    add(
        "--beta",
        type=float,
        required=True,
        help="inverse temperature, the precision of the noise; inf for noise-free targets",
    )
    add(
        "--precisions",
        type=precisions,
        default=1.0,
        metavar="L0,L1,..",
        help="weight precisions: one for all layers, or one a weight matrix (default 1)",
    )
    add(
        "--method",
        choices=METHODS,
        default="auto",
        help="how to integrate over Q (default: auto, by the number of dimensions)",
    )
    add(
        "--standardize",
        action="store_true",
        help="shift and scale every column to mean 0 and standard deviation 1; the evidence is "
        "then that of the scaled targets",
    )
    add("--seed", type=int, default=0, help="seed of the random methods (default 0)")
    add("--json", action="store_true", help="print one JSON object instead of the table")
    add("--out", type=Path, metavar="FILE", help="write the JSON object to a file, too")
    add("--quiet", action="store_true", help="print no table and no progress bar")
    add_fit(verbs)


def _evidence(arguments: argparse.Namespace) -> None:
    if arguments.out and not arguments.out.parent.is_dir():  # now, not after the long work
        raise ValueError(f"{arguments.out}: there is no folder {arguments.out.parent}")

    from ._session import start_jax

    start_jax()
    import jax

    from inference.status import raise_for_status
    from models.deep_linear import Architecture, compress, posterior

    targets = arguments.targets
    inputs, x, y = inputs_and_targets(arguments.train, targets)
    if arguments.standardize:
        x, y = _standardized(x, inputs), _standardized(y, targets)
    architecture = Architecture(
        arguments.widths, n_outputs=len(targets), precisions=arguments.precisions
    )
    result = posterior(
        compress(x, y, architecture),
        architecture,
        arguments.beta,
        method=arguments.method,
        key=jax.random.key(arguments.seed),
        on_failure="ignore",  # the numbers are printed first, then the failure is raised
        progress=False if arguments.quiet else None,
    )
    report = {
        "schema_version": 1,
        "command": "deep-linear evidence",
        "train": str(arguments.train),
        "n_rows": len(x),
        "inputs": inputs,
        "targets": targets,
        "standardized": arguments.standardize,
        "widths": arguments.widths,
        "precisions": architecture.precisions,
        "beta": arguments.beta,
        "seed": arguments.seed,
        "method": result.method,
        "status": result.status.name,
        "log_evidence": result.log_evidence,
        "log_evidence_error": result.log_evidence_error,
        "ess": result.ess,
        "pareto_k": result.pareto_k,
        "mixing_mean": result.mixing_mean,
    }
    text = json.dumps(plain(report), indent=2, allow_nan=False)
    if arguments.out:
        arguments.out.write_text(text + "\n", encoding="utf-8")
    if arguments.json:
        print(text)
    elif not arguments.quiet:
        print(_table(report))
    raise_for_status(result.status, "deep-linear evidence")


def _standardized(values: Floats, names: tuple[str, ...]) -> Floats:
    for name, column in zip(names, values.T, strict=True):
        # not std() == 0: the mean of equal numbers may be off by a rounding error
        if (column == column[0]).all():
            raise ValueError(
                f"column {name!r}: expected different numbers to standardize, got {column[0]:g} in "
                "every row"
            )
    return (values - values.mean(axis=0)) / values.std(axis=0)


def _table(report: dict[str, Any]) -> str:
    targets = report["targets"]
    lines = [
        ("rows", str(report["n_rows"])),
        ("inputs", str(len(report["inputs"]))),
        ("targets", ", ".join(targets)),
        ("log evidence", f"{report['log_evidence']:.6g} ± {report['log_evidence_error']:.2g}"),
        ("method", report["method"]),
        ("status", report["status"]),
        ("mean mixing matrix", ""),
    ]
    width = max(9, *map(len, targets))
    rows = [
        f"  {name:>{width}}" + "".join(f"  {value:>{width}.4g}" for value in row)
        for name, row in zip(targets, report["mixing_mean"], strict=True)
    ]
    head = "  " + " " * width + "".join(f"  {name:>{width}}" for name in targets)
    return "\n".join([*(f"{name:<20}{value}".rstrip() for name, value in lines), head, *rows])
