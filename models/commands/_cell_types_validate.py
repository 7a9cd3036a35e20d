"""``cavity cell-types validate``: which types are which of a reference, and whether by chance."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._arguments import add_common, add_output, whole
from ._results import as_json, report, write_table

if TYPE_CHECKING:
    from models.cell_types import PermutationTest

COLUMNS = ("type", "reference_type", "correlation", "p", "p_holm")
TRANSFORMS = ("fraction", "logratio", "raw")
_at_least_one = whole("a whole number of at least 1", least=1)
_DESCRIPTION = """\
Compare what inferred types express with an independent reference, such as mean expression in
clusters of sequenced cells. Genes are joined by symbol in any case, doubles added up. Types are
paired so that profiles correlate best, and genes of the reference are permuted, types paired anew
each time, to see how well chance does.

Tables are long, type,gene and one of value, beta, fraction (as profiles.csv of the verb fit; the
first of these counts), or wide, gene and one column a type. They hold mean expression, no
logarithms. Fractions, each type's share of a gene, do not depend on how abundant genes are, which
images and sequencing measure differently; raw correlations do.

Exit code 2: bad input.
"""


def add_validate(verbs: Any) -> None:
    """Add the verb and its arguments to the subparsers of the system."""
    validate = verbs.add_parser(
        "validate",
        help="compare inferred types with a reference, by what they express",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    validate.set_defaults(handler=_validate)
    add = validate.add_argument
    add("profiles", metavar="PROFILES.csv", help="inferred types")
    add("reference", metavar="REFERENCE.csv", help="types of the reference")
    add(
        "--transform",
        choices=TRANSFORMS,
        default="fraction",
        help="what is correlated (default fraction)",
    )
    add(
        "--permutations",
        type=_at_least_one,
        metavar="N",
        default=999,
        help="random permutations of the genes (default 999)",
    )
    add(
        "--min-common",
        type=_at_least_one,
        metavar="N",
        default=30,
        help="refuse fewer common genes (default 30)",
    )
    add_output(
        validate,
        "--figure",
        "VALIDATION.png",
        "draw all correlations, and the mean of the pairs among those of chance",
    )
    add_common(validate, "VALIDATION.csv", f"write a row a type, {','.join(COLUMNS)}")


def _validate(arguments: argparse.Namespace) -> None:
    from models.cell_types import permutation_test, read_profiles

    tables = read_profiles(arguments.profiles), read_profiles(arguments.reference)
    try:
        test = permutation_test(
            *tables,
            transform=arguments.transform,
            min_common=arguments.min_common,
            n_permutations=arguments.permutations,
            seed=arguments.seed,
        )
    except ValueError as fault:
        raise ValueError(f"{arguments.profiles}, {arguments.reference}: {fault}") from None
    rows = _rows(test)
    if arguments.out:
        write_table(arguments.out, COLUMNS, rows)
    if arguments.figure:
        _draw(arguments.figure, test)
    if arguments.json:
        print(as_json(_report(arguments, test, rows)))
    elif not arguments.quiet:
        print("\n".join(_lines(test, rows, arguments.transform)))


def _rows(test: PermutationTest) -> list[tuple[Any, ...]]:
    """Return a row a type; a type without a partner has None for everything else."""
    match = test.match
    names = [match.reference_types[j] if j >= 0 else None for j in match.partner]
    numbers = [match.correlation, test.type_p_value, test.type_p_holm]
    columns = [[None if math.isnan(v) else v for v in column.tolist()] for column in numbers]
    return list(zip(match.types, names, *columns))


def _lines(test: PermutationTest, rows: list[tuple[Any, ...]], transform: str) -> list[str]:
    match = test.match
    widths = [
        max(len(title), *(len(str(row[i] or "none")) for row in rows))
        for i, title in enumerate(("type", "reference"))
    ]
    lines = [
        f"{len(match.genes):,} common genes of {match.n_genes:,} and {match.n_reference_genes:,}"
        + (f" ({match.n_merged} doubles added up)" if match.n_merged else "")
        + f", profiles as {transform}",
        "",
        f"{'type':<{widths[0]}} | {'reference':<{widths[1]}} |      r |      p | Holm p",
    ]
    for kind, partner, *numbers in rows:
        cells = " | ".join(f"{'':>6}" if v is None else f"{v:6.3g}" for v in numbers[1:])
        r = f"{'':>6}" if numbers[0] is None else f"{numbers[0]:6.3f}"
        lines.append(f"{kind:<{widths[0]}} | {partner or 'none':<{widths[1]}} | {r} | {cells}")
    how = "all" if test.exact else "random"
    lines += [
        "",
        f"mean r {match.mean_correlation:.4f} of {sum(j >= 0 for j in match.partner)} pairs, "
        f"p {test.p_value:.3g} ({len(test.null):,} {how} permutations: mean "
        f"{test.null.mean():.4f}, largest {test.null.max():.4f})",
    ]
    if match.unmatched_reference:
        lines.append(f"of the reference unmatched: {', '.join(match.unmatched_reference)}")
    return lines


def _report(
    arguments: argparse.Namespace, test: PermutationTest, rows: list[tuple[Any, ...]]
) -> dict[str, Any]:
    match = test.match
    return report(
        arguments,
        "COMPLETED",
        profiles=arguments.profiles,
        reference=arguments.reference,
        transform=arguments.transform,
        n_common_genes=len(match.genes),
        n_genes=match.n_genes,
        n_reference_genes=match.n_reference_genes,
        n_merged=match.n_merged,
        mean_correlation=match.mean_correlation,
        p=test.p_value,
        n_permutations=len(test.null),
        exact=test.exact,
        null_mean=test.null.mean(),
        null_max=test.null.max(),
        types=[dict(zip(COLUMNS, row)) for row in rows],
        unmatched_reference=match.unmatched_reference,
        correlations=match.table,
    )


def _draw(path: Path, test: PermutationTest) -> None:
    import numpy as np

    from inference.plotting import matrix_image, new_figure, save_figure

    match = test.match
    taken = [int(j) for j in match.partner if j >= 0]
    order = taken + [j for j in range(len(match.reference_types)) if j not in taken]
    figure, (left, right) = new_figure(2, width=5.5, height=4.5)
    table = np.nan_to_num(match.table[:, order])  # constant profiles are drawn as 0
    matrix_image(left, table, label="correlation", limits=(-1.0, 1.0))
    names = [match.reference_types[j] for j in order]
    left.set_xticks(range(len(names)), names, rotation=90)
    left.set_yticks(range(len(match.types)), match.types)
    left.set(xlabel="reference", ylabel="inferred")
    right.hist(test.null, bins=30, color="0.6", label="genes permuted, types paired anew")
    right.axvline(match.mean_correlation, color="C1", label=f"observed, p {test.p_value:.2g}")
    right.set(xlabel="mean correlation of pairs", ylabel="permutations")
    right.legend()
    save_figure(figure, path)
