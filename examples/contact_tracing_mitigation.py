"""Whom to test: risks by inference contain epidemics that tracing of contacts does not.

People live on a plane and meet neighbours; three of 5,000 are infected on day 0. From day 10 on, 15
people a day are tested by rank, and half of the infected five days after infection, because of
symptoms; whoever tests positive is isolated for good (Baker et al., PNAS 118 e2106548118 (2021),
arXiv 2009.09422, scaled down a hundred times). Rankings: at random, by encounters with recent
positives (contact tracing), by mean field, by belief propagation that knows why people with
symptoms were tested, and the truth. All face the same epidemics: chance belongs to contacts and
people, not to policies.

Expected: 40 minutes on two cores (``--quick``: a minute), exit status 0. The exit status is 1 when
the 95 % interval of the paired difference in the number of people infected on the last day includes
zero for contact tracing minus random or for mean field minus contact tracing (``--quick``: if the
mean difference is not negative). Belief propagation minus mean field is reported.

With ``--folder`` every run is kept in a file, and an interrupted comparison goes on there.
"""

from __future__ import annotations

import argparse
import json
import time
from functools import partial
from pathlib import Path

import numpy as np

from graphs.contacts import proximity_contacts
from inference.plotting import new_figure, save_figure
from models.contact_tracing import Epidemic
from models.contact_tracing.mitigation import mitigate
from models.contact_tracing.policy_run import Campaign
from models.contact_tracing.ranking import (
    ContactTracing,
    MeanFieldRanking,
    OracleRanking,
    PropagationRanking,
    RandomRanking,
)

TRANSMISSION, RECOVERY, PATIENTS_ZERO, DELAY = 0.05, 0.02, 3, 5
WINDOW, SWEEPS, DAMPING = 14, 10, 0.5
"""Of belief propagation: days looked at, sweeps a day, share of the old messages kept."""
PAIRS = (
    ("contact tracing", "random"),
    ("mean field", "contact tracing"),
    ("belief propagation", "mean field"),
)
CLAIMED = PAIRS[:2]
COLORS = dict(zip(("random", "contact tracing", "mean field", "belief propagation", "oracle"),
                  ("C7", "C1", "C2", "C0", "k")))  # fmt: skip


def policies(n_people):
    """Return the rankings by name."""
    seed_prob = PATIENTS_ZERO / n_people
    return {
        "random": RandomRanking(),
        "contact tracing": ContactTracing(delay=DELAY),
        "mean field": MeanFieldRanking(Epidemic(seed_prob, RECOVERY), window=15, delay=DELAY),
        "belief propagation": PropagationRanking(
            # rounding must not exclude what happened: a tiny probability of infection from outside
            Epidemic(seed_prob, RECOVERY, self_infection_prob=1e-6), symptom_prob=0.5,
            symptom_delay=DELAY + 1, window=WINDOW, max_steps=SWEEPS, damping=DAMPING,
        ),
        "oracle": OracleRanking(),
    }  # fmt: skip


def compare(n_people, n_days, n_tests, seeds, folder, n_workers):
    """Run every policy on every epidemic."""
    # the mean number of contacts a day is 2 pi less what the border takes
    contacts = partial(
        proximity_contacts, n_people, n_days, transmission_prob=TRANSMISSION, scale=1.0
    )
    return mitigate(
        policies(n_people), contacts, Epidemic(PATIENTS_ZERO / n_people, RECOVERY),
        Campaign(start_day=10, n_ranked=n_tests, symptom_prob=0.5, symptom_delay=DELAY),
        seeds=seeds, n_seeds=PATIENTS_ZERO, folder=folder, n_workers=n_workers,
    )  # fmt: skip


