"""Day after day: windows, warm starts, and symptoms, against what a whole run says."""

import numpy as np
import pytest
from contact_cases import pairs_of_tree, random_epidemic, random_network, random_tests

from graphs.contacts import fresh_contacts, proximity_contacts
from graphs.temporal import ContactNetwork
from models.contact_tracing import Epidemic, Observations, infer, simulate
from models.contact_tracing.exact import exact_posterior


def until(network, day):
    """Return the contacts before a day."""
    return network.window(0, day)


def known(observations, day):
    held = observations.day <= day
    return Observations(
        observations.person[held], observations.day[held], observations.likelihood[held]
    )


@pytest.fixture(scope="module")
def outbreak():
    network = proximity_contacts(120, 12, transmission_prob=0.08, seed=3)
    epidemic = Epidemic(0.03, 0.1)
    return network, random_tests(network, epidemic, np.random.default_rng(0), 60), epidemic


def test_a_window_over_everything_changes_nothing(outbreak):
    plain = infer(*outbreak, tol=1e-9, max_steps=500)
    for window in (12, 50):
        result = infer(*outbreak, window=window, tol=1e-9, max_steps=500)
        np.testing.assert_array_equal(result.state_prob, plain.state_prob)
        assert result.first_day == 0


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_warm_start_leads_to_the_same_point_sooner(outbreak, dtype):
    network, tests, epidemic = outbreak
    tol = 1e-9 if dtype == np.float64 else 1e-6
    options = {"tol": tol, "max_steps": 500, "message_dtype": dtype}
    yesterday = infer(until(network, 11), known(tests, 11), epidemic, **options)
    cold = infer(network, tests, epidemic, **options)
    warm = infer(network, tests, epidemic, warm_start=yesterday, **options)
    np.testing.assert_allclose(warm.state_prob, cold.state_prob, atol=1e3 * tol)
    assert warm.n_steps < cold.n_steps
    again = infer(network, tests, epidemic, warm_start=warm, **options)
    assert again.n_steps <= 3


def test_old_zeros_are_forgotten():
    """A certainty that rested on a test since withdrawn leaves no trace in the messages."""
    rng = np.random.default_rng(5)
    network = random_network(pairs_of_tree(6, rng), 6, 6, rng, certain=0.4)
    epidemic = Epidemic(0.2, 0.2)
    state = simulate(network, epidemic, seed=2).states()
    person, day = np.arange(6), np.full(6, 4)
    certain = infer(network, Observations.of_states(person, day, state[person, day]), epidemic)
    doubtful = Observations.from_tests([0], [2], [True], false_positive=0.3)
    result = infer(network, doubtful, epidemic, warm_start=certain, tol=1e-13)
    exact = exact_posterior(network, doubtful, epidemic)
    np.testing.assert_allclose(result.state_prob, exact.state_prob, atol=1e-12)


@pytest.mark.slow
def test_windows_day_by_day_are_exact_without_contacts():
    """Without contacts a person is a Markov chain, and the window's start a filter of it."""
    rng = np.random.default_rng(1)
    silent = ContactNetwork.from_events([0], [1], [0], 0.0, n_people=20, n_days=15)
    epidemic = Epidemic(0.1, 0.15, self_infection_prob=0.05)
    tests = random_tests(silent, epidemic, rng, n_tests=120)
    result = None
    for today in range(1, 16):
        result = infer(
            until(silent, today), known(tests, today), epidemic, window=4, warm_start=result
        )
    whole = infer(silent, tests, epidemic)
    assert result.first_day == 11
    np.testing.assert_allclose(result.state_prob, whole.state_prob[:, 11:], atol=1e-12)


def test_windows_day_by_day_stay_close_on_contacts(outbreak):
    network, tests, epidemic = outbreak
    result = None
    for today in range(1, 13):
        result = infer(
            until(network, today),
            known(tests, today),
            epidemic,
            window=8,
            warm_start=result,
            tol=1e-6,
            max_steps=500,
        )
    whole = infer(network, tests, epidemic, tol=1e-6, max_steps=500)
    assert result.state_prob.shape == (120, 9, 3)
    belief, reference = result.state_prob[:, -1, 1], whole.state_prob[:, -1, 1]
    # the window forgets how people were tied together before it, not who was at risk
    assert np.corrcoef(belief, reference)[0, 1] > 0.95
    fresh_start = infer(network, tests, epidemic, window=8, tol=1e-6, max_steps=500)
    assert (
        np.abs(belief - reference).mean()
        < np.abs(fresh_start.state_prob[:, -1, 1] - reference).mean()
    )


