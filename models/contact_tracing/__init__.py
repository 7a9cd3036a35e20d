"""Who is infected: risk of infection on a temporal network of contacts (arXiv 2009.09422)."""

from .epidemic import Epidemic
from .observations import Observations
from .propagation import RiskResult, infer

__all__ = ["Epidemic", "Observations", "RiskResult", "infer"]
