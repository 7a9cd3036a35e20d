"""The arguments of ``cavity SYSTEM VERB``, one module a system.

Importing these modules loads the standard library alone. A handler imports its system, calls it,
prints, and writes; it computes nothing.
"""
