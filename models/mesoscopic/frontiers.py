"""What the best couplings give at each price of dissipation."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.checks import Floats
from inference.status import Status

from .device_tradeoff import Device, with_couplings

_HEADER = (
    "price", "information", "dissipation", "accuracy", "on input", "start", "residual", "status",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Frontier:
    """The best couplings that were found at each price, in the order of the prices.

    Information and dissipation do not rise with the price: at every price the best is taken of all
    couplings that were found at any.
    """

    device: Device
    """With the couplings it came with."""
    gammas: Floats
    """``(n_gamma,)``: prices of dissipation, in units of time."""
    information: Floats
    """``(n_gamma,)``: ``I(s; y)`` in nats."""
    dissipation: Floats
    """``(n_gamma,)``: mean rate of entropy production, in nats by unit time."""
    accuracy: Floats
    """``(n_gamma,)``: of the best decision from a state; of a Gaussian target the share of its
    variance that is explained."""
    information_about_input: Floats
    """``(n_gamma,)``: ``I(s; x)`` in nats."""
    couplings: Floats
    """``(n_gamma, n, n)``."""
    start: tuple[str, ...]
    """``(n_gamma,)``: from where the search came to these couplings."""
    residual: Floats
    """``(n_gamma,)``: largest derivative of the objective that bounds do not block."""
    n_steps: int
    """Evaluations of the objective, in all."""
    status: NDArray[np.int64]
    """``(n_gamma,)`` codes of `inference.status.Status`."""

    @property
    def objective(self) -> Floats:
        """``(n_gamma,)``: ``information - gamma * dissipation``."""
        return self.information - self.gammas * self.dissipation

    def system(self, index: int) -> Device:
        """Return the device with the couplings of one price."""
        return with_couplings(self.device, self.couplings[index])

    def columns(self) -> dict[str, Any]:
        """Return one entry a price for each number: what a ``pandas.DataFrame`` is made of."""
        return {
            "gamma": self.gammas,
            "information": self.information,
            "dissipation": self.dissipation,
            "accuracy": self.accuracy,
            "information_about_input": self.information_about_input,
            "objective": self.objective,
            "start": list(self.start),
            "residual": self.residual,
            "status": [Status(int(code)).name for code in self.status],
        }

    def to_pandas(self) -> Any:
        """Return the `columns` as a ``pandas.DataFrame``."""
        pandas = importlib.import_module("pandas")  # ships no types
        return pandas.DataFrame(self.columns())

    def table(self) -> str:
        """Return the aligned table, one line a price."""
        lines = [_HEADER]
        for k, gamma in enumerate(self.gammas):
            lines.append(
                (
                    f"{gamma:g}",
                    f"{self.information[k]:.6f}",
                    f"{self.dissipation[k]:.6f}",
                    f"{self.accuracy[k]:.4f}",
                    f"{self.information_about_input[k]:.4f}",
                    self.start[k],
                    f"{self.residual[k]:.1e}",
                    Status(int(self.status[k])).name,
                )
            )
        widths = [max(map(len, column)) for column in zip(*lines)]
        return "\n".join(
            " | ".join(cell.rjust(width) for cell, width in zip(line, widths)) for line in lines
        )
