"""A progress bar for host loops around compiled chunks."""

from __future__ import annotations

from typing import Any

from tqdm import tqdm


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
