"""Spin systems: reference numbers, three forms of entropy production, limits, derivatives, faults.

Indices in the formulas of the fixtures count from 1.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from suite_helpers import assert_z

from inference.status import ConvergenceError
from models.mesoscopic import SpinSystem, spins
from models.mesoscopic.spins import all_states
from models.mesoscopic.state_information import entropy, mutual_information


def sine_system(n=4, strength=0.6, beta=1.0, symmetric=False):
    i = np.arange(1, n + 1)
    couplings = strength * np.sin(i[:, None] + 2 * i)
    np.fill_diagonal(couplings, 0.0)
    if symmetric:
        couplings = 0.5 * (couplings + couplings.T)
    return SpinSystem(couplings, bias=0.3 * np.cos(i), beta=beta)


def random_system(seed, n=None):
    rng = np.random.default_rng(seed)
    n = rng.integers(1, 7) if n is None else n
    couplings = rng.standard_normal((n, n))
    np.fill_diagonal(couplings, 0.0)
    return SpinSystem(couplings, bias=rng.standard_normal(n), beta=rng.uniform(0.2, 1.5))


def parity():
    """Return inputs, their law, and the law of the label ``x1 x2``."""
    inputs = all_states(3).T
    label = inputs[:, 0] * inputs[:, 1]
    return inputs, np.full(8, 1 / 8), np.stack([label > 0, label < 0], axis=1).astype(float)


def parity_system(couplings):
    i, mu = np.arange(1, 5)[:, None], np.arange(1, 4)
    return SpinSystem(couplings, np.cos(1.7 * i * mu + 0.5 * i))


class TestReferenceNumbers:
    def test_two_spins(self):
        pair = SpinSystem([[0.0, 0.8], [-0.5, 0.0]])
        law = np.asarray(pair.stationary())
        correlation = (np.tanh(0.8) + np.tanh(-0.5)) / 2
        assert (law[0] + law[3] - law[1] - law[2]) == pytest.approx(correlation, rel=1e-14)
        assert correlation == pytest.approx(0.1009598065039196, rel=1e-14)
        np.testing.assert_allclose(law[[0, 3]], 0.2752399516, atol=5e-11)
        assert float(pair.entropy_production()) == pytest.approx(0.7320000528931082, rel=1e-14)

    def test_two_spins_in_fields(self):
        pair = SpinSystem([[0.0, 0.8], [-0.5, 0.0]], bias=[0.3, -0.2])
        expected = [0.299588689476087, 0.290959969603914, 0.172979945370275, 0.236471395549725]
        np.testing.assert_allclose(pair.stationary(), expected, atol=5e-16)
        assert float(pair.entropy_production()) == pytest.approx(0.687112263982527, rel=1e-14)

    @pytest.mark.parametrize(
        ("c", "production", "correlation", "aligned"),
        [
            (0.5, 0.242441963052671, 0.300489181891562, 0.237683443209336),
            (1.0, 0.439844090956919, 0.614979458970125, 0.355617297113797),
        ],
    )
    def test_ring_of_three(self, c, production, correlation, aligned):
        ring = SpinSystem(c * np.roll(np.eye(3), -1, axis=1))
        t, law = np.tanh(c), np.asarray(ring.stationary())
        states = all_states(3)
        assert float(states[0] * states[1] @ law) == pytest.approx(t / (2 - t), rel=1e-14)
        assert t / (2 - t) == pytest.approx(correlation, rel=1e-14)
        assert law[7] == pytest.approx(aligned, rel=1e-14)
        found = float(ring.entropy_production())
        assert found == pytest.approx(3 * c * t * (1 - t) / (2 - t), rel=1e-14)
        assert found == pytest.approx(production, rel=1e-14)

    @pytest.mark.parametrize(
        ("beta", "production", "disorder"),
        [
            (1.0, 0.668597499097036, 2.528833359159633),
            (0.5, 0.224908833537951, 2.679124807159190),
        ],
    )
    def test_four_spins(self, beta, production, disorder):
        system = sine_system(beta=beta)
        assert float(system.entropy_production()) == pytest.approx(production, rel=1e-14)
        assert float(entropy(system.stationary())) == pytest.approx(disorder, rel=1e-14)

    def test_magnetisation_of_four_spins(self):
        expected = [0.105718614391, -0.153126370858, -0.189819141441, -0.194109566849]
        np.testing.assert_allclose(
            all_states(4) @ np.asarray(sine_system().stationary()), expected, atol=5e-13
        )

    def test_ten_spins(self):
        system = sine_system(10, 0.6 / np.sqrt(2.5))
        assert float(system.entropy_production()) == pytest.approx(2.1283241104847015, rel=1e-13)
        flips = (np.asarray(system.flip_rates()) @ np.asarray(system.stationary())).sum()
        assert flips == pytest.approx(4.24069704635291, rel=1e-13)

    @pytest.mark.parametrize(
        ("couplings", "fano", "variance"),
        [
            (np.array([[0.0, 0.8], [-0.5, 0.0]]), 2.285210256, 1.672774028525),
            (np.roll(np.eye(3), -1, axis=1), 4.375649235, None),
            (None, 2.727215047, 1.823409160194),
        ],
    )
    def test_fluctuations_of_the_entropy_production(self, couplings, fano, variance):
        system = sine_system() if couplings is None else SpinSystem(couplings)
        found = system.current_fluctuations()
        assert float(found.variance_rate / found.mean) == pytest.approx(fano, abs=1e-9)
        assert float(found.tur_ratio) == pytest.approx(fano, abs=1e-9)
        if variance:
            assert float(found.variance_rate) == pytest.approx(variance, abs=1e-12)

    def test_information_of_independent_spins(self):
        found = parity_system(np.zeros((4, 4))).information(*parity())
        assert float(found.about_label) == pytest.approx(0.2369712779, abs=5e-11)
        assert float(found.about_input) == pytest.approx(0.8964, abs=5e-5)
        assert float(found.accuracy) == pytest.approx(0.8157, abs=5e-5)

    def test_information_of_the_best_couplings(self):
        best = [
            [0, 0.788, -2, -1.043],
            [1.643, 0, 2, 2],
            [-2, 0.938, 0, -0.836],
            [-2, 0.975, -1.873, 0],
        ]
        system, (inputs, prob, label) = parity_system(best), parity()
        # the couplings are rounded to three digits, at an optimum
        assert float(system.mutual_information(inputs, prob, label)) == pytest.approx(
            0.43464, abs=1e-5
        )
        assert float(system.mean_entropy_production(inputs, prob)) == pytest.approx(
            0.0449, abs=2e-4
        )


@pytest.mark.parametrize("seed", range(50))
def test_three_forms_of_the_entropy_production_are_equal(seed):
    system = random_system(seed)
    forms = [
        float(system.entropy_production(form=form))
        for form in ("observable", "schnakenberg", "antisymmetric")
    ]
    scale = max(1.0, abs(forms[0]))
    assert max(forms) - min(forms) < 1e-12 * scale
    assert forms[1] >= 0


@pytest.mark.parametrize("seed", range(10))
def test_symmetric_couplings_have_the_law_of_gibbs_and_dissipate_nothing(seed):
    one = random_system(seed, 5)
    couplings = 0.5 * (one.couplings + one.couplings.T)
    system = SpinSystem(couplings, bias=one.bias, beta=one.beta)
    states = all_states(5)
    energy = 0.5 * (states * (np.asarray(couplings) @ states)).sum(axis=0)
    energy += np.asarray(one.bias) @ states
    gibbs = np.exp(float(one.beta) * energy)
    np.testing.assert_allclose(system.stationary(), gibbs / gibbs.sum(), atol=1e-12)
    for form in ("observable", "schnakenberg", "antisymmetric"):
        assert abs(float(system.entropy_production(form=form))) < 1e-12


@pytest.mark.parametrize("n", [2, 7, 11])
def test_both_methods_agree(n):
    system = sine_system(n)
    np.testing.assert_allclose(
        system.stationary(method="iterative"), system.stationary(method="dense"), atol=1e-13
    )


def test_derivatives_are_differences():
    def production(couplings):
        return SpinSystem(couplings, bias=sine_system().bias).entropy_production()

    couplings = sine_system().couplings
    slope = jax.grad(production)(couplings)
    assert float(slope[0, 2]) == pytest.approx(0.591835698816, abs=1e-12)
    step = 1e-4
    for i, j in [(0, 2), (3, 1)]:
        nudge = jnp.zeros((4, 4)).at[i, j].set(step)
        difference = (production(couplings + nudge) - production(couplings - nudge)) / (2 * step)
        assert float(slope[i, j]) == pytest.approx(float(difference), abs=1e-7)


@pytest.mark.slow
def test_derivatives_without_a_matrix_at_fourteen_spins():
    reference = sine_system(14, 0.3)

    @jax.jit
    def production(couplings):
        return SpinSystem(couplings, bias=reference.bias).entropy_production()

    slope = jax.jit(jax.grad(production))(reference.couplings)
    step = 1e-4
    for i, j in [(0, 2), (13, 4)]:
        nudge = jnp.zeros((14, 14)).at[i, j].set(step)
        ends = [production(reference.couplings + sign * nudge) for sign in (1, -1)]
        assert float(slope[i, j]) == pytest.approx(float(ends[0] - ends[1]) / (2 * step), abs=1e-7)


@pytest.mark.statistical
def test_simulated_averages_are_those_of_the_exact_law(key):
    weights, x = np.array([[0.5], [0.0], [-0.5], [1.0]]), np.array([0.7])
    base = sine_system()
    system = SpinSystem(base.couplings, weights, base.bias, beta=0.8)
    run = system.simulate(x, key=key, n_events=2000, n_chains=64)
    exact = all_states(4) @ np.asarray(system.stationary(x))
    assert_z(run.mean_spins.value, exact, run.mean_spins.standard_error)


def test_systems_are_pytrees():
    system = sine_system()
    doubled = jax.tree.map(lambda leaf: 2 * leaf, system)
    np.testing.assert_array_equal(doubled.couplings, 2 * system.couplings)
    inside = jax.jit(lambda s: s.entropy_production())(system)
    assert float(inside) == pytest.approx(float(system.entropy_production()), rel=1e-13)


def test_inputs_are_fields():
    weights = np.array([[1.0, -2.0], [0.5, 0.0], [0.0, 1.0]])
    couplings = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, -1.0], [0.5, 0.0, 0.0]])
    system, x = SpinSystem(couplings, weights, bias=[0.1, 0.2, 0.3]), np.array([0.3, -0.4])
    plain = SpinSystem(couplings, bias=weights @ x + [0.1, 0.2, 0.3])
    np.testing.assert_allclose(system.stationary(x), plain.stationary(), rtol=1e-13)


class TestInformation:
    def test_what_the_device_learns_is_bounded_by_what_it_sees(self):
        rng = np.random.default_rng(0)
        inputs, prob, label = parity()
        for seed in range(5):
            couplings = rng.standard_normal((4, 4))
            np.fill_diagonal(couplings, 0.0)
            found = parity_system(couplings).information(inputs, prob, label)
            assert 0 < float(found.about_label) <= float(found.about_input) < np.log(8)
            assert 0.5 < float(found.accuracy) < 1, seed

    def test_the_label_that_is_the_input(self):
        inputs, prob, _ = parity()
        found = parity_system(np.zeros((4, 4))).information(inputs, prob, np.eye(8))
        assert float(found.about_label) == pytest.approx(float(found.about_input), rel=1e-13)

    def test_joint_laws(self):
        assert float(mutual_information(jnp.diag(jnp.full(4, 0.25)))) == pytest.approx(np.log(4))
        assert float(
            mutual_information(jnp.outer(jnp.array([0.3, 0.7]), jnp.array([0.5, 0.5])))
        ) == (pytest.approx(0.0, abs=1e-16))
        slope = jax.grad(mutual_information)(jnp.diag(jnp.full(2, 0.5)))
        assert np.isfinite(np.asarray(slope)).all()


class TestFaults:
    @pytest.mark.parametrize(
        ("build", "message"),
        [
            (lambda: SpinSystem([[1.0, 0.0], [0.0, 0.0]]), r"zero diagonal, got 1 at \(0, 0\)"),
            (lambda: SpinSystem([[0.0, np.nan], [0.0, 0.0]]), "couplings"),
            (lambda: SpinSystem(np.zeros((2, 3))), r"square matrix, got shape \(2, 3\)"),
            (lambda: SpinSystem(np.zeros((2, 2)), bias=[1.0]), "bias: expected 2 numbers"),
            (lambda: SpinSystem(np.zeros((2, 2)), np.ones((3, 1))), "input_weights: expected 2"),
            (lambda: SpinSystem(np.zeros((2, 2)), beta=-1.0), "beta: expected at least 0"),
            (lambda: sine_system().stationary([1.0]), "no input weights"),
            (lambda: parity_system(np.zeros((4, 4))).stationary(), "expected 3 inputs, got none"),
            (lambda: parity_system(np.zeros((4, 4))).stationary([1.0]), "3 inputs, got 1"),
            (lambda: sine_system(12).stationary(method="dense"), "at most 11 spins, got 12; .*it"),
            (lambda: sine_system(21).stationary(), r"at most 20 spins, got 21; simulate\(\)"),
            (lambda: sine_system().stationary(method="power"), "method"),
            (lambda: sine_system().entropy_production(form="heat"), "form"),
            (lambda: sine_system().current_fluctuations(weights=np.ones((4, 16))), "reverse"),
            (lambda: sine_system().current_fluctuations(weights=np.ones(3)), "shape"),
        ],
    )  # fmt: skip
    def test_is_refused(self, build, message):
        with pytest.raises((ValueError, TypeError), match=message):
            build()

    @pytest.mark.parametrize(
        ("prob", "label", "message"),
        [
            (np.full(8, 0.1), np.ones((8, 1)), "input_prob: expected probabilities that sum to 1"),
            (np.full(8, 1 / 8), np.full((8, 2), 0.4), "label_prob: .*sum of 0.8"),
            (np.array([1.5, -0.5, 0, 0, 0, 0, 0, 0]), np.ones((8, 1)), "got -0.5"),
            (np.full(7, 1 / 7), np.ones((8, 1)), "input_prob: expected 8 rows"),
            (np.full(8, np.nan), np.ones((8, 1)), "input_prob"),
        ],
    )  # fmt: skip
    def test_what_is_no_law_is_refused(self, prob, label, message):
        with pytest.raises(ValueError, match=message):
            parity_system(np.zeros((4, 4))).mutual_information(parity()[0], prob, label)

    def test_a_law_that_still_moves_is_refused_and_not_a_number_inside_jit(self, monkeypatch):
        monkeypatch.setattr(spins, "_LARGEST_RESIDUAL", 0.0)
        system = sine_system(5)
        with pytest.raises(ConvergenceError, match=r"still moves at a rate of .*too strong"):
            system.stationary(method="iterative")
        inside = jax.jit(lambda s: s.stationary(method="iterative"))(system)
        assert np.isnan(np.asarray(inside)).all()
