"""Small noisy devices: what they learn of their input, and what that costs in dissipation.

A device is a handful of spins or of linear Langevin units with couplings that need not be
symmetric. Its steady state depends on an input, so its state informs on the input; where couplings
are not symmetric, probability circulates and entropy is produced. How much information can be had
at what dissipation is the computation-dissipation bottleneck.

Source: Ingrosso, Panizon, arXiv 2307.02379.

In reading order:

============================ =======================================================================
`SpinSystem`                 spins with asymmetric couplings: steady state, entropy production,
                             information, fluctuations of currents
`simulate_spins`             averages of any number of spins with errors, `SpinSystem.simulate`
`sample_paths`               every flip of some chains
`gradient_by_simulation`     derivatives of averages of any number of spins, with errors
`Task`, `GaussianTask`       what the device is to find out: `parity_task`, `boolean_task`, and
                             `digits_task` of real data
`information`                of a state on input and label, `mutual_information` of any joint law
`LinearLangevin`             linear units with asymmetric couplings: the same in closed form,
                             exact paths and their exact density
`tradeoff`                   what a device says of its task, and what it dissipates
`bottleneck`                 the best couplings at each price of dissipation, a `Frontier`
`closed_form_frontier`       the bottleneck of two linear units
`spin_path_log_prob`         of every flip of some chains, from `spin_path_statistics`
`langevin_model`             unknown couplings and their entropy production, for NumPyro; also
                             `spin_counts_model` (steady states), `spin_paths_model` (flips)
============================ =======================================================================
"""

from .bayesian import langevin_model, langevin_moments_model, spin_counts_model, spin_paths_model
from .device_tradeoff import Tradeoff, tradeoff
from .frontier_search import bottleneck
from .frontiers import Frontier
from .linear_frontier import ClosedFormFrontier, closed_form_frontier
from .linear_langevin import LinearLangevin
from .score_gradient import SampledGradient, gradient_by_simulation
from .spin_likelihood import SpinPathStatistics, spin_path_log_prob, spin_path_statistics
from .spin_paths import SpinPaths, sample_paths
from .spin_simulation import SpinRun, simulate_spins
from .spins import SpinSystem
from .state_information import Information, entropy, information, mutual_information
from .tasks import GaussianTask, Task, boolean_task, digits_task, parity_task

__all__ = [
    "ClosedFormFrontier",
    "Frontier",
    "GaussianTask",
    "Information",
    "LinearLangevin",
    "SampledGradient",
    "SpinPathStatistics",
    "SpinPaths",
    "SpinRun",
    "SpinSystem",
    "Task",
    "Tradeoff",
    "boolean_task",
    "bottleneck",
    "closed_form_frontier",
    "digits_task",
    "entropy",
    "gradient_by_simulation",
    "information",
    "langevin_model",
    "langevin_moments_model",
    "mutual_information",
    "parity_task",
    "sample_paths",
    "simulate_spins",
    "spin_counts_model",
    "spin_path_log_prob",
    "spin_path_statistics",
    "spin_paths_model",
    "tradeoff",
]
