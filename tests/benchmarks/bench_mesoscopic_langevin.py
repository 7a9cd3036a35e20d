"""Exact Ornstein-Uhlenbeck paths beside thermox and diffrax, and a steady state with its gradient.

CPU seconds of one pinned core, compilation apart, in double precision.
`exact_paths`: `LinearLangevin.sample` against `thermox.sample`, sequential or by its associative
scan, whichever is faster; one path of 2000 steps. Called as it is, it is compiled anew each time;
inside `jax.jit` it is not.
`against_diffrax`: the same against Euler steps of the same length with `UnsafeBrownianPath`, the
fastest set-up of diffrax; its steps are off by their length, ours are exact, so at equal accuracy
the peer would need many more. One path, and 64 at once.
Both check the covariance of all 64 long paths against the exact one (`difference`, the largest z).
`stationary_and_gradient`: entropy production of ten spins with its derivative by the couplings.

The peers are no dependencies. Install them aside, and say where they are:

    pip install --target DIR --no-deps thermox fmmax diffrax equinox lineax optimistix jaxtyping \\
        wadler-lindig
    PYTHONPATH=DIR python tests/benchmarks/bench_mesoscopic_langevin.py

Rows of a peer that is not there are left out.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import sys
import time
from functools import partial

import harness
import jax
import jax.numpy as jnp
import numpy as np

from models.mesoscopic import LinearLangevin, SpinSystem

os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # JAX has not started its threads yet
jax.config.update("jax_enable_x64", True)

DT = 0.05


def device(d):
    """Return a stable device with circulation."""
    rng = np.random.default_rng(d)
    drift = np.eye(d) + 0.5 / np.sqrt(d) * rng.standard_normal((d, d))
    return LinearLangevin(drift, 0.5 + 0.1 * np.arange(d) / d)


def peers():
    """Return the modules that are there."""
    found = {}
    for name in ("thermox", "diffrax"):
        try:
            found[name] = __import__(name)
        except ImportError as fault:
            print(f"{name} is not installed: {fault}", file=sys.stderr)
    return found


def cpu_seconds(function, n_runs):
    """Return CPU seconds of calls, after one unseen."""
    jax.block_until_ready(function())
    seconds = []
    for _ in range(n_runs):
        start = time.process_time()
        jax.block_until_ready(function())
        seconds.append(time.process_time() - start)
    return np.array(seconds)


def covariance_z(paths, exact):
    """Return the largest z of the covariance of independent paths ``(n, n_times, d)``."""
    estimates = np.einsum("nti,ntj->nij", paths, paths) / paths.shape[1]
    error = estimates.std(axis=0, ddof=1) / np.sqrt(len(estimates))
    return np.abs((estimates.mean(axis=0) - exact) / error).max()


def thermox_ways(thermox, one, n_steps, key):
    """Return how thermox may be called, its noise being ``sqrt(D)``: as it is, and compiled."""
    d = len(one.drift)
    arguments = (
        key, jnp.arange(n_steps + 1) * DT, jnp.zeros(d), jnp.asarray(one.drift), jnp.zeros(d),
        2 * jnp.asarray(one.diffusion),
    )  # fmt: skip
    calls = [partial(thermox.sample, associative_scan=scan) for scan in (False, True)]
    return {
        "as it is": [partial(call, *arguments) for call in calls],
        "inside jit": [partial(jax.jit(call), *arguments) for call in calls],
    }


def diffrax_paths(diffrax, one, n_steps, n_paths, key):
    """Return a compiled call of Euler steps with the cheapest noise."""
    drift = jnp.asarray(one.drift)
    root = jnp.sqrt(2 * jnp.asarray(one.diffusion))  # diagonal
    d = len(drift)

    def path(key):
        noise = diffrax.UnsafeBrownianPath(shape=(d,), key=key)
        terms = diffrax.MultiTerm(
            diffrax.ODETerm(lambda t, s, _: -drift @ s),
            diffrax.ControlTerm(lambda t, s, _: root, noise),
        )
        return diffrax.diffeqsolve(
            terms, diffrax.Euler(), 0.0, n_steps * DT, DT, jnp.zeros(d),
            saveat=diffrax.SaveAt(steps=True), max_steps=n_steps + 1,
            adjoint=diffrax.DirectAdjoint(),
        ).ys  # fmt: skip

    return partial(jax.jit(jax.vmap(path)), jax.random.split(key, n_paths))


def bench_exact_paths(quick):
    thermox = peers().get("thermox")
    if thermox is None:
        return
    n_steps, key = 2000, jax.random.key(0)
    for d in (8,) if quick else (8, 64):
        one = device(d)
        call = partial(one.sample, key, n_steps=n_steps, dt=DT)
        own = cpu_seconds(call, 3 if quick else 25)
        many = np.asarray(one.sample(key, n_steps=n_steps, dt=DT, n_paths=64))
        for way, calls in thermox_ways(thermox, one, n_steps, key).items():
            best = min((cpu_seconds(other, 3) for other in calls), key=np.median)
            yield harness.row(
                "exact_paths", {"d": d, "n_steps": n_steps, "peer": way},
                reference="thermox, sequential or associative", own_s=own,
                reference_s=np.median(best),
                required=50 if (d, way) == (8, "as it is") and not quick else None,
                difference=covariance_z(many, one.covariance()), tolerance=5.0,
            )  # fmt: skip


def bench_against_diffrax(quick):
    diffrax = peers().get("diffrax")
    if diffrax is None:
        return
    n_steps, key = 2000, jax.random.key(0)
    one = device(8)
    for n_paths in (1, 64):
        call = partial(one.sample, key, n_steps=n_steps, dt=DT, n_paths=n_paths)
        peer = diffrax_paths(diffrax, one, n_steps, n_paths, key)
        own = cpu_seconds(call, 3 if quick else 25)
        other = cpu_seconds(peer, 3 if quick else 25)
        many = np.asarray(one.sample(key, n_steps=n_steps, dt=DT, n_paths=64))
        theirs = np.asarray(diffrax_paths(diffrax, one, n_steps, 64, key)())[
            :, n_steps // 4 : n_steps
        ]
        exact = one.covariance()
        yield harness.row(
            "against_diffrax", {"d": 8, "n_steps": n_steps, "n_paths": n_paths},
            reference="diffrax Euler, UnsafeBrownianPath", own_s=own, reference_s=other,
            required=None if quick else 1, difference=covariance_z(many, exact), tolerance=5.0,
            diffrax_z=covariance_z(theirs, exact),
        )  # fmt: skip


def bench_stationary_and_gradient(quick):
    i = np.arange(1, 11)
    couplings = 0.6 / np.sqrt(2.5) * np.sin(i[:, None] + 2 * i)
    np.fill_diagonal(couplings, 0.0)
    system = SpinSystem(couplings, bias=0.3 * np.cos(i))
    for method in ("dense", "iterative"):
        call = jax.jit(
            jax.value_and_grad(lambda s, m=method: s.entropy_production(method=m)),
        )
        start = time.process_time()
        value = float(call(system)[0])
        compile_s = time.process_time() - start
        yield harness.row(
            "stationary_and_gradient", {"n_spins": 10, "method": method}, reference="0.2 s",
            own_s=cpu_seconds(partial(call, system), 3 if quick else 9), reference_s=0.2,
            required=None if quick else 1, compile_s=compile_s,
            difference=abs(value - 2.1283241104847015), tolerance=1e-12,
        )  # fmt: skip


BENCHMARKS = {
    "exact_paths": bench_exact_paths,
    "against_diffrax": bench_against_diffrax,
    "stationary_and_gradient": bench_stationary_and_gradient,
}

if __name__ == "__main__":
    raise SystemExit(harness.main("mesoscopic_langevin", BENCHMARKS, __doc__))
