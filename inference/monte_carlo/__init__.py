"""Monte Carlo on spins, and searches that only move downhill most of the time.

Nothing is re-exported. In reading order:

================ ==================================================================================
``metropolis``   one sweep of single-spin flips, a pure function
``spins``        the same as a kernel for NumPyro's ``MCMC``
``annealing``    the same while the temperature falls
``local_search`` probSAT and WalkSAT on clauses, compiled
================ ==================================================================================
"""
