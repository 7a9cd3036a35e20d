"""Planted faults: the library with one function wrong, and the comparison that is to see it."""

import contextlib
import importlib
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from inference.certificates import MAX_Z, MIN_P, Calibration, Exact
from models.contact_tracing.parallel import by_person


class Fault(NamedTuple):
    """One function made wrong."""

    system: str
    what: str
    place: str
    """``module:function`` or ``module:Class.method``, where its callers look it up."""
    wrong: Callable[[Any], Any]
    """From the right function."""
    caught_by: str
    """Name of the comparison."""


def changed(index, factor):
    """Multiply an argument."""

    def wrong(right):
        def function(*arguments, **options):
            given = list(arguments)
            given[index] = factor * given[index]
            return right(*given, **options)

        return function

    return wrong


def times(factor):
    """Multiply the result."""
    return lambda right: lambda *arguments, **options: factor * right(*arguments, **options)


def without(name, value):
    """Forget a keyword."""
    return lambda right: lambda *arguments, **options: right(*arguments, **{**options, name: value})


def no_determinant(right):
    def function(mixing, data, beta):
        value, residuals = right(mixing, data, beta)
        return value + 0.5 * jnp.log(residuals[-1]).sum(), residuals

    return function


def unscaled(right):
    del right

    def function(weights, bias, x):
        h = x @ weights[0].T / math.sqrt(x.shape[1]) + bias
        for w in weights[1:]:
            h = h @ w.T / math.sqrt(w.shape[0])  # of the layer above, not of the one below
        return h

    return function


def uneven_proposals(right):
    del right
    return lambda kernel, gain: jnp.exp(jnp.minimum(0.0, gain))  # for one replica, whatever asked


def day_late(right):
    return lambda likelihood, day, n_days: right(likelihood, day + 1, n_days)


def half_of_pairs(right):
    def function(layout, messages, found, n_people):
        of_people = by_person(found.log_z, n_people).sum()
        return 0.5 * (right(layout, messages, found, n_people) + of_people)

    return function


def types_without_multiplicity(right):
    def function(*arguments):
        for log_number, by_gene, by_bin in right(*arguments):
            yield np.zeros_like(log_number), by_gene, by_bin

    return function


def no_square_of_the_change(right):
    def function(drift, covariance, interval):
        law = right(drift, covariance, interval)
        return law._replace(covariance=law.covariance + law.change @ covariance @ law.change.T)

    return function


