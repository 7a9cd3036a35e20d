"""The ``cavity SYSTEM VERB`` command: dispatch and exit codes, no physics.

A system's arguments live in ``models/commands/<system>.py``. Parsing imports the standard library
alone; the numerics start in the handler of a verb.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from .commands import cell_types, certify, contact_tracing, deep_linear, ksat
from .commands._arguments import claimed_outputs, complain

BAD_INPUT = 2
NOT_CONVERGED = 1
INTERRUPTED = 130
NO_READER = 141
"""As a shell reports a program that ends because nobody reads its output."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code.

    Parameters
    ----------
    argv
        Arguments without the name of the program; ``sys.argv[1:]`` if None.

    Returns
    -------
    int
        What the verb answers, 0 for most; 2 for bad input or too large a problem, 1 for an answer
        that cannot be trusted, 130 after Ctrl-C. These failures print one line on stderr, 141 (the
        reader of the output is gone) none; anything else is a defect and keeps its traceback
        (``python -X dev -m models ...`` shows it for every failure).

    Raises
    ------
    SystemExit
        From ``--help`` and ``--version``.
    """
    try:
        arguments = _parser().parse_args(argv)
        with claimed_outputs(arguments):
            handler: Callable[[argparse.Namespace], int | None] = arguments.handler
            code = handler(arguments) or 0
        sys.stdout.flush()  # what fails here is still reported
        return code
    except BrokenPipeError:
        _discard_output()
        return NO_READER
    except KeyboardInterrupt as fault:
        return _fail(fault, "interrupted at once, not everything is written", INTERRUPTED)
    except MemoryError as fault:
        return _fail(fault, _too_large(fault), BAD_INPUT)
    except OSError as fault:
        place = f"{fault.filename}: {fault.strerror}" if fault.filename else str(fault)
        return _fail(fault, place, BAD_INPUT)
    except (ValueError, TypeError) as fault:
        return _fail(fault, str(fault), BAD_INPUT)
    except ImportError as fault:
        if "pip install 'cavity[" not in str(fault):  # an extra that is not installed
            raise
        return _fail(fault, str(fault), BAD_INPUT)
    except RuntimeError as fault:
        from inference.status import ConvergenceError  # here: it loads JAX, --help must not

        if isinstance(fault, ConvergenceError):
            return _fail(fault, str(fault), NOT_CONVERGED)
        if "RESOURCE_EXHAUSTED" in str(fault):  # what XLA says
            return _fail(fault, _too_large(fault), BAD_INPUT)
        raise


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
    certify.add_arguments(
        systems.add_parser("certify", help="all systems by all their routes: do they agree?")
    )
    return parser


def _fail(fault: BaseException, message: str, code: int) -> int:
    if sys.flags.dev_mode:
        raise fault
    complain(message.partition("\n")[0])
    return code


def _too_large(fault: BaseException) -> str:
    what = str(fault).partition("\n")[0]
    return f"{what}: too large for the memory" if what else "too large for the memory"


def _discard_output() -> None:
    """Let the interpreter end without an error about what it could not write."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
