import numpy as np
import pytest
from contact_cases import daily_rates

from graphs.contacts import proximity_contacts
from graphs.temporal import ContactNetwork
from models.contact_tracing import Epidemic, infer
from models.contact_tracing.mean_field_days import mean_field
from models.contact_tracing.metrics import (
    calibration_curve,
    curves,
    effective_reproduction,
    log_score,
    precision_at,
    roc_auc,
)
from models.contact_tracing.ranking import (
    ContactTracing,
    DigitalContactTracing,
    History,
    InformedTracing,
    MeanFieldRanking,
    OracleRanking,
    PropagationRanking,
    RandomRanking,
)
from models.contact_tracing.simulation import simulate

EPIDEMIC = Epidemic(0.05, 0.1, self_infection_prob=1e-4)
N, N_DAYS = 60, 12


@pytest.fixture(scope="module")
def history():
    """Nine days of contacts, a tenth of them unknown, and random tests of perfect accuracy."""
    rng = np.random.default_rng(0)
    network = proximity_contacts(N, N_DAYS, transmission_prob=0.2, seed=1)
    outbreak = simulate(network, EPIDEMIC, seed=2)
    known = History(network, outbreak)
    for day in range(9):
        who = np.sort(rng.choice(N, 5, replace=False))
        known.add_tests(who, day, outbreak.state_on(day)[who].astype(np.int64))
        known.add_day(rng.random(len(known.possible(day).first)) < 0.9)
    return known


def rates_and_tests(history):
    rate = daily_rates(history.network())
    return rate, [tuple(map(int, row)) for row in zip(*history.tests)]


def test_contact_tracing_counts_encounters(history):
    rate, tests = rates_and_tests(history)
    expected = np.zeros(N)
    sick = {i for i, day, state in tests if state == 1 and day >= 9 - 4}
    assert sick
    for day in range(9 - 4, 9):
        for i in range(N):
            expected[i] += sum(rate[day, k, i] > 0 for k in sick)
    np.testing.assert_array_equal(ContactTracing(delay=4)(history, 9, None), expected)


def test_digital_contact_tracing(history):
    rate, tests = rates_and_tests(history)
    yesterday = {i for i, day, state in tests if state == 1 and day == 8}
    ever = {i for i, day, state in tests if state == 1}
    assert yesterday
    for i, score in enumerate(DigitalContactTracing(delay=3)(history, 9, None)):
        met = any(rate[day, k, i] > 0 for day in range(6, 9) for k in yesterday)
        assert score == (N if i in ever else float(met))


@pytest.mark.parametrize("second", [False, True])
def test_informed_tracing_sums_over_possible_paths(history, second):
    rate, tests = rates_and_tests(history)
    healthy = [max([d for i, d, s in tests if i == p and s == 0], default=-1) for p in range(N)]
    past = [min([d for i, d, s in tests if i == p and s == 2], default=9) for p in range(N)]
    sick = [any(i == p and s == 1 for i, _, s in tests) for p in range(N)]

    def able(day, k, i):
        return rate[day, k, i] > 0 and healthy[k] < day < past[k] and healthy[i] <= day

    expected = np.zeros(N)
    for i in range(N):
        for day in range(4, 9):
            for k in range(N):
                if not able(day, k, i):
                    continue
                expected[i] += sick[k] * rate[day, k, i]
                if second:
                    expected[i] += sum(
                        rate[day, k, i] * rate[before, source, k] * sick[source]
                        for before in range(4, day)
                        for source in range(N)
                        if able(before, source, k)
                    )
        if past[i] < 9:
            expected[i] = -1
    assert (expected > 0).sum() > 5
    got = InformedTracing(delay=5, second=second)(history, 9, None)
    np.testing.assert_allclose(got, expected, atol=1e-12)


def test_mean_field_ranking_is_mean_field(history):
    got = MeanFieldRanking(EPIDEMIC, window=6, delay=2)(history, 9, None)
    full = mean_field(history.network(), history.observations(), EPIDEMIC, window=6, delay=2)
    np.testing.assert_allclose(got, full.state_prob[:, -1, 1], atol=1e-14)


def test_propagation_ranking_is_inference(history):
    ranking = PropagationRanking(EPIDEMIC, max_steps=300, tol=1e-7, damping=0.5)
    for memory in range(2):
        got = ranking(history, 9, None)
        full = infer(
            history.network(), history.observations(), EPIDEMIC, tol=1e-9, max_steps=2000,
            damping=0.5, progress=False,
        )  # fmt: skip
        np.testing.assert_allclose(got, full.state_prob[:, -1, 1], atol=1e-4, err_msg=f"{memory}")
    recent = PropagationRanking(EPIDEMIC, max_steps=300, tol=1e-7, damping=0.5, recent=3)
    np.testing.assert_allclose(
        recent(history, 9, None), full.infection_day_prob[:, 7:10].sum(axis=1), atol=1e-4
    )


