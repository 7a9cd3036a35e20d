"""Binary perceptrons and committee machines: solutions, how many, and where they are dense.

Weights of ±1 are to give random patterns their labels. Almost all solutions are isolated, and local
search freezes before it finds one; but a few regions hold very many, and whatever feels the *local
entropy*, the log of the number of solutions around a point, is drawn there.

Sources: Baldassi, Ingrosso, Lucibello, Saglietti, Zecchina, arXiv 1511.05634 (local entropy,
entropy-driven Monte Carlo); Baldassi et al., PNAS 113, E7655 (2016), arXiv 1605.06444 (the robust
ensemble); Krauth, Mézard, J. Phys. France 50, 3057 (1989) (capacity).

In reading order:

============================ =======================================================================
`Problem`                    patterns and labels, from arrays, `random_patterns` or a teacher
                             (`teacher_student`)
`enumerate_solutions`        and `exact_marginals`: all weights of up to 25 looked at
`belief_propagation`         means of the weights and the log number of solutions
`local_entropy`              the same around a reference, by distance
`entropy_driven_monte_carlo` a walk uphill in local entropy finds solutions
`local_entropy_kernel`       the same landscape sampled by NumPyro's ``MCMC``
`focusing_bp`                messages that gather in one dense region, by a protocol:
                             `standard_reinforcement`, `pseudo_reinforcement`, `scoping`;
                             `focusing_bp_discretised` for weights -L..L
`replicated_annealing`       annealing of replicas that attract each other
`replicated_sgd`             replicas that learn from their errors and attract each other
`simulated_annealing`        the rival, by single flips
`theory`                     what the replica method says of large machines: entropies, capacities,
                             dense regions, isolated solutions, a student's overlap
============================ =======================================================================
"""

from inference.message_passing.local_entropy import LocalEntropy
from inference.monte_carlo.annealed_search import AnnealingResult, ReplicatedAnnealingResult
from inference.monte_carlo.entropy_driven import SearchResult

from .annealing import simulated_annealing
from .discretised import DiscretisedResult, focusing_bp_discretised
from .enumeration import ExactCounts, Solutions, enumerate_solutions, exact_marginals
from .focusing import FocusingResult, focusing_bp
from .problem import Problem, random_patterns, teacher_student
from .propagation import BeliefResult, belief_propagation
from .protocols import pseudo_reinforcement, scoping, standard_reinforcement
from .replicated_descent import replicated_sgd
from .robust_ensemble import replicated_annealing
from .sampler import local_entropy_kernel
from .search import entropy_driven_monte_carlo
from .surroundings import local_entropy

__all__ = [
    "AnnealingResult",
    "BeliefResult",
    "DiscretisedResult",
    "ExactCounts",
    "FocusingResult",
    "LocalEntropy",
    "Problem",
    "ReplicatedAnnealingResult",
    "SearchResult",
    "Solutions",
    "belief_propagation",
    "entropy_driven_monte_carlo",
    "enumerate_solutions",
    "exact_marginals",
    "focusing_bp",
    "focusing_bp_discretised",
    "local_entropy",
    "local_entropy_kernel",
    "pseudo_reinforcement",
    "random_patterns",
    "replicated_annealing",
    "replicated_sgd",
    "scoping",
    "simulated_annealing",
    "standard_reinforcement",
    "teacher_student",
]
