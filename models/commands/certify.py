"""``cavity certify``: every system by all its routes, and whether they agree."""

from __future__ import annotations

import argparse
import importlib
import platform
from typing import TYPE_CHECKING

from ._arguments import add_common, bar, say
from ._results import as_json, report, write_text

if TYPE_CHECKING:
    from inference.certificates import Certificate

SYSTEMS = ("deep-linear", "ksat", "contact-tracing", "cell-types", "perceptron", "mesoscopic")
_DISAGREES, _INTERRUPTED = 1, 130
_PACKAGES = ("cavity", "jax", "jaxlib", "numba", "numpy", "numpyro", "scipy")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command, which has no verbs."""
    parser.description = (
        "Compute the same numbers by all the routes that a system has: exact sums and closed "
        "forms, messages, and samples. Exit code 1 if any disagree. Ctrl-C ends after the "
        "comparison that runs, with what is done (exit code 130)."
    )
    parser.set_defaults(handler=_certify, verb="")
    parser.add_argument(
        "systems",
        nargs="*",
        type=_known,
        metavar="SYSTEM",
        help=f"which to compare (default all): {', '.join(SYSTEMS)}",
    )
    parser.add_argument(
        "--full",
        action="store_true",
        help="ten times the draws, and calibration on many data sets: minutes a system",
    )
    add_common(
        parser,
        "DIR",
        "folder for summary.md, certificates.json, and the tables of each system",
        folder=True,
    )


def _known(name: str) -> str:
    if name not in SYSTEMS:
        raise argparse.ArgumentTypeError(f"expected one of {', '.join(SYSTEMS)}; got {name!r}")
    return name


def _certify(arguments: argparse.Namespace) -> int:
    from ._session import held_interrupts, start_jax

    found: list[Certificate] = []
    with held_interrupts() as pressed:
        start_jax()
        for name in dict.fromkeys(arguments.systems or SYSTEMS):
            if pressed:
                break
            system = importlib.import_module(f"models.{name.replace('-', '_')}.certificate")
            certificate: Certificate = system.certificate(
                full=arguments.full,
                seed=arguments.seed,
                should_stop=lambda: bool(pressed),
                progress=bar(arguments),
            )
            found.append(certificate)
            say(arguments, f"{name}: {certificate.summary().verdict}, {certificate.seconds:.0f} s")
            if arguments.out:  # at once: what a full run found is worth keeping
                write_text(arguments.out / f"{name}.txt", str(certificate))
    complete = not pressed or len(found) == len(set(arguments.systems or SYSTEMS))
    return _answer(arguments, found, complete and all(one.complete for one in found))


def _answer(arguments: argparse.Namespace, found: list[Certificate], complete: bool) -> int:
    """Print and write what was found, and return its exit code."""
    from inference.certificates import markdown_table, summary_table

    failures = [why for certificate in found for why in certificate.failures()]
    n_compared = sum(certificate.summary().n_quantities for certificate in found)
    verdict = f"{len(failures)} disagree" if failures else f"all {n_compared} numbers agree"
    if not complete:
        verdict = f"interrupted: {verdict} so far"
    status = "DISAGREES" if failures else "AGREES" if complete else "INTERRUPTED"
    versions = {"python": platform.python_version(), **_versions()}
    answer = as_json(
        report(
            arguments,
            status,
            full=arguments.full,
            complete=complete,
            versions=versions,
            failures=failures,
            certificates=[certificate.as_dict() for certificate in found],
        )
    )
    if arguments.out:
        made_by = ", ".join(f"{name} {number}" for name, number in versions.items())
        kind = "full" if arguments.full else "quick"
        last = f"{verdict} ({kind}, seed {arguments.seed}; {made_by})"
        write_text(arguments.out / "certificates.json", answer)
        write_text(arguments.out / "summary.md", f"{markdown_table(found)}\n\n{last}")
    if arguments.json:
        print(answer)
    else:
        wrong = "\n".join(f"DISAGREES  {why}" for why in failures)
        print(*filter(None, [*map(str, found), wrong, summary_table(found)]), sep="\n\n\n")
        print(f"\n{verdict}")
    if not complete:
        return _INTERRUPTED
    return _DISAGREES if failures else 0


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in _PACKAGES}
