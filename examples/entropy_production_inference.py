"""How irreversible is it? The posterior of the entropy production, from data alone.

Two units that circulate, seen at 1001 times, and three spins, counted in the steady states under
six known fields. NUTS samples the couplings, and with them the entropy production. One data set of
each is shown against the truth; then many data sets are drawn from the same truth, and the 90 %
intervals of their posteriors must hold it about as often as they say.

Expected: two minutes on two cores with 100 repetitions, exit status 0. The exit status is 1
if intervals of either system hold the truth in less than 80 or more than 98 of 100 repetitions
(with fewer: outside of what binomial scatter allows), or a posterior of the first data set is more
than four standard deviations off. With --checkpoint a run that was stopped goes on from its file.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from functools import partial
from pathlib import Path

import jax
import numpy as np
from numpyro.infer import NUTS, init_to_value
from scipy import stats

from inference.checkpoints import kept
from inference.dynamics import path_moments
from inference.interop import diagnostics
from inference.keys import split_named
from inference.plotting import new_figure, save_figure
from inference.progress import progress_bar
from models.mesoscopic import (
    LinearLangevin,
    SpinSystem,
    langevin_moments_model,
    spin_counts_model,
)

jax.config.update("jax_enable_x64", True)

DRIFT = np.array([[1.0, -0.7], [0.7, 1.0]])
N_STEPS, INTERVAL = 1000, 0.2
COUPLINGS = np.array([[0.0, 0.8, -0.4], [-0.5, 0.0, 0.6], [0.3, -0.7, 0.0]])
FIELDS = np.array(
    [
        (0.5, -0.5, 0.2), (-0.8, 0.1, 0.6), (0.0, 0.9, -0.9),
        (1.0, 1.0, 1.0), (-1.0, 0.5, 0.0), (0.3, -0.2, -1.2),
    ]
)  # fmt: skip
N_COUNTS = 5000
LEVEL = 0.9
TITLES = {"langevin": "two circulating units", "spins": "three spins, mean of six fields"}


def truths():
    """Return the exact rates of entropy production."""
    spins = [SpinSystem(COUPLINGS, bias=field).entropy_production() for field in FIELDS]
    return {
        "langevin": float(LinearLangevin(DRIFT, 1.0).entropy_production()),
        "spins": float(np.mean(spins)),
    }


def langevin_data(key):
    """Return the moments of one path."""
    path = LinearLangevin(DRIFT, 1.0).sample(key, n_steps=N_STEPS, dt=INTERVAL)
    return path_moments(INTERVAL * np.arange(N_STEPS + 1), path)


def spin_data(key):
    """Return how often each state was seen under each field."""
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    laws = [np.asarray(SpinSystem(COUPLINGS, bias=field).stationary()) for field in FIELDS]
    return np.stack([rng.multinomial(N_COUNTS, law / law.sum()) for law in laws])


SYSTEMS = {
    "langevin": (langevin_data, langevin_moments_model, (), {"mean": np.zeros(2)}),
    "spins": (spin_data, spin_counts_model, (FIELDS,), {}),
}


class Sampler:
    """NUTS on one model, compiled once for all data sets of a shape."""

    def __init__(self, system, n_draws):
        self.make, model, self.more, self.options = SYSTEMS[system]
        self.n_draws = n_draws
        # counts have a second mode, thousands of nats lower, that chains from anywhere may end in
        start = {"coupling": np.zeros(6)} if system == "spins" else {}
        self.kernel = NUTS(model, init_strategy=init_to_value(values=start))
        self.run = jax.jit(self._run)

    def _run(self, state, data):
        def step(state, _):
            state = self.kernel.sample(state, (data, *self.more), self.options)
            return state, (state.z, state.diverging)

        return jax.lax.scan(step, state, length=2 * self.n_draws)[1]

    def __call__(self, key):
        """Return draws of the entropy production given fresh data, and how many diverged."""
        keys = split_named(key, "data", "chain")
        data = self.make(keys["data"])
        state = self.kernel.init(
            keys["chain"], self.n_draws, None, (data, *self.more), self.options
        )
        z, diverging = self.run(state, data)
        kept = jax.tree_util.tree_map(lambda leaf: leaf[self.n_draws :], z)
        found = self.rates(kept, data)
        return np.asarray(found), int(diverging[self.n_draws :].sum())

    def rates(self, z, data):
        constrain = self.kernel.postprocess_fn((data, *self.more), self.options)
        rate = jax.vmap(constrain)(z)["entropy_production"]
        return rate.reshape(len(rate), -1).mean(axis=1)


def repeat(system, sampler, key, n_repetitions, keep):
    """Return mean, standard deviation, both ends of the interval, ESS: ``(n_repetitions, 5)``."""

    def row(repetition):
        rate, _ = sampler(jax.random.fold_in(key, repetition))
        ends = np.quantile(rate, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2])
        return [rate.mean(), rate.std(), *ends, float(diagnostics(rate[None]).ess)]

    rows = []
    with progress_bar(n_repetitions, system) as bar:
        for repetition in range(n_repetitions):
            rows.append(keep.once(f"{system} {repetition}", partial(row, repetition)))
            bar.update(1)
    return np.array(rows, dtype=float)


def bounds(n):
    """Return the smallest and the largest number of intervals that may hold the truth."""
    if n >= 100:
        return 0.8 * n, 0.98 * n
    return stats.binom.ppf(1e-3, n, LEVEL), float(n)


def picture(truth, first, repeated):
    """Posteriors of the first data sets, and all intervals."""
    figure, axes = new_figure(4, n_rows=2, width=4.8, height=3.4)
    for column, system in enumerate(truth):
        axes[column].hist(first[system], bins=40, density=True, alpha=0.5)
        axes[column].axvline(truth[system], color="C3", label="truth")
        axes[column].set(xlabel="entropy production, nats by unit time", ylabel="posterior density")
        axes[column].set_title(f"{TITLES[system]}: one data set", fontsize=10)
        axes[column].legend(fontsize=8)
        rows = repeated[system][np.argsort(repeated[system][:, 0])]
        holds = (rows[:, 2] <= truth[system]) & (truth[system] <= rows[:, 3])
        for place, (row, held) in enumerate(zip(rows, holds)):
            axes[column + 2].plot(row[2:4], [place, place], color="C0" if held else "C1", lw=1)
        axes[column + 2].axvline(truth[system], color="C3")
        axes[column + 2].set(xlabel="90 % interval", ylabel="data set")
        axes[column + 2].set_title(f"{holds.sum()} of {len(rows)} hold the truth", fontsize=10)
    return figure


def main(argv=None) -> int:
    """Run everything; return 0 if posteriors hold the truth as often as they should, else 1."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="short chains, few repetitions")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repetitions", type=int, help="data sets of each system")
    parser.add_argument("--checkpoint", type=Path, help="file that keeps finished repetitions")
    parser.add_argument("--figure", type=Path, default=Path("entropy_production_inference.png"))
    parser.add_argument("--out", type=Path, help="JSON file for the numbers")
    args = parser.parse_args(argv)
    n_repetitions = args.repetitions or (6 if args.quick else 100)
    if n_repetitions < 1:
        parser.error(f"--repetitions: expected at least 1, got {n_repetitions}")
    for path in filter(None, (args.figure, args.out)):  # now, not after the long work
        path.parent.mkdir(parents=True, exist_ok=True)
    n_draws = 150 if args.quick else 400
    with kept(args.checkpoint, "entropy production", seed=args.seed, n_draws=n_draws) as keep:
        return run(args, n_draws, n_repetitions, keep)


