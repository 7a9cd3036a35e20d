"""The entropy-driven walk, guided by exact local free entropies and by scripted ones."""

import copy
import itertools

import numpy as np
import pytest

from inference.monte_carlo.entropy_driven import (
    Surroundings,
    Walk,
    check_walk,
    entropy_driven_monte_carlo,
    random_walk,
)
from inference.status import Status

N = 11
LADDER = np.arctanh([0.5, 0.7, 0.9])


class Toy:
    """Majorities over random signs, small enough to list all solutions."""

    def __init__(self, n_patterns, seed):
        self.patterns = np.random.default_rng(seed).choice([-1, 1], (n_patterns, N))
        states = np.array(list(itertools.product([-1, 1], repeat=N)))
        self.solutions = states[(states @ self.patterns.T > 0).all(axis=1)]
        assert len(self.solutions)
        self.looks = []

    def energy(self, reference):
        return int(np.count_nonzero(self.patterns @ reference.astype(int) < 0))

    def free_entropy(self, reference, coupling):
        return float(np.log(np.exp(coupling * (self.solutions @ reference.astype(int))).sum()))

    def look(self, reference, coupling, messages):
        """Enumerate; the messages only tell how many looks led here."""
        value = self.free_entropy(reference, coupling)
        weights = np.exp(coupling * (self.solutions @ reference.astype(int)) - value)
        means = np.clip(weights @ self.solutions, -1 + 1e-12, 1 - 1e-12)
        fields = np.arctanh(means) - coupling * reference
        local = value - coupling * float(means @ reference)
        self.looks.append((reference.copy(), coupling, messages))
        return Surroundings(value, local, fields, 3, (messages or 0) + 1)


def search(toy, walk, **options):
    options = {"couplings": LADDER, "max_steps": 300} | options
    return entropy_driven_monte_carlo(toy.look, toy.energy, walk, **options)


@pytest.mark.parametrize("proposals", ["heuristic", "random"])
@pytest.mark.parametrize("seed", range(6))
def test_it_climbs_to_a_solution(proposals, seed):
    toy = Toy(5, seed)
    walk = random_walk(N, seed)
    start = walk.reference.copy()
    found = search(toy, walk, proposals=proposals)
    assert found.status is Status.CONVERGED
    assert found.energy == toy.energy(found.configuration) == 0
    assert (toy.solutions == found.configuration).all(axis=1).any()
    trace = found.trace
    assert trace.energy[0] == toy.energy(start)
    assert trace.energy[-1] == 0
    assert (np.diff(trace.step) >= 0).all()
    assert trace.step[-1] == found.n_steps
    moved = trace.n_flips[1:] > 0
    assert (np.diff(trace.free_entropy)[moved] >= 0).all()
    assert (np.diff(trace.coupling)[moved] == 0).all()
    assert trace.free_entropy[-1] == toy.free_entropy(walk.reference, trace.coupling[-1])
    # every proposal and every change of the coupling is one look of three sweeps
    n_changes = np.count_nonzero(trace.n_flips == 0)
    assert len(toy.looks) == found.n_steps + n_changes
    assert walk.n_sweeps == 3 * len(toy.looks)


def test_proposals_start_from_the_messages_of_the_reference():
    toy = Toy(6, 0)
    found = search(
        toy, random_walk(N, 3), couplings=LADDER[0], proposals="random", patience=99, max_steps=30
    )
    handed = [messages for _, _, messages in toy.looks]
    accepted = set(found.trace.step[1:].tolist())
    expected, here = [None], 1
    for step in range(1, found.n_steps + 1):
        expected.append(here)
        here = here + 1 if step in accepted else here
    assert handed == expected


def test_heuristic_proposals_are_what_the_constraints_oppose():
    n_opposed = []
    for seed in range(20):
        toy = Toy(5, 2)
        entropy_driven_monte_carlo(
            toy.look, lambda _: 1, random_walk(N, seed), couplings=LADDER[0], largest_batch=0.0,
            max_steps=1,
        )  # fmt: skip
        (before, coupling, _), (after, _, _) = toy.looks
        (site,) = np.flatnonzero(before != after)
        opposed = np.flatnonzero(toy.look(before, coupling, None).fields * before < 0)
        assert site in opposed
        n_opposed.append(len(opposed))
    assert min(n_opposed) < N / 2  # otherwise any site would do


