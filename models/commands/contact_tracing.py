"""``cavity contact-tracing VERB``: who is infected, from tables of contacts and of tests."""

from __future__ import annotations

import argparse
import csv
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from ._contact_tracing_study import Study, load_study

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from graphs.temporal import ContactNetwork
    from inference.status import Status
    from models.contact_tracing import Epidemic
    from models.contact_tracing.propagation import RiskResult

TRANSMISSION, RECOVERY, SEED_PROB = 0.02, 0.1, 0.01
COLUMNS = ("person", "p_susceptible", "p_infected", "p_recovered", "rank")
FIT_TOL = 0.02
_MOST_DAYS = 2**15 - 1


def add_verbs(parser: argparse.ArgumentParser) -> None:
    """Add the verbs of the system and their arguments."""
    verbs = parser.add_subparsers(metavar="VERB", required=True, dest="verb")
    risk = verbs.add_parser(
        "risk",
        help="probability of each person to be infected",
        description=(
            "Read contacts and test results and write one row a person, "
            f"{','.join(COLUMNS)}: the probabilities of its states on one day, and its rank "
            "(1 is the most likely infected). The model is a susceptible-infected-recovered "
            "epidemic with daily steps, its posterior is computed by belief propagation. A summary "
            "goes to standard error. Exit code 1: no convergence, the table is written all the "
            "same; 2: bad input."
        ),
    )
    risk.set_defaults(handler=_risk)
    add = risk.add_argument
    add(
        "contacts",
        metavar="CONTACTS.csv",
        help="table person_a,person_b,day[,transmission]: each contact once (it goes both ways), "
        "days from 0, transmission the probability of the contact to pass the infection",
    )
    add(
        "tests",
        metavar="TESTS.csv",
        help="table person,day,result[,false_positive,false_negative]: results positive or "
        "negative, 1 or 0; a test reads the state before the contacts of its day, and is never "
        "wrong without the last two columns",
    )
    add(
        "--day",
        type=_day,
        metavar="D",
        help="day of the risk (default: the day after the last contact, or that of the last test "
        "if it is later); all tests are used, later ones too",
    )
    add(
        "--transmission",
        type=_probability,
        metavar="P",
        help="probability of every contact to pass the infection, if the table has no such column "
        f"(default {TRANSMISSION})",
    )
    add(
        "--recovery",
        type=_probability,
        metavar="P",
        default=RECOVERY,
        help=f"daily probability to recover (default {RECOVERY})",
    )
    add(
        "--seed-prob",
        type=_probability,
        metavar="P",
        default=SEED_PROB,
        help=f"probability to be infected before day 0 (default {SEED_PROB})",
    )
    add(
        "--fit",
        action="store_true",
        help="start from these parameters and maximise the evidence of the tests over them",
    )
    add("--out", type=Path, metavar="RISK.csv", help="write the table here, not on standard output")
    add(
        "--figure",
        type=Path,
        metavar="RISK.png",
        help="draw the risk (on the network if it is small) and the epidemic against time",
    )


def _risk(arguments: argparse.Namespace) -> None:
    for path in (arguments.out, arguments.figure):  # not after the long work
        _check_output(path)

    from ._session import start_jax

    start_jax()

    from inference.status import raise_for_status

    study = load_study(
        arguments.contacts,
        arguments.tests,
        transmission=arguments.transmission,
        default=TRANSMISSION,
        day=arguments.day,
    )
    for line in study.description:
        _say(line)
    result, fit_status = _infer(arguments, study)
    _say(
        f"belief propagation: {result.status.name}, {result.n_steps} sweeps, last change "
        f"{result.residual:.2g}, log-evidence {result.log_evidence:.6g}"
    )
    state_prob = result.state_prob
    today = state_prob[:, study.day]
    _say(f"day {study.day}: {today[:, 1].sum():.4g} of {len(today):,} people infected, expected")
    if arguments.out:
        with arguments.out.open("w", newline="", encoding="utf-8") as file:
            _write_table(file, study.network, today)
    else:
        _write_table(sys.stdout, study.network, today)
    if arguments.figure:
        from ._contact_tracing_figure import draw_risk

        draw_risk(arguments.figure, study.network, state_prob, study.day)
    raise_for_status(result.status, "contact-tracing risk")
    raise_for_status(fit_status, "contact-tracing risk, the fit")


def _infer(arguments: argparse.Namespace, study: Study) -> tuple[RiskResult, Status]:
    """Return the risks, and how the fit ended."""
    from inference.status import Status
    from models.contact_tracing import Epidemic, infer

    epidemic = Epidemic(arguments.seed_prob, arguments.recovery)
    network, observations = study.network, study.observations
    fit_status = Status.CONVERGED
    if arguments.fit:
        network, epidemic, fit_status = _fitted(arguments, study, epidemic)
    else:
        common = TRANSMISSION if arguments.transmission is None else arguments.transmission
        transmission = f"as in {arguments.contacts}" if study.has_column else f"{common:g}"
        _say(
            f"transmission {transmission}, recovery {arguments.recovery:g}, "
            f"seed probability {arguments.seed_prob:g}"
        )
    result = infer(network, observations, epidemic, on_failure="ignore")
    return result, fit_status


def _fitted(
    arguments: argparse.Namespace, study: Study, epidemic: Epidemic
) -> tuple[ContactNetwork, Epidemic, Status]:
    """Return the network and the epidemic with the parameters of the largest evidence."""
    from models.contact_tracing import fit_epidemic

    network = study.network
    largest = max(float(network.forward_prob.max()), float(network.backward_prob.max()))
    fit = fit_epidemic(network, study.observations, epidemic, tol=FIT_TOL, progress=None)
    factor = min(fit.transmission_prob, 1.0 / largest)  # but for rounding
    unit = 1.0 if study.has_column else largest
    transmission = f"{factor * unit:g}{_margin(fit.standard_errors['transmission_prob'] * unit)}"
    if study.has_column:
        transmission += f" times that in {arguments.contacts}"
    recovery, seed_prob = (
        f"{fit.estimates[name]:g}{_margin(fit.standard_errors[name])}"
        for name in ("recovery_prob", "seed_prob")
    )
    _say(
        f"fitted: transmission {transmission}, recovery {recovery}, seed probability {seed_prob} "
        f"(± standard errors; {fit.status.name})"
    )
    return network.scaled(factor), fit.epidemic, fit.status


def _margin(standard_error: float) -> str:
    return f" ± {standard_error:.2g}" if math.isfinite(standard_error) else " (at a bound)"


def _write_table(file: TextIO, network: ContactNetwork, state_prob: NDArray[Any]) -> None:
    import numpy as np

    order = np.argsort(-state_prob[:, 1], kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(1, len(order) + 1)
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for label, probs, place in zip(network.people, state_prob.tolist(), rank.tolist()):
        writer.writerow([label, *map(repr, probs), place])


def _check_output(path: Path | None) -> None:
    if path and not path.parent.is_dir():
        raise ValueError(f"{path}: there is no folder {path.parent}")
    if path and path.is_dir():
        raise ValueError(f"{path}: expected a file to write, got a folder")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _probability(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0.0 <= number <= 1.0:
        raise argparse.ArgumentTypeError(f"expected a probability from 0 to 1, got {text!r}")
    return number


def _day(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) > _MOST_DAYS:
        raise argparse.ArgumentTypeError(
            f"expected a whole number from 0 to {_MOST_DAYS}, got {text!r}"
        )
    return int(text)
