"""Stochastic dynamics in continuous time: exact laws where there are any, exact paths where not.

=========================== ========================================================================
`stationary_law`            of a generator, `stationary_law_of_flips` without writing it down
`entropy_production`        how irreversible a steady state is
`current_fluctuations`      mean and variance of a current, and the uncertainty relation
`flip_generator`            the generator of units that flip one at a time
=========================== ========================================================================
"""

from .markov import (
    CurrentFluctuations,
    FlipLaw,
    current_fluctuations,
    entropy_production,
    flip_generator,
    stationary_law,
    stationary_law_of_flips,
)

__all__ = [
    "CurrentFluctuations",
    "FlipLaw",
    "current_fluctuations",
    "entropy_production",
    "flip_generator",
    "stationary_law",
    "stationary_law_of_flips",
]
