"""Who is infected: everybody's risk, from contacts and tests, and policies that act on it.

People meet on some days, and each contact passes the infection on with a known probability; the
infected recover; some people are tested, not always rightly. The posterior probability that a given
person is infected today follows by Bayes' rule from a factor graph whose variables are the days of
infection and recovery. Belief propagation on it is exact where those who ever meet form a tree,
costs a fixed amount a contact, and comes with the probability of all observations, the evidence,
from which the parameters of the epidemic can be learnt.

Sources: Baker et al., PNAS 118 e2106548118 (2021), arXiv 2009.09422; small-coupling dynamic cavity,
arXiv 2306.03829.

In reading order:

========================== =========================================================================
`Epidemic`                 how infections start, spread and end, Markov or not
`Observations`             tests of any accuracy, symptoms
`simulate`                 an epidemic on a network of `graphs.temporal`
`infer`                    everybody's risk by belief propagation, with `RiskResult.explain`
`exact_posterior`          the same for a few people, by summing over all joint states
`gibbs`                    the same by sampling whole histories, exact on any network
`mean_field`               the classical approximation; `small_coupling` for weak transmission
`dynamic_message_passing`  what happens without observations; `forecast` from today's posterior
========================== =========================================================================
"""

from .epidemic import INFECTED, RECOVERED, SUSCEPTIBLE, Epidemic
from .exact import ExactPosterior, exact_log_evidence, exact_posterior
from .explanation import Explanation
from .forward import Forward, dynamic_message_passing, forecast
from .gibbs_sampler import GibbsResult, gibbs
from .mean_field_days import MeanField, mean_field
from .observations import Observations
from .propagation import RiskResult, infer
from .simulation import Outbreak, simulate
from .small_coupling_cavity import SmallCoupling, small_coupling

__all__ = [
    "INFECTED",
    "RECOVERED",
    "SUSCEPTIBLE",
    "Epidemic",
    "ExactPosterior",
    "Explanation",
    "Forward",
    "GibbsResult",
    "MeanField",
    "Observations",
    "Outbreak",
    "RiskResult",
    "SmallCoupling",
    "dynamic_message_passing",
    "exact_log_evidence",
    "exact_posterior",
    "forecast",
    "gibbs",
    "infer",
    "mean_field",
    "simulate",
    "small_coupling",
]
