"""Integer weights: the ±1 case is the other module, stars of replicas are enumerated."""

import itertools

import numpy as np
import pytest

from inference.status import Status
from models.perceptron import (
    focusing_bp,
    focusing_bp_discretised,
    random_patterns,
    standard_reinforcement,
)
from models.perceptron.discretised import DiscretisedMessages, _logs, _pull
from models.perceptron.protocols import pseudo_reinforcement, scoping


@pytest.mark.parametrize(
    "protocol", [standard_reinforcement(0.02), pseudo_reinforcement(0.02), scoping([0.3, 0.9], 9)]
)
def test_weights_of_plus_minus_one_are_those_of_the_binary_machine(protocol):
    problem = random_patterns(301, 0.6, seed=0)
    options = {"stop_at_solution": False}
    integer = focusing_bp_discretised(problem, protocol, values=[-1, 1], **options)
    binary = focusing_bp(problem, protocol, **options)
    # the latter runs in single precision
    assert np.abs(integer.trace.energy - binary.trace.energy).max() <= 1
    np.testing.assert_allclose(integer.trace.distance, 2 - 2 * binary.trace.overlap, atol=1e-4)
    scale = np.abs(integer.messages.fields).max()
    np.testing.assert_allclose(
        integer.messages.fields, binary.state.messages.fields, atol=2e-3 * scale
    )


@pytest.mark.parametrize("coupling", [0.2, 1.5])
@pytest.mark.parametrize("n_replicas", [1, 2, 3])
def test_one_weight_of_a_star_of_replicas(coupling, n_replicas):
    levels = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    messages = DiscretisedMessages(np.array([0.7]), 0.4, np.zeros(1))
    alone = np.exp(_logs(messages, levels)[0])
    marginal, distance, total = np.zeros(5), 0.0, 0.0
    for *replicas, centre in itertools.product(range(5), repeat=n_replicas + 1):
        apart = (levels[replicas] - levels[centre]) ** 2
        weight = np.prod(alone[replicas]) * np.exp(-0.5 * coupling * apart.sum())
        marginal[replicas[0]] += weight
        distance += weight * apart[0]
        total += weight
    pull, found = _pull(messages, levels, coupling, n_replicas)
    heard = alone * np.exp(pull[0])
    # the pull leaves out what a replica says to the centre itself: that is in its own term
    np.testing.assert_allclose(heard / heard.sum(), marginal / total, rtol=1e-10)
    assert found == pytest.approx(distance / total, rel=1e-10)


def test_infinite_coupling_is_reinforcement():
    levels = np.array([-1.0, 0.0, 1.0])
    messages = DiscretisedMessages(np.array([0.3, -1.0]), 0.5, np.zeros(1))
    pull, distance = _pull(messages, levels, np.inf, 3.0)
    strong, nearly = _pull(messages, levels, 200.0, 3.0)
    np.testing.assert_allclose(pull, strong, atol=1e-12)
    assert distance == 0.0
    assert nearly < 1e-12


@pytest.mark.parametrize("largest", [1, 2, 3])
def test_more_levels_store_more(largest):
    """At load 1.2, beyond the capacity of three levels, five and seven still suffice."""
    found = [
        focusing_bp_discretised(
            random_patterns(501, 1.2, seed=seed), standard_reinforcement(0.005), largest=largest
        )
        for seed in range(2)
    ]
    assert [one.status for one in found] == 2 * [
        Status.MAX_STEPS if largest == 1 else Status.CONVERGED
    ]
    for seed, one in enumerate(found):
        sums = random_patterns(501, 1.2, seed=seed).patterns @ one.weights
        assert one.energy == np.count_nonzero(sums <= 0)
        assert np.abs(one.weights).max() <= largest


def test_labels_count_and_a_run_in_parts_is_the_run_in_one():
    problem = random_patterns(101, 0.6, seed=3)
    labels = np.where(np.arange(problem.n_patterns) % 2, 1, -1)
    turned = type(problem)(problem.patterns * labels[:, None], labels)
    protocol = standard_reinforcement(0.05)
    whole = focusing_bp_discretised(problem, protocol, stop_at_solution=False)
    same = focusing_bp_discretised(turned, protocol, stop_at_solution=False)
    np.testing.assert_array_equal(whole.trace.energy, same.trace.energy)
    first = focusing_bp_discretised(problem, protocol[:8], stop_at_solution=False)
    second = focusing_bp_discretised(
        problem, protocol[8:], init=first.messages, stop_at_solution=False
    )
    np.testing.assert_array_equal(whole.messages.fields, second.messages.fields)
    np.testing.assert_array_equal(
        whole.trace.energy, np.concatenate([first.trace.energy, second.trace.energy])
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"largest": 0}, "largest: expected"),
        ({"values": [1]}, "values: expected at least two"),
        ({"values": [1, 0]}, "values: expected at least two"),
        ({"values": [0, 0.5]}, "values: expected integers"),
        ({"damping": -0.1}, "damping: expected"),
        ({"protocol": [[0.5, 0.0]]}, "protocol: expected"),
        ({"init": DiscretisedMessages(np.zeros(3), 0.0, np.zeros(2))}, "init: expected"),
    ],
)
def test_bad_input_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        focusing_bp_discretised(random_patterns(21, 0.5, seed=0), **options)
    with pytest.raises(ValueError, match="problem: expected one hidden unit"):
        focusing_bp_discretised(random_patterns(5, 0.5, n_hidden=3, seed=0))
