"""``cavity contact-tracing VERB``: who is infected, from tables of contacts and of tests."""

from __future__ import annotations

import argparse
import math
import sys
from typing import TYPE_CHECKING, Any

from ._arguments import NO_SEED, add_common, add_output, bar, probability, say, whole
from ._contact_tracing_study import Study, load_study
from ._results import as_json, report, write_rows, write_table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from graphs.temporal import ContactNetwork
    from inference.status import Status
    from models.contact_tracing import Epidemic

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
        type=whole(f"a whole number from 0 to {_MOST_DAYS}", most=_MOST_DAYS),
        metavar="D",
        help="day of the risk (default: the day after the last contact, or that of the last test "
        "if it is later); all tests are used, later ones too",
    )
    add(
        "--transmission",
        type=probability,
        metavar="P",
        help="probability of every contact to pass the infection, if the table has no such column "
        f"(default {TRANSMISSION})",
    )
    add(
        "--recovery",
        type=probability,
        metavar="P",
        default=RECOVERY,
        help=f"daily probability to recover (default {RECOVERY})",
    )
    add(
        "--seed-prob",
        type=probability,
        metavar="P",
        default=SEED_PROB,
        help=f"probability to be infected before day 0 (default {SEED_PROB})",
    )
    add(
        "--fit",
        action="store_true",
        help="start from these parameters and maximise the evidence of the tests over them",
    )
    add_output(
        risk,
        "--figure",
        "RISK.png",
        "draw the risk (on the network if it is small) and the epidemic against time",
    )
    add_common(risk, "RISK.csv", "write the table here, not on standard output", seed_help=NO_SEED)


def _risk(arguments: argparse.Namespace) -> None:
    from ._session import start_jax

    start_jax()

    from inference.status import raise_for_status
    from models.contact_tracing import infer

    study = load_study(
        arguments.contacts,
        arguments.tests,
        transmission=arguments.transmission,
        default=TRANSMISSION,
        day=arguments.day,
    )
    for line in study.description:
        say(arguments, line)
    network, epidemic, fitted, fit_status = _parameters(arguments, study)
    try:
        result = infer(
            network, study.observations, epidemic, on_failure="ignore", progress=bar(arguments)
        )
    except MemoryError as fault:
        size = f"{network.n_people:,} people, {network.n_days:,} days"
        raise MemoryError(f"{arguments.contacts}, {arguments.tests}: {size}") from fault
    say(
        arguments,
        f"belief propagation: {result.status.name}, {result.n_steps} sweeps, last change "
        f"{result.residual:.2g}, log-evidence {result.log_evidence:.6g}",
    )
    state_prob = result.state_prob
    today = state_prob[:, study.day]
    infected = float(today[:, 1].sum())
    say(arguments, f"day {study.day}: {infected:.4g} of {len(today):,} people infected, expected")
    rows = _ranked(study.network, today)
    if arguments.out:
        write_table(arguments.out, COLUMNS, rows)
    if arguments.json:
        found = report(
            arguments,
            result.status.name,
            contacts=arguments.contacts,
            tests=arguments.tests,
            day=study.day,
            n_people=study.network.n_people,
            n_contacts=study.network.n_contacts,
            n_tests=len(study.observations.day),
            fitted=fitted,
            log_evidence=result.log_evidence,
            n_steps=result.n_steps,
            residual=result.residual,
            expected_infected=infected,
            # a table that is already written is not said again
            risk=None if arguments.out else dict(zip(COLUMNS, zip(*rows))),
        )
        print(as_json(found))
    elif not arguments.out:
        write_rows(sys.stdout, COLUMNS, rows)
    if arguments.figure:
        from ._contact_tracing_figure import draw_risk

        draw_risk(arguments.figure, study.network, state_prob, study.day)
    raise_for_status(result.status, "contact-tracing risk")
    raise_for_status(fit_status, "contact-tracing risk, the fit")


def _parameters(
    arguments: argparse.Namespace, study: Study
) -> tuple[ContactNetwork, Epidemic, dict[str, Any] | None, Status]:
    """Return what is known or fitted: the network, the epidemic, the fit in numbers, its status."""
    from inference.status import Status
    from models.contact_tracing import Epidemic, fit_epidemic

    epidemic = Epidemic(arguments.seed_prob, arguments.recovery)
    network = study.network
    if not arguments.fit:
        common = TRANSMISSION if arguments.transmission is None else arguments.transmission
        transmission = f"as in {arguments.contacts}" if study.has_column else f"{common:g}"
        say(
            arguments,
            f"transmission {transmission}, recovery {arguments.recovery:g}, "
            f"seed probability {arguments.seed_prob:g}",
        )
        return network, epidemic, None, Status.CONVERGED
    largest = max(float(network.forward_prob.max()), float(network.backward_prob.max()))
    fit = fit_epidemic(network, study.observations, epidemic, tol=FIT_TOL, progress=bar(arguments))
    factor = min(fit.transmission_prob, 1.0 / largest)  # but for rounding
    # without a column, in units of a probability
    unit = 1.0 if study.has_column else largest
    found = {
        "transmission": (factor * unit, fit.standard_errors["transmission_prob"] * unit),
        "recovery": (fit.estimates["recovery_prob"], fit.standard_errors["recovery_prob"]),
        "seed_prob": (fit.estimates["seed_prob"], fit.standard_errors["seed_prob"]),
    }
    transmission, recovery, seed_prob = (f"{value:g}{_margin(e)}" for value, e in found.values())
    times = f" times that in {arguments.contacts}" if study.has_column else ""
    say(
        arguments,
        f"fitted: transmission {transmission}{times}, recovery {recovery}, seed probability "
        f"{seed_prob} (± standard errors; {fit.status.name})",
    )
    numbers = {
        name: {"estimate": value, "standard_error": error} for name, (value, error) in found.items()
    }
    return network.scaled(factor), fit.epidemic, numbers, fit.status


def _margin(standard_error: float) -> str:
    return f" ± {standard_error:.2g}" if math.isfinite(standard_error) else " (at a bound)"


def _ranked(network: ContactNetwork, state_prob: NDArray[Any]) -> list[list[Any]]:
    """Return a row a person, as `COLUMNS` says."""
    import numpy as np

    order = np.argsort(-state_prob[:, 1], kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(1, len(order) + 1)
    rows = zip(network.people, state_prob.tolist(), rank.tolist())
    return [[label, *probs, place] for label, probs, place in rows]
