"""``cavity deep-linear fit``: choose or take a network, fit a table, predict another one."""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._arguments import add_common, positive
from ._deep_linear_tables import add_shared, inputs_and_targets, new_inputs, widths
from ._results import as_json, report, write_table, write_text

if TYPE_CHECKING:
    from inference.checks import Floats

_SHOWN = 20  # rows of a table that are printed; the file has all


def add_fit(verbs: Any) -> None:
    """Add the verb and its arguments to the subparsers of the system."""
    fit = verbs.add_parser(
        "fit",
        help="fit a network, chosen by evidence if asked, and predict a second table",
        description=(
            "Fit a Bayesian deep linear network to a table of numbers. Every column that is not a "
            "target is an input; all columns are shifted to mean 0 and scaled to standard "
            "deviation 1, and predictions are in the units of the table."
        ),
    )
    fit.set_defaults(handler=_fit)
    add_shared(fit)
    add = fit.add_argument
    network = fit.add_mutually_exclusive_group()
    network.add_argument(
        "--widths",
        type=widths,
        default=(10,),
        metavar="N1,N2",
        help="widths of the hidden layers; 'none' for linear regression (default 10)",
    )
    network.add_argument(
        "--select", action="store_true", help="choose depth and widths by their evidence"
    )
    add(
        "--beta",
        type=positive,
        help="precision of the noise in units of the scaled targets (default: chosen by evidence)",
    )
    add("--no-standardize", action="store_true", help="only shift the columns, do not scale them")
    add("--predict", metavar="NEW.csv", help="table to predict; with the targets, to judge by")
    add_common(fit, "DIR", "folder for fit.json, the tables and a picture", folder=True)


def _fit(arguments: argparse.Namespace) -> None:
    from ._session import start_jax

    start_jax()
    from inference.status import raise_for_status
    from models.deep_linear.regressor import DeepLinearRegressor

    targets = arguments.targets
    inputs, x, y = inputs_and_targets(arguments.train, targets)
    new = new_inputs(arguments.predict, inputs, targets) if arguments.predict else None
    for name, column in zip(targets, y.T, strict=True):
        if (column == column[0]).all():
            raise ValueError(
                f"{arguments.train}: column {name!r}: expected different numbers to learn from, "
                f"got {column[0]:g} in every row"
            )
    if (x == x[0]).all():
        raise ValueError(
            f"{arguments.train}: expected an input that varies, got the same "
            f"{', '.join(map(repr, inputs))} in every row"
        )
    model: Any = DeepLinearRegressor(
        "select" if arguments.select else arguments.widths,
        precisions=arguments.precisions,
        beta=arguments.beta,
        standardize=not arguments.no_standardize,
        method=arguments.method,
        random_state=arguments.seed,
    ).fit(x, y)
    found = _report(arguments, model, inputs, x, y)
    predicted = None
    if new is not None:
        predicted = model.predict(new[0], return_std=True)
        found["predictions"] = _predictions(targets, *predicted)
        if new[1] is not None:
            found["held_out"] = _held_out(model, targets, new[0], new[1], predicted[0])
    if arguments.out:
        _write(arguments.out, found, model, new, predicted)
    if arguments.json:
        print(as_json(found))
    elif not arguments.quiet:
        print(_table(found, model.selection_.table()))
    raise_for_status(model.posterior_.status, "deep-linear fit")


def _report(
    arguments: argparse.Namespace, model: Any, inputs: tuple[str, ...], x: Floats, y: Floats
) -> dict[str, Any]:
    from models.deep_linear.interpretation import mixing_spectrum

    result = model.posterior_
    spectrum = mixing_spectrum(result)
    return report(
        arguments,
        result.status.name,
        train=arguments.train,
        n_rows=len(x),
        inputs=inputs,
        targets=arguments.targets,
        standardized=not arguments.no_standardize,
        selected=arguments.select,
        n_compared=int(model.selection_.log_evidence.size),
        widths=model.architecture_.widths,
        precisions=model.architecture_.precisions,
        beta=model.beta_,
        noise_std=model.noise_std_,
        method=result.method,
        log_evidence=result.log_evidence,
        log_evidence_error=result.log_evidence_error,
        architectures=model.selection_.table().rows,
        r2=model.score(x, y),
        mixing_mean=result.mixing_mean,
        mixing_eigenvalues=spectrum.eigenvalues._asdict(),
        output_correlations=spectrum.correlations._asdict(),
    )


def _predictions(targets: tuple[str, ...], mean: Floats, std: Floats) -> dict[str, Any]:
    """Return the columns of the table of predictions."""
    columns: dict[str, Any] = {}
    for place, name in enumerate(targets):
        columns[name] = mean[:, place]
        columns[f"{name}_std"] = std[:, place]
    return columns


def _held_out(
    model: Any, targets: tuple[str, ...], x: Floats, y: Floats, mean: Floats
) -> dict[str, Any]:
    errors = ((mean - y) ** 2).mean(axis=0) ** 0.5
    return {
        "log_density": float(model.log_prob(x, y).mean()),
        "rmse": {name: float(error) for name, error in zip(targets, errors, strict=True)},
        "r2": model.score(x, y) if len(x) > 1 else None,
    }


