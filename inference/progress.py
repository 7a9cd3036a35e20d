"""What host loops around compiled chunks do between them: draw a bar, ask whether to stop."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from tqdm import tqdm

Stop = Callable[[], bool]
"""Asked between chunks, every few tenths of a second: True ends the loop in good order."""


def never() -> bool:
    """Return False: run to the end."""
    return False


def stop_after(time_limit: float | None, should_stop: Stop | None = None) -> Stop:
    """Return what answers True after so many seconds from now, or once ``should_stop`` does."""
    deadline = float("inf") if time_limit is None else time.monotonic() + time_limit
    asked = should_stop or never
    return lambda: asked() or time.monotonic() > deadline


def progress_bar(total: int, description: str, enabled: bool | None = None) -> Any:
    """Return a bar to be used as a context manager and moved on by ``bar.update(n)``.

    Parameters
    ----------
    total
        Number of steps.
    description
        Text before the bar.
    enabled
        Whether to draw on standard error; None draws if that is a terminal.

    Returns
    -------
    tqdm.tqdm
        The bar.
    """
    # tqdm itself looks at the terminal when disable is None
    return tqdm(total=total, desc=description, disable=None if enabled is None else not enabled)
