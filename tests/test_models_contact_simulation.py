import numpy as np
import pytest
from contact_enumeration import enumerate_histories, state_table
from scipy.stats import chi2, kstest
from suite_helpers import assert_z

from graphs.temporal import ContactNetwork
from models.contact_tracing import Epidemic
from models.contact_tracing.daily import ContactsByDay
from models.contact_tracing.simulation import Simulation, _uniform, simulate

N_DAYS = 3
SOURCE, TARGET, DAY = [0, 1, 1, 2, 0, 1, 2], [1, 0, 2, 1, 1, 2, 1], [0, 0, 0, 1, 1, 2, 2]
RISK = [0.6, 0.3, 0.5, 0.7, 1.0, 0.4, 0.2]
MARKOV = Epidemic([0.3, 0.1, 0.2], 0.3)
GENERAL = Epidemic(
    0.2,
    recovery_survival=[[1, 1, 0.6, 0.3, 0.1], [1, 0.8, 0.8, 0.2, 0], [1, 1, 1, 0, 0]],
    infectivity=[0.0, 0.2, 1.0, 0.5],
    self_infection_prob=0.05,
)
WINDOW = Epidemic(
    0.5, 0.4, initial_state_prob=[[0.5, 0.3, 0.2], [1, 0, 0], [0.2, 0.2, 0.6]],
    self_infection_prob=[[0.1, 0, 0.3], [0, 0.1, 0], [0.2, 0.2, 0.2]],
)  # fmt: skip


def copies(n_copies):
    """Return the network of three people so many times over, and the one."""
    shift = 3 * np.repeat(np.arange(n_copies), len(DAY))
    many = ContactNetwork.from_events(
        np.tile(SOURCE, n_copies) + shift, np.tile(TARGET, n_copies) + shift,
        np.tile(DAY, n_copies), np.tile(RISK, n_copies), n_people=3 * n_copies,
    )  # fmt: skip
    return many, ContactNetwork.from_events(SOURCE, TARGET, DAY, RISK, n_people=3)


def repeated(epidemic, n_copies):
    """Return the epidemic with its tables of three people so many times over."""
    tables = {
        name: np.tile(value, (n_copies,) + (1,) * (np.ndim(value) - 1))
        for name, value in vars(epidemic).items()
        if name != "susceptible_bias" and value is not None and len(np.atleast_1d(value)) == 3
    }
    return Epidemic(**{**vars(epidemic), **tables})


@pytest.mark.statistical
@pytest.mark.parametrize("epidemic", [MARKOV, GENERAL, WINDOW], ids=["markov", "general", "window"])
def test_joint_law_is_that_of_the_enumeration(epidemic):
    n = 200_000
    many, one = copies(n)
    paths, chances = enumerate_histories(one, epidemic)
    np.testing.assert_allclose(chances.sum(), 1.0, atol=1e-12)
    drawn = simulate(many, repeated(epidemic, n), seed=1)
    got = np.stack([drawn.infection_day, drawn.recovery_day], axis=1).reshape(n, 3, 2)
    place = {path.tobytes(): k for k, path in enumerate(paths.astype(np.int32))}
    counts = np.bincount([place[path.tobytes()] for path in got], minlength=len(paths))
    assert counts[chances == 0.0].sum() == 0
    # joint histories expected at least ten times each, the rest in one cell
    common = n * chances >= 10
    seen = np.append(counts[common], counts[~common].sum())
    expected = n * np.append(chances[common], chances[~common].sum())
    statistic = ((seen - expected) ** 2 / expected).sum()
    assert chi2.sf(statistic, len(seen) - 1) > 1e-3, (statistic, len(seen))
    states = np.tensordot(chances, state_table(paths, N_DAYS), axes=1)
    free = (states > 0) & (states < 1)
    empirical = drawn.states().reshape(n, 3, N_DAYS + 1)
    shares = np.stack([(empirical == s).mean(axis=0) for s in range(3)], axis=-1)
    assert_z(shares[free], states[free], np.sqrt(states * (1 - states) / n)[free])
    np.testing.assert_array_equal(shares[~free], states[~free].round())


@pytest.mark.statistical
def test_infector_is_any_who_transmit_with_equal_probability():
    n, p, q = 100_000, 0.7, 0.4
    people = 3 * np.arange(n)
    network = ContactNetwork.from_events(
        np.concatenate([people, people + 1]), np.tile(people + 2, 2), np.zeros(2 * n, int),
        np.repeat([p, q], n),
    )  # fmt: skip
    seeds = np.tile([1.0, 1.0, 0.0], n)
    drawn = simulate(network, Epidemic(seeds, 0.1), seed=4)
    share = np.mean(drawn.infector[2::3] == 3 * np.arange(n))
    expected = p * (1 - q) + p * q / 2
    assert_z(share, expected, np.sqrt(expected * (1 - expected) / n))
    assert np.all(drawn.infector.reshape(n, 3)[:, :2] == -1)


