"""``cavity certify``: every system by all its routes, and whether they agree."""

from __future__ import annotations

import argparse
import importlib
import platform
from typing import TYPE_CHECKING

from ._arguments import add_common, bar, say
from ._results import as_json, report, write_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inference.certificates import Certificate

SYSTEMS = ("deep-linear", "ksat", "contact-tracing", "cell-types", "perceptron", "mesoscopic")
_DISAGREES, _INTERRUPTED = 1, 130
_PACKAGES = ("cavity", "jax", "jaxlib", "numba", "numpy", "numpyro", "scipy")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    parser.set_defaults(handler=_certify, verb="")
    add = parser.add_argument
    add(
        "systems",
        nargs="*",
        type=_known,
        metavar="SYSTEM",
        help=f"which to compare (default all): {', '.join(SYSTEMS)}",
    )
    add(
        "--full",
        action="store_true",
        help="more draws, and simulation-based calibration: a quarter of an hour, not two minutes",
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
        from inference.certificates import summary_table

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
            if arguments.out:
                write_text(arguments.out / f"{name}.txt", str(certificate))
    failures = [why for certificate in found for why in certificate.failures()]
    n_compared = sum(certificate.summary().n_quantities for certificate in found)
    verdict = f"{len(failures)} disagree" if failures else f"all {n_compared} numbers agree"
    if pressed:
        verdict = f"interrupted: {verdict} so far"
    status = "INTERRUPTED" if pressed else "DISAGREES" if failures else "AGREES"
    answer = as_json(
        report(
            arguments,
            status,
            full=arguments.full,
            versions=_versions(),
            failures=failures,
            certificates=[certificate.as_dict() for certificate in found],
        )
    )
    if arguments.out:
        write_text(arguments.out / "certificates.json", answer)
        write_text(arguments.out / "summary.md", _markdown(arguments, found, verdict))
    if arguments.json:
        print(answer)
    else:
        parts = [*map(str, found), "\n".join(f"DISAGREES  {why}" for why in failures)]
        parts += [summary_table(found) if found else "", verdict]
        print("\n\n\n".join(filter(None, parts)))
    if pressed:
        return _INTERRUPTED
    return _DISAGREES if failures or not found else 0


def _markdown(arguments: argparse.Namespace, found: Sequence[Certificate], verdict: str) -> str:
    from inference.certificates import markdown_table

    kind = "full" if arguments.full else "quick"
    versions = ", ".join(f"{name} {number}" for name, number in _versions().items())
    return f"{markdown_table(found)}\n\n{verdict} ({kind}, seed {arguments.seed}; {versions})"


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}}