def _write(
    folder: Path,
    found: dict[str, Any],
    model: Any,
    new: tuple[Floats, Floats | None] | None,
    predicted: tuple[Floats, Floats] | None,
) -> None:
    write_text(folder / "fit.json", as_json(found))
    model.selection_.table().save(folder / "architectures.csv")
    if predicted is not None:
        columns = found["predictions"]
        write_table(
            folder / "predictions.csv", columns, zip(*(c.tolist() for c in columns.values()))
        )
    if importlib.util.find_spec("matplotlib") is None:
        return
    if new is not None and predicted is not None:
        _draw_predictions(folder / "predictions.png", found["targets"], new[1], *predicted)
    elif model.selection_.log_evidence.size > 1:
        _draw_evidence(folder / "evidence.png", model.selection_)


def _draw_predictions(
    path: Path, targets: tuple[str, ...], observed: Floats | None, mean: Floats, std: Floats
) -> None:
    """Draw predictions with two standard deviations, against what was observed if it is known."""
    from inference.plotting import new_figure, save_figure

    figure, axes = new_figure(len(targets))
    for place, (name, ax) in enumerate(zip(targets, axes, strict=True)):
        known = observed is not None
        across = observed[:, place] if observed is not None else range(1, len(mean) + 1)
        ax.errorbar(across, mean[:, place], 2 * std[:, place], fmt="o", ms=3, lw=0.8, color="C0")
        if observed is not None:
            ends = [observed[:, place].min(), observed[:, place].max()]
            ax.plot(ends, ends, "k--", lw=1)
        ax.set(xlabel="observed" if known else "row", title=name)
    axes[0].set_ylabel("predicted ± 2 sd")
    save_figure(figure, path)


def _draw_evidence(path: Path, selection: Any) -> None:
    """Draw the evidence of every network against the precision of the noise."""
    from matplotlib import colormaps

    from inference.plotting import new_figure, save_figure

    figure, (ax,) = new_figure(width=6.5, height=4.0)
    values = selection.log_evidence - selection.log_evidence[selection.status == 0].max()
    shades = colormaps["viridis"]
    order = sorted(range(len(values)), key=lambda i: -values[i].max())
    for rank, i in enumerate(order):
        architecture = selection.architectures[i]
        label = " ".join(map(str, architecture.widths)) or "none"
        style = ("-", "--", "-.", ":")[len(architecture.widths) % 4]
        shade = shades(rank / max(len(order) - 1, 1))
        ax.plot(selection.betas, values[i], style, color=shade, lw=1.5, label=label)
    ax.set(xscale="log", xlabel="noise precision", ylabel="log evidence, relative to the best")
    if len(order) <= 20:
        ax.legend(
            fontsize=7, title="widths, best first", loc="center left", bbox_to_anchor=(1.0, 0.5)
        )
    save_figure(figure, path)


def _table(report: dict[str, Any], tried: Any) -> str:
    targets = report["targets"]
    error = report["log_evidence_error"]
    lines = [
        ("rows", str(report["n_rows"])),
        ("inputs", str(len(report["inputs"]))),
        ("targets", ", ".join(targets)),
        ("widths", ",".join(map(str, report["widths"])) or "none"),
        ("beta", f"{report['beta']:.4g}"),
        ("pairs compared", str(report["n_compared"])),
        ("log evidence", f"{report['log_evidence']:.6g} ± {error:.2g}"),
        ("method", report["method"]),
        ("status", report["status"]),
        ("noise std", ", ".join(f"{value:.4g}" for value in report["noise_std"])),
        ("R^2 on TRAIN", f"{report['r2']:.4f}"),
    ]
    if "held_out" in report:
        judged = report["held_out"]
        rmse = ", ".join(f"{judged['rmse'][name]:.4g}" for name in targets)
        lines += [
            ("log density on NEW", f"{judged['log_density']:.4f} a row"),
            ("RMSE on NEW", rmse),
        ]
    text = [f"{name:<20}{value}".rstrip() for name, value in lines]
    if report["selected"]:
        text += ["", *str(tried).splitlines()[: _SHOWN + 1]]
        if len(tried.rows) > _SHOWN:
            text.append(f"... {len(tried.rows) - _SHOWN} more (--out DIR writes all)")
    if "predictions" in report:
        text += ["", *_rows(report["predictions"])]
    return "\n".join(text)


def _rows(columns: dict[str, Any]) -> list[str]:
    cells = [[f"{value:.5g}" for value in column[:_SHOWN]] for column in columns.values()]
    sizes = [max(len(name), *map(len, column)) for name, column in zip(columns, cells)]
    rows = [list(columns), *map(list, zip(*cells))]
    lines = ["  ".join(f"{cell:>{size}}" for cell, size in zip(row, sizes)) for row in rows]
    n_rows = len(next(iter(columns.values())))
    if n_rows > _SHOWN:
        lines.append(f"... {n_rows - _SHOWN} more (--out DIR writes all)")
    return lines
