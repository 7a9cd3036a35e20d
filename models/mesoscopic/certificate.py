"""Small devices by matrices, by closed forms, and by simulation."""

from __future__ import annotations

from collections.abc import Iterable

from inference.certificates import Certificate, certify
from inference.progress import Stop, never

from . import langevin_checks, spin_checks


def certificate(
    *,
    full: bool = False,
    seed: int = 0,
    only: Iterable[str] | None = None,
    should_stop: Stop = never,
    progress: bool | None = None,
) -> Certificate:
    """Compare matrices, closed forms and samples; see `inference.certificates.certify`."""
    return certify(
        "mesoscopic", CHECKS + FULL_CHECKS if full else CHECKS, full=full, seed=seed, only=only,
        should_stop=should_stop, progress=progress,
    )  # fmt: skip


CHECKS = (
    spin_checks.steady_states_of_spins,
    spin_checks.entropy_production_of_spins,
    spin_checks.symmetric_couplings,
    spin_checks.jumps_by_simulation,
    spin_checks.density_of_flips,
    spin_checks.information_of_spins,
    spin_checks.slopes_of_spins,
    spin_checks.couplings_by_counts,
    langevin_checks.langevin_closed_forms,
    langevin_checks.langevin_paths,
    langevin_checks.langevin_density,
    langevin_checks.frontier_of_two_units,
    langevin_checks.circulation_is_calibrated,
)
FULL_CHECKS = (langevin_checks.circulation_by_nuts, spin_checks.couplings_are_calibrated)
"""Their programs take long to compile."""