class Script:
    """Every look returns the next free entropy, and remembers how many spins differ."""

    def __init__(self, n, accepts, fields=None):
        self.n, self.accepts = n, iter(accepts)
        self.fields = np.zeros(n) if fields is None else fields
        self.height, self.reference, self.flips, self.couplings = 0.0, None, [], []

    def look(self, reference, coupling, messages):
        self.couplings.append(coupling)
        if messages is None or (reference == self.reference).all():  # settles
            self.reference = reference.copy()
            return Surroundings(self.height, 0.0, self.fields * reference, 1, ())
        self.flips.append(int(np.count_nonzero(reference != self.reference)))
        if not next(self.accepts):
            return Surroundings(self.height - 1.0, 0.0, self.fields * reference, 1, ())
        self.reference = reference.copy()
        return Surroundings(self.height, 0.0, self.fields * reference, 1, ())


def scripted(script, walk=None, **options):
    return entropy_driven_monte_carlo(
        script.look, lambda _: 1, walk or random_walk(script.n, 0), **options
    )


def test_batches_halve_when_refused_and_double_when_accepted():
    script = Script(16, [False, False, True, True, True, True, False, True])
    scripted(script, couplings=1.0, proposals="random", largest_batch=1.0, max_steps=8)
    assert script.flips == [16, 8, 4, 8, 16, 16, 16, 8]


def test_batches_are_shares_of_the_opposed_spins():
    # eight of forty are opposed, whatever the reference
    script = Script(40, itertools.repeat(True), np.where(np.arange(40) < 8, -1.0, 1.0))
    scripted(script, couplings=1.0, max_steps=3)
    assert script.flips == [2, 2, 2]
    script = Script(40, itertools.repeat(True), np.where(np.arange(40) < 8, -1.0, 1.0))
    scripted(script, couplings=1.0, largest_batch=0.0, max_steps=3)
    assert script.flips == [1, 1, 1]
    nobody = Script(40, itertools.repeat(True), np.ones(40))
    scripted(nobody, couplings=1.0, max_steps=3)
    assert nobody.flips == [1, 1, 1]
    alike = Script(40, itertools.repeat(True))
    scripted(alike, couplings=1.0, proposals="random", max_steps=3)
    assert alike.flips == [1, 1, 1]


def test_the_ladder_is_climbed_when_stuck_and_begun_anew_after_its_end():
    script = Script(16, itertools.repeat(False))
    found = scripted(
        script, couplings=[0.5, 0.7], proposals="random", largest_batch=0.25, patience=3,
        max_steps=13,
    )  # fmt: skip
    # 4, 2, then four single flips: more than the patience of three
    assert script.flips == [4, 2, 1, 1, 1, 1] * 2 + [4]
    assert script.couplings == [0.5] * 7 + [0.7] * 7 + [0.5] * 2
    assert found.trace.coupling.tolist() == [0.5, 0.7, 0.5]
    assert found.trace.step.tolist() == [0, 6, 12]
    assert found.trace.n_flips.tolist() == [0, 0, 0]
    assert found.status is Status.MAX_STEPS
    assert found.energy == 1