def test_symptoms_of_those_found_are_told_to_the_propagation(history):
    with_symptoms = History(history._network, history.outbreak)
    with_symptoms.days, with_symptoms.tests = history.days, history.tests
    with_symptoms._known = history._known
    found = np.unique(history.tests.person[history.tests.state == 1])
    with_symptoms.onset[found[0]] = 7
    ranking = PropagationRanking(EPIDEMIC, symptom_prob=0.5)
    law = ranking._known(with_symptoms, 9).symptoms
    assert law.person.tolist() == [found[0]]
    assert law.last_day == 8
    # found by chance: nobody looks for symptoms any more
    assert sorted(set(range(N)) - set(law.watched.tolist())) == found[1:].tolist()


def test_oracle_and_random(history):
    truth = history.outbreak.state_on(9) == 1
    assert truth.any()
    np.testing.assert_array_equal(OracleRanking()(history, 9, None), truth)
    assert not RandomRanking()(history, 9, None).any()


def test_curves_and_reproduction_number():
    network = ContactNetwork.from_events([0, 0, 1], [1, 2, 3], [0, 1, 2], 1.0, n_days=4)
    outbreak = simulate(network, Epidemic([1, 0, 0, 0], 0.0), seed=0)
    numbers = curves(outbreak)
    assert numbers.infected.tolist() == [1, 2, 3, 4, 4]
    assert numbers.cumulative.tolist() == [1, 2, 3, 4, 4]
    assert (numbers.susceptible + numbers.infected + numbers.recovered == 4).all()
    reproduction = effective_reproduction(outbreak)
    assert reproduction.number[:4].tolist() == [2, 1, 0, 0]
    assert np.isnan(reproduction.number[4])
    assert reproduction.n_infected.tolist() == [1, 1, 1, 1, 0]
    states = simulate(network, Epidemic(0.3, 0.4), seed=3)
    counted = np.stack([(states.states() == s).sum(axis=0) for s in range(3)])
    np.testing.assert_array_equal(np.stack(curves(states)), counted)


def test_auc_and_precision_by_counting_pairs():
    rng = np.random.default_rng(1)
    scores, positive = rng.integers(0, 5, 40), rng.random(40) < 0.3
    pairs = scores[positive][:, None] - scores[~positive][None, :]
    assert roc_auc(scores, positive) == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean())
    assert np.isnan(roc_auc([1.0, 2.0], [True, True]))
    orders = [np.lexsort((rng.random(40), -scores))[:10] for _ in range(20_000)]
    mean = np.mean([positive[order].mean() for order in orders])
    assert precision_at(scores, positive, 10) == pytest.approx(mean, abs=4 * 0.16 / np.sqrt(20_000))
    assert precision_at(scores, positive, 40) == pytest.approx(positive.mean())


@pytest.mark.statistical
def test_calibration_bounds_hold_for_true_probabilities():
    rng = np.random.default_rng(2)
    inside = []
    for _ in range(50):
        prob = rng.beta(0.5, 2.0, 2000)
        curve = calibration_curve(prob, rng.random(2000) < prob)
        assert curve.n_entries.sum() == 2000
        inside.append((curve.low <= curve.share) & (curve.share <= curve.high))
    assert np.mean(inside) > 0.93
    wrong = calibration_curve(prob, rng.random(2000) < prob**2)
    assert np.mean((wrong.low <= wrong.share) & (wrong.share <= wrong.high)) < 0.7
    same = calibration_curve(np.full(100, 0.25), np.arange(100) < 20)
    assert same.predicted.tolist() == [0.25]
    assert same.share.tolist() == [0.2]


def test_log_score():
    prob = np.array([[0.5, 0.25, 0.25], [0.0, 1.0, 0.0]])
    assert log_score(prob, [1, 1]) == pytest.approx(np.log(0.25) / 2)
    assert log_score(prob, [0, 0], least=1e-3) == pytest.approx((np.log(0.5) + np.log(1e-3)) / 2)
    assert log_score(prob, [0, 0]) == -np.inf


def test_bad_input():
    with pytest.raises(ValueError, match="k: expected at most 2"):
        precision_at([1.0, 2.0], [True, False], 3)
    with pytest.raises(ValueError, match="positive: expected 2 rows"):
        roc_auc([1.0, 2.0], [True])
    with pytest.raises(ValueError, match="True and False"):
        roc_auc([1.0, 2.0], [3, 1])
    with pytest.raises(ValueError, match=r"prob: expected probabilities"):
        calibration_curve([1.5], [True])
    with pytest.raises(ValueError, match="states 0, 1 or 2"):
        log_score([[1.0, 0.0, 0.0]], [3])