FAULTS = (
    Fault(
        "deep-linear", "no determinant in the evidence",
        "models.deep_linear.conditional:_value_and_residuals", no_determinant, "posterior_by_grid",
    ),
    Fault(
        "deep-linear", "noise of half the variance in predictions",
        "models.deep_linear.conditional:_gain", changed(2, 2.0), "posterior_by_grid",
    ),
    Fault(
        "deep-linear", "whole widths for half widths in the prior",
        "models.deep_linear.theory:half_widths", times(2.0), "mixing_density",
    ),
    Fault(
        "deep-linear", "layers scaled by the wrong width",
        "models.deep_linear.network:_forward", unscaled, "evidence_by_weights",
    ),
    Fault(
        "ksat", "fields left out of the Bethe sum",
        "models.ksat.propagation:bethe", without("field", None), "belief_propagation_on_trees",
    ),
    Fault(
        "ksat", "fields of half the strength",
        "models.ksat.propagation:literal_weights", changed(0, 0.5), "local_entropy_on_a_tree",
    ),
    Fault(
        "ksat", "Metropolis at twice the inverse temperature",
        "inference.monte_carlo.single_spin:metropolis_sweeps", changed(1, 2.0),
        "annealing_at_one_temperature",
    ),
    Fault(
        "ksat", "surveys that forget the joker",
        "models.ksat.propagation:biases", without("rho", 0.0), "survey_propagation_in_limits",
    ),
    Fault(
        "contact-tracing", "tests read a day late in the messages",
        "models.contact_tracing.node_weights:state_factor", day_late,
        "belief_propagation_on_trees",
    ),
    Fault(
        "contact-tracing", "half of the pair terms of the Bethe sum dropped",
        "models.contact_tracing.parallel:bethe", half_of_pairs,
        "belief_propagation_on_trees",
    ),
    Fault(
        "contact-tracing", "Gibbs weights at half their logarithm",
        "models.contact_tracing.gibbs_sampler:sweep", changed(-8, 0.5), "gibbs_on_loops",
    ),
    Fault(
        "contact-tracing", "half of the infectivity in exact sums",
        "models.contact_tracing.exact:_infectivity", times(0.5), "exact_sums_by_simulation",
    ),
    Fault(
        "cell-types", "no numbers of assignments in the exact sums",
        "models.cell_types.exact:_splits", types_without_multiplicity, "posterior_by_urns",
    ),
    Fault(
        "cell-types", "Gibbs sampling with twice the concentration",
        "models.cell_types.gibbs_sampler:_sweeps", changed(4, 2.0), "gibbs_by_sums",
    ),
    Fault(
        "cell-types", "half of the divergence in the bound",
        "models.cell_types.objectives:_divergence", times(0.5), "bound_below_evidence",
    ),
    Fault(
        "cell-types", "half of the pseudo-counts of the memberships in EM",
        "models.cell_types.em:em_steps", changed(3, 0.5), "em_is_stationary",
    ),
    Fault(
        "perceptron", "fields left out of the Bethe sum",
        "models.perceptron.propagation:edge_free_entropy", changed(1, 0.0),
        "belief_propagation_of_one_pattern",
    ),
    Fault(
        "perceptron", "rejection-reduced flips at half the attraction",
        "inference.monte_carlo.single_spin:rejection_reduced_sweeps", changed(2, 0.5),
        "attracting_replicas",
    ),
    Fault(
        "perceptron", "references accepted as if for one replica",
        "inference.monte_carlo.local_entropy_metropolis:LocalEntropyMetropolis._chance",
        uneven_proposals, "references_by_local_entropy",
    ),
    Fault(
        "perceptron", "twice the preference of Gaussian messages",
        "models.perceptron.edge_flooding:_preference", times(2.0), "gaussian_messages",
    ),
    Fault(
        "mesoscopic", "half of the heat a flip in simulations",
        "models.mesoscopic.spin_flips:entropy_of_flips", times(0.5), "jumps_by_simulation",
    ),
    Fault(
        "mesoscopic", "half of the entropy production of pairs of states",
        "models.mesoscopic.spins:entropy_production", times(0.5), "entropy_production_of_spins",
    ),
    Fault(
        "mesoscopic", "half of the noise in the covariance",
        "models.mesoscopic.linear_langevin:solve_lyapunov", changed(1, 0.5),
        "langevin_closed_forms",
    ),
    Fault(
        "mesoscopic", "a term dropped from the noise of a step",
        "inference.dynamics.ornstein_uhlenbeck:_transition", no_square_of_the_change,
        "langevin_density",
    ),
    Fault(
        "mesoscopic", "couplings of twice the prior width",
        "models.mesoscopic.bayesian:_couplings", changed(1, 2.0), "couplings_by_counts",
    ),
)  # fmt: skip


@contextlib.contextmanager
def planted(fault):
    """Have the fault in the library for the block; nothing compiled with or without it is kept."""
    module, _, name = fault.place.partition(":")
    owner = importlib.import_module(module)
    *classes, name = name.split(".")
    for inner in classes:
        owner = getattr(owner, inner)
    right = getattr(owner, name)
    jax.clear_caches()
    setattr(owner, name, fault.wrong(right))
    try:
        yield
    finally:
        setattr(owner, name, right)
        jax.clear_caches()


def compare(system, comparison):
    """Return the outcome of one comparison of a system."""
    module = importlib.import_module(f"models.{system.replace('-', '_')}.certificate")
    (outcome,) = module.certificate(only=[comparison], progress=False).outcomes
    return outcome


def excess(row):
    """Return by which factor a row exceeds what is accepted; NaN exceeds everything."""
    if isinstance(row, Exact):
        factor = row.error / row.tolerance
    elif isinstance(row, Calibration):
        factor = MIN_P / max(row.p_value, 1e-300)
    else:
        factor = abs(row.z) / MAX_Z
    return math.inf if math.isnan(factor) else factor


def how_far(outcome):
    """Say how far the worst row is off."""
    if outcome.broken:
        return outcome.broken
    row = max(outcome.rows, key=excess)
    if isinstance(row, Exact):
        return f"{row.quantity}: off by {row.error:.2g}, accepted {row.tolerance:.1g}"
    if isinstance(row, Calibration):
        return f"{row.quantity}: p = {row.p_value:.1g}, accepted {MIN_P:g}"
    return f"{row.quantity}: abs z = {abs(row.z):.0f}, accepted {MAX_Z:g}"
