import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from contact_cases import daily_rates
from scipy.stats import ttest_rel

from graphs.contacts import household_contacts, household_groups, proximity_contacts
from models.contact_tracing import Epidemic, simulate
from models.contact_tracing.mitigation import Mitigation, mitigate
from models.contact_tracing.policy_run import Campaign, run_policy
from models.contact_tracing.ranking import (
    ContactTracing,
    MeanFieldRanking,
    OracleRanking,
    PropagationRanking,
    RandomRanking,
)
from models.contact_tracing.simulation import _key, _uniform

N, N_DAYS = 80, 20
CONTACTS = partial(proximity_contacts, N, N_DAYS, transmission_prob=0.08)
EPIDEMIC = Epidemic(0.05, 0.1)
CAMPAIGN = Campaign(start_day=4, n_ranked=4, symptom_delay=3)


class Interrupted(RuntimeError):
    pass


class Failing(RandomRanking):
    """Ranks as everybody alike, but gives up on the tenth day of the epidemic of one seed."""

    def __init__(self, seed):
        self.seed = seed

    def __call__(self, history, day, rng):
        if self.seed is not None and day == 10:
            first = simulate(CONTACTS(seed=self.seed), EPIDEMIC, seed=self.seed, n_seeds=2)
            same = (history.outbreak.infection_day == 0) == (first.infection_day == 0)
            if same.all():
                raise Interrupted
        return super().__call__(history, day, rng)


def by_hand(ranking, network, epidemic, campaign, seed):
    """Run a policy person by person, on the random numbers that belong to each."""
    key, rate = _key(seed), daily_rates(network)
    n, n_days = network.n_people, network.n_days
    never = n_days + 1
    start = np.broadcast_to(epidemic.start(), (n, 3))
    survival = epidemic.survival(n_days)[0]

    def recovers(person, day):
        drawn = _uniform(key, 1, person, 0, 0)
        lasts = sum(1 for d in range(1, never + 1) if survival[d] > drawn)
        return min(never, day + lasts)

    a = [0 if _uniform(key, 0, i, 0, 0) < start[i, 1] else never for i in range(n)]
    c = [recovers(i, 0) if a[i] == 0 else never for i in range(n)]
    has_app = [_uniform(key, 16, i, 0, 0) < campaign.adoption for i in range(n)]
    shows = [_uniform(key, 17, i, 0, 0) < campaign.symptom_prob for i in range(n)]
    isolated, closed, counts = set(), set(), []
    positives, met = [], []  # what contact tracing knows

    def test(i, day):
        infected, susceptible = a[i] <= day < c[i], a[i] > day
        wrong = _uniform(key, 18, i, 0, day)
        positive = (infected and wrong >= campaign.false_negative) or (
            susceptible and wrong < campaign.false_positive
        )
        if positive:
            positives.append((i, day))
        if positive or c[i] <= day:
            closed.add(i)
        return positive

    for day in range(n_days + 1):
        ranked = found = 0
        if day >= campaign.start_day:
            scores = np.zeros(n)
            recent = {i for i, when in positives if day - ranking.delay <= when}
            for when, source, target in met:
                scores[target] += day - ranking.delay <= when and source in recent
            order = sorted(
                (i for i in range(n) if i not in closed),
                key=lambda i: (-scores[i], _uniform(key, 20, i, 0, day)),
            )
            tested = order[: campaign.n_ranked]
            new = {i for i in tested if test(i, day)}
            ranked = len(new)
            ill = [
                i for i in range(n)
                if a[i] == day - campaign.symptom_delay and c[i] > day and shows[i]
                and i not in closed and i not in tested
            ]  # fmt: skip
            new |= {i for i in ill if test(i, day)}
            tested += ill
            others = [i for i in range(n) if i not in closed and i not in tested]
            others.sort(key=lambda i: _uniform(key, 19, i, 0, day))
            new |= {i for i in others[: campaign.n_random] if test(i, day)}
            tested += others[: campaign.n_random]
            homes = {campaign.households[i] for i in new}
            if campaign.test_household:
                family = [
                    i for i in range(n)
                    if campaign.households[i] in homes and i not in closed and i not in tested
                ]  # fmt: skip
                new |= {i for i in family if test(i, day)}
            found = len(new)
            isolated |= new
            if campaign.isolate_household:
                homes = {campaign.households[i] for i in new}
                isolated |= {i for i in range(n) if campaign.households[i] in homes}
        free = sum(a[i] <= day < c[i] and i not in isolated for i in range(n))
        infected = sum(a[i] <= day < c[i] for i in range(n))
        counts.append((infected, free, len(isolated), ranked, found))
        if day < n_days:
            newly = []
            for i in range(n):
                for k in np.flatnonzero(rate[day, :, i]):
                    if i in isolated or k in isolated:
                        continue
                    if has_app[i] and has_app[k]:
                        met.append((day, k, i))
                    if a[k] <= day < c[k] and a[i] > day:
                        newly += [i] * int(_uniform(key, 3, k, i, day) < rate[day, k, i])
            for i in newly:
                a[i], c[i] = day + 1, recovers(i, day + 1)
    return np.array(counts).T


