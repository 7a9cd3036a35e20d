"""Random K-SAT and ordinary formulas: marginals, entropies, complexities, and solutions.

A formula asks that every clause, an "or" of some variables or their negations, holds. Seen as a
spin system, its energy is the number of violated clauses, and its ground states are the solutions.
Near the threshold of satisfiability solutions form clusters in which many variables are frozen;
belief propagation counts solutions, survey propagation counts clusters, and both can guide a search
to a solution where complete solvers give up.

Sources: Mézard, Parisi, Zecchina, Science 297, 812 (2002); Braunstein, Mézard, Zecchina, Random
Struct. Algorithms 27, 201 (2005), cs/0212002; Marino, Parisi, Ricci-Tersenghi, Nature
Communications 7, 12996 (2016); Balint, Schöning, SAT 2012; Baldassi et al., arXiv 1511.05634.

In reading order:

============================ =======================================================================
`Formula`                    clauses from lists, DIMACS files, or generators (`random_formula`,
                             `planted_formula`)
`count_solutions`            and `exact_marginals`: every assignment of up to 24 variables looked at
`belief_propagation`         marginals and the log number of solutions, exact on trees
`survey_propagation`         frozen variables and the log number of clusters
`propagate_units`            what unit clauses force
`decimate`                   fix what messages decide, with backtracking
`reinforce`                  fields that follow the marginals
`local_search`               probSAT and WalkSAT
`simulated_annealing`        single flips while the temperature falls; `replicated_annealing` of
                             replicas that attract each other
`local_entropy`              how many solutions surround an assignment, by distance
`entropy_driven_monte_carlo` a walk uphill in local entropy; `local_entropy_kernel` samples it
`solve`                      all of these in turns; `compile_kernels` beforehand
`THRESHOLDS`                 where phases end, with `annealed_entropy` and `first_moment_threshold`
============================ =======================================================================
"""

from inference.message_passing.local_entropy import LocalEntropy
from inference.monte_carlo.annealed_search import AnnealingResult, ReplicatedAnnealingResult
from inference.monte_carlo.entropy_driven import SearchResult

from .annealing import simulated_annealing
from .enumeration import ExactCounts, count_solutions, exact_marginals
from .formula import Formula, planted_formula, random_formula
from .propagation import (
    BeliefResult,
    SurveyResult,
    UnitPropagation,
    belief_propagation,
    propagate_units,
    survey_propagation,
)
from .robust_ensemble import replicated_annealing
from .rounds import compile_kernels, solve
from .sampler import local_entropy_kernel
from .search import entropy_driven_monte_carlo
from .solvers import Decimation, Satisfiability, SolverResult, decimate, local_search, reinforce
from .surroundings import local_entropy
from .theory import THRESHOLDS, Thresholds, annealed_entropy, first_moment_threshold

__all__ = [
    "THRESHOLDS",
    "AnnealingResult",
    "BeliefResult",
    "Decimation",
    "ExactCounts",
    "Formula",
    "LocalEntropy",
    "ReplicatedAnnealingResult",
    "Satisfiability",
    "SearchResult",
    "SolverResult",
    "SurveyResult",
    "Thresholds",
    "UnitPropagation",
    "annealed_entropy",
    "belief_propagation",
    "compile_kernels",
    "count_solutions",
    "decimate",
    "entropy_driven_monte_carlo",
    "exact_marginals",
    "first_moment_threshold",
    "local_entropy",
    "local_entropy_kernel",
    "local_search",
    "planted_formula",
    "propagate_units",
    "random_formula",
    "reinforce",
    "replicated_annealing",
    "simulated_annealing",
    "solve",
    "survey_propagation",
]
