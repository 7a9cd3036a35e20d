"""One data set, every algorithm; then what binary weights generalise to.

Random patterns are learnt by five algorithms that count work in their own units. A student learns
from a teacher: its error on new patterns follows from its overlap ``R`` with the teacher,
``arccos(R) / pi``, and the mean of all students, by belief propagation, is the Bayes-optimal one,
``arccos(sqrt(R)) / pi`` (replica theory: `models.perceptron.theory`). Finally handwritten digits, 1
against 7, with pixels above or below their median: sixty-five weights of ±1, by focusing belief
propagation, against logistic regression (scikit-learn) with sixty-five real ones.

Expected: about half a minute on one core, exit status 0. The exit status is 1 when

- focusing belief propagation or the entropy-driven search leaves the data set unsolved,
- an overlap or an error of students differs from the theory by more than four standard errors and
  `FINITE` over the number of weights,
- on the digits binary weights make more errors than logistic regression by more than four standard
  errors of the paired difference over splits and three percentage points.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import jax
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

from inference.plotting import new_figure, save_figure
from inference.progress import progress_bar
from models.perceptron import (
    Problem,
    belief_propagation,
    entropy_driven_monte_carlo,
    focusing_bp,
    random_patterns,
    replicated_annealing,
    replicated_sgd,
    simulated_annealing,
    teacher_student,
    theory,
)

jax.config.update("jax_enable_x64", True)

LOAD = 0.5
STUDENT_LOADS = (0.4, 0.8, 1.2)
FINITE = 10.0
"""Over the number of weights: by how much an overlap may differ from its limit."""
TOLERATED = 0.03


def algorithms(quick):
    """Return ``{name: (function of problem and seed, unit of work)}``."""
    n_sweeps = 1000 if quick else 10_000
    return {
        "focusing BP": (lambda p, s: focusing_bp(p, seed=s, progress=False), "sweeps of BP"),
        "entropy-driven": (
            lambda p, s: entropy_driven_monte_carlo(p, seed=s, progress=False), "proposals, BP each"
        ),
        "replicated SGD": (
            lambda p, s: replicated_sgd(p, n_replicas=7, n_epochs=500, seed=s, progress=False),
            "epochs",
        ),
        "replicated annealing": (
            lambda p, s: replicated_annealing(
                p, n_replicas=3, n_sweeps=n_sweeps, seed=s, progress=False
            ),
            "single flips",
        ),
        "annealing": (
            lambda p, s: simulated_annealing(p, n_sweeps=3 * n_sweeps, seed=s, progress=False),
            "single flips",
        ),
    }  # fmt: skip


def race(n, seed, quick):
    """Let every algorithm learn one data set; return rows of name, errors, work, unit, seconds."""
    problem, small = random_patterns(n, LOAD, seed=seed), random_patterns(51, 0.3, seed=0)
    rows = []
    for name, (learn, unit) in algorithms(quick).items():
        learn(small, 0)  # compile apart
        start = time.process_time()
        found = learn(problem, seed)
        elapsed = time.process_time() - start
        rows.append((name, problem.energy(found.weights), int(found.n_steps), unit, elapsed))
    return rows


def students(n, load, seeds):
    """Return ``(instances, 3)``: overlap of a student, its error, and that of the mean student.

    A student is a draw from the posterior up to its mean: messages give its overlap exactly.
    """
    rows = []
    for seed in seeds:
        problem, teacher = teacher_student(n, load, seed=seed)
        mean = belief_propagation(problem, method="amp", tol=1e-6, progress=False).magnetizations
        fresh = np.random.default_rng(10_000 + seed).choice([-1, 1], (4000, n))
        label = np.sign(fresh @ teacher.astype(float))
        student = np.where(np.random.default_rng(seed).random(n) < (1 + mean) / 2, 1.0, -1.0)
        wrong = [np.mean(np.sign(fresh @ weights) != label) for weights in (student, mean)]
        rows.append((np.mean(teacher * mean), *wrong))
    return np.array(rows)


def digits(seeds):
    """Return test errors ``(splits, 2)`` of binary weights and of logistic regression."""
    images, label = load_digits(return_X_y=True)
    chosen = np.isin(label, (1, 7))
    # brighter than half of the images at this pixel: on and off are equally frequent
    pixels = np.where(images[chosen] > np.median(images[chosen], axis=0), 1, -1)
    inputs = np.column_stack([pixels, np.ones(len(pixels), int)])  # 65: odd, with a bias
    target = np.where(label[chosen] == 1, 1, -1)
    rows = []
    for seed in seeds:
        x, x_test, y, y_test = train_test_split(
            inputs, target, train_size=0.5, random_state=seed, stratify=target
        )
        # edge by edge: pixels are correlated, which approximate message passing takes ill
        found = focusing_bp(Problem(x, y), method="gaussian", seed=seed, progress=False)
        weights = found.weights
        binary = np.mean(np.sign(x_test @ weights.astype(int)) != y_test)
        real = LogisticRegression(max_iter=1000).fit(x, y)
        rows.append((binary, 1 - real.score(x_test, y_test)))
    return np.array(rows), weights


def mean_error(values):
    """Return mean and standard error over the first axis."""
    return values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(len(values))


def picture(rows, measured, n, weights):
    """Draw seconds by algorithm, errors against load, and the weights of the digits."""
    figure, axes = new_figure(3, width=4.2, height=3.4)
    names, errors, _, _, seconds = zip(*rows)
    colors = ["C2" if not wrong else "C3" for wrong in errors]
    axes[0].barh(names, seconds, color=colors)
    axes[0].set_xscale("log")
    axes[0].invert_yaxis()
    for place, (wrong, second) in enumerate(zip(errors, seconds)):
        axes[0].text(second, place, f" {wrong} errors", va="center", fontsize=7)
    axes[0].set_xlim(min(seconds) / 2, max(seconds) * 8)
    axes[0].set_xlabel("seconds of one core")
    axes[0].set_title(f"{n} weights, load {LOAD}", fontsize=10)
    loads = np.linspace(0.05, 1.23, 60)
    overlap = theory.teacher_student(loads).overlap
    for power, label, color, column in ((1, "a student", "C0", 1), (0.5, "their mean", "C1", 2)):
        axes[1].plot(
            loads, np.arccos(overlap**power) / np.pi, color=color, label=f"{label}, theory"
        )
        for load, table in measured.items():
            mean, error = mean_error(table[:, column])
            axes[1].errorbar(load, mean, error, fmt="o", ms=4, color=color)
    axes[1].set_xlabel("patterns a weight")
    axes[1].set_ylabel("error on new patterns")
    axes[1].legend(fontsize=7, frameon=False)
    axes[2].imshow(weights[:64].reshape(8, 8), cmap="coolwarm")
    axes[2].set_title("binary weights: 1 (red) against 7", fontsize=10)
    axes[2].set_axis_off()
    return figure


def main(argv=None) -> int:
    """Run everything; return 0 if every claim holds, else 1."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small machines, few repetitions")
    parser.add_argument("--seed", type=int, default=0, help="of the data")
    parser.add_argument("--figure", type=Path, default=Path("perceptron_learning.png"))
    parser.add_argument("--out", type=Path, help="also write the numbers as JSON")
    args = parser.parse_args(argv)
    for path in filter(None, (args.figure, args.out)):
        path.parent.mkdir(parents=True, exist_ok=True)  # now, not after the long work
    start, failures = time.perf_counter(), []
    n = 401 if args.quick else 801
    rows = race(n, args.seed, args.quick)
    print(f"{n} weights, load {LOAD}, seed {args.seed}")
    print(f"{'algorithm':>21} | errors | {'work':>29} | seconds")
    for name, errors, work, unit, seconds in rows:
        print(f"{name:>21} | {errors:6} | {work:9} {unit:>19} | {seconds:7.3f}")
        if errors and name in ("focusing BP", "entropy-driven"):
            failures.append(f"{name} leaves {errors} errors")
    size, seeds = (501, range(4)) if args.quick else (2001, range(12))
    measured = {}
    print(f"\nstudents of {size} weights: overlap, error, error of their mean; theory, found")
    with progress_bar(len(STUDENT_LOADS), "students") as bar:
        for load in STUDENT_LOADS:
            measured[load] = students(size, load, [args.seed + s for s in seeds])
            bar.update(1)
            overlap = float(theory.teacher_student(load).overlap)
            expected = overlap, np.arccos(overlap) / np.pi, np.arccos(np.sqrt(overlap)) / np.pi
            mean, error = mean_error(measured[load])
            line = f"load {load}"
            for value, got, its_error in zip(expected, mean, error):
                line += f" | {value:.4f}, {got:.4f} +- {its_error:.4f}"
                if not abs(got - value) <= 4 * its_error + FINITE / size:
                    failures.append(f"load {load}: expected {value:.4f}, got {got:.4f}")
            print(line)
    table, weights = digits(range(args.seed, args.seed + (5 if args.quick else 20)))
    (binary, real), _ = mean_error(table)
    difference, error = mean_error(table[:, 0] - table[:, 1])
    print(
        f"\ndigits 1 against 7, test error: binary weights {binary:.4f}, logistic regression "
        f"{real:.4f}, difference {difference:+.4f} +- {error:.4f}"
    )
    if difference > TOLERATED + 4 * error:
        failures.append(f"binary weights make {difference:.3f} more errors on digits")
    if args.out:
        numbers = {
            "race": rows, "students": {k: v.tolist() for k, v in measured.items()},
            "digits": table.tolist(),
        }  # fmt: skip
        args.out.write_text(json.dumps(numbers, indent=1, default=float) + "\n", encoding="utf-8")
    print(f"figure: {save_figure(picture(rows, measured, n, weights), args.figure)}")
    print(f"{time.perf_counter() - start:.0f} s")
    for sentence in failures:
        print(f"DISAGREES  {sentence}")
    print("disagrees" if failures else "agrees")
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
