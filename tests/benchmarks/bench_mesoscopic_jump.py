"""Exact jump simulation: events a second of 1,024 chains on one core, against compiled GillesPy2.

`two_reactions`: A <=> B with 200 particles, the system of the peer, by `rejection_free`, single
precision, nothing gathered on either side but where it ends; the variance of A at the end against
that of the binomial law (`difference`, a z).
`spins`: ten spins with the rates of a heat bath against the peer on its two reactions, which is the
harder comparison (ten channels with exponentials against two): nothing gathered, then mean spins
and both entropy productions, then all of `simulate_spins` (correlations, occupation, errors);
`difference` is the z of the entropy production.
`spins_of_peer`: the same ten spins by the peer itself, as twenty reactions.

The peer is no dependency. Install it aside (it needs a C++ compiler), and say where it is:

    pip install --target DIR gillespy2
    PYTHONPATH=DIR python tests/benchmarks/bench_mesoscopic_jump.py

Without it the peer is its recorded rate, 1.9e6 events a second, and `reference` says so.
Conclusion: 14 times the peer on two reactions; with five times as many channels 5 times, 4 with
averages, 2 with everything; 34 times the peer on the same ten spins.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import functools
import time

import harness
import jax
import jax.numpy as jnp
import numpy as np

from inference.dynamics import rejection_free
from models.mesoscopic.spin_flips import (
    SpinState,
    entropy_of_flips,
    flip,
    flip_rates,
    heat,
    refreshed,
    spin_arguments,
)
from models.mesoscopic.spin_simulation import simulate_spins

jax.config.update("jax_enable_x64", True)

RECORDED = 1.9e6
N_CHAINS = 1024
N_PARTICLES = 200
EXACT = 2.1283241104847015


def fixture():
    i = np.arange(1, 11)
    couplings = 0.6 / np.sqrt(2.5) * np.sin(i[:, None] + 2 * i)
    np.fill_diagonal(couplings, 0)
    return couplings, 0.3 * np.cos(i)


@functools.cache
def peer_of_reactions():
    """Return a function that runs about so many events and returns seconds an event; or None."""
    try:
        import gillespy2
    except ImportError:
        return None
    model = gillespy2.Model(name="two_reactions")
    a, b = (gillespy2.Species(name, initial_value=N_PARTICLES // 2) for name in "AB")
    rate = gillespy2.Parameter("k", expression="1.0")
    model.add_species([a, b])
    model.add_parameter([rate])
    model.add_reaction([
        gillespy2.Reaction(name="forth", reactants={a: 1}, products={b: 1}, rate=rate),
        gillespy2.Reaction(name="back", reactants={b: 1}, products={a: 1}, rate=rate),
    ])  # fmt: skip
    return peer_of(gillespy2, model, N_PARTICLES)


@functools.cache
def peer_of_spins():
    try:
        import gillespy2
    except ImportError:
        return None
    couplings, field = fixture()
    model = gillespy2.Model(name="ten_spins")
    ups = [gillespy2.Species(f"U{i}", initial_value=i % 2) for i in range(10)]
    downs = [gillespy2.Species(f"D{i}", initial_value=1 - i % 2) for i in range(10)]
    model.add_species([*ups, *downs])
    reactions = []
    for i, (up, down) in enumerate(zip(ups, downs)):
        terms = "+".join(f"({c!r})*(U{j}-D{j})" for j, c in enumerate(couplings[i].tolist()) if c)
        local = f"({float(field[i])!r}+{terms})"
        for name, source, target, sign in (("up", down, up, "-"), ("down", up, down, "")):
            reactions.append(
                gillespy2.Reaction(
                    name=f"{name}{i}", reactants={source: 1}, products={target: 1},
                    propensity_function=f"{source.name}/(1+exp({sign}2*{local}))",
                )
            )  # fmt: skip
    model.add_reaction(reactions)
    return peer_of(gillespy2, model, 4.24069704635291)


def peer_of(gillespy2, model, events_by_time):
    """Return what simulates so many events on average and returns seconds an event."""
    solver = gillespy2.SSACSolver(model=model)  # compiles

    def run(n_events, seed):
        duration = n_events / events_by_time
        solver.model.timespan(gillespy2.TimeSpan.linspace(duration, 2))
        start = time.perf_counter()
        solver.run(seed=seed)
        return (time.perf_counter() - start) / n_events

    run(1000, 1)
    return run


def compared(name, params, own, n_own, *, peer, n_peer, n_pairs, required, z, **detail):
    """Return the row of a function that simulates ``n_own`` events, in turns with the peer."""
    compile_s = harness.seconds(own)
    own_s, peer_s = [], []
    for pair in range(n_pairs):
        own_s.append(harness.seconds(own) / n_own)
        peer_s.append(1 / RECORDED if peer is None else peer(n_peer, pair + 1))
    known = "recorded, 1.9e6 events a second" if peer is None else "measured in turns"
    return harness.row(
        name, params, reference=f"GillesPy2, compiled SSA of C++, one core, {known}",
        own_s=own_s, reference_s=peer_s, unit="s an event", compile_s=compile_s,
        required=required, difference=abs(z()), tolerance=4,
        events_per_second=1 / np.median(own_s), peer_per_second=1 / np.median(peer_s), **detail,
    )  # fmt: skip


def react(counts, rate):
    return rate * counts


def exchange(counts, channel, rate):
    change = jnp.where(channel == 0, -1, 1).astype(counts.dtype)
    return counts + jnp.stack([change, -change])


def bench_two_reactions(quick):
    n_events, n_pairs = (640, 2) if quick else (32_000, 7)
    counts = jnp.full((2, N_CHAINS), N_PARTICLES // 2, jnp.float32)

    def own():
        return rejection_free(
            react, exchange, counts, key=jax.random.key(0), n_events=n_events, layout="batch",
            args=(jnp.float32(1.0),),
        ).system  # fmt: skip

    def z():
        # all states are left at one rate: after a number of events the law is that of a time, but
        # for the parity of the state, which leaves its variance alone
        ends = np.asarray(own())[0]
        deviations = (ends - N_PARTICLES / 2) ** 2
        return (deviations.mean() - N_PARTICLES / 4) / (deviations.std() / np.sqrt(N_CHAINS))

    yield compared(
        "two_reactions", {"n_chains": N_CHAINS, "n_particles": N_PARTICLES}, own,
        n_events * N_CHAINS, peer=peer_of_reactions(), n_peer=1e5 if quick else 1e7,
        n_pairs=n_pairs, required=None if quick else 2, z=z,
    )  # fmt: skip


def observe(system, couplings, field, beta):
    produced = entropy_of_flips(system, beta)
    return {
        "spins": system.spins, "production": (jax.nn.sigmoid(produced) * produced).sum(axis=0),
    }  # fmt: skip


def bench_spins(quick, *, name="spins", peer=peer_of_reactions):
    n_events, n_pairs = (640, 2) if quick else (12_800, 7)
    n_peer = 1e5 if quick else 1e7 if peer is peer_of_reactions else 1e6
    couplings, field = fixture()
    args = spin_arguments(couplings, field, 1.0, np.float32)
    spins = jax.random.rademacher(jax.random.key(1), (10, N_CHAINS), jnp.float32)
    start = SpinState(spins, args[0] @ spins + args[1])

    def jumps(**gather):
        return rejection_free(
            flip_rates, flip, start, key=jax.random.key(0), n_events=n_events, layout="batch",
            args=args, refresh=refreshed, burn_in=128 if gather else 0, **gather,
        )  # fmt: skip

    def averages():
        return jumps(observe=observe, count=heat)

    def everything():
        return simulate_spins(
            couplings, field, key=jax.random.key(0), n_chains=N_CHAINS, n_events=n_events,
            burn_in=128,
        )  # fmt: skip

    def z_of_averages():
        run = averages()
        production = np.asarray(run.averages["production"])
        return (production.mean() - EXACT) / (production.std() / np.sqrt(N_CHAINS))

    def z_of_everything():
        value, error = everything().entropy_production
        return (value - EXACT) / error

    cases = {
        "nothing": (lambda: jumps().time, 0, z_of_averages),
        "mean spins, entropy production": (lambda: averages().time, 128, z_of_averages),
        "all of simulate_spins": (lambda: everything().time, 128, z_of_everything),
    }
    for gathered, (own, extra, z) in cases.items():
        if name != "spins" and gathered == "nothing":
            continue
        yield compared(
            name, {"n_spins": 10, "n_chains": N_CHAINS, "gathered": gathered}, own,
            (n_events + extra) * N_CHAINS, peer=peer(), n_peer=n_peer, n_pairs=n_pairs,
            required=None if quick or gathered.startswith("all") else 2, z=z,
        )  # fmt: skip


def bench_spins_of_peer(quick):
    if peer_of_spins() is not None:
        yield from bench_spins(quick, name="spins_of_peer", peer=peer_of_spins)


BENCHMARKS = {
    "two_reactions": bench_two_reactions,
    "spins": bench_spins,
    "spins_of_peer": bench_spins_of_peer,
}

if __name__ == "__main__":
    if hasattr(os, "sched_setaffinity"):  # before JAX counts cores: one for both sides
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    raise SystemExit(harness.main("mesoscopic_jump", BENCHMARKS, __doc__))