def test_a_new_start_that_is_a_solution_ends_the_walk():
    # every look is refused: only new starts can find the half of all spins that begin with +1
    script = Script(5, itertools.repeat(False))
    walk = random_walk(5, 0)
    walk.reference[0] = -1
    found = entropy_driven_monte_carlo(
        script.look, lambda spins: int(spins[0] < 0), walk, couplings=1.0, proposals="random",
        patience=2, max_steps=300,
    )  # fmt: skip
    assert found.status is Status.CONVERGED
    assert found.configuration[0] == 1
    assert found.n_steps % 3 == 0  # three refusals, one more than the patience, a start
    assert found.trace.energy.tolist() == [1] * (found.n_steps // 3) + [0]


@pytest.mark.parametrize(("proposals", "patience"), [("heuristic", 10), ("random", 32)])
def test_default_patience(proposals, patience):
    script = Script(16, itertools.repeat(False))
    found = scripted(
        script, couplings=[0.5, 0.7], proposals=proposals, largest_batch=0.0, max_steps=40
    )
    assert found.trace.step[1] == patience + 1


def test_equal_free_entropy_is_accepted_and_minus_infinity_never():
    script = Script(8, itertools.repeat(True))
    script.height = -np.inf
    found = scripted(script, couplings=1.0, proposals="random", patience=99, max_steps=20)
    assert found.trace.n_flips.tolist() == [0]
    assert not np.isnan(found.trace.free_entropy).any()
    script = Script(8, itertools.repeat(True))
    found = scripted(script, couplings=1.0, proposals="random", max_steps=20)
    assert found.trace.n_flips.tolist() == [0] + [1] * 20


def test_a_walk_that_goes_on_is_one_that_never_stopped():
    def energy(reference):  # no reference has less than one error: the walk never ends by itself
        return 1 + toy.energy(reference)

    toy = Toy(6, 1)
    whole = entropy_driven_monte_carlo(
        toy.look, energy, random_walk(N, 4), couplings=LADDER, max_steps=90
    )
    walk = random_walk(N, 4)
    for n_steps in (1, 39, 50):
        part = entropy_driven_monte_carlo(
            toy.look, energy, walk, couplings=LADDER, max_steps=n_steps
        )
        assert part.n_steps == n_steps
        assert part.walk is walk
    for one, other in zip(whole.trace, part.trace):
        np.testing.assert_array_equal(one, other)
    assert len(np.unique(whole.trace.coupling)) > 1
    np.testing.assert_array_equal(whole.configuration, part.configuration)
    np.testing.assert_array_equal(whole.walk.reference, walk.reference)
    assert whole.energy == part.energy == whole.trace.energy.min()


def test_other_couplings_start_their_ladder_anew():
    toy = Toy(6, 1)
    walk = random_walk(N, 4)
    options = {"proposals": "random", "max_steps": 5, "patience": 1}
    entropy_driven_monte_carlo(toy.look, lambda _: 1, walk, couplings=LADDER, **options)
    found = entropy_driven_monte_carlo(toy.look, lambda _: 1, walk, couplings=0.2, **options)
    first = np.flatnonzero(found.trace.coupling == 0.2)[0]
    assert found.trace.n_flips[first] == 0
    assert (found.trace.coupling[first:] == 0.2).all()
    row = found.trace.free_entropy[-1]
    assert row == toy.free_entropy(walk.reference, 0.2)


def test_seeds_are_walks():
    first, same, other = (search(Toy(6, 0), random_walk(N, seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.configuration, same.configuration)
    for one, two in zip(first.trace, same.trace):
        np.testing.assert_array_equal(one, two)
    assert len(first.trace.step) != len(other.trace.step) or not np.array_equal(
        first.trace.free_entropy, other.trace.free_entropy
    )


def test_a_solution_needs_no_step():
    toy = Toy(5, 0)
    walk = Walk(toy.solutions[0].astype(np.int8), np.random.default_rng(0))
    found = search(toy, walk)
    assert (found.n_steps, found.energy, found.status) == (0, 0, Status.CONVERGED)
    np.testing.assert_array_equal(found.configuration, toy.solutions[0])


def test_it_stops_when_told():
    asked = iter([False, False, True])
    script = Script(8, itertools.repeat(True))
    found = scripted(script, couplings=1.0, should_stop=lambda: next(asked))
    assert (found.n_steps, found.status) == (2, Status.MAX_STEPS)


def test_default_length_is_twenty_steps_a_spin():
    assert scripted(Script(8, itertools.repeat(True)), couplings=1.0).n_steps == 160


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"couplings": 0.0}, "couplings: expected positive numbers"),
        ({"couplings": [0.5, -0.1]}, "couplings: expected positive numbers"),
        ({"couplings": np.nan}, "couplings: expected finite numbers"),
        ({"couplings": [np.inf]}, "couplings: expected finite numbers"),
        ({"couplings": []}, "couplings: expected at least one entry"),
        ({"proposals": "greedy"}, "proposals: expected one of random, heuristic; got 'greedy'"),
        ({"largest_batch": 1.5}, r"largest_batch: expected a number in \[0, 1\]"),
        ({"largest_batch": -0.1}, "largest_batch: expected a number"),
        ({"largest_batch": np.nan}, "largest_batch: expected a number"),
        ({"patience": 0}, "patience: expected an integer"),
        ({"max_steps": 0}, "max_steps: expected an integer"),
        ({"max_steps": 1.5}, "max_steps: expected an integer"),
    ],
)
def test_bad_arguments_are_named(options, message):
    script = Script(4, itertools.repeat(True))
    with pytest.raises(ValueError, match=message):
        scripted(script, **({"couplings": 1.0} | options))
    assert not script.couplings  # at once, before any work


def test_walks_of_other_sizes_are_named():
    toy = Toy(5, 0)
    walk = random_walk(N, 0)
    assert check_walk(walk, N, ((),)) is walk
    with pytest.raises(ValueError, match="init: expected a walk on a problem of this size"):
        check_walk(walk, N + 1, ((),))
    search(toy, walk, max_steps=1)
    assert check_walk(copy.copy(walk), N, ((),)).n_steps == 1
    with pytest.raises(ValueError, match="init: expected a walk on a problem of this size"):
        check_walk(walk, N, ((3,),))
