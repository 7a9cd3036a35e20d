"""Warnings between clauses and variables: one compiled sweep for belief and survey propagation.

Clause ``a`` sends ``eta`` to each of its literals: the probability that all its other literals are
false. Stored is the complement ``om = 1 - eta`` of every edge and, of every literal ``l``, the
product ``P[l]`` of ``om`` over the clauses that contain it. Towards one of them, with
``ps = P[l] / om`` and ``pu = P[l ^ 1]``, the literal is false with probability

    q = z / (z + pu),    z = (1 - rho * pu) * ps.

``rho = 0`` is belief propagation, where the products also carry the weights ``exp(field * spin)``;
``rho = 1`` is survey propagation (Mézard, Parisi, Zecchina, Science 297, 812 (2002); Braunstein,
Mézard, Zecchina, cs/0212002); values in between interpolate (Maneva, Mossel, Wainwright,
cs/0409012). Complements are sums of positive terms, never ``1 - eta``, so nothing is lost where
``eta`` is close to one, and nothing is clipped unless ``floor`` asks for it: exact zeros are
counted apart, and products too small for a float are rescaled (their sign says so; only ratios
matter then).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from inference.checks import Floats
from inference.kernels import RandomState, kernel, shuffle
from inference.progress import Stop, never, progress_bar
from inference.status import Status

from .clause_system import ClauseSystem, Codes

_SMALL = 2.0**-400
"""Where both products of a variable are scaled up together."""
_LOST = 2.0**-1000
"""Below it a product has lost digits: all products are formed anew, with exponents of their own."""
_REFRESH = 20
"""Sweeps until products are formed anew (drift: 4e-14 relative in a thousand sweeps)."""
_EDGES_A_CALL = 20_000_000
"""Updates between two looks at the clock: a few tenths of a second."""

SURVEY = 1.0
BELIEF = 0.0


class Propagation(NamedTuple):
    """Where the messages of a clause system ended."""

    om: Floats
    """``(n_edges,)``, ``1 - eta``."""
    residual: float
    """Largest change of a message in the last sweep."""
    n_steps: int
    """Sweeps."""
    status: Status
    culprit: int
    """The clause between whose neighbours a contradiction was found, or -1."""


def propagate(
    system: ClauseSystem,
    om: Floats,
    *,
    rho: float,
    weights: Floats | None = None,
    floor: float = 0.0,
    damping: float = 0.0,
    tol: float,
    max_steps: int,
    state: RandomState,
    reshuffle: bool = True,
    stop: Stop = never,
    progress: bool | None = False,
) -> Propagation:
    """Sweep over the clauses one after another, each seeing the newest messages.

    Parameters
    ----------
    system
        Clauses of at least one literal.
    om
        ``(n_edges,)`` first messages, changed in place.
    rho
        0 for belief propagation, 1 for survey propagation.
    weights
        ``(2 n_variables,)`` weight of each literal being false, belief propagation only; 1 if None.
    floor
        Smallest ``om``: 0, or what keeps solvers from committing early.
    damping
        Share of the old message that is kept.
    tol
        Stop once no message has changed by more.
    max_steps
        Most sweeps.
    state
        Generator of the order of the clauses.
    reshuffle
        Whether each sweep has a random order of its own; else the order of the clauses, which
        reads memory in line.
    stop
        Ends the sweeps early, as if ``max_steps`` were reached.
    progress
        Whether to draw a bar; None draws on a terminal.
    """
    weights = np.ones(2 * system.n_variables) if weights is None else weights
    products = np.empty(2 * system.n_variables)
    zeros = np.zeros(2 * system.n_variables, np.int32)
    order = np.arange(system.n_clauses, dtype=np.int32)
    n_call = max(1, _EDGES_A_CALL // max(1, system.n_edges))
    n_steps, residual, culprit = 0, np.inf, -1
    with progress_bar(max_steps, "message passing", progress) as bar:
        while n_steps < max_steps and not stop():
            done, residual, culprit = sweeps(
                system.offsets, system.literals, om, weights, products, zeros, order, state,
                rho, floor, damping, tol, min(n_call, max_steps - n_steps), reshuffle,
                system.longest,
            )  # fmt: skip
            n_steps += done
            bar.update(done)
            if culprit >= 0 or residual <= tol or not np.isfinite(residual):
                break
    if culprit < 0:
        culprit = forced_both_ways(system, om)
    if culprit >= 0:
        status = Status.CONTRADICTION
    elif np.isnan(residual):  # infinite before the first sweep
        status = Status.NON_FINITE
    else:
        status = Status.CONVERGED if residual <= tol else Status.MAX_STEPS
    return Propagation(om, float(residual), n_steps, status, int(culprit))


def forced_both_ways(system: ClauseSystem, om: Floats) -> int:
    """Return a clause that forces a variable which another one forces to the opposite, or -1."""
    forcing = np.flatnonzero(om == 0)
    forced = np.zeros(2 * system.n_variables, bool)
    forced[system.literals[forcing]] = True
    against = forcing[forced[system.literals[forcing] ^ 1]]
    if not len(against):
        return -1
    return int(np.searchsorted(system.offsets, against[0], side="right")) - 1


def literal_weights(field: Floats) -> Floats:
    """Return ``(2 n,)`` weights of each literal being false under ``exp(field * spin)``.

    Only the ratio of the two literals of a variable matters, so the larger one is 1.
    """
    weights = np.empty(2 * len(field))
    weights[0::2] = np.exp(np.minimum(0.0, -2 * field))
    weights[1::2] = np.exp(np.minimum(0.0, 2 * field))
    return weights


def log_products(system: ClauseSystem, om: Floats) -> Floats:
    """Return ``(2 n,)`` the log of the product of ``om`` over the occurrences of each literal."""
    with np.errstate(divide="ignore"):
        logs = np.log(om)
    sums = np.bincount(system.literals, weights=logs, minlength=2 * system.n_variables)
    return sums.astype(np.float64)  # of no edge at all, bincount makes integers


def biases(system: ClauseSystem, om: Floats, *, rho: float) -> Floats:
    """Return ``(n, 3)`` probabilities of a variable being +1, -1, and (``rho > 0``) free.

    Of survey propagation, the shares of clusters where the variable is frozen to +1 or -1, or not
    frozen. NaN where clauses force both signs.
    """
    logs = log_products(system, om)
    asked, refused = logs[0::2], logs[1::2]  # products over the clauses that ask for +1, for -1
    top = np.maximum(asked, refused)
    with np.errstate(invalid="ignore"):
        plus = np.exp(refused - top) * (1 - rho * np.exp(asked))
        minus = np.exp(asked - top) * (1 - rho * np.exp(refused))
        free = rho * np.exp(asked + refused - top)
        return np.stack([plus, minus, free], axis=1) / (plus + minus + free)[:, None]


def bethe(system: ClauseSystem, om: Floats, *, rho: float, field: Floats | None = None) -> float:
    """Return the Bethe log-partition (``rho = 0``) or the complexity (``rho = 1``), in nats.

    Notes
    -----
    ``sum_a ln(1 - prod q) + sum_i ln(P+ + P- - rho P+ P-) - sum_ia ln(1 - q eta)`` at a fixed point
    ``om``, with the weights ``exp(field * spin)`` in the second sum. The last sum is
    ``ln(p + q om)`` with ``p = 1 - q``, so no term is a difference.
    """
    n = system.n_variables
    field = np.zeros(n) if field is None else field
    logs = log_products(system, om)
    logs[0::2] -= field
    logs[1::2] += field
    code = system.literals
    with np.errstate(divide="ignore", invalid="ignore"):
        own = np.log(om)
        others = logs[code] - own
        forced = np.flatnonzero(om == 0)
        if len(forced):  # minus infinity minus minus infinity: the sum over the others, formed anew
            finite = np.where(om > 0, own, 0.0)
            rest = (
                np.bincount(code, weights=finite, minlength=2 * n)
                + np.stack([-field, field], axis=1).ravel()
            )
            n_zeros = np.bincount(code[forced], minlength=2 * n)
            alone = n_zeros[code[forced]] == 1
            others[forced] = np.where(alone, rest[code[forced]], -np.inf)
        log_false = others + np.log1p(-rho * np.exp(logs[code ^ 1]) if rho else np.zeros(1))
        log_true = logs[code ^ 1]
        norm = np.logaddexp(log_false, log_true)
        q, p = np.exp(log_false - norm), np.exp(log_true - norm)
        clause_terms = np.log(_complements(system.offsets, q, p))
        edge_terms = np.log(p + q * om)
        plus, minus = logs[1::2], logs[0::2]
        variable_terms = np.logaddexp(plus, minus)
        if rho:
            variable_terms += np.log1p(-rho * np.exp(plus + minus - variable_terms))
        return float(clause_terms.sum() + variable_terms.sum() - edge_terms.sum())


@kernel
def _complements(offsets: Codes, q: Floats, p: Floats) -> Any:
    """Return 1 minus the product of q of every clause, without cancellation."""
    complements = np.empty(offsets.size - 1)
    for clause in range(offsets.size - 1):
        product, complement = 1.0, 0.0
        for edge in range(offsets[clause], offsets[clause + 1]):
            complement += product * p[edge]
            product *= q[edge]
        complements[clause] = complement
    return complements


@kernel
def _form_products(
    literals: Codes, om: Floats, weights: Floats, products: Floats, zeros: Codes
) -> Any:
    """Multiply om into products; return the number of exact zeros, which are only counted."""
    exponents = np.zeros(products.size, np.int32)
    zeros[:] = 0
    n_zeros = 0
    products[:] = weights
    for edge in range(literals.size):
        code = literals[edge]
        if om[edge] == 0.0:
            zeros[code] += 1
            n_zeros += 1
            continue
        products[code] *= om[edge]
        if products[code] < _SMALL:
            products[code] *= 1.0 / _SMALL
            exponents[code] += 1
    for code in range(0, products.size, 2):
        # a common factor of both is dropped and marked by the sign, the rest multiplied back
        common = min(exponents[code], exponents[code + 1])
        for one in (code, code + 1):
            for _ in range(min(exponents[one] - common, 3)):
                products[one] *= _SMALL
            if common > 0:
                products[one] = -products[one]
    return n_zeros


@kernel
def sweeps(
    offsets: Codes, literals: Codes, om: Floats, weights: Floats, products: Floats, zeros: Codes,
    order: Codes, state: RandomState, rho: float, floor: float, damping: float, tol: float,
    n_sweeps: int, reshuffle: bool, longest: int,
) -> Any:  # fmt: skip
    """Sweep in place; return (sweeps done, largest change of the last, clause of a contradiction).

    ``products`` and ``zeros`` need no content before and belong to ``om`` afterwards; ``products``
    of a variable may have a common factor, negative if it is not 1. Clause -1: no contradiction.
    """
    rests = np.empty(longest)
    left_product = np.empty(longest)
    left_complement = np.empty(longest)
    false_prob = np.empty(longest)
    true_prob = np.empty(longest)
    n_zeros = _form_products(literals, om, weights, products, zeros)
    largest = np.inf if order.size else 0.0
    for sweep in range(n_sweeps):
        if sweep % _REFRESH == _REFRESH - 1:
            n_zeros = _form_products(literals, om, weights, products, zeros)
        if reshuffle:
            shuffle(order, state)
        largest = 0.0
        for clause in order:
            start = offsets[clause]
            length = offsets[clause + 1] - start
            product = 1.0
            complement = 0.0
            retried = False
            lost = False
            place = 0
            while place < length:
                edge = start + place
                code = literals[edge]
                old = om[edge]
                rest = products[code] / old if old > 0.0 else products[code]
                rests[place] = rest
                ps = rest
                pu = products[code ^ 1]
                if n_zeros > 0:
                    if zeros[code] > (1 if old == 0.0 else 0):
                        ps = 0.0
                    if zeros[code ^ 1] > 0:
                        pu = 0.0
                z = (1.0 - rho * max(pu, 0.0)) * ps
                total = z + pu
                if total == 0.0:
                    if retried:
                        return sweep, largest, clause
                    # unless it was lost to underflow, a contradiction: form the products anew
                    n_zeros = _form_products(literals, om, weights, products, zeros)
                    retried = True
                    product = 1.0
                    complement = 0.0
                    place = 0
                    continue
                inverse = 1.0 / total
                q = z * inverse
                p = pu * inverse
                left_product[place] = product
                left_complement[place] = complement
                false_prob[place] = q
                true_prob[place] = p
                complement += product * p
                product *= q
                place += 1
            product = 1.0
            complement = 0.0
            for place in range(length - 1, -1, -1):
                edge = start + place
                code = literals[edge]
                old = om[edge]
                new = left_complement[place] + left_product[place] * complement
                complement = true_prob[place] + false_prob[place] * complement
                if damping > 0.0:
                    new = damping * old + (1.0 - damping) * new
                new = min(max(new, floor), 1.0)  # sums of probabilities round up
                largest = max(largest, abs(new - old))
                om[edge] = new
                if old == 0.0:
                    zeros[code] -= 1
                    n_zeros -= 1
                if new == 0.0:
                    zeros[code] += 1
                    n_zeros += 1
                    products[code] = rests[place]
                else:
                    products[code] = rests[place] * new
                own, other = abs(products[code]), abs(products[code ^ 1])
                if own < _SMALL and other < _SMALL:
                    if own > _LOST and other > _LOST:
                        products[code] = -own / _SMALL
                        products[code ^ 1] = -other / _SMALL
                    else:
                        lost = True
            if lost:
                n_zeros = _form_products(literals, om, weights, products, zeros)
        if largest <= tol:
            return sweep + 1, largest, -1
    return n_sweeps, largest, -1
