"""Monte Carlo on spins, searches that mostly move downhill, and chains that may be killed.

Nothing is re-exported. In reading order:

============================ =======================================================================
``metropolis``               one sweep of single-spin flips, a pure function
``spins``                    the same as a kernel for NumPyro's ``MCMC``
``replicated``               and of replicas that attract each other
``annealing``                the same while the temperature falls
``constraint_counts``        energies that count violated constraints, wired for single flips
``single_spin``              flips on them, compiled, of replicas that attract each other
``flip_kernels``             its compiled loops
``annealed_search``          configurations annealed by these until nothing is violated
``local_search``             probSAT and WalkSAT on clauses, compiled
``entropy_driven``           a walk towards the most solutions, by message passing
``local_entropy_metropolis`` the same landscape as a kernel for NumPyro's ``MCMC``
``chains``                   what these kernels share
``chunked``                  any kernel of NumPyro, its draws kept in a file on the way
============================ =======================================================================
"""