def test_markov_is_the_geometric_law_of_recovery():
    network, _ = copies(500)
    n_days = network.n_days
    survival = np.append(1.0, 0.7 ** np.arange(n_days + 1))
    tables = dict(recovery_survival=survival, infectivity=np.ones(n_days + 1))
    markov = simulate(network, Epidemic(0.2, 0.3), seed=2)
    general = simulate(network, Epidemic(0.2, **tables), seed=2)
    for name in ("infection_day", "recovery_day", "infector"):
        np.testing.assert_array_equal(getattr(markov, name), getattr(general, name))


def test_isolation_only_delays_an_epidemic_without_recovery():
    rng = np.random.default_rng(0)
    network = random_network(rng)
    contacts = ContactsByDay(network)
    free = simulate(network, Epidemic(0.02, 0.0), seed=3)
    simulation = Simulation(Epidemic(0.02, 0.0), 200, 20, seed=3)
    isolated = rng.random(200) < 0.2
    for day in range(20):
        simulation.advance(contacts[day], isolated=isolated)
    hindered = simulation.outbreak
    assert np.all(hindered.infection_day >= free.infection_day)
    assert np.all(hindered.infection_day[isolated] % 21 == 0)
    assert (hindered.infection_day > free.infection_day).sum() > 10


def random_network(rng):
    a, b, day = rng.integers(0, 200, 3000), rng.integers(0, 200, 3000), rng.integers(0, 20, 3000)
    keep = a != b
    return ContactNetwork.from_events(a[keep], b[keep], day[keep], 0.2, n_people=200, n_days=20)


def test_infectors_explain_every_infection():
    network = random_network(np.random.default_rng(5))
    drawn = simulate(network, Epidemic(0.2, 0.1), seed=0)
    source, target, day, _ = network.events()
    met = set(zip(source.tolist(), target.tolist(), day.tolist()))
    later = np.flatnonzero((drawn.infection_day > 0) & (drawn.infection_day <= 20))
    assert len(later) > 20
    for person in later.tolist():
        infector, day = int(drawn.infector[person]), int(drawn.infection_day[person]) - 1
        assert (infector, person, day) in met
        assert drawn.infection_day[infector] <= day < drawn.recovery_day[infector]


def test_number_of_patients_zero():
    network, _ = copies(100)
    for n_seeds in (0, 7, 300):
        drawn = simulate(network, Epidemic(0.5, 0.1), seed=9, n_seeds=n_seeds)
        assert (drawn.infection_day == 0).sum() == n_seeds


@pytest.mark.statistical
def test_numbers_of_different_contacts_are_uniform_and_independent():
    key = np.uint64(123456789)
    draws = np.array([[_uniform(key, 3, i, i + 1, d) for d in range(64)] for i in range(500)])
    assert kstest(draws.ravel(), "uniform").pvalue > 1e-3
    centred = draws - 0.5
    for product in (
        centred[1:] * centred[:-1],
        centred[:, 1:] * centred[:, :-1],
        centred[1:, 1:] * centred[:-1, :-1],
    ):
        assert_z(product.mean(), 0.0, np.sqrt(1 / 144 / product.size))


def test_a_generator_is_a_seed():
    network, _ = copies(50)
    one = simulate(network, Epidemic(0.2, 0.3), seed=np.random.default_rng(1))
    two = simulate(network, Epidemic(0.2, 0.3), seed=np.random.default_rng(1))
    other = simulate(network, Epidemic(0.2, 0.3), seed=np.random.default_rng(2))
    np.testing.assert_array_equal(one.infection_day, two.infection_day)
    assert np.any(one.infection_day != other.infection_day)


def test_bad_input():
    network, _ = copies(2)
    epidemic = Epidemic(0.2, 0.3)
    with pytest.raises(TypeError, match="seed: expected an integer"):
        simulate(network, epidemic, seed=1.5)
    with pytest.raises(ValueError, match="seed: expected an integer from 0"):
        simulate(network, epidemic, seed=-1)
    with pytest.raises(ValueError, match="n_seeds: expected a number of people"):
        simulate(network, epidemic, seed=0, n_seeds=7)
    with pytest.raises(ValueError, match="6 people"):
        simulate(network, Epidemic([0.1, 0.2], 0.3), seed=0)
    simulation = Simulation(epidemic, 6, 3, seed=0)
    for day in range(3):
        simulation.advance(ContactsByDay(network)[day])
    with pytest.raises(ValueError, match="before the horizon"):
        simulation.advance(ContactsByDay(network)[0])
