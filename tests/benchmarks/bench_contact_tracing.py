"""Belief propagation on contacts: cost of a sweep, a whole city, and what symptoms are worth.

`against_dense`: CPU seconds of a sequential sweep on one core, float32 messages, against the dense
(T + 1)^2 tables of `tests/dense_contacts.py` in the same run; `difference` compares the beliefs at
the fixed points. `peer_recorded_s` is what the published C++ program took for one sweep on another
run of the same generators (spec sheet; recorded, not measured here).
`parallel`: the same sweeps by the JAX schedule, float32, sixteen blocks.
`memory`: a subprocess builds the messages of 100,000 people and sweeps twice; megabytes above what
the imports take.
`city`: the same for 10^4 to 10^6 people who meet ten new people a day, build and five sweeps; the
ratio is what is left of the allowed CPU time, `megabytes` the largest size of the process.
`threads`: the block schedule on two threads against one; `difference` must be zero.
`symptoms`: gain in AUC and in log-score (nats a person) among the people never found positive when
tests of people with symptoms are read by the symptom likelihood, against reading them as random
tests; mean and 95 % interval over paired epidemics.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import json
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import harness
import numpy as np
from scipy.stats import rankdata, t

from graphs.contacts import fresh_contacts, proximity_contacts, static_contacts
from models.contact_tracing import Epidemic, Observations, infer
from models.contact_tracing.node_weights import node_weights
from models.contact_tracing.pair_layout import pair_layout, start_messages
from models.contact_tracing.sequential import sweep_to_fixed_point
from models.contact_tracing.simulation import simulate

sys.path.append(str(Path(__file__).parent.parent))  # dense_contacts, which the tests use too

GENERATORS = {"static": static_contacts, "fresh": fresh_contacts, "proximity": proximity_contacts}
REQUIRED = {"static": 1.2, "proximity": 4.0, "fresh": 20.0}
PEER_RECORDED = {
    ("static", 15): 0.138, ("static", 30): 0.742, ("fresh", 15): 0.381, ("fresh", 30): 1.75,
    ("proximity", 15): 0.211, ("proximity", 30): 0.772,
}  # fmt: skip
RECOVERY, FALSE_POSITIVE, FALSE_NEGATIVE = 0.1, 0.01, 0.1
SYMPTOM_PROB, SYMPTOM_DELAY = 0.5, 6  # days from the contact: five after the first infected day


def instance(kind, n_people, n_days, seed=0):
    """Return contacts, an outbreak, random tests, and the tests of people with symptoms."""
    network = GENERATORS[kind](n_people, n_days, transmission_prob=0.02, seed=seed)
    n_seeds = max(1, n_people // 200)
    epidemic = Epidemic(n_seeds / n_people, RECOVERY)
    outbreak = simulate(network, epidemic, seed=seed + 1, n_seeds=n_seeds)
    state = outbreak.states()
    rng = np.random.default_rng(seed + 2)
    n_tests = max(1, int(0.002 * n_people))
    person = rng.integers(n_people, size=n_tests * n_days)
    day = np.repeat(np.arange(1, n_days + 1), n_tests)
    onset = outbreak.infection_day + SYMPTOM_DELAY - 1
    ill = (onset <= np.minimum(n_days, outbreak.recovery_day - 1)) & (
        rng.random(n_people) < SYMPTOM_PROB
    )
    ill &= outbreak.infection_day > 0  # patients zero fell ill before anybody looked
    sick = np.flatnonzero(ill)
    return network, epidemic, state, _test(person, day, state, rng), (
        sick, onset[sick], _test(sick, onset[sick], state, rng),
    )  # fmt: skip


def _test(person, day, state, rng):
    ill = state[person, day] == 1
    shown = rng.random(len(person)) < np.where(ill, 1 - FALSE_NEGATIVE, FALSE_POSITIVE)
    return Observations.from_tests(
        person, day, shown, false_positive=FALSE_POSITIVE, false_negative=FALSE_NEGATIVE
    )


def sweeper(network, tests, epidemic, dtype=np.float32, **options):
    """Return a function that makes so many sweeps, going on from the messages of the last call."""
    n_people, n_days = network.n_people, network.n_days
    weights = node_weights(epidemic, tests, n_people, n_days)
    layout = pair_layout(network, n_blocks=options.get("n_blocks"), dtype=dtype)
    messages = start_messages(layout, dtype)
    settings = {"n_blocks": None, "n_threads": 1, **options}

    def sweep(n_sweeps):
        return sweep_to_fixed_point(
            layout, messages, weights, epidemic.profile(n_days), markov=True, n_days=n_days,
            damping=0.0, tol=1e-30, max_steps=n_sweeps, **settings,
        )  # fmt: skip

    return sweep, len(layout.single_reverse), len(layout.repeated_reverse)


def cpu_seconds(call):
    start = time.process_time()
    call()
    return time.process_time() - start


def cases(quick):
    return [(kind, n_days) for kind in GENERATORS for n_days in ((15,) if quick else (15, 30))]


def bench_against_dense(quick):
    import dense_contacts

    n_people, n_pairs = (200, 2) if quick else (1000, 7)
    for kind, n_days in cases(quick):
        network, epidemic, _, tests, (_, _, more) = instance(kind, n_people, n_days)
        tests = tests + more
        sweep, n_single, n_repeated = sweeper(network, tests, epidemic)
        dense = dense_contacts.DensePropagation(
            network, node_weights(epidemic, tests, n_people, n_days)
        )
        sweep(1), dense.sweep()
        times = [
            (cpu_seconds(partial(sweep, 4)) / 4, cpu_seconds(dense.sweep)) for _ in range(n_pairs)
        ]
        own, peer = np.array(times).T
        small = instance(kind, 200, 10)
        result = infer(small[0], small[3], small[1], tol=1e-10, max_steps=2000)
        exact = dense_contacts.dense_propagation(
            small[0], node_weights(small[1], small[3], 200, 10), tol=1e-11
        )
        yield harness.row(
            "against_dense", {"contacts": kind, "n_people": n_people, "n_days": n_days},
            unit="CPU s a sweep", reference="dense tables, O(T^2) an edge", own_s=own,
            reference_s=peer, required=REQUIRED[kind] if n_days == 15 and not quick else None,
            difference=np.abs(result.state_prob - exact.state_prob).max(), tolerance=1e-7,
            nanoseconds_an_edge=1e9 * np.median(own) / (n_single + n_repeated),
            single_edges=n_single, repeated_edges=n_repeated,
            peer_recorded_s=PEER_RECORDED[kind, n_days],
        )  # fmt: skip


def bench_parallel(quick):
    n_people = 200 if quick else 1000
    for kind, n_days in cases(quick):
        network, epidemic, _, tests, (_, _, more) = instance(kind, n_people, n_days)
        sweep, *_ = sweeper(network, tests + more, epidemic)

        def solve(n, network=network, tests=tests + more, epidemic=epidemic):
            return infer(
                network, tests, epidemic, schedule="parallel", message_dtype=np.float32, tol=1e-30,
                max_steps=n, on_failure="ignore",
            )  # fmt: skip

        start = time.perf_counter()
        solve(1)
        compile_s = time.perf_counter() - start
        sweep(1)
        # what a run costs once is in both, and falls out
        own = [cpu_seconds(lambda: solve(13)) - cpu_seconds(lambda: solve(1)) for _ in range(3)]
        peer = [cpu_seconds(lambda s=sweep: s(4)) / 4 for _ in range(3)]
        yield harness.row(
            "parallel", {"contacts": kind, "n_people": n_people, "n_days": n_days},
            unit="CPU s a sweep", reference='schedule="sequential", one thread',
            own_s=np.array(own) / 12, reference_s=peer, compile_s=compile_s,
        )  # fmt: skip


def bench_threads(quick):
    n_people = 1000 if quick else 20_000
    for kind in ("static", "fresh"):
        network, epidemic, _, tests, (_, _, more) = instance(kind, n_people, 15)
        sweeps = {
            n: sweeper(network, tests + more, epidemic, n_blocks=16, n_threads=n)[0] for n in (1, 2)
        }
        ends = {n: sweep(2) for n, sweep in sweeps.items()}
        two, one = harness.in_turns(lambda s=sweeps: s[2](2), lambda s=sweeps: s[1](2), 5)
        yield harness.row(
            "threads", {"contacts": kind, "n_people": n_people}, unit="wall s, two sweeps",
            reference="the block schedule on one thread", own_s=two, reference_s=one,
            difference=np.abs(ends[1].state_prob - ends[2].state_prob).max(), tolerance=0,
        )  # fmt: skip


def in_process(kind, n_people, n_days, n_sweeps):
    """Measure in a process of its own, which has no memory of earlier sizes."""
    script = f"""
