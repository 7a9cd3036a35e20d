"""Fits from a given start: the mode by EM, the posterior by mean field, in full or in minibatches.

The model is ``X[g] ~ Multinomial(n_g, membership[g] @ maps)``, with Dirichlet laws of the rows of
both factors: latent Dirichlet allocation with a gene for a document and a bin for a word. Given the
numbers of cells it is equivalent to Poisson counts with ``beta = n_g membership``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from inference.checks import Floats, positive, positive_int
from inference.keys import check_key
from inference.progress import Stop, never
from inference.status import OnFailure, Status, check_on_failure, report_status

from .ascent import Course, Goal, drive
from .counts import Counts, as_counts
from .device import GeneTable, Precision, gene_table
from .emissions import stochastic_rows
from .objectives import evidence_bound, kkt_residual, token_log_likelihood
from .updates import cavi_steps, em_steps, local_steps, svi_epoch


class EMResult(NamedTuple):
    """The mode that EM came to."""

    membership: Floats
    """``(n_genes, n_types)``, rows sum to 1."""
    maps: Floats
    """``(n_types, n_bins)``, rows sum to 1."""
    objective: float
    """``sum X log(membership maps)`` and the log of both priors without their constants."""
    trace: Floats
    """The objective at ``steps``."""
    steps: Sequence[int]
    residual: float
    """How far the Karush-Kuhn-Tucker conditions are from being met, by `kkt_residual`."""
    n_steps: int
    status: Status


class VariationalResult(NamedTuple):
    """Independent Dirichlet laws of all rows of membership and of maps."""

    gamma: Floats
    """``(n_genes, n_types)`` parameters of the laws of membership."""
    lam: Floats
    """``(n_types, n_bins)`` parameters of the laws of maps."""
    elbo: float
    """Lower bound of the log evidence of the cells in their order, in nats."""
    trace: Floats
    """The bound at ``steps``."""
    steps: Sequence[int]
    residual: float
    """Last change of the bound by a step, in nats a cell."""
    n_steps: int
    status: Status

    @property
    def membership(self) -> Floats:
        """``(n_genes, n_types)`` posterior mean."""
        return self.gamma / self.gamma.sum(axis=1, keepdims=True)

    @property
    def maps(self) -> Floats:
        """``(n_types, n_bins)`` posterior mean."""
        return self.lam / self.lam.sum(axis=1, keepdims=True)


def em(
    counts: Counts | ArrayLike,
    membership: ArrayLike,
    maps: ArrayLike,
    *,
    concentration: float = 1.0,
    map_concentration: float = 1.0,
    tol: float = 1e-7,
    max_steps: int = 2000,
    check_every: int = 10,
    precision: Precision | None = None,
    mesh: jax.sharding.Mesh | None = None,
    on_failure: OnFailure = "warn",
) -> EMResult:
    """Climb to a mode of the posterior, or of the likelihood, from a start.

    Parameters
    ----------
    counts
        ``(n_genes, n_bins)``.
    membership, maps
        The start, ``(n_genes, n_types)`` and ``(n_types, n_bins)``, rows sum to 1. Zeros stay zero.
    concentration, map_concentration
        Of the Dirichlet laws, at least 1; with 1 for both the mode is that of the likelihood, and
        the steps are the multiplicative updates of Lee and Seung (1999) up to normalisation.
    tol
        Ends when the objective changed by less, in nats a cell and step, at three checks in a row.
    max_steps, check_every
        Largest number of steps, and how many lie between looks at the objective.
    precision
        ``"float32"`` or ``"float64"``; None is that of JAX. The objective is summed in double
        precision always.
    mesh
        Devices that share the genes, along an axis ``"genes"``.
    on_failure
        What to do if the end is not reached.

    Returns
    -------
    EMResult
        ``status`` is ``CONVERGED``, ``MAX_STEPS`` or ``NON_FINITE``.

    Raises
    ------
    TypeError, ValueError
        If shapes disagree, rows are no probabilities, or a concentration is below 1: there is no
        mode then but on the boundary, and `cavi` is the right fit.
    PrecisionError
        If double precision is asked for and JAX runs in single.

    Notes
    -----
    Costs ``6 n_genes n_bins n_types`` operations a step. The objective never falls. It rises
    sublinearly where entries of the mode are zero.
    """
    for name, value in (("concentration", concentration), ("map_concentration", map_concentration)):
        if not positive(name, value) >= 1.0:
            raise ValueError(
                f"{name}: expected at least 1, got {value}; the MAP does not exist but on the "
                "boundary; use CAVI"
            )
    check_on_failure(on_failure)
    data = as_counts(counts)
    theta, phi = checked_start(data, membership, maps)
    table = gene_table(data.values, precision, mesh)
    extra = concentration - 1.0, map_concentration - 1.0

    def objective(state: tuple[Floats, Floats]) -> float:
        prior = sum(e * np.log(p).sum() for e, p in zip(extra, state) if e > 0.0)
        return token_log_likelihood(table, *state) + float(prior)

    def advance(state: tuple[Floats, Floats], n_steps: int) -> tuple[Floats, Floats]:
        new = em_steps(table.values, *table.put_state(*state), *map(table.number, extra), n_steps)
        return table.host_rows(new[0]), table.host(new[1])

    goal = Goal(tol * data.n_cells, max_steps, check_every)
    state, course = drive((theta, phi), advance, objective, goal)
    report_status(course.status, "em", on_failure=on_failure)
    return EMResult(
        *state,
        float(course.trace[-1]),
        course.trace,
        course.steps,
        kkt_residual(data.values, *state, *extra),
        course.steps[-1],
        course.status,
    )


def cavi(
    counts: Counts | ArrayLike,
    membership: ArrayLike,
    maps: ArrayLike,
    *,
    concentration: float = 0.1,
    map_concentration: float = 1.0,
    tol: float = 1e-7,
    max_steps: int = 2000,
    check_every: int = 10,
    precision: Precision | None = None,
    mesh: jax.sharding.Mesh | None = None,
    on_failure: OnFailure = "warn",
) -> VariationalResult:
    """Fit independent Dirichlet laws to the posterior, by coordinate ascent from a start.

    Parameters
    ----------
    counts, membership, maps, tol, max_steps, check_every, precision, mesh, on_failure
        As for `em`.
    concentration, map_concentration
        Of the Dirichlet priors, positive.

    Returns
    -------
    VariationalResult
        ``status`` is ``CONVERGED``, ``MAX_STEPS`` or ``NON_FINITE``.

    Raises
    ------
    TypeError, ValueError, PrecisionError
        As for `em`, but any positive concentration will do.

    Notes
    -----
    Blei, Ng, Jordan, JMLR 3, 993 (2003). The bound never falls. Standard deviations of membership
    come out about three times too small, those of maps are nearly right; 90 % intervals of
    intensities (membership times maps) hold the truth in about 82 %. Take intervals from `gibbs`.
    """
    check_concentrations(concentration, map_concentration)
    check_on_failure(on_failure)
    data = as_counts(counts)
    theta, phi = checked_start(data, membership, maps)
    table = gene_table(data.values, precision, mesh)
    result = ascend(
        table,
        theta,
        phi,
        concentration,
        map_concentration,
        tol=tol,
        max_steps=max_steps,
        check_every=check_every,
    )
    report_status(result.status, "cavi", on_failure=on_failure)
    return result


_LEAST_KEPT = 0.2
"""Of an expected number of cells, by a leap: none falls to zero, from where it could not rise."""


def ascend(
    table: GeneTable,
    membership: Floats,
    maps: Floats,
    concentration: float,
    map_concentration: float,
    *,
    tol: float,
    max_steps: int,
    check_every: int,
    n_in_a_row: int = 3,
    leaps: bool = False,
    should_stop: Stop = never,
) -> VariationalResult:
    """Do `cavi` on a checked table of counts that is on its device already.

    With ``leaps`` the expected numbers of cells are taken further in the direction in which they
    moved last, where that raises the bound.
    """
    gamma = concentration + membership * table.n_cells[:, None]
    lam = map_concentration + maps * table.n_cells.sum() / len(maps)
    prior = table.number(concentration), table.number(map_concentration)

    def objective(state: tuple[Floats, Floats]) -> float:
        return evidence_bound(table, *state, concentration, map_concentration)

    def advance(state: tuple[Floats, Floats], n_steps: int) -> tuple[Floats, Floats]:
        new = cavi_steps(table.values, *table.put_state(*state), *prior, n_steps)
        return table.host_rows(new[0]), table.host(new[1])

    def leap(
        before: tuple[Floats, Floats], now: tuple[Floats, Floats], length: float
    ) -> tuple[Floats, Floats]:
        gamma, lam = (
            least + np.maximum(new - least + length * (new - old), _LEAST_KEPT * (new - least))
            for old, new, least in zip(before, now, (concentration, map_concentration))
        )
        return gamma, lam

    n_cells = int(table.n_cells.sum())
    goal = Goal(tol * n_cells, max_steps, check_every, n_in_a_row)
    ways = leap if leaps else None
    return _variational(*drive((gamma, lam), advance, objective, goal, should_stop, ways), n_cells)


def _variational(state: tuple[Floats, Floats], course: Course, n_cells: int) -> VariationalResult:
    return VariationalResult(
        *state,
        float(course.trace[-1]),
        course.trace,
        course.steps,
        course.last_change / n_cells,
        course.steps[-1],
        course.status,
    )


def svi(
    counts: Counts | ArrayLike,
    maps: ArrayLike,
    *,
    concentration: float = 0.1,
    map_concentration: float = 1.0,
    batch_size: int = 150,
    n_epochs: int = 20,
    n_local: int = 10,
    tol: float = 1e-4,
    precision: Precision | None = None,
    key: jax.Array,
    on_failure: OnFailure = "ignore",
) -> VariationalResult:
    """Fit the laws of `cavi` by steps on minibatches of genes.

    Parameters
    ----------
    counts, concentration, map_concentration, precision, on_failure
        As for `cavi`.
    maps
        The start; that of `spectral_start` is good, a random one is not.
    batch_size
        Genes in a batch; all of them if there are fewer.
    n_epochs
        Passes over the genes. What remains of a pass after whole batches is left out of it.
    n_local
        Steps on the membership of a batch at fixed maps.
    tol
        Ends when the bound changed by less in an epoch, in nats a cell.
    key
        Draws the batches.

    Returns
    -------
    VariationalResult
        Steps are epochs.

    Raises
    ------
    TypeError, ValueError, PrecisionError
        As for `cavi`.

    Notes
    -----
    Hoffman et al., JMLR 14, 1303 (2013), with the rate ``(t + 10)**-0.7`` of step ``t``.
    """
    check_concentrations(concentration, map_concentration)
    check_on_failure(on_failure)
    check_key(key)
    for name, number in (("batch_size", batch_size), ("n_local", n_local)):
        positive_int(name, number)
    data = as_counts(counts)
    phi = stochastic_rows("maps", np.asarray(maps), data.n_bins)
    table = gene_table(data.values, precision, None)
    prior = table.number(concentration), table.number(map_concentration)
    size = min(batch_size, data.n_genes)
    n_batches = data.n_genes // size

    def objective(state: tuple[Floats, Floats]) -> float:
        return evidence_bound(table, *state, concentration, map_concentration)

    epoch = 0

    def advance(state: tuple[Floats, Floats], n_steps: int) -> tuple[Floats, Floats]:
        nonlocal epoch
        lam = table.put(state[1])
        for _ in range(n_steps):
            order = jax.random.permutation(jax.random.fold_in(key, epoch), data.n_genes)
            batches = order[: n_batches * size].reshape(n_batches, size)
            first = jnp.asarray(epoch * n_batches)
            lam = svi_epoch(table.values, lam, batches, first, *prior, n_local)
            epoch += 1
        gamma = local_steps(table.values, lam, prior[0], 2 * n_local)
        return table.host_rows(gamma), table.host(lam)

    lam = map_concentration + phi * data.n_cells / len(phi)
    gamma = table.host_rows(local_steps(table.values, table.put(lam), prior[0], n_local))
    goal = Goal(tol * data.n_cells, n_epochs, check_every=1, n_in_a_row=1)
    result = _variational(*drive((gamma, lam), advance, objective, goal), data.n_cells)
    report_status(result.status, "svi", on_failure=on_failure)
    return result


def check_concentrations(concentration: float, map_concentration: float) -> None:
    """Raise ``ValueError`` unless both are positive."""
    positive("concentration", concentration)
    positive("map_concentration", map_concentration)


def checked_start(counts: Counts, membership: ArrayLike, maps: ArrayLike) -> tuple[Floats, Floats]:
    """Return both factors of a start.

    Raises
    ------
    TypeError, ValueError
        If shapes disagree, rows are no probabilities, the counts have an exposure, or a cell is
        impossible under the start.
    """
    if counts.exposure is not None:
        raise ValueError("counts: expected no exposure; fits are for even exposure")
    phi = stochastic_rows("maps", np.asarray(maps), counts.n_bins)
    theta = stochastic_rows("membership", np.asarray(membership), len(phi))
    if len(theta) != counts.n_genes:
        raise ValueError(f"membership: expected {counts.n_genes} rows, got {len(theta)}")
    if not (theta.all() and phi.all()):
        impossible = (counts.values > 0) & (theta @ phi == 0)
        if impossible.any():
            gene, place = np.argwhere(impossible)[0]
            raise ValueError(
                f"membership, maps: expected a start without zeros, got 0 for gene "
                f"{counts.genes[gene]} in bin {place}, where there are cells; zeros never leave"
            )
    return theta, phi
