"""Policies of testing compared on the same epidemics: many seeds, many processes, resumable."""

from __future__ import annotations

import multiprocessing
import os
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from graphs.temporal import ContactNetwork
from inference.checkpoints import digest
from inference.checks import one_of, positive_int
from inference.files import replacing
from inference.progress import progress_bar
from inference.storage import read_arrays

from .epidemic import Epidemic
from .policy_run import Campaign, Run, run_policy
from .ranking import Ranking
from .simulation import Outbreak

_CURVES = tuple(name for name in Run._fields if name != "outbreak")
_NAME = re.compile(r"[\w .+-]+")


class ContactGenerator(Protocol):
    """Draws a network, such as ``functools.partial(proximity_contacts, 5000, 100)``."""

    def __call__(self, *, seed: int) -> ContactNetwork:
        """Return the network of a seed."""
        ...


class Interval(NamedTuple):
    """Mean of a paired difference and its confidence interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Mitigation:
    """The runs of all policies on the same epidemics."""

    seeds: tuple[int, ...]
    runs: Mapping[str, tuple[Run, ...]]
    """By policy, one for each seed."""

    def curves(self, policy: str, quantity: str = "infected") -> NDArray[Any]:
        """Return a quantity of :class:`Run` over all seeds, ``(n_seeds, n_days + 1)``.

        Raises
        ------
        ValueError
            If there is no such policy or quantity.
        """
        one_of("policy", policy, tuple(self.runs))
        one_of("quantity", quantity, _CURVES)
        return np.stack([getattr(run, quantity) for run in self.runs[policy]])

    def difference(
        self,
        policy: str,
        other: str,
        quantity: str = "infected",
        *,
        day: int = -1,
        level: float = 0.95,
    ) -> Interval:
        """Return by how much a quantity of one policy exceeds that of another on a day.

        Parameters
        ----------
        policy, other
            Names.
        quantity
            A field of :class:`Run`.
        day
            Of the run; -1 is the last.
        level
            Of the interval, of Student's t over the seeds.

        Raises
        ------
        ValueError
            If there is no such policy or quantity, or fewer than two seeds.
        """
        if len(self.seeds) < 2:
            raise ValueError("difference: expected at least two seeds")
        pairs = self.curves(policy, quantity)[:, day] - self.curves(other, quantity)[:, day]
        mean = float(pairs.mean())
        error = pairs.std(ddof=1) / np.sqrt(len(pairs))
        half = float(student.ppf((1.0 + level) / 2.0, len(pairs) - 1) * error)
        return Interval(mean, mean - half, mean + half)


class _Task(NamedTuple):
    """All that one run needs, in any process."""

    name: str
    ranking: Ranking
    contacts: ContactGenerator
    epidemic: Epidemic
    campaign: Campaign
    seed: int
    n_seeds: int | None
    path: Path | None

    def run(self) -> Run:
        """Do it, or read it where it was done before."""
        setting = "" if self.path is None else digest(self[:-1])
        if self.path is not None and self.path.exists():
            return _read(self.path, setting)
        run = run_policy(
            self.ranking, self.contacts(seed=self.seed), self.epidemic, self.campaign,
            seed=self.seed, n_seeds=self.n_seeds,
        )  # fmt: skip
        if self.path is not None:
            _write(self.path, run, setting)
        return run


def mitigate(
    policies: Mapping[str, Ranking],
    contacts: ContactGenerator,
    epidemic: Epidemic,
    campaign: Campaign | None = None,
    *,
    seeds: Sequence[int],
    n_seeds: int | None = None,
    folder: str | os.PathLike[str] | None = None,
    n_workers: int = 1,
    progress: bool | None = None,
) -> Mitigation:
    """Try policies on the same epidemics.

    Parameters
    ----------
    policies
        Rankings by name (letters, digits, spaces and ``._+-``).
    contacts
        ``contacts(seed=...)`` is the network of a seed; importable, if there are several workers.
    epidemic
        Its laws.
    campaign
        Tests and isolation; None is the default one.
    seeds
        Of the epidemics and networks. The seed alone decides who could infect whom when, whatever
        the policy: differences between policies are paired.
    n_seeds
        Exactly so many patients zero, in place of ``seed_prob``.
    folder
        Where each run is kept in a file of its own. Runs found there are not done again, so an
        interrupted comparison goes on where it stopped, to the same numbers.
    n_workers
        Processes.
    progress
        Whether to draw a bar; None draws on a terminal.

    Returns
    -------
    Mitigation
        All runs.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range, or the folder holds a run of the same name and seed with
        another setting.

    Examples
    --------
    >>> from functools import partial
    >>> from graphs.contacts import static_contacts
    >>> from models.contact_tracing import Epidemic
    >>> from models.contact_tracing.mitigation import mitigate
    >>> from models.contact_tracing.ranking import ContactTracing, RandomRanking
    >>> found = mitigate(
    ...     {"random": RandomRanking(), "tracing": ContactTracing()},
    ...     partial(static_contacts, 200, 30, transmission_prob=0.05), Epidemic(0.01, 0.1),
    ...     seeds=[0, 1], progress=False,
    ... )
    >>> found.curves("tracing").shape
    (2, 31)
    """
    positive_int("n_workers", n_workers)
    for name in policies:
        if not _NAME.fullmatch(name):
            raise ValueError(f"policies: expected names of letters, digits and ._+-, got {name!r}")
    if not policies or not seeds or len(set(seeds)) != len(seeds):
        raise ValueError("policies, seeds: expected at least one of each, and no seed twice")
    place = None if folder is None else Path(folder)
    if place is not None:
        place.mkdir(parents=True, exist_ok=True)
    tasks = [
        _Task(
            name, ranking, contacts, epidemic, campaign or Campaign(), seed, n_seeds,
            None if place is None else place / f"{name}-{seed}.npz",
        )
        for seed in seeds
        for name, ranking in policies.items()
    ]  # fmt: skip
    runs: dict[tuple[str, int], Run] = {}
    with progress_bar(len(tasks), "epidemics", progress) as bar:
        for task, run in _done(tasks, n_workers):
            runs[task.name, task.seed] = run
            bar.update(1)
    return Mitigation(
        tuple(seeds), {name: tuple(runs[name, seed] for seed in seeds) for name in policies}
    )


def _done(tasks: list[_Task], n_workers: int) -> Iterator[tuple[_Task, Run]]:
    """Yield the runs as they end."""
    if n_workers == 1:
        for task in tasks:
            yield task, task.run()
        return
    with ProcessPoolExecutor(
        min(n_workers, len(tasks)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_end_with_parent,
    ) as pool:
        futures = {pool.submit(task.run): task for task in tasks}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _end_with_parent() -> None:
    """Let this process end when its parent has, killed perhaps, in place of running on alone."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _write(path: Path, run: Run, setting: str) -> None:
    arrays = {name: getattr(run, name) for name in _CURVES}
    outbreak = run.outbreak._asdict()
    with replacing(path) as partial, open(partial, "wb") as file:
        np.savez_compressed(file, setting=np.array(setting), **arrays, **outbreak)


def _read(path: Path, setting: str) -> Run:
    arrays = read_arrays(path)
    missing = [name for name in ("setting", *_CURVES, *Outbreak._fields) if name not in arrays]
    if missing:
        raise ValueError(f"{path}: expected a run, got a file without {', '.join(missing)}")
    if str(arrays["setting"]) != setting:
        raise ValueError(
            f"{path}: holds a run with another setting; choose another folder or remove it"
        )
    outbreak = Outbreak(
        arrays["infection_day"], arrays["recovery_day"], arrays["infector"], int(arrays["n_days"])
    )
    kept: dict[str, Any] = {name: arrays[name] for name in _CURVES}
    return Run(**kept, outbreak=outbreak)
