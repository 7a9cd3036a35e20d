"""Binary perceptrons and committee machines."""

from inference.message_passing.local_entropy import LocalEntropy

from .enumeration import ExactCounts, Solutions, enumerate_solutions, exact_marginals
from .local_entropy import local_entropy
from .problem import Problem, random_patterns, teacher_student
from .propagation import BeliefResult, belief_propagation

__all__ = [
    "BeliefResult",
    "ExactCounts",
    "LocalEntropy",
    "Problem",
    "Solutions",
    "belief_propagation",
    "enumerate_solutions",
    "exact_marginals",
    "local_entropy",
    "random_patterns",
    "teacher_student",
]