import json, pathlib, sys, time
sys.path[:0] = {sys.path!r}
import numpy as np
import bench_contact_tracing as bench
from inference import kernels
def size(line):
    for entry in pathlib.Path("/proc/self/status").read_text().splitlines():
        if entry.startswith(line):
            return int(entry.split()[1]) / 1024
small = bench.GENERATORS[{kind!r}](50, {n_days}, transmission_prob=.02, seed=0)
epidemic = bench.Epidemic(.005, bench.RECOVERY)
rng = np.random.default_rng(0)
def tests(n):
    m = max(1, int(.002 * n)) * {n_days}
    return bench.Observations.from_tests(
        rng.integers(n, size=m), np.sort(rng.integers({n_days} + 1, size=m)),
        rng.random(m) < .1, false_positive=.01, false_negative=.1)
bench.infer(small, tests(50), epidemic, message_dtype=np.float32, max_steps=1, on_failure="ignore")
base = size("VmRSS")
pathlib.Path("/proc/self/clear_refs").write_text("5")  # forget the peak of the compiler
start = time.process_time()
network = bench.GENERATORS[{kind!r}]({n_people}, {n_days}, transmission_prob=.02, seed=0)
generated = time.process_time() - start
result = bench.infer(network, tests({n_people}), epidemic, message_dtype=np.float32,
                     max_steps={n_sweeps}, on_failure="ignore", progress=False)
