"""One package a system: open one and you see the paper.

``cell_types``       cell types from images of points, one a gene (arXiv 1602.01889)
``contact_tracing``  who is infected, from contacts and tests (arXiv 2009.09422)
``deep_linear``      Bayesian deep linear networks at finite width (arXiv 2406.03260)
``ksat``             K-SAT: belief and survey propagation, decimation, local search
``mesoscopic``       spins and Langevin units: computation against dissipation (arXiv 2307.02379)
``perceptron``       binary perceptrons and committee machines: local entropy, dense regions

Import from the system, ``from models.deep_linear import posterior``; importing ``models`` alone
loads no numerics.
"""

import importlib.util
from pathlib import Path


# The twin of the guard in inference/__init__.py: neither can import the other before it has run.
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


_refuse_foreign("graphs", "inference")