@pytest.mark.parametrize("seed", range(4))
def test_every_day_of_a_campaign_by_hand(seed):
    network = CONTACTS(seed=seed)
    homes = np.arange(N) // 3
    campaign = Campaign(
        start_day=3, n_ranked=3, n_random=seed, symptom_prob=0.6, symptom_delay=3, adoption=0.8,
        false_positive=0.02, false_negative=0.2, households=homes,
        test_household=seed > 1, isolate_household=seed % 2 == 1,
    )  # fmt: skip
    ranking = ContactTracing(delay=4)
    got = run_policy(ranking, network, EPIDEMIC, campaign, seed=seed)
    expected = by_hand(ranking, network, EPIDEMIC, campaign, seed)
    assert expected[4].sum() > 0
    for name, values in zip(("infected", "free", "isolated", "ranked_positive", "found"), expected):
        np.testing.assert_array_equal(getattr(got, name), values, err_msg=name)


def test_without_tests_the_epidemic_is_the_simulated_one():
    network = CONTACTS(seed=0)
    nothing = Campaign(n_ranked=0, symptom_prob=0.0)
    run = run_policy(RandomRanking(), network, EPIDEMIC, nothing, seed=3, n_seeds=2)
    free = simulate(network, EPIDEMIC, seed=3, n_seeds=2)
    np.testing.assert_array_equal(run.outbreak.infection_day, free.infection_day)
    np.testing.assert_array_equal(run.free, run.infected)
    assert run.infected[0] == 2


@pytest.fixture(scope="module")
def compared():
    policies = {
        "random": RandomRanking(),
        "mean field": MeanFieldRanking(EPIDEMIC),
        "propagation": PropagationRanking(
            Epidemic(0.03, 0.1, self_infection_prob=1e-5), symptom_prob=0.5, symptom_delay=4
        ),
        "oracle": OracleRanking(),
    }
    return mitigate(
        policies, CONTACTS, EPIDEMIC, CAMPAIGN, seeds=range(6), n_seeds=2, progress=False
    )


def test_policies_meet_the_same_epidemic_until_they_act(compared):
    for quantity in ("infected", "recovered"):
        first = compared.curves("random", quantity)[:, : CAMPAIGN.start_day + 1]
        for policy in compared.runs:
            same = compared.curves(policy, quantity)[:, : CAMPAIGN.start_day + 1]
            np.testing.assert_array_equal(first, same)
    assert np.any(compared.curves("random")[:, -1] != compared.curves("oracle")[:, -1])


def test_the_oracle_is_best_and_its_ranking_perfect(compared):
    ever = {name: sum(run.infected[-1] + run.recovered[-1] for run in runs)
            for name, runs in compared.runs.items()}  # fmt: skip
    assert ever["oracle"] == min(ever.values())
    assert ever["oracle"] < 0.5 * ever["random"]
    auc = compared.curves("oracle", "auc")
    assert np.all(auc[~np.isnan(auc)] == 1.0)
    for policy in ("mean field", "propagation"):
        assert np.nanmean(compared.curves(policy, "auc")) > 0.6


def test_intervals_are_those_of_the_paired_t_test(compared):
    got = compared.difference("random", "oracle", day=12, level=0.9)
    pairs = [compared.curves(name)[:, 12] for name in ("random", "oracle")]
    expected = ttest_rel(*pairs).confidence_interval(0.9)
    np.testing.assert_allclose(got[1:], expected, rtol=1e-12)
    assert got.mean == pytest.approx(np.mean(pairs[0] - pairs[1]))


def same_runs(one, two):
    for name in one.runs:
        for left, right in zip(one.runs[name], two.runs[name]):
            for field, value in left._asdict().items():
                if field != "outbreak":
                    np.testing.assert_array_equal(value, getattr(right, field))
            np.testing.assert_array_equal(left.outbreak.infector, right.outbreak.infector)


