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
`log_evidence`             probability of the observations, differentiable in the parameters of the
                           epidemic; `exact_log_evidence` for a few people
`fit_epidemic`             the parameters of largest evidence
`epidemic_model`           the same with priors, for NumPyro; `posterior_state_prob` of its draws
`mitigate`                 policies of testing on paired epidemics (`Campaign`), one ranking each
`metrics`                  what rankings and beliefs are judged by
========================== =========================================================================
"""

from . import metrics
from .bayesian import PosteriorStates, default_priors, epidemic_model, posterior_state_prob
from .epidemic import INFECTED, RECOVERED, SUSCEPTIBLE, Epidemic
from .evidence import log_evidence, log_evidence_and_status
from .exact import ExactPosterior, exact_log_evidence, exact_posterior
from .explanation import Explanation
from .forward import Forward, dynamic_message_passing, forecast
from .gibbs_sampler import GibbsResult, gibbs
from .mean_field_days import MeanField, mean_field
from .mitigation import Interval, Mitigation, mitigate
from .observations import Observations
from .parameter_fit import FitResult, fit_epidemic
from .policy_run import Campaign, Run
from .propagation import RiskResult, infer
from .ranking import (
    ContactTracing,
    DigitalContactTracing,
    History,
    InformedTracing,
    MeanFieldRanking,
    OracleRanking,
    PropagationRanking,
    RandomRanking,
)
from .simulation import Outbreak, simulate
from .small_coupling_cavity import SmallCoupling, small_coupling

__all__ = [
    "INFECTED",
    "RECOVERED",
    "SUSCEPTIBLE",
    "Campaign",
    "ContactTracing",
    "DigitalContactTracing",
    "Epidemic",
    "ExactPosterior",
    "Explanation",
    "FitResult",
    "Forward",
    "GibbsResult",
    "History",
    "InformedTracing",
    "Interval",
    "MeanField",
    "MeanFieldRanking",
    "Mitigation",
    "Observations",
    "OracleRanking",
    "Outbreak",
    "PosteriorStates",
    "PropagationRanking",
    "RandomRanking",
    "RiskResult",
    "Run",
    "SmallCoupling",
    "default_priors",
    "dynamic_message_passing",
    "epidemic_model",
    "exact_log_evidence",
    "exact_posterior",
    "fit_epidemic",
    "forecast",
    "gibbs",
    "infer",
    "log_evidence",
    "log_evidence_and_status",
    "mean_field",
    "metrics",
    "mitigate",
    "posterior_state_prob",
    "simulate",
    "small_coupling",
]