def run(args, n_draws, n_repetitions, keep):
    """Sample, compare and draw; return the exit status."""
    keys = split_named(jax.random.key(args.seed), *SYSTEMS)
    truth, failures = truths(), []
    first, repeated, spent, held = {}, {}, {}, {}
    for system in SYSTEMS:
        start = time.perf_counter()
        sampler = Sampler(system, n_draws)
        begin = partial(sampler, jax.random.fold_in(keys[system], 0))
        first[system], n_diverging = keep.once(f"{system}, first", begin)
        mean, sd = first[system].mean(), first[system].std()
        z = (mean - truth[system]) / sd
        print(f"{TITLES[system]}: truth {truth[system]:.4f}, posterior {mean:.3f} +/- {sd:.3f}, "
              f"z {z:+.2f}, {n_diverging} divergences")  # fmt: skip
        if not abs(z) <= 4:
            failures.append(f"{system}: the first posterior is {z:+.1f} standard deviations off")
        rows = repeat(system, sampler, keys[system], n_repetitions, keep)
        repeated[system] = rows
        held[system] = int(((rows[:, 2] <= truth[system]) & (truth[system] <= rows[:, 3])).sum())
        low, high = bounds(n_repetitions)
        print(f"  90 % intervals hold the truth in {held[system]} of {n_repetitions} data sets; "
              f"bias {rows[:, 0].mean() - truth[system]:+.4f}, mean sd {rows[:, 1].mean():.4f}, "
              f"median ESS {np.median(rows[:, 4]):.0f}")  # fmt: skip
        if not low <= held[system] <= high:
            failures.append(f"{system}: expected from {low:g} to {high:g} intervals that hold the "
                            f"truth, got {held[system]}")  # fmt: skip
        spent[system] = time.perf_counter() - start
    print("seconds with compilation: " + ", ".join(f"{k} {v:.0f}" for k, v in spent.items()),
          file=sys.stdout)  # fmt: skip
    print(f"figure: {save_figure(picture(truth, first, repeated), args.figure)}")
    if args.out:
        numbers = {
            "truth": truth, "repetitions": n_repetitions, "level": LEVEL, "held": held,
            "columns": ["mean", "sd", "low", "high", "ess"],
            "rows": {system: np.round(rows, 4).tolist() for system, rows in repeated.items()},
            "seconds": spent,
        }  # fmt: skip
        args.out.write_text(json.dumps(numbers, default=float) + "\n", encoding="utf-8")
    for sentence in failures:
        print(f"DISAGREES  {sentence}")
    print("disagrees" if failures else "agrees")
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