spent = time.process_time() - start
print(json.dumps({{"base": base, "peak": size("VmHWM"), "generated": generated, "spent": spent,
                  "n_contacts": network.n_contacts}}))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout)


def bench_memory(quick):
    n_people = 1000 if quick else 100_000
    found = in_process("static", n_people, 15, 2)
    yield harness.row(
        "memory", {"contacts": "static", "n_people": n_people, "n_days": 15},
        unit="MB above the imports", reference="allowed: 600 MB",
        own_s=found["peak"] - found["base"], reference_s=600.0,
        required=None if quick else 1, megabytes=found["peak"],
        cpu_s=found["spent"],
    )  # fmt: skip


def bench_city(quick):
    for n_people in (1000,) if quick else (10_000, 100_000, 1_000_000):
        found = in_process("fresh", n_people, 14, 5)
        yield harness.row(
            "city", {"contacts": "fresh", "n_people": n_people, "n_days": 14},
            unit="CPU s, build and five sweeps", reference="allowed: 180 s for 10^6 people",
            own_s=found["spent"], reference_s=180.0 * n_people / 1e6,
            required=None if quick else 1, megabytes=found["peak"],
            generator_s=found["generated"], n_contacts=found["n_contacts"],
            microseconds_a_person=1e6 * found["spent"] / n_people,
        )  # fmt: skip


def auc(score, ill):
    ranks = rankdata(score)
    n = ill.sum()
    if n in (0, len(ill)):
        return np.nan
    return (ranks[ill].sum() - n * (n + 1) / 2) / (n * (~ill).sum())


def bench_symptoms(quick):
    n_people, n_days, n_seeds = (300, 20, 3) if quick else (1000, 30, 20)
    for kind in ("static", "proximity"):
        gains = []
        for seed in range(n_seeds):
            network, epidemic, state, tests, (sick, onset, more) = instance(
                kind, n_people, n_days, seed=10 * seed
            )
            both = tests + more
            found = np.zeros(n_people, bool)
            found[both.person[both.likelihood[:, 1] > both.likelihood[:, 0]]] = True
            ill = state[~found, -1] == 1
            scores = []
            informed = both.with_symptoms(
                sick, onset, symptom_prob=SYMPTOM_PROB, delay=SYMPTOM_DELAY
            )
            for seen in (informed, both):
                result = infer(
                    network, seen, epidemic, tol=1e-3, max_steps=300, damping=0.2,
                    on_failure="ignore",
                )  # fmt: skip
                belief = np.clip(result.state_prob[~found, -1, 1], 1e-12, 1 - 1e-12)
                scores.append(
                    (auc(belief, ill), np.mean(np.log(np.where(ill, belief, 1 - belief))),
                     belief.sum())
                )  # fmt: skip
            gains.append([*np.subtract(*scores)[:2], scores[0][2], scores[1][2], ill.sum()])
        gains = np.array(gains)
        gains = gains[~np.isnan(gains).any(axis=1)]  # no AUC without somebody to find
        n_pairs = len(gains)
        mean = gains.mean(axis=0)
        margin = t.ppf(0.975, n_pairs - 1) * gains.std(axis=0, ddof=1) / np.sqrt(n_pairs)
        for place, what in enumerate(("AUC", "log-score")):
            yield harness.row(
                "symptoms",
                {"contacts": kind, "n_people": n_people, "n_days": n_days, "gain": what},
                unit="gain", reference="tests of the ill read as random tests",
                own_s=1.0, reference_s=1.0, mean_gain=mean[place],
                interval=[mean[place] - margin[place], mean[place] + margin[place]],
                infected_expected=mean[2], infected_expected_as_random=mean[3],
                infected_true=mean[4], n_epidemics=n_pairs,
            )  # fmt: skip


BENCHMARKS = {
    "against_dense": bench_against_dense,
    "parallel": bench_parallel,
    "threads": bench_threads,
    "memory": bench_memory,
    "city": bench_city,
    "symptoms": bench_symptoms,
}

if __name__ == "__main__":
    raise SystemExit(harness.main("contact_tracing", BENCHMARKS, __doc__))
