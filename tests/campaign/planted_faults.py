"""Make one function of the library wrong at a time, and see which comparison tells.

    python tests/campaign/planted_faults.py [SYSTEM ...]

Exit status 1 if a fault goes unseen, or a comparison disagrees without one; the table is kept in
results/planted_faults.md when all systems are tried.
"""

import argparse
import sys
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent.parent)]

from faults import FAULTS, compare, how_far, planted  # noqa: E402

from models.commands.certify import SYSTEMS  # noqa: E402

_HEADER = ("system", "fault", "caught by", "how far off", "without the fault")


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("systems", nargs="*", metavar="SYSTEM", help=f"of {', '.join(SYSTEMS)}")
    wanted = parser.parse_args(arguments).systems or SYSTEMS
    rows, right, unseen = [_HEADER, ("---",) * len(_HEADER)], {}, 0
    for fault in FAULTS:
        if fault.system not in wanted:
            continue
        comparison = fault.system, fault.caught_by
        if comparison not in right:
            right[comparison] = compare(*comparison)
        with planted(fault):
            wrong = compare(*comparison)
        seen = bool(wrong.failures()) and not right[comparison].failures()
        unseen += not seen
        caught = fault.caught_by if seen else "NOBODY"
        before = how_far(right[comparison])
        rows.append((fault.system, fault.what, caught, how_far(wrong), before))
        print(" | ".join(rows[-1]), flush=True)
    verdict = f"{len(rows) - 2 - unseen} of {len(rows) - 2} faults were seen."
    print(verdict)
    if set(wanted) == set(SYSTEMS):
        table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
        text = f"# Planted faults\n\n{table}\n\n{verdict}\n"
        (HERE / "results" / "planted_faults.md").write_text(text, encoding="utf-8")
    return min(unseen, 1)


if __name__ == "__main__":
    sys.exit(main())
