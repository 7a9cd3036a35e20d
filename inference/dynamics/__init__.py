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
`simulate`                  any dynamics in steps: in chunks, to be resumed, with running sums
`rejection_free`            exact jumps (Gillespie), chains side by side; `uniformised` by rejection
`sample_jumps`              every event of a few chains
`tau_leap`                  many jumps at once, with a bias
=========================== ========================================================================
"""

from .driver import Checkpoint, Trajectory, simulate
from .jump import JumpPaths, JumpRun, rejection_free, sample_jumps, uniformised
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
from .tau_leaping import tau_leap

__all__ = [
    "Checkpoint",
    "CurrentFluctuations",
    "FlipLaw",
    "JumpPaths",
    "JumpRun",
    "LangevinRun",
    "PathMoments",
    "Trajectory",
    "Transition",
    "current_fluctuations",
    "entropy_production",
    "euler_maruyama",
    "exact_transition",
    "flip_generator",
    "log_prob_of_moments",
    "path_moments",
    "rejection_free",
    "sample_jumps",
    "sample_steps",
    "simulate",
    "solve_lyapunov",
    "stationary_law",
    "stationary_law_of_flips",
    "tau_leap",
    "uniformised",
]