def test_warm_start_of_other_people_is_refused(outbreak):
    result = infer(*outbreak, max_steps=500, tol=1e-3)
    other = fresh_contacts(10, 5, seed=0)
    with pytest.raises(ValueError, match="warm_start: expected a result for 10 people, got one"):
        infer(other, Observations.none(), Epidemic(0.1, 0.1), warm_start=result)


def symptomatic_case(seed, **law):
    rng = np.random.default_rng(seed)
    network = random_network(pairs_of_tree(5, np.random.default_rng(0)), 5, 6, rng)
    epidemic = random_epidemic(6, rng, self_infection=0.02)
    tests = random_tests(network, epidemic, rng)
    return network, tests.with_symptoms([1, 3], [2, 5], **law), epidemic


@pytest.mark.parametrize(
    "law",
    [
        {"symptom_prob": 0.6, "delay": [0.0, 0.2, 0.5, 0.3], "background_prob": 0.05},
        {"symptom_prob": 1.0, "delay": 2, "background_prob": 0.01},
        {"symptom_prob": 0.5, "delay": 2, "background_prob": 0.1, "watched": [1, 2, 3]},
        {"symptom_prob": 0.5, "delay": [0, 1, 1], "background_prob": 0.1, "last_day": 5},
    ],
)
def test_symptoms_are_exact_on_trees(law):
    law = (
        law | {"delay": np.array(law["delay"]) / max(1, np.sum(law["delay"]))}
        if isinstance(law["delay"], list)
        else law
    )
    for seed in range(3):
        case = symptomatic_case(seed, **law)
        exact = exact_posterior(*case)
        result = infer(*case, tol=1e-13)
        np.testing.assert_allclose(result.state_prob, exact.state_prob, atol=1e-12)
        assert result.log_evidence == pytest.approx(float(exact.log_evidence), abs=1e-12)


def test_symptoms_without_another_cause_prove_infection():
    network = fresh_contacts(30, 10, transmission_prob=0.02, seed=0)
    ill = Observations.none().with_symptoms([4], [8], symptom_prob=0.5, delay=5)
    result = infer(network, ill, Epidemic(0.02, 0.1))
    assert result.state_prob[4, 8, 1] == pytest.approx(1.0)
    assert result.infection_day_prob[4, 4] == pytest.approx(1.0)  # a contact of day 3


def test_silence_speaks_for_health():
    network = fresh_contacts(30, 10, transmission_prob=0.02, seed=0)
    epidemic = Epidemic(0.1, 0.1)
    plain = infer(network, Observations.none(), epidemic)
    silent = infer(
        network, Observations.none().with_symptoms([], [], symptom_prob=0.5, delay=3), epidemic
    )
    assert np.all(silent.state_prob[:, 5, 1] < plain.state_prob[:, 5, 1])


def test_symptoms_in_a_window():
    """Who fell ill before the window is not held to be silent in it."""
    network = fresh_contacts(30, 12, transmission_prob=0.02, seed=0)
    epidemic = Epidemic(0.05, 0.1)
    seen = Observations.none().with_symptoms([4, 7], [3, 10], symptom_prob=1.0, delay=2)
    late = seen.since(6).symptoms
    assert late.person.tolist() == [7]
    assert late.day.tolist() == [4]
    assert late.excused.tolist() == [4]
    result = infer(network, seen, epidemic, window=6)
    assert result.state_prob[7, 4, 1] == pytest.approx(1.0)
    assert result.state_prob[4, -1, 1] > result.state_prob[0, -1, 1]  # nobody else kept silent


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"person": [1, 1], "day": [1, 2]}, "expected the first onset of each person"),
        ({"person": [1], "day": [3], "watched": [2]}, "expected everybody with symptoms to be"),
        ({"person": [1], "day": [3], "last_day": 2}, "expected onsets up to day 2, got 3"),
        ({"person": [1], "day": [3], "delay": [0.5, 0.4]}, "expected probabilities that sum to 1"),
        ({"person": [1], "day": [3], "symptom_prob": 1.2}, "symptom_prob: expected probabilities"),
        ({"person": [1], "day": [1, 2]}, "day: expected 1 rows as in person, got 2"),
    ],
)
def test_bad_symptoms(arguments, message):
    arguments = {"symptom_prob": 0.5, "delay": 2} | arguments
    with pytest.raises(ValueError, match=message):
        Observations.none().with_symptoms(**arguments)
