"""Belief propagation on contacts with dense tables: a second oracle, and a peer of the benchmarks.

A message is the whole table over the first day on which the sender transmits and the first day on
which the receiver does, never included; an update costs a few passes over such a table a neighbour.
It shares the weights of the people with the library and nothing else. Markov infectivity only; the
messages of one node after another are renewed in natural order, in double precision.
"""

import functools
from typing import NamedTuple

import numba
import numpy as np


class DenseResult(NamedTuple):
    state_prob: np.ndarray
    """``(n_people, n_days + 1, 3)``"""
    infection_day_prob: np.ndarray
    """``(n_people, n_days + 2)``"""
    recovery_day_prob: np.ndarray
    """``(n_people, n_days + 2)``: first day of being recovered; the last is later or never."""
    log_evidence: float
    residual: float
    n_steps: int


class DensePropagation:
    """The messages of a network; `sweep` renews all of them once."""

    def __init__(self, network, weights):
        n, n_days = network.n_people, network.n_days
        self.network, self.weights = network, weights
        key = network.first.astype(np.int64) * n + network.second
        pairs, row_pair = np.unique(key, return_inverse=True)
        first, second = np.divmod(pairs, n)
        rate = np.zeros((2, len(pairs), n_days))
        rate[0, row_pair, network.day] = network.forward_prob
        rate[1, row_pair, network.day] = network.backward_prob
        owner = np.concatenate([first, second])
        order = np.argsort(owner, kind="stable")
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        self.start = np.searchsorted(owner[order], np.arange(n + 1))
        self.reverse = place[(order + len(pairs)) % max(1, 2 * len(pairs))]
        self.rate = rate.reshape(-1, n_days)[order]
        """``(n_edges, n_days)``: probability that the owner infects the neighbour."""
        size = n_days + 1
        self.message = np.full((len(order), size, size), 1.0 / size**2)
        """From the neighbour: its first day of infecting the owner, the owner's of infecting it."""
        self.kappa = np.zeros((len(weights.escape), n_days + 2))
        self.kappa[:, 1:-1] = weights.escape
        self.times = np.zeros((n, 2, n_days + 2))
        degree = int(np.diff(self.start).max(initial=0))
        self.scratch = np.empty((4, degree + 1, n_days + 2, size))
        # G0, G1, and the products of G0 and of G1 over the neighbours before each
        self.kernel = _sweep(n_days)

    def sweep(self, renew=True):
        """Renew every message; return the largest change of a belief and the evidence of nodes."""
        change, log_z, empty = self.kernel(
            self.start, self.reverse, self.rate, self.message, self.weights.table,
            self.weights.table_of_person, self.kappa, self.times, self.scratch, renew,
        )  # fmt: skip
        if empty >= 0:
            raise ValueError(f"person {self.network.people[empty]}: no history is possible")
        return change, log_z

    def result(self, residual=0.0, n_steps=0):
        """Return the beliefs that the messages of now give."""
        _, log_z = self.sweep(renew=False)
        opposite = self.message[self.reverse].transpose(0, 2, 1)
        overlap = np.einsum("eus,eus->e", self.message, opposite)
        log_evidence = log_z - 0.5 * np.log(overlap).sum()
        infection, recovery = self.times[:, 0].copy(), self.times[:, 1].copy()
        susceptible = 1.0 - np.cumsum(infection, axis=1)[:, :-1]
        recovered = np.cumsum(recovery, axis=1)[:, :-1]
        state = np.stack([susceptible, 1.0 - susceptible - recovered, recovered], axis=-1)
        return DenseResult(state, infection, recovery, log_evidence, residual, n_steps)


def dense_propagation(network, weights, *, tol=1e-13, max_steps=1000):
    """Sweep until no belief changes by more than ``tol``."""
    propagation = DensePropagation(network, weights)
    residual, n_steps = np.inf, 0
    while residual > tol and n_steps < max_steps:
        residual, _ = propagation.sweep()
        n_steps += 1
    return propagation.result(residual, n_steps)


