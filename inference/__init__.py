"""Algorithms that know no system.

Import an algorithm from its module, ``from inference.fixed_point import fixed_point``; only the
vocabulary that every module shares is re-exported here. In reading order:

======================= ============================================================================
``status``              how an algorithm ended, and the warning or the error it becomes
``checks``              eager checks of user input: what, got, expected
``keys``                random keys split by name
``pytrees``             dataclasses that check their values for users, not for JAX
``precision``           the guard for computations that single precision would spoil
``fixed_point``         one driver for every damped fixed-point iteration
``kernels``             compiled loops and their random numbers
``message_passing``     belief and survey propagation, decimation, reinforcement
``dynamics``            jump processes and Langevin systems: exact laws, exact paths
``monte_carlo``         single-spin Metropolis, annealing, local search, entropy-driven search
``elastic``             gradient descent of replicas on any JAX loss, Entropy-SGD
``schedules``           how a temperature changes on the way
``quadrature``          tensor trapezoid rules for low-dimensional integrals
``gaussian_mixture``    Gaussian scale mixtures as NumPyro distributions
``importance``          Laplace / Student-t importance sampling, judged by Pareto-k
``tempering``           tempered sequential Monte Carlo, for posterior and evidence
``relabelling``         one order of the components for all draws of a mixture
``point_process``       attraction and repulsion of points beyond their density
``comparison``          tables of analytic against sampled numbers
``calibration``         where the truth lies among posterior draws, over many data sets
``certificates``        all such evidence for a system, and what it takes to agree
``interop``             one face for ArviZ 0.2x and 1.x
``plotting``            the same comparisons as figures
``storage``             tables in, results out
``files``               whole files only, one writer at a time
``checkpoints``         runs that go on after they were killed
``progress``            progress bars around compiled chunks
======================= ============================================================================
"""

import importlib.util
from pathlib import Path


def _refuse_foreign(*names: str) -> None:
    """Raise if one of our sibling packages would resolve to somebody else's of the same name."""
    root = Path(__file__).parent.parent.resolve()
    for name in names:
        spec = importlib.util.find_spec(name)  # finds without importing
        found = list(spec.submodule_search_locations or [str(spec.origin)]) if spec else []
        if not any(Path(place).parent.resolve() == root for place in found):
            raise ImportError(
                f"the package {name!r} of the distribution 'cavity' is expected in {root / name}, "
                f"but Python finds {', '.join(found) or 'nothing'}; install cavity in a "
                f"virtual environment of its own and keep no other {name!r} on the import path"
            )


_refuse_foreign("graphs")  # before the first own import: a foreign package fails far less clearly

from .keys import split_named  # noqa: E402
from .precision import require_x64  # noqa: E402
from .status import (  # noqa: E402
    CavityWarning,
    ConvergenceError,
    PrecisionError,
    Status,
    raise_for_status,
)

__all__ = [
    "CavityWarning",
    "ConvergenceError",
    "PrecisionError",
    "Status",
    "raise_for_status",
    "require_x64",
    "split_named",
]
