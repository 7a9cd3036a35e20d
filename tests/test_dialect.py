"""One dialect: results, random numbers and draws are called the same in every system."""

import importlib
import inspect

import jax
import numpy as np
import pytest

import models
from inference.interop import posterior_array, to_arviz
from inference.status import Status
from models.cell_types import gibbs as cell_gibbs
from models.contact_tracing import Epidemic, Observations
from models.contact_tracing import gibbs as contact_gibbs
from models.ksat import Formula, decimate, local_search, random_formula
from models.mesoscopic import simulate_spins

SYSTEMS = ("deep_linear", "ksat", "contact_tracing", "cell_types", "perceptron", "mesoscopic")
KERNELS = ("LocalEntropyMetropolis",)  # of NumPyro, imported when asked for
NOT_OF_AN_ITERATION = {"CompressedData": "its residual is what a regression leaves of the targets"}


def functions(system):
    """Yield name, signature and return type of the public functions."""
    module = importlib.import_module(f"models.{system}")
    for name in module.__all__:
        function = getattr(module, name)
        if inspect.isfunction(function):
            signature = inspect.signature(function)
            names = vars(importlib.import_module(function.__module__))
            kernel = signature.return_annotation in KERNELS
            yield name, signature, None if kernel else eval(signature.return_annotation, names)


def fields(kind):
    return set(dir(kind)) | set(getattr(kind, "__annotations__", {}))


def result_types():
    found = {}
    for system in SYSTEMS:
        for name, _, kind in functions(system):
            if inspect.isclass(kind) and fields(kind) & {"n_steps", "residual"}:
                found[f"{system}.{name}"] = kind
    return found


def test_results_of_every_system_are_looked_at():
    found = result_types()
    assert {name.split(".")[0] for name in found} == set(SYSTEMS)
    assert len(found) > 30


@pytest.mark.parametrize(("function", "kind"), result_types().items())
def test_iterative_results_say_how_they_ended_what_is_left_and_their_work(function, kind):
    if kind.__name__ in NOT_OF_AN_ITERATION:
        assert "n_steps" not in fields(kind)
        return
    assert {"status", "residual", "n_steps"} <= fields(kind), function


@pytest.mark.parametrize("system", SYSTEMS)
def test_random_numbers_are_of_a_seed_or_of_a_key(system):
    for name, signature, _ in functions(system):
        names = set(signature.parameters)
        assert not {"rng", "random_state", "rng_key", "generator"} & names, name
        assert not {"seed", "key"} <= names, name


@pytest.mark.parametrize("system", SYSTEMS)
def test_what_systems_share_is_called_alike(system):
    kinds = {
        "progress": ("bool | None",),
        "on_failure": ("OnFailure",),
        "checkpoint": ("Place | None",),
        "should_stop": ("Stop", "Stop | None"),
        "max_steps": ("int", "int | None"),
        "damping": ("float", "ArrayLike", "float | None"),
    }
    for name, signature, _ in functions(system):
        for parameter, allowed in kinds.items():
            if parameter in signature.parameters:
                assert signature.parameters[parameter].annotation in allowed, (name, parameter)


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_package_names_all_that_it_offers(system):
    module = importlib.import_module(f"models.{system}")
    assert sorted(set(module.__all__)) == sorted(module.__all__)
    for name in module.__all__:
        thing = getattr(module, name)
        if inspect.isfunction(thing) or inspect.isclass(thing):
            assert inspect.getdoc(thing), name
    assert models.__doc__
    assert f"``{system}``" in models.__doc__


def test_an_energy_is_the_residual_of_a_search():
    formula = random_formula(20, 60, 3, seed=0)
    found = local_search(formula, seed=0)
    assert found.residual == found.energy == formula.energy(found.assignment)
    assert found.n_steps == found.stats["n_flips"]
    fixed = decimate(formula, seed=0)
    assert fixed.residual == np.mean(fixed.values == 0)
    assert fixed.status is Status.CONVERGED


def test_a_contradiction_is_the_status_of_a_decimation():
    unsatisfiable = Formula.from_clauses([[1], [-1]])
    assert decimate(unsatisfiable, seed=0).status is Status.CONTRADICTION


def spins():
    key = jax.random.key(0)
    return simulate_spins(np.zeros((2, 2)), np.zeros(2), key=key, n_chains=16, n_events=50)


def days(network_of_two):
    return contact_gibbs(
        network_of_two, Observations.none(), Epidemic(0.3, 0.2), num_warmup=5, num_samples=40,
        num_chains=2, keep_draws=True,
    )  # fmt: skip


def types():
    counts = np.random.default_rng(0).poisson(3.0, (4, 6))
    return cell_gibbs(counts, 2, num_warmup=5, num_samples=20, num_chains=2, seed=0)


@pytest.fixture
def network_of_two():
    from graphs.temporal import ContactNetwork

    return ContactNetwork.from_events([0], [1], [0], 0.5, n_days=2, symmetric=True)


def test_the_draws_of_every_sampler_reach_arviz_by_the_same_call(network_of_two):
    found = types()
    assert found.n_steps == 20
    assert np.isfinite(found.residual)
    for result, name, draws in (
        (found, "membership", found.membership),
        (run := days(network_of_two), "infection_day", run.infection_day),
        (still := spins(), "mean_spins", still.chain_averages["mean_spins"]),
    ):
        np.testing.assert_array_equal(posterior_array(to_arviz(result), name), draws)
    assert still.residual == np.abs(still.relaxation.z).max()
    with pytest.raises(TypeError, match="a result names its variables itself"):
        to_arviz(found, dims={"membership": ["gene", "type"]})


def test_chains_too_short_for_an_r_hat_have_not_converged():
    counts = np.random.default_rng(0).poisson(3.0, (3, 4))
    short = cell_gibbs(counts, 2, num_warmup=1, num_samples=3, num_chains=2, seed=0)
    assert np.isnan(short.residual)
    assert short.status is Status.MAX_STEPS
