"""What is connected to what: arrays and networkx, no probability.

Import a name from its module, ``from graphs.factor_graph import FactorGraph``; importing the
package itself loads nothing (the three kinds of graphs are found here, too, once asked for). In
reading order:

======================= ============================================================================
``factor_graph``        which variable enters which factor, and the way from and to networkx
``pairwise``            graphs of pairs as directed half-edges, each knowing its reverse
``temporal``            who met whom on which day, and how likely an infection passes
``contacts``            generators of such contacts: fixed, fresh, near, at home and at work
``contact_files``       tables of contacts and of tests; a refusal names the line
``segment``             reductions over the edges that share a node, in JAX, exact with infinities
``generators``          random and regular wirings as host arrays: clauses, factors, lattices, trees
``currents``            couplings, and currents of probability with their cycles, in networkx
``neighbourhood``       points of the plane that are near each other, and how dense they lie
``formats``             DIMACS CNF, read and written; a refusal names the line
======================= ============================================================================

Generators of factor graphs return tables ``(n_factors, k)`` of variables, the input of
``FactorGraph.from_table``; those of graphs of pairs return ``(n_edges, 2)``, the input of
``PairwiseGraph.from_edges`` (and, with one factor for each pair, of ``from_table``).
"""

import importlib
from typing import Any

_HOMES = {
    "ContactNetwork": "temporal",
    "FactorGraph": "factor_graph",
    "PairwiseGraph": "pairwise",
}


def __getattr__(name: str) -> Any:
    """Return a kind of graph, loading its module now."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
