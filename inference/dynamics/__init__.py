"""Stochastic dynamics in continuous time: exact laws where there are any, exact paths where not.

=========================== ========================================================================
`stationary_law`            of a generator, `stationary_law_of_flips` without writing it down
`entropy_production`        how irreversible a steady state is
`current_fluctuations`      mean and variance of a current, and the uncertainty relation
`flip_generator`            the generator of units that flip one at a time
`solve_lyapunov`            the covariance of a linear system, differentiable
`exact_transition`          of a linear system over any time: `sample_steps` draws paths from it
`log_prob_of_moments`       their exact density, from `path_moments`
`euler_maruyama`            Langevin systems of any drift, and the entropy that they produce
=========================== ========================================================================
"""

from .langevin import LangevinRun, euler_maruyama
from .lyapunov_equation import solve_lyapunov
from .markov import (
    CurrentFluctuations,
    FlipLaw,
    current_fluctuations,
    entropy_production,
    flip_generator,
    stationary_law,
    stationary_law_of_flips,
)
from .ornstein_uhlenbeck import (
    PathMoments,
    Transition,
    exact_transition,
    log_prob_of_moments,
    path_moments,
    sample_steps,
)

__all__ = [
    "CurrentFluctuations",
    "FlipLaw",
    "LangevinRun",
    "PathMoments",
    "Transition",
    "current_fluctuations",
    "entropy_production",
    "euler_maruyama",
    "exact_transition",
    "flip_generator",
    "log_prob_of_moments",
    "path_moments",
    "sample_steps",
    "solve_lyapunov",
    "stationary_law",
    "stationary_law_of_flips",
]
