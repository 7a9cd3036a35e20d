"""The ``cavity SYSTEM VERB`` command: dispatch and exit codes, no physics.

A system's arguments live in ``models/commands/<system>.py``. Parsing imports the standard library
alone; the numerics start in the handler of a verb.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from .commands import cell_types, contact_tracing, deep_linear, ksat

BAD_INPUT = 2
NOT_CONVERGED = 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code.

    Parameters
    ----------
    argv
        Arguments without the name of the program; ``sys.argv[1:]`` if None.

    Returns
    -------
    int
        What the verb answers, 0 for most; 2 for bad input, 1 for an answer that cannot be trusted.
        Both failures print one line on stderr; anything else is a defect and keeps its traceback
        (``python -X dev -m models ...`` shows it for every failure).

    Raises
    ------
    SystemExit
        From ``--help`` and ``--version``.
    """
    try:
        arguments = _parser().parse_args(argv)
        handler: Callable[[argparse.Namespace], int | None] = arguments.handler
        return handler(arguments) or 0
    except (ValueError, TypeError, OSError) as fault:
        return _fail(fault, BAD_INPUT)
    except RuntimeError as fault:
        from inference.status import ConvergenceError  # here: it loads JAX, --help must not

        if not isinstance(fault, ConvergenceError):
            raise
        return _fail(fault, NOT_CONVERGED)


class _Parser(argparse.ArgumentParser):
    """A parser that leaves the report of a wrong argument to :func:`main`."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message} (see {self.prog} --help)")


class _Version(argparse.Action):
    """``--version``, looking the number up only when asked."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any, **__: Any) -> NoReturn:
        from importlib.metadata import version

        print(f"cavity {version('cavity')}")
        parser.exit()


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="cavity", description="Statistical physics of learning: one verb a run.")
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    systems = parser.add_subparsers(metavar="SYSTEM", required=True, dest="system")
    deep_linear.add_verbs(
        systems.add_parser("deep-linear", help="Bayesian deep linear networks (arXiv 2406.03260)")
    )
    ksat.add_verbs(systems.add_parser("ksat", help="satisfiability of formulas by message passing"))
    contact_tracing.add_verbs(
        systems.add_parser("contact-tracing", help="risk of infection from contacts and tests")
    )
    cell_types.add_verbs(
        systems.add_parser("cell-types", help="types of cells from images of many genes")
    )
    return parser


def _fail(fault: Exception, code: int) -> int:
    if sys.flags.dev_mode:
        raise fault
    if isinstance(fault, OSError) and fault.filename:
        message = f"{fault.filename}: {fault.strerror}"
    else:
        message = str(fault).partition("\n")[0]
    print(f"cavity: {message}", file=sys.stderr)
    return code
