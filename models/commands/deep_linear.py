"""``cavity deep-linear VERB``: Bayesian deep linear networks from a table of numbers."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ._arguments import add_common, bar, positive_or_inf
from ._deep_linear_fit import add_fit
from ._deep_linear_tables import add_shared, inputs_and_targets, widths
from ._results import as_json, report, write_text

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
    add_shared(evidence)
    add = evidence.add_argument
    add(
        "--widths",
        type=widths,
        required=True,
        metavar="N1,N2",
        help="widths of the hidden layers; 'none' for linear regression",
    )
    add(
        "--beta",
        type=positive_or_inf,
        required=True,
        help="inverse temperature, the precision of the noise; inf for noise-free targets",
    )
    add(
        "--standardize",
        action="store_true",
        help="shift and scale every column to mean 0 and standard deviation 1; the evidence is "
        "then that of the scaled targets",
    )
    add_common(evidence, "RESULT.json", "write the JSON object here, too")
    add_fit(verbs)


def _evidence(arguments: argparse.Namespace) -> None:
    from ._session import start_jax

    start_jax()
    import jax

    from inference.status import raise_for_status
    from models.deep_linear import Architecture, compress, posterior

    targets = arguments.targets
    inputs, x, y = inputs_and_targets(arguments.train, targets)
    architecture = Architecture(
        arguments.widths, n_outputs=len(targets), precisions=arguments.precisions
    )
    try:
        if arguments.standardize:
            x, y = _standardized(x, inputs), _standardized(y, targets)
        result = posterior(
            compress(x, y, architecture),
            architecture,
            arguments.beta,
            method=arguments.method,
            key=jax.random.key(arguments.seed),
            on_failure="ignore",  # the numbers are printed first, then the failure is raised
            progress=bar(arguments),
        )
    except ValueError as fault:
        raise ValueError(f"{arguments.train}: {fault}") from None
    found = report(
        arguments,
        result.status.name,
        train=arguments.train,
        n_rows=len(x),
        inputs=inputs,
        targets=targets,
        standardized=arguments.standardize,
        widths=arguments.widths,
        precisions=architecture.precisions,
        beta=arguments.beta,
        method=result.method,
        log_evidence=result.log_evidence,
        log_evidence_error=result.log_evidence_error,
        ess=result.ess,
        pareto_k=result.pareto_k,
        mixing_mean=result.mixing_mean,
    )
    if arguments.out:
        write_text(arguments.out, as_json(found))
    if arguments.json:
        print(as_json(found))
    elif not arguments.quiet:
        print(_table(found))
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
