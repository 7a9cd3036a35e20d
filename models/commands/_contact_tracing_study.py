"""Two tables as a network and what was observed on it; what does not fit names its line."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from graphs.contact_files import ResultRows
    from graphs.temporal import ContactNetwork
    from models.contact_tracing import Observations


class Study(NamedTuple):
    """What the tables say."""

    network: ContactNetwork
    observations: Observations
    day: int
    """The day that is asked about."""
    has_column: bool
    """Whether the file gives the transmission probabilities."""
    description: list[str]
    """One line a table."""


def load_study(
    contacts: str, tests: str, *, transmission: float | None, default: float, day: int | None
) -> Study:
    """Read both tables.

    Parameters
    ----------
    contacts, tests
        Files of `graphs.contact_files`; contacts go both ways.
    transmission
        Probability of every contact; None takes the column of the file, or ``default`` without one.
    default
        See there.
    day
        Day that is asked about; None is the horizon: the day after the last contact, or that of the
        last test if it is later.

    Raises
    ------
    OSError, ValueError
        If a file is not such a table, somebody tested is in no contact, perfect tests of one person
        contradict each other, or both the file and ``transmission`` give probabilities.
    """
    import numpy as np

    from graphs.contact_files import read_contacts, read_tests
    from graphs.temporal import ContactNetwork
    from models.contact_tracing import Observations

    met, tested = read_contacts(contacts), read_tests(tests)
    if met.transmission is not None and transmission is not None:
        raise ValueError(
            f"--transmission: expected none, because {contacts} has a column 'transmission'"
        )
    common = default if transmission is None else transmission
    asked = -1 if day is None else day
    horizon = max(int(met.day.max()) + 1, int(tested.day.max()), asked)
    network = ContactNetwork.from_events(
        met.person_a,
        met.person_b,
        met.day,
        common if met.transmission is None else met.transmission,
        n_days=horizon,
        symmetric=True,
    )
    index = {label: place for place, label in enumerate(network.people)}
    person = np.empty(len(tested.person), np.int64)
    for row, label in enumerate(tested.person):
        if label not in index:
            raise ValueError(
                f"{tests}:{tested.line[row]}: column 'person': expected somebody in {contacts}, "
                f"got {label!r:.60}"
            )
        person[row] = index[label]
    _check_contradictions(tests, tested)
    observations = Observations.from_tests(
        person,
        tested.day,
        tested.positive,
        false_positive=tested.false_positive,
        false_negative=tested.false_negative,
    )
    repeats = len(met.day) - network.n_contacts
    again = f" ({repeats:,} repeats combined)" if repeats else ""
    return Study(
        network,
        observations,
        horizon if day is None else day,
        met.transmission is not None,
        [
            f"{contacts}: {network.n_people:,} people, {network.n_contacts:,} contacts{again}, "
            f"days {met.day.min()} to {met.day.max()}",
            f"{tests}: {len(tested.day):,} tests, {int(tested.positive.sum()):,} positive, "
            f"days {tested.day.min()} to {tested.day.max()}",
        ],
    )


def _check_contradictions(path: str, tests: ResultRows) -> None:
    """Raise if results that cannot be wrong exclude each other for one person.

    They can be wrong in no way if a positive result has no false positives and a negative one no
    false negatives. Nobody is infected twice, so a person is not infected, then not, then again.
    """
    histories: dict[str, list[tuple[int, bool, int]]] = {}
    rates = zip(tests.false_positive.tolist(), tests.false_negative.tolist())
    columns = zip(tests.person, tests.day.tolist(), tests.positive.tolist(), tests.line.tolist())
    for (person, day, positive, line), (false_positive, false_negative) in zip(columns, rates):
        if (false_positive if positive else false_negative) == 0.0:
            histories.setdefault(person, []).append((day, positive, line))
    for person, history in histories.items():
        history.sort(key=lambda test: test[0])
        infected: tuple[int, int] | None = None
        ended: tuple[int, int] | None = None
        for place, (day, positive, line) in enumerate(history):
            other = history[place - 1]
            if place and day == other[0] and positive != other[1]:
                last, first = max(line, other[2]), min(line, other[2])
                raise ValueError(
                    f"{path}:{last}: column 'result': expected the result of line {first}, because "
                    f"tests of person {person!r:.60} on day {day} that cannot be wrong contradict "
                    "each other"
                )
            if positive and infected and ended:
                raise ValueError(
                    f"{path}:{line}: tests of person {person!r:.60} that cannot be wrong "
                    f"contradict each other: infected on day {infected[0]} (line {infected[1]}), "
                    f"not on day {ended[0]} (line {ended[1]}), again on day {day}"
                )
            if positive:
                infected = (day, line)
            elif infected:
                ended = (day, line)
