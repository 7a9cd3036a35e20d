"""The replica method against small machines whose solutions and references are all enumerated."""

import numpy as np
import pytest
from scipy.special import log_ndtr

from inference.kernels import kernel
from models.perceptron import enumerate_solutions, random_patterns, theory

LOAD = 1 / 3
SIZES = {9: 12_000, 15: 1500}
"""Instances by number of weights."""
COUPLINGS = (0.25, 0.4, 0.5, 0.6, 1.0)
REPLICAS = (2, 3, 7)


@kernel
def around_all(codes, n, coupling):
    """Return the sum of ``exp(coupling W . r)`` over solutions ``W``, for every ``r``: ``(2**n,)``.

    A Walsh transform with tilted pairs: ``(a, b) -> (a e^g + b e^-g, a e^-g + b e^g)``.
    """
    sums = np.zeros(2**n)
    for code in codes:
        sums[code] = 1.0
    up, down = np.exp(coupling), np.exp(-coupling)
    half = 1
    while half < len(sums):
        for first in range(0, len(sums), 2 * half):
            for k in range(first, first + half):
                a, b = sums[k], sums[k + half]
                sums[k], sums[k + half] = a * up + b * down, a * down + b * up
        half *= 2
    return sums


@pytest.fixture(scope="module")
def enumerated():
    """``{n: (instances, couplings, 1 + replicas)}``: around a solution, then large deviations.

    Both relative to the entropy of the instance: ``F(gamma) - S`` and ``phi(gamma, y) - y S``.
    """
    found = {}
    for n, n_instances in SIZES.items():
        generator = np.random.default_rng(n)
        rows = []
        for seed in range(n_instances):
            codes = enumerate_solutions(random_patterns(n, LOAD, seed=seed)).codes
            if not len(codes):
                continue  # no solution at all: less than one instance in ten thousand
            chosen = codes[generator.integers(len(codes))]
            row = []
            for coupling in COUPLINGS:
                # at most e^(n coupling) each, so that no power overflows
                around = around_all(codes, n, coupling) / len(codes)
                square = around * around
                powers = {2: square, 3: square * around, 7: square * square * square * around}
                row.append([around[chosen], *(powers[y].sum() for y in REPLICAS)])
            rows.append(np.log(row) / n)
        found[n] = np.array(rows)
    return found


def approaches(enumerated, pick, expected):
    """Assert that a mean over instances goes to ``expected`` as the inverse number of weights."""
    means = {n: pick(rows).mean() for n, rows in enumerated.items()}
    errors = {n: pick(rows).std(ddof=1) / np.sqrt(len(rows)) for n, rows in enumerated.items()}
    small, large = SIZES
    gap = means[large] - expected
    assert abs(gap) < abs(means[small] - expected)
    assert abs(gap) > 5 * errors[large]  # else the extrapolation below tests nothing
    # from the line through both sizes in 1 / n; what it leaves is of the order of 1 / n^2, with a
    # coefficient that may be three times that of 1 / n
    limit = (large * means[large] - small * means[small]) / (large - small)
    error = np.hypot(large * errors[large], small * errors[small]) / (large - small)
    assert abs(limit - expected) < 4 * error + 3 * abs(gap) / small


@pytest.fixture(scope="module")
def typical():
    return theory.franz_parisi(LOAD, np.linspace(0.02, 0.45, 87))


@pytest.mark.slow
@pytest.mark.statistical
@pytest.mark.parametrize("coupling", COUPLINGS[:4])
def test_solutions_around_a_typical_solution(enumerated, typical, coupling):
    free_entropy = (typical.entropy + coupling * (1 - 2 * typical.distance)).max()
    expected = free_entropy - theory.replica_symmetric(LOAD).entropy
    place = COUPLINGS.index(coupling)
    approaches(enumerated, lambda rows: rows[:, place, 0], expected)


@pytest.mark.slow
@pytest.mark.statistical
@pytest.mark.parametrize(
    ("coupling", "n_replicas"),
    # seven replicas at coupling 1 leave room for two weights of fifteen: not yet a large machine
    [(0.5, 2), (0.5, 3), (0.5, 7), (1.0, 2), (1.0, 3)],
)
def test_references_weighed_by_the_solutions_around_them(enumerated, coupling, n_replicas):
    found = theory.large_deviation(LOAD, coupling, n_replicas)
    expected = found.free_entropy - n_replicas * theory.replica_symmetric(LOAD).entropy
    place, column = COUPLINGS.index(coupling), 1 + REPLICAS.index(n_replicas)
    approaches(enumerated, lambda rows: rows[:, place, column], expected)


@pytest.mark.parametrize("coupling", [0.2, 0.6, 1.0])
@pytest.mark.parametrize("load", [0.4, 0.6])
def test_no_replicas_leave_random_references(load, coupling):
    """The limit is the entropy in a field, solved here by itself."""
    z, weights = np.polynomial.hermite_e.hermegauss(121)
    weights /= weights.sum()
    q, conjugate = 0.5, 1.0
    for _ in range(4000):
        x = np.sqrt(q / (1 - q)) * z
        hazard = np.exp(-0.5 * x**2 - 0.5 * np.log(2 * np.pi) - log_ndtr(x))
        conjugate += 0.5 * (load * (weights @ hazard**2) / (1 - q) - conjugate)
        field = np.sqrt(conjugate) * z + coupling
        q += 0.5 * (weights @ np.tanh(field) ** 2 - q)
    free_entropy = (
        -0.5 * conjugate * (1 - q)
        + weights @ np.logaddexp(field, -field)
        + load * (weights @ log_ndtr(np.sqrt(q / (1 - q)) * z))
    )
    overlap = weights @ np.tanh(field)
    found = theory.large_deviation(load, coupling, 1e-6)
    assert found.distance == pytest.approx((1 - overlap) / 2, abs=1e-5)
    assert found.local_entropy == pytest.approx(free_entropy - coupling * overlap, abs=1e-5)
    assert found.q1 == pytest.approx(q, abs=1e-5)