def test_an_interrupted_comparison_goes_on_to_the_same_numbers(tmp_path):
    options = dict(seeds=range(5), n_seeds=2, progress=False)
    whole = mitigate({"one": Failing(None)}, CONTACTS, EPIDEMIC, CAMPAIGN, **options)
    with pytest.raises(Interrupted):
        mitigate(
            {"one": Failing(3)}, CONTACTS, EPIDEMIC, CAMPAIGN, folder=tmp_path / "runs", **options
        )
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "runs").iterdir()}
    assert sorted(kept) == ["one-0.npz", "one-1.npz", "one-2.npz"]
    (tmp_path / "runs" / ".one-4.npz.0.partial").write_bytes(b"half a file")
    resumed = mitigate(
        {"one": Failing(None)}, CONTACTS, EPIDEMIC, CAMPAIGN, folder=tmp_path / "runs", **options
    )
    same_runs(whole, resumed)
    for name, written in kept.items():
        assert (tmp_path / "runs" / name).stat().st_mtime_ns == written
    other = Campaign(start_day=5, n_ranked=4, symptom_delay=3)
    with pytest.raises(ValueError, match="holds a run with another setting"):
        mitigate(
            {"one": Failing(None)}, CONTACTS, EPIDEMIC, other, folder=tmp_path / "runs", **options
        )


@pytest.mark.slow
def test_processes_change_nothing(tmp_path):
    policies = {"random": RandomRanking(), "mean field": MeanFieldRanking(EPIDEMIC)}
    options = dict(seeds=[3, 1], n_seeds=2, progress=False)
    one = mitigate(policies, CONTACTS, EPIDEMIC, CAMPAIGN, folder=tmp_path, **options)
    two = mitigate(policies, CONTACTS, EPIDEMIC, CAMPAIGN, n_workers=2, **options)
    again = mitigate(
        policies, CONTACTS, EPIDEMIC, CAMPAIGN, n_workers=2, folder=tmp_path, **options
    )
    same_runs(one, two)
    same_runs(one, again)


WITHOUT_END = """
import os, pathlib, sys, time
from functools import partial
from graphs.contacts import proximity_contacts
from models.contact_tracing import Epidemic
from models.contact_tracing.mitigation import mitigate
from models.contact_tracing.ranking import RandomRanking


class Sleeping(RandomRanking):
    def __call__(self, history, day, rng):
        pathlib.Path(sys.argv[1], str(os.getpid())).touch()
        time.sleep(600)


if __name__ == "__main__":
    contacts = partial(proximity_contacts, 20, 5)
    mitigate({"a": Sleeping()}, contacts, Epidemic(0.1, 0.1), seeds=[0, 1], n_workers=2)
"""


def alive(pid):
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_no_process_outlives_a_killed_comparison(tmp_path):
    script = tmp_path / "without_end.py"
    script.write_text(WITHOUT_END)
    (tmp_path / "pids").mkdir()
    paths = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    process = subprocess.Popen([sys.executable, script, tmp_path / "pids"], env=paths)

    def within(condition, seconds):
        deadline = time.monotonic() + seconds
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.2)
        return condition()

    try:
        assert within(lambda: len(list((tmp_path / "pids").iterdir())) == 2, 120)
    finally:
        process.kill()
        process.wait()
    workers = [int(path.name) for path in (tmp_path / "pids").iterdir()]
    assert within(lambda: not any(map(alive, workers)), 30)


def test_households_from_their_generator():
    groups = household_groups(90, seed=0)
    network = household_contacts(90, 15, seed=0, transmission_prob=0.2, groups=groups)
    campaign = Campaign(
        start_day=2, n_ranked=3, households=groups.household, isolate_household=True
    )
    run = run_policy(ContactTracing(), network, EPIDEMIC, campaign, seed=0)
    assert run.isolated[-1] > run.found.sum() > 0


def test_bad_input(compared):
    network = CONTACTS(seed=0)
    with pytest.raises(ValueError, match="households: expected the household"):
        Campaign(isolate_household=True)
    with pytest.raises(ValueError, match="households: expected one for each of 80"):
        run_policy(RandomRanking(), network, EPIDEMIC, Campaign(households=[0, 1]), seed=0)
    with pytest.raises(ValueError, match="adoption: expected probabilities"):
        Campaign(adoption=1.5)
    with pytest.raises(ValueError, match="ranking: expected 80 finite scores on day 1"):
        run_policy(lambda history, day, rng: np.zeros(3), network, EPIDEMIC, CAMPAIGN, seed=0)
    for policies, seeds in (({}, [0]), ({"a": RandomRanking()}, []), ({"a/b": None}, [0])):
        with pytest.raises(ValueError, match="policies"):
            mitigate(policies, CONTACTS, EPIDEMIC, seeds=seeds, progress=False)
    with pytest.raises(ValueError, match="policy: expected one of random"):
        compared.curves("none")
    with pytest.raises(ValueError, match="quantity: expected one of infected"):
        compared.curves("random", "outbreak")
    with pytest.raises(ValueError, match="at least two seeds"):
        Mitigation((0,), {}).difference("a", "b")
