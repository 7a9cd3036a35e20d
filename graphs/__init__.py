"""What is connected to what: arrays and networkx, no probability.

Wirings of factor graphs, contact networks and neighbourhoods belong here; the first content arrives
with message passing.
"""
