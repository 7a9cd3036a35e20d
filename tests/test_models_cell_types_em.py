"""EM, mean field and its minibatches: reference numbers, ascent, conditions of a mode, order."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import digamma, gammaln

from inference.status import CavityWarning, PrecisionError, Status
from models.cell_types import (
    Counts,
    cavi,
    em,
    log_likelihood_counts,
    simulate_benchmark,
    svi,
    updates,
)

ROOT = Path(__file__).parent.parent
VALUES = np.array(
    [[10, 8, 1, 0, 1], [9, 7, 2, 1, 0], [1, 0, 6, 9, 5], [0, 2, 7, 8, 6], [5, 4, 4, 5, 3]]
)
MEMBERSHIP = np.array([[0.6, 0.4], [0.5, 0.5], [0.4, 0.6], [0.3, 0.7], [0.5, 0.5]])
MAPS = np.array([[0.3, 0.3, 0.2, 0.1, 0.1], [0.1, 0.1, 0.2, 0.3, 0.3]])
X64 = jax.config.jax_enable_x64


def steps(fit, n, **options):
    start = (VALUES, MEMBERSHIP, MAPS)
    return fit(*start, max_steps=n, check_every=1, tol=0.0, on_failure="ignore", **options)


def dirichlet_multinomial(counts, concentration):
    """Return the log probability of ordered draws with a Dirichlet law of each row."""
    prior = np.full(counts.shape, concentration)
    total = gammaln(prior.sum(axis=1)) - gammaln((prior + counts).sum(axis=1))
    return (total + (gammaln(prior + counts) - gammaln(prior)).sum(axis=1)).sum()


def random_problem(seed, n_types=3, shape=(12, 15)):
    rng = np.random.default_rng(seed)
    rate = rng.dirichlet(np.full(n_types, 0.3), shape[0]) @ rng.dirichlet(
        np.full(shape[1], 0.5), n_types
    )
    values = np.array([rng.multinomial(n, p) for n, p in zip(rng.integers(1, 200, shape[0]), rate)])
    start = rng.dirichlet(np.ones(n_types), shape[0]), rng.dirichlet(np.ones(shape[1]), n_types)
    return values, *start


def test_reference_steps_of_em():
    expected = [
        -162.4361234782,
        -151.0749848172,
        -140.7817163693,
        -135.0439721927,
        -133.7898999413,
        -133.6182389545,
    ]
    np.testing.assert_allclose(steps(em, 5).trace, expected, rtol=0, atol=1e-10)
    one = steps(em, 1)
    first = [0.783030303030, 0.6973684211, 0.2672438672, 0.2163043478, 0.5119047619]
    np.testing.assert_allclose(one.membership[:, 0], first, atol=1e-10)
    first = [0.3850618903, 0.3168392962, 0.1612013207, 0.0823194174, 0.0545780753]
    np.testing.assert_allclose(one.maps[0], first, atol=1e-10)


def test_reference_mode():
    # sublinear, since entries of the mode are zero: after n steps they are of order 1 / n
    options = {"max_steps": 400_000, "check_every": 100_000, "tol": 0.0, "on_failure": "ignore"}
    fit = em(VALUES, MEMBERSHIP, MAPS, **options)
    beta = fit.membership * VALUES.sum(axis=1, keepdims=True)
    best = log_likelihood_counts(Counts(VALUES), beta, fit.maps)
    assert best == pytest.approx(-37.303938552609, rel=1e-9)
    maps = [
        [0.5248457384, 0.3860697683, 0.0624483004, 0, 0.0266361929],
        [0, 0.0463094342, 0.3020457108, 0.4080404818, 0.2436043733],
    ]
    np.testing.assert_allclose(fit.maps, maps, atol=2e-5)
    first = [1, 0.908485205, 0.0522672692, 0, 0.4416291505]
    np.testing.assert_allclose(fit.membership[:, 0], first, atol=2e-5)


def test_reference_steps_of_the_bound():
    trace = steps(cavi, 5, concentration=0.5).trace
    expected = [-182.391297223812, -170.314834060134, -156.420306493921]
    np.testing.assert_allclose(trace[[0, 1, 5]], expected, rtol=1e-9)


def test_reference_optimum_of_the_bound():
    fit = cavi(VALUES, MEMBERSHIP, MAPS, concentration=0.5, tol=1e-15, max_steps=20_000)
    assert fit.status is Status.CONVERGED
    assert fit.elbo == pytest.approx(-156.291735678451, rel=1e-9)
    np.testing.assert_allclose(fit.gamma[0], [20.352075195352, 0.647924804648], rtol=1e-6)


def test_the_bound_is_below_the_evidence():
    # all 2**9 assignments of the cells of a tiny table, both factors integrated out
    values = np.array([[2, 1, 0], [0, 1, 2], [1, 0, 2]])
    gene, place = (np.repeat(i.ravel(), values.ravel()) for i in np.indices((3, 3)))
    logs = []
    for types in itertools.product((0, 1), repeat=9):
        by_gene, by_type = np.zeros((3, 2)), np.zeros((2, 3))
        np.add.at(by_gene, (gene, types), 1)
        np.add.at(by_type, (types, place), 1)
        logs.append(dirichlet_multinomial(by_gene, 0.5) + dirichlet_multinomial(by_type, 0.8))
    evidence = np.logaddexp.reduce(logs)
    assert evidence == pytest.approx(-10.711410363931, rel=1e-9)
    start = np.full((3, 2), 0.5), [[0.5, 0.3, 0.2], [0.2, 0.3, 0.5]]
    assert cavi(values, *start, concentration=0.5, map_concentration=0.8).elbo < evidence


@pytest.mark.parametrize("seed", range(20))
def test_no_step_goes_down(seed):
    problem = random_problem(seed)
    options = {"max_steps": 100, "check_every": 1, "tol": 0.0, "on_failure": "ignore"}
    for fit in (
        em(*problem, **options),
        em(*problem, concentration=1.02, map_concentration=1.5, **options),
        cavi(*problem, **options),
        cavi(*problem, concentration=0.7, map_concentration=0.3, **options),
    ):
        assert len(fit.trace) == 101
        rise = np.diff(fit.trace)
        assert rise.min() > -1e-9 * np.abs(fit.trace).max()
        assert rise[0] > 0


@pytest.mark.parametrize("seed", range(5))
def test_a_mode_meets_its_conditions(seed):
    # an interior mode, to which EM converges geometrically
    fit = em(
        *random_problem(seed),
        concentration=1.5,
        map_concentration=1.5,
        tol=1e-16,
        max_steps=50_000,
        check_every=500,
    )
    assert fit.status is Status.CONVERGED
    assert fit.residual < 1e-6
    assert em(*random_problem(seed), max_steps=2, on_failure="ignore").residual > 1e-3


def test_expected_cells_of_a_gene_are_its_cells():
    fit = steps(em, 7)
    np.testing.assert_allclose(fit.membership.sum(axis=1), 1.0, rtol=1e-14)
    np.testing.assert_allclose(fit.maps.sum(axis=1), 1.0, rtol=1e-14)


@pytest.mark.parametrize("fit", [em, cavi])
def test_the_order_of_genes_and_bins_does_not_matter(fit):
    values, membership, maps = random_problem(3)
    rng = np.random.default_rng(0)
    genes, bins = rng.permutation(len(values)), rng.permutation(values.shape[1])
    options = {"max_steps": 50, "on_failure": "ignore"}
    one = fit(values, membership, maps, **options)
    other = fit(values[genes][:, bins], membership[genes], maps[:, bins], **options)
    assert other.trace[-1] == pytest.approx(one.trace[-1], rel=1e-8)
    np.testing.assert_allclose(other.maps, one.maps[:, bins], rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(other.membership, one.membership[genes], rtol=1e-7, atol=1e-12)


@pytest.mark.float32
def test_single_precision_gives_the_same_answer(key):
    data = simulate_benchmark(4, n_genes=60, n_types=3, shape=(8, 8))
    start = np.full((60, 3), 1 / 3), 0.7 * data.maps + 0.3 / 64
    fit = cavi(data.counts, *start, precision="float32", max_steps=200, on_failure="ignore")
    assert fit.gamma.dtype == np.float64
    minibatch = svi(data.counts, fit.maps, precision="float32", batch_size=20, key=key)
    assert minibatch.elbo == pytest.approx(fit.elbo, abs=0.01 * data.counts.n_cells)
    if X64:
        exact = cavi(data.counts, *start, precision="float64", max_steps=200, on_failure="ignore")
        assert fit.elbo == pytest.approx(exact.elbo, rel=1e-6)
        np.testing.assert_allclose(fit.membership, exact.membership, atol=1e-3)
    else:
        with pytest.raises(PrecisionError):
            cavi(data.counts, *start, precision="float64")


def test_counts_beyond_single_precision_are_fitted_in_double():
    values = VALUES * 2_000_000
    with pytest.warns(CavityWarning, match="too many for single precision"):
        fit = em(values, MEMBERSHIP, MAPS, precision="float32", max_steps=2, on_failure="ignore")
    assert fit.trace[0] == pytest.approx(-162.4361234782 * 2e6, rel=1e-10)


def test_minibatches_come_near_the_full_fit(key):
    data = simulate_benchmark(5, n_genes=300, n_types=4, shape=(10, 10))
    start = 0.7 * data.maps + 0.3 / 100
    full = cavi(data.counts, np.full((300, 4), 0.25), start, max_steps=300, on_failure="ignore")
    fit = svi(data.counts, start, batch_size=50, n_epochs=20, key=key)
    assert fit.trace[-1] > fit.trace[0]
    gap = (full.elbo - fit.elbo) / data.counts.n_cells
    assert abs(gap) < 0.01
    again = svi(data.counts, start, batch_size=50, n_epochs=20, key=key)
    assert np.array_equal(fit.lam, again.lam)
    unit = fit.maps / np.linalg.norm(fit.maps, axis=1, keepdims=True)
    true = data.maps / np.linalg.norm(data.maps, axis=1, keepdims=True)
    assert (unit * true).sum(axis=1).min() > 0.98


SHARDED = """
import os
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"
import jax, numpy as np
jax.config.update("jax_enable_x64", True)
from models.cell_types import cavi, em, fit, simulate_benchmark
data = simulate_benchmark(4, n_genes=61, n_types=3, shape=(8, 8))
rng = np.random.default_rng(0)
start = rng.dirichlet(np.ones(3), 61), rng.dirichlet(np.ones(64), 3)
mesh = jax.make_mesh((4,), ("genes",))
assert len(jax.devices()) == 4
for method in (em, cavi):
    for precision, tol in (("float64", 1e-12), ("float32", 1e-5)):
        options = dict(max_steps=30, precision=precision, on_failure="ignore")
        one = method(data.counts, *start, **options)
        many = method(data.counts, *start, mesh=mesh, **options)
        assert many.membership.shape == (61, 3)
        np.testing.assert_allclose(many.maps, one.maps, atol=tol)
        np.testing.assert_allclose(many.membership, one.membership, atol=tol)
        np.testing.assert_allclose(many.trace, one.trace, rtol=max(tol, 1e-12))
