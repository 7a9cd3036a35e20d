"""Formulas in conjunctive normal form: clauses in, energies out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from graphs.formats import read_dimacs, write_dimacs
from graphs.generators import planted_clauses, random_clauses
from inference.checks import Spins, plus_minus_one, positive_int
from inference.message_passing.clause_system import ClauseSystem, clause_system

if TYPE_CHECKING:
    import networkx as nx

_LARGEST = 2**31 - 1


@dataclass(frozen=True, eq=False)
class Formula:
    """Clauses over Boolean variables; a literal ``+v`` asks for spin +1 of variable ``v - 1``.

    Build one by :meth:`from_clauses`, :meth:`from_dimacs`, :func:`random_formula` or
    :func:`planted_formula`. Repeated literals, tautologies, unit and empty clauses, variables in no
    clause and clauses of different lengths are all allowed.
    """

    literals: NDArray[np.int32]
    """``(n,)`` signed variables of all clauses one after another, numbered from 1 as in DIMACS."""
    offsets: NDArray[np.int64]
    """``(n_clauses + 1,)`` where each clause starts, and the end."""
    n_variables: int
    """Number of variables, also of those in no clause."""

    @classmethod
    def from_clauses(
        cls, clauses: Iterable[Sequence[int]], n_variables: int | None = None
    ) -> Formula:
        """Build a formula from lists of signed variables.

        Parameters
        ----------
        clauses
            One sequence of non-zero integers a clause; ``[1, -3]`` is "variable 0 is +1, or
            variable 2 is -1".
        n_variables
            Number of variables; the largest one named if None.

        Raises
        ------
        TypeError
            If an entry is no integer.
        ValueError
            If a literal is 0 or names a variable beyond ``n_variables``; the message names the
            clause.

        Examples
        --------
        >>> formula = Formula.from_clauses([[1, -2], [2, 3]])
        >>> formula.n_variables, formula.n_clauses, formula.energy([-1, 1, 1])
        (3, 2, 1)
        """
        rows = [list(clause) for clause in clauses]
        for index, row in enumerate(rows):
            for literal in row:
                if isinstance(literal, bool) or not isinstance(literal, int | np.integer):
                    raise TypeError(f"clauses: clause {index}: expected integers, got {literal!r}")
                if literal == 0 or abs(literal) > _LARGEST:
                    raise ValueError(
                        f"clauses: clause {index}: expected literals other than 0 and below 2**31 "
                        f"in size, got {literal}"
                    )
        lengths = [len(row) for row in rows]
        literals = np.array([literal for row in rows for literal in row], dtype=np.int32)
        offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)
        largest = int(np.abs(literals).max(initial=0))
        if n_variables is None:
            n_variables = largest
        elif isinstance(n_variables, bool) or int(n_variables) != n_variables or n_variables < 0:
            raise ValueError(f"n_variables: expected a number of at least 0, got {n_variables!r}")
        elif largest > n_variables:
            edge = int(np.argmax(np.abs(literals) > n_variables))
            index = int(np.searchsorted(offsets, edge, side="right")) - 1
            raise ValueError(
                f"clauses: clause {index}: expected variables up to n_variables = {n_variables}, "
                f"got the literal {literals[edge]}"
            )
        return cls(literals, offsets, int(n_variables))

    @classmethod
    def from_dimacs(cls, path: str | os.PathLike[str]) -> Formula:
        """Read a DIMACS CNF file.

        Raises
        ------
        OSError
            If the file cannot be read.
        ValueError
            If it is malformed; the message is ``path:line: what``.
        """
        return cls(*read_dimacs(path))

    def to_dimacs(self, path: str | os.PathLike[str], *, comments: Sequence[str] = ()) -> None:
        """Write a DIMACS CNF file, one clause a line, comments first."""
        write_dimacs(path, self.literals, self.offsets, self.n_variables, comments=comments)

    def to_networkx(self) -> nx.Graph:
        """Return the factor graph.

        Variables are nodes ``("v", i)`` with ``bipartite=0``, clauses ``("c", a)`` with
        ``bipartite=1``; the edge attribute ``sign`` is +1 or -1. Tautologies and repeated literals
        leave no trace (a clause that always holds has no edges).
        """
        import networkx as nx

        graph: Any = nx.Graph()
        graph.add_nodes_from((("v", i) for i in range(self.n_variables)), bipartite=0)
        graph.add_nodes_from((("c", a) for a in range(self.n_clauses)), bipartite=1)
        system = self.system
        for clause in range(system.n_clauses):
            for code in system.literals[system.offsets[clause] : system.offsets[clause + 1]]:
                graph.add_edge(
                    ("c", int(system.sources[clause])),
                    ("v", int(code) >> 1),
                    sign=1 - 2 * (int(code) & 1),
                )
        return graph

    @property
    def n_clauses(self) -> int:
        """Number of clauses."""
        return len(self.offsets) - 1

    @property
    def clause_density(self) -> float:
        """Clauses a variable, ``alpha``."""
        return self.n_clauses / self.n_variables if self.n_variables else 0.0

    @cached_property
    def system(self) -> ClauseSystem:
        """The wiring of the compiled algorithms, without repeated literals and tautologies."""
        return clause_system(self.literals, self.offsets, self.n_variables)

    def clause(self, index: int) -> tuple[int, ...]:
        """Return the literals of one clause as written."""
        return tuple(map(int, self.literals[self.offsets[index] : self.offsets[index + 1]]))

    def energy(self, assignment: ArrayLike) -> int:
        """Return the number of clauses that an assignment violates.

        Parameters
        ----------
        assignment
            ``(n_variables,)`` of ±1.

        Raises
        ------
        ValueError
            If the shape or an entry is wrong.
        """
        spins = check_assignment("assignment", assignment, self.n_variables)
        # on the clauses as given, not on the wiring of the solvers: it is what judges these
        is_true = np.sign(self.literals) == spins[np.abs(self.literals) - 1]
        n_true = np.concatenate([[0], np.cumsum(is_true)])[self.offsets]
        return int(np.count_nonzero(np.diff(n_true) == 0))

    def __repr__(self) -> str:
        """Return the sizes."""
        return f"Formula(n_variables={self.n_variables}, n_clauses={self.n_clauses})"


def check_assignment(name: str, assignment: ArrayLike, n_variables: int) -> Spins:
    """Return ``assignment`` as int8 if it is ``(n_variables,)`` of ±1; else raise ValueError."""
    if np.shape(assignment) != (n_variables,):
        raise ValueError(f"{name}: expected shape ({n_variables},), got {np.shape(assignment)}")
    return plus_minus_one(name, assignment, ndim=1)


def random_formula(n_variables: int, n_clauses: int, k: int, *, seed: int) -> Formula:
    """Return a uniformly random k-SAT formula.

    Parameters
    ----------
    n_variables, n_clauses
        Sizes.
    k
        Literals a clause, of distinct variables with random signs; clauses may repeat.
    seed
        Of NumPy's default generator.

    Raises
    ------
    ValueError
        If a size is not a positive integer or ``k`` exceeds ``n_variables``.

    Examples
    --------
    >>> random_formula(100, 420, 3, seed=0)
    Formula(n_variables=100, n_clauses=420)
    """
    return _of_equal_length(random_clauses(n_variables, n_clauses, k, seed=seed), n_variables)


def planted_formula(
    n_variables: int, n_clauses: int, k: int, *, seed: int
) -> tuple[Formula, Spins]:
    """Return a random k-SAT formula with a hidden solution, and that solution ``(n_variables,)``.

    Clauses are uniform among those that the solution satisfies. Parameters and errors are those of
    :func:`random_formula`.
    """
    clauses, planted = planted_clauses(n_variables, n_clauses, k, seed=seed)
    return _of_equal_length(clauses, n_variables), planted


def _of_equal_length(clauses: NDArray[Any], n_variables: int) -> Formula:
    n_clauses, k = clauses.shape
    return Formula(
        clauses.astype(np.int32).ravel(),
        k * np.arange(n_clauses + 1, dtype=np.int64),
        positive_int("n_variables", n_variables),
    )