def picture(found, days):
    """Draw infected and free infected people, and how good the rankings are, against time."""
    figure, axes = new_figure(3, width=4.6, height=3.6)
    for name in found.runs:
        for ax, quantity in zip(axes, ("infected", "free", "auc")):
            curves = found.curves(name, quantity).astype(float)
            if quantity == "auc":
                # weeks: single days with a handful of undetected people scatter widely
                curves = curves[:, 10 : 10 + 7 * ((curves.shape[1] - 10) // 7)]
                weeks = curves.reshape(len(curves), -1, 7)
                known = np.isfinite(weeks)
                counts = known.sum(axis=(0, 2))
                sums = np.where(known, weeks, 0.0).sum(axis=(0, 2))
                mean = np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0)
                ax.plot(10 + 7 * np.arange(len(mean)) + 3, mean, color=COLORS[name], label=name)
                continue
            low, middle, high = np.quantile(curves, [0.25, 0.5, 0.75], axis=0)
            ax.plot(days, middle, color=COLORS[name], label=name)
            ax.fill_between(days, low, high, color=COLORS[name], alpha=0.15, lw=0)
    for ax, label in zip(axes, ("people infected", "infected and not isolated")):
        ax.set_yscale("symlog", linthresh=1)
        ax.set_ylabel(f"{label} (median, quartiles)")
    axes[2].set_ylabel("AUC among people not yet found")
    for ax in axes:
        ax.set_xlabel("day")
        ax.axvline(10, color="0.7", lw=0.8, ls=":")
    axes[0].legend(fontsize=8, frameon=False)
    return figure


def main(argv=None) -> int:
    """Run everything; return 0 if every claim holds, else 1."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small towns, few epidemics")
    parser.add_argument("--seed", type=int, default=0, help="of the first epidemic")
    parser.add_argument("--figure", type=Path, default=Path("contact_tracing_mitigation.png"))
    parser.add_argument("--out", type=Path, help="also write the numbers as JSON")
    parser.add_argument("--folder", type=Path, help="where runs are kept, to go on later")
    parser.add_argument("--workers", type=int, help="processes (two; one with --quick)")
    args = parser.parse_args(argv)
    for path in filter(None, (args.figure, args.out)):
        path.parent.mkdir(parents=True, exist_ok=True)  # now, not after the long work
    start = time.perf_counter()
    n_people, n_days, n_tests = (600, 30, 4) if args.quick else (5000, 100, 15)
    seeds = range(args.seed, args.seed + (4 if args.quick else 20))
    workers = args.workers or (1 if args.quick else 2)
    found = compare(n_people, n_days, n_tests, seeds, args.folder, workers)
    print(f"{n_people} people, {len(seeds)} epidemics, means on day {n_days}")
    print(f"  {'ranking':20} infected  ever infected  not isolated  positive ranked tests   AUC")
    for name in found.runs:
        infected, recovered, free = (
            found.curves(name, quantity)[:, -1].mean()
            for quantity in ("infected", "recovered", "free")
        )
        ranked, positive = (found.curves(name, q).sum() for q in ("ranked", "ranked_positive"))
        auc = np.nanmean(found.curves(name, "auc"))
        print(
            f"  {name:20} {infected:8.1f}  {infected + recovered:13.1f}  {free:12.1f}  "
            f"{positive / max(1, ranked):21.1%}  {auc:.3f}"
        )
    print("paired differences in people infected, with 95 % intervals")
    failures, intervals = [], {}
    half = 10 + (n_days - 10) // 2
    for one, other in PAIRS:
        early, late = (found.difference(one, other, day=day) for day in (half, n_days))
        intervals[f"{one} - {other}"] = late
        print(
            f"  {one + ' - ' + other:37} day {half}: {early.mean:+7.1f} [{early.low:+7.1f}, "
            f"{early.high:+7.1f}]   day {n_days}: {late.mean:+7.1f} [{late.low:+7.1f}, "
            f"{late.high:+7.1f}]"
        )
        if (one, other) in CLAIMED and not (late.mean if args.quick else late.high) < 0:
            failures.append(
                f"{one} - {other}: {late.mean:+.1f} [{late.low:+.1f}, {late.high:+.1f}]"
            )
    if args.out:
        numbers = {
            "n_people": n_people,
            "seeds": list(seeds),
            "infected": {name: found.curves(name).tolist() for name in found.runs},
            "recovered": {name: found.curves(name, "recovered").tolist() for name in found.runs},
            "differences": {name: list(interval) for name, interval in intervals.items()},
        }
        args.out.write_text(json.dumps(numbers) + "\n", encoding="utf-8")
    print(f"figure: {save_figure(picture(found, np.arange(n_days + 1)), args.figure)}")
    print(f"{time.perf_counter() - start:.0f} s")
    for sentence in failures:
        print(f"DISAGREES  {sentence}")
    print("disagrees" if failures else "agrees")
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