found = [
    fit(data.counts, 3, restarts=1, key=jax.random.key(0), mesh=m, precision="float64",
        on_failure="ignore")
    for m in (None, mesh)
]
np.testing.assert_allclose(found[1].maps, found[0].maps, atol=1e-10)
np.testing.assert_allclose(found[1].elbo, found[0].elbo, rtol=1e-12)
print("same")
"""


def test_devices_can_share_the_genes():
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", SHARDED],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "same", done.stderr


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"membership": MEMBERSHIP[:2]}, "membership: expected 5 rows, got 2"),
        ({"membership": MEMBERSHIP * 2}, "membership: expected rows of probabilities"),
        ({"maps": MAPS[:, :4]}, "maps: expected 5 columns"),
        ({"maps": [[1, 0, 0, 0, 0]] * 2}, "maps: expected a start without zeros"),
        ({"counts": Counts(VALUES, exposure=np.ones((5, 5)))}, "counts: expected no exposure"),
        ({"counts": -VALUES}, "counts must be non-negative integers"),
        ({"concentration": 0.0}, "concentration: expected"),
        ({"map_concentration": -1.0}, "map_concentration: expected"),
        ({"max_steps": 0}, "max_steps: expected"),
        ({"precision": "float16"}, "precision: expected"),
        ({"on_failure": "shrug"}, "on_failure: expected"),
        ({"mesh": "line"}, "mesh: expected an axis 'genes'"),
    ],
    ids=str,
)
@pytest.mark.parametrize("fit", [em, cavi])
def test_bad_starts_and_options_are_refused(fit, change, message):
    if change.get("mesh"):
        change = {"mesh": jax.make_mesh((1,), ("bins",))}
    given = {"counts": VALUES, "membership": MEMBERSHIP, "maps": MAPS, **change}
    with pytest.raises(ValueError, match=message):
        fit(**given)


@pytest.mark.parametrize("option", ["concentration", "map_concentration"])
def test_a_mode_on_the_boundary_is_refused(option):
    with pytest.raises(ValueError, match=r"MAP does not exist .* boundary; use CAVI"):
        em(VALUES, MEMBERSHIP, MAPS, **{option: 0.9})


def test_too_few_steps_are_reported():
    with pytest.warns(CavityWarning, match="em: MAX_STEPS"):
        em(VALUES, MEMBERSHIP, MAPS, max_steps=3)


def test_with_one_type_the_bound_is_the_evidence():
    evidence = dirichlet_multinomial(VALUES.sum(axis=0)[None], 1.0)
    fit = cavi(VALUES, np.ones((5, 1)), np.full((1, 5), 0.2))
    assert fit.elbo == pytest.approx(evidence, rel=1e-12)


def test_the_digamma_function_of_positive_numbers():
    x = np.geomspace(1e-8, 1e8, 4001)
    expected = digamma(x)
    # the zero near 1.46 allows no relative error
    tolerance = 1e-13 * np.maximum(1.0, np.abs(expected))
    assert (np.abs(np.asarray(updates._digamma(jnp.asarray(x))) - expected) < tolerance).all()
