import numpy as np
import pytest
from contact_cases import daily_rates, random_network

from graphs.temporal import ContactNetwork
from models.contact_tracing import Epidemic, Observations
from models.contact_tracing.mean_field_days import mean_field, read_states


def by_hand(network, cases, seed, recovery, outside, *, first, delay, susceptible, source_days):
    """Return the probabilities, person by person and day by day, as the publication's text does."""
    rate, n, n_days = daily_rates(network), network.n_people, network.n_days
    now = [[1.0, 0.0, 0.0] if susceptible else [1 - seed, seed, 0.0] for _ in range(n)]
    days = [now] * first
    for day in range(first, n_days + 1):
        now = [list(row) for row in now]
        for person, seen, state in cases:
            if state == 0 and day <= seen:
                now[person] = [1.0, 0.0, 0.0]
            if state == 1 and seen - delay <= day <= seen:
                now[person] = [0.0, 1.0, 0.0]
            if state == 2 and day >= seen:
                now[person] = [0.0, 0.0, 1.0]
        for person, seen, state in cases:
            if source_days is None or state != 1:
                continue
            earliest, latest = max(first, seen - source_days[0]), seen - source_days[1]
            if not earliest <= day <= latest:
                continue
            exposure = [sum(rate[x, k, person] for x in range(earliest, min(latest + 1, n_days)))
                        for k in range(n)]  # fmt: skip
            expected = sum(exposure[k] * now[k][1] for k in range(n))
            for k in range(n):
                if exposure[k] > 0 and expected > 0 and now[k][1] < 1:
                    ill = min(1.0, now[k][1] / expected)
                    scale = (1 - ill) / (1 - now[k][1])
                    now[k] = [now[k][0] * scale, ill, now[k][2] * scale]
        days.append(now)
        if day < n_days:
            following = []
            for i in range(n):
                risk = min(1.0, sum(rate[day, k, i] * now[k][1] for k in range(n)) + outside)
                s, x, r = now[i]
                following.append([s * (1 - risk), x * (1 - recovery) + s * risk, r + recovery * x])
            now = following
    return np.array(days).transpose(1, 0, 2)


@pytest.mark.parametrize("seed", range(6))
def test_equals_its_definition(seed):
    rng = np.random.default_rng(seed)
    pairs = [(i, j) for i in range(7) for j in range(i) if rng.random() < 0.6]
    network = random_network(pairs, 7, 12, rng, daily=0.4)
    cases = [
        (int(rng.integers(7)), int(day), int(rng.integers(3)))
        for day in np.sort(rng.integers(13, size=8))
    ]
    options = dict(delay=int(rng.integers(6)), source_days=[None, (6, 2), (2, 0)][seed % 3])
    window = [None, 7, 30][seed % 3]
    susceptible = seed % 2 == 0
    epidemic = Epidemic(0.05, 0.1, self_infection_prob=0.01)
    got = mean_field(
        network, Observations.of_states(*zip(*cases)), epidemic, window=window,
        start="susceptible" if susceptible else "seed", **options,
    )  # fmt: skip
    first = 0 if window is None else max(0, 12 - window)
    expected = by_hand(
        network, cases, 0.05, 0.1, 0.01, first=first, susceptible=susceptible, **options
    )
    np.testing.assert_allclose(got.state_prob, expected, atol=1e-14)
    np.testing.assert_allclose(got.state_prob.sum(axis=2), 1.0, atol=1e-14)


def test_later_tests_and_later_rows_count():
    network = ContactNetwork.from_events([0], [1], [0], 0.5, n_days=4)
    tests = Observations.from_tests(
        [0, 0, 1, 1], [4, 1, 2, 2], [True, False, False, True], false_negative=0.1,
        false_positive=0.1,
    )  # fmt: skip
    state = mean_field(network, tests, Epidemic(0.1, 0.0), delay=3).state_prob
    assert state[0, :, 1].tolist() == [0, 1, 1, 1, 1]
    assert state[1, :3, 1].tolist() == [1, 1, 1]


def test_tests_are_read_as_states():
    tests = Observations.from_tests(
        [0, 0, 0, 1, 2], [1, 3, 5, 4, 2], [False, True, False, False, True],
        false_positive=0.01, false_negative=0.1,
    )  # fmt: skip
    nothing = Observations([3], [1], [1.0, 1.0, 1.0])
    immune = Observations([4], [1], [0.1, 0.1, 0.9])
    cases = read_states(tests + nothing + immune)
    assert cases.person.tolist() == [0, 0, 0, 1, 2, 4]
    assert cases.state.tolist() == [0, 1, 2, 0, 1, 2]


def test_bad_input():
    network = ContactNetwork.from_events([0], [1], [0], 0.5, n_days=4)
    none, epidemic = Observations.none(), Epidemic(0.1, 0.1)
    with pytest.raises(ValueError, match="recovery_prob"):
        mean_field(network, none, Epidemic(0.1, 0.1, infectivity=[0, 1, 1, 1, 1]))
    onset = none.with_symptoms([0], [2], symptom_prob=0.5, delay=1)
    with pytest.raises(ValueError, match="symptoms"):
        mean_field(network, onset, epidemic)
    with pytest.raises(ValueError, match="start: expected one of"):
        mean_field(network, none, epidemic, start="healthy")
    for name, value in (("window", -1), ("delay", 2.5), ("source_days", (1, 3))):
        with pytest.raises(ValueError, match=f"{name}: expected"):
            mean_field(network, none, epidemic, **{name: value})
    with pytest.raises(ValueError, match="day: expected observations up to the horizon"):
        mean_field(network, Observations.of_states([0], [5], [1]), epidemic)
