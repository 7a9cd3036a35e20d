"""The number of types by cells held out: the choice, its paired errors, what is refused."""

import jax
import numpy as np
import pytest

from models.cell_types import choose_n_types, simulate_benchmark


def test_the_number_of_types_is_chosen(key):
    small = simulate_benchmark(7, n_genes=250, n_types=4, shape=(9, 8))
    choice = choose_n_types(small.counts, [5, 3, 4, 6], restarts=1, key=key)
    assert choice.n_types == 4
    assert choice.candidates == (3, 4, 5, 6)
    assert choice.n_held_out == pytest.approx(0.2 * small.counts.n_cells, rel=0.05)
    total = choice.per_gene.sum(axis=1) / choice.n_held_out
    np.testing.assert_allclose(choice.log_likelihood, total, rtol=1e-12)
    best = np.argmax(total)
    assert choice.difference[best] == choice.standard_error[best] == 0.0
    np.testing.assert_allclose(choice.difference, total.max() - total, atol=1e-12)
    # paired over genes: that of the sum of n differences is sqrt(n) standard deviations
    gap = choice.per_gene[best] - choice.per_gene[0]
    expected = np.std(gap, ddof=1) * np.sqrt(len(gap)) / choice.n_held_out
    assert choice.standard_error[0] == pytest.approx(expected)
    assert choice.log_likelihood.max() < 0.0


@pytest.mark.slow
def test_the_number_of_types_of_the_benchmark():
    choice = choose_n_types(simulate_benchmark(1).counts, [8, 10, 12], key=jax.random.key(0))
    assert choice.n_types in (10, 12)
    assert choice.difference[0] > 0.005


@pytest.mark.parametrize(
    ("candidates", "options", "message"),
    [
        ([], {}, "candidates: expected at least one"),
        ([1, 9], {}, "n_types: expected at most 6, got 9"),
        ([1], {"holdout": 1.0}, "holdout: expected a probability between 0 and 1"),
        ([1], {"holdout": 1e-9}, "holdout: expected some cells, got none"),
    ],
)
def test_bad_choices_are_refused(candidates, options, message, key):
    with pytest.raises(ValueError, match=message):
        choose_n_types(np.full((6, 6), 5), candidates, key=key, **options)


def test_an_interrupted_choice_is_that_of_the_candidates_so_far(key):
    values = np.full((6, 6), 5)
    choice = choose_n_types(values, [1, 2], restarts=0, key=key, should_stop=lambda: True)
    assert (choice.candidates, choice.n_types) == ((1,), 1)


def test_without_candidates_the_numbers_climb_and_the_gap_below_the_choice_is_halved(key):
    small = simulate_benchmark(7, n_genes=250, n_types=5, shape=(9, 8))
    choice = choose_n_types(small.counts, restarts=0, key=key)
    assert choice.candidates[:5] == (1, 2, 3, 4, 5)
    assert choice.n_types == 5
    # two rungs of the ladder above the best, and no more
    assert choice.candidates[5:] == (6, 8, 10)[: len(choice.candidates) - 5]
    again = choose_n_types(small.counts, choice.candidates, restarts=0, key=key)
    np.testing.assert_array_equal(again.per_gene, choice.per_gene)


def test_a_climb_ends_at_the_largest_possible_number(key):
    values = np.full((6, 2), 40) - np.arange(6)[:, None] % 2 * [[30, 0]]
    assert choose_n_types(values, restarts=0, key=key).candidates == (1, 2)
    assert choose_n_types(values[:, :1], restarts=0, key=key).candidates == (1,)
