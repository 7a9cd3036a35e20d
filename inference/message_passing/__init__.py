"""Message passing: what each node of a graph believes, from what its neighbours tell it.

Import a name from its module, ``from inference.message_passing.factors import IsingFactors``;
importing the package itself loads nothing. In reading order, for any factor graph:

======================= ============================================================================
``belief_propagation``  marginals and the Bethe log-partition, both schedules, all contradictions
``factors``             what a factor answers: couplings, clauses, tables, or a rule of one's own
``sequential``          the compiled sweeps behind ``schedule="sequential"``
``arity_groups``        factors of different arity as dense blocks
``disjunction``         the chance that another literal of a clause is true
``local_entropy``       messages pinned to a reference: how many solutions surround it
======================= ============================================================================

For large systems of clauses, compiled:

======================= ============================================================================
``clause_system``       clauses as the compiled loops read them
``unit_propagation``    what clauses of one literal force
``clause_messages``     one sweep for belief and survey propagation
``surveys``             its parallel twin in JAX
``decimation``          fixing variables by their messages, with backtracking
``reinforcement``       letting the messages pull themselves to a solution
======================= ============================================================================
"""
