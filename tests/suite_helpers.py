"""What at least two test files use."""

import importlib.util
import json
from pathlib import Path

import numpy as np

EXAMPLES = Path(__file__).parent.parent / "examples"


def load_example(name):
    """Return the module of an example."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_example(module, tmp_path, capsys):
    """Run an example with --quick; return exit status, what it printed, its figure, its numbers."""
    figure, out = tmp_path / "new" / "figure.png", tmp_path / "other" / "numbers.json"
    status = module.main(["--quick", "--seed", "0", "--figure", str(figure), "--out", str(out)])
    return status, capsys.readouterr().out, figure, json.loads(out.read_text())


def remember(monkeypatch, module, *names):
    """Let functions of a module answer the same question from memory: verdicts for one price.

    The same is what has the same ``repr``: for numbers, texts and arrays of a few of them.
    """
    for name in names:
        monkeypatch.setattr(module, name, _remembering(getattr(module, name)))


def _remembering(function):
    answers = {}

    def call(*args, **options):
        asked = repr((args, options))
        if asked not in answers:
            answers[asked] = function(*args, **options)
        return answers[asked]

    return call


def assert_z(value, expected, standard_error, *, limit=4.0, ess=None, min_ess=400.0):
    """Assert that random estimates agree with exact numbers within their own error.

    The three arrays broadcast. Give ``ess`` for correlated or weighted draws: a standard error from
    a handful of effective draws would let anything pass, so those fail first.
    """
    value, expected, standard_error = np.broadcast_arrays(
        *(np.asarray(number, dtype=np.float64) for number in (value, expected, standard_error))
    )
    if ess is not None:
        smallest = float(np.min(ess))
        assert smallest >= min_ess, f"effective sample size {smallest:.0f} is below {min_ess:.0f}"
    assert np.all(standard_error > 0), "a standard error of zero can confirm nothing"
    z = (value - expected) / standard_error
    worst = np.unravel_index(np.argmax(np.where(np.isnan(z), np.inf, np.abs(z))), z.shape)
    where = f" at index {tuple(map(int, worst))}" if worst else ""
    assert np.abs(z[worst]) <= limit, (
        f"z = {z[worst]:.2f}, allowed are ±{limit:g}{where}: got {value[worst]:.6g}, expected "
        f"{expected[worst]:.6g}, standard error {standard_error[worst]:.3g}"
    )