@functools.cache
def _sweep(n_days):
    """Return the sweep for so many days, which its loops then know when they are compiled."""
    last, never, size = n_days, n_days + 1, n_days + 1

    @numba.njit(error_model="numpy")
    def incoming(message, rate, tail, g0, g1):
        """Fill ``G[a, y]``: no infection before the day before ``a`` (g0), nor on it (g1)."""
        tail[never] = 0.0
        for u in range(last, -1, -1):
            for s in range(size):
                tail[u, s] = tail[u + 1, s] + message[u, s]
        for a in range(size):
            u = max(a - 1, 0)
            v = min(u + 1, a)
            free, met0, met1 = 1.0, 0.0, 0.0
            end0, end1 = tail[u, last], tail[v, last]
            g0[a, a], g1[a, a] = end0, end1
            for s in range(a, last):
                now = free * rate[s]
                free -= now
                met0 += now * tail[u, s]
                met1 += now * tail[v, s]
                g0[a, s + 1] = met0 + free * end0
                g1[a, s + 1] = met1 + free * end1
        g0[never, last], g1[never, last] = tail[last, last], 0.0
        # many factors below one: to a largest entry of one, lest their product underflow
        scale = 0.0
        for a in range(size + 1):
            for y in range(min(a, last), size):
                scale = max(scale, g0[a, y])
        inverse = 1.0 / scale
        for a in range(size + 1):
            for y in range(min(a, last), size):
                g0[a, y] *= inverse
                g1[a, y] *= inverse
        return np.log(scale)

    @numba.njit(error_model="numpy")
    def forward(row, a, rate, out):
        """Fill ``out[s]``: weight of ``row[y]`` with the first transmission on day s, or none."""
        total = 0.0
        for y in range(last, a, -1):
            total += row[y]
            out[y - 1] = total
        free, never_sent = 1.0, row[a]
        for s in range(a, last):
            now = free * rate[s]
            free -= now
            out[s] *= now
            never_sent += free * row[s + 1]
        out[last] = never_sent

    @numba.njit(error_model="numpy")
    def outgoing(w, kappa, before0, before1, after0, after1, rate, row, sent, sent0, acc, message):
        """Fill the message to a neighbour from the products over all others."""
        for s in range(size):
            acc[s] = 0.0
            sent0[s] = 0.0
        total = 0.0
        for a in range(size + 1):
            # the first transmission to the owner falls on the day before ``a`` or later
            if a == never:
                for s in range(size):
                    sent0[s] = 0.0
                sent0[last] = w[never, never] * before0[a, last] * after0[a, last]
            else:
                for y in range(a, size):
                    weight = w[a, y] if y < last else w[a, last] + w[a, never]
                    row[0, y] = weight * before0[a, y] * after0[a, y]
                    row[1, y] = row[0, y] - kappa[a] * weight * before1[a, y] * after1[a, y]
                    if row[1, y] < 0.0:
                        row[1, y] = 0.0
                forward(row[0], a, rate, sent0)
                for s in range(a):
                    sent0[s] = 0.0
            if a > 0:
                for s in range(size):
                    value = acc[s] + sent0[s]
                    message[s, a - 1] = value
                    total += value
            if a < never:
                forward(row[1], a, rate, sent)
                for s in range(a, size):
                    acc[s] += sent[s]
        if total > 0.0:
            for s in range(size):
                for u in range(size):
                    message[s, u] /= total

    @numba.njit(error_model="numpy", nogil=True)
    def sweep(start, reverse, rate, message, table, kind, kappa, times, scratch, renew):
        change, log_z, empty = 0.0, 0.0, -1
        tail = np.empty((size + 1, size))
        row, sent, sent0, acc = np.empty((2, size)), np.empty(size), np.empty(size), np.empty(size)
        after0, after1 = np.empty((size + 1, size)), np.empty((size + 1, size))
        infection, recovery = np.empty(size + 1), np.empty(size + 1)
        g0, g1, before0, before1 = scratch[0], scratch[1], scratch[2], scratch[3]
        for i in range(start.size - 1):
            w, stay = table[kind[i]], kappa[min(i, kappa.shape[0] - 1)]
            degree = start[i + 1] - start[i]
            for a in range(size + 1):
                for y in range(size):
                    before0[0, a, y] = before1[0, a, y] = 1.0
                    after0[a, y] = after1[a, y] = 1.0
            for k in range(degree):
                edge = start[i] + k
                log_z += incoming(message[edge], rate[edge], tail, g0[k], g1[k])
                for a in range(size + 1):
                    for y in range(min(a, last), size):
                        before0[k + 1, a, y] = before0[k, a, y] * g0[k, a, y]
                        before1[k + 1, a, y] = before1[k, a, y] * g1[k, a, y]
            infection[:], recovery[:] = 0.0, 0.0
            for a in range(size + 1):
                for y in range(min(a, last), size):
                    chance = before0[degree, a, y] - stay[a] * before1[degree, a, y]
                    chance = max(chance, 0.0)
                    if y < last:
                        infection[a] += w[a, y] * chance
                        recovery[y] += w[a, y] * chance
                    else:
                        infection[a] += (w[a, last] + w[a, never]) * chance
                        recovery[last] += w[a, last] * chance
                        recovery[never] += w[a, never] * chance
            z = infection.sum()
            if not z > 0.0:
                empty = i
                break
            log_z += np.log(z)
            for a in range(size + 1):
                infection[a] /= z
                recovery[a] /= z
                change = max(change, abs(infection[a] - times[i, 0, a]))
                change = max(change, abs(recovery[a] - times[i, 1, a]))
                times[i, 0, a], times[i, 1, a] = infection[a], recovery[a]
            if not renew:
                continue
            for k in range(degree - 1, -1, -1):
                edge = start[i] + k
                outgoing(
                    w, stay, before0[k], before1[k], after0, after1, rate[edge], row, sent, sent0,
                    acc, message[reverse[edge]],
                )  # fmt: skip
                for a in range(size + 1):
                    for y in range(min(a, last), size):
                        after0[a, y] *= g0[k, a, y]
                        after1[a, y] *= g1[k, a, y]
        return change, log_z, empty

    return sweep
