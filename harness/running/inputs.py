"""The inputs and float64 references that all backends share: made once, when they are wanted, and kept for later runs.

What is small is kept in the user's cache under a name made of all that decides it: the sources, NumPy, the workload,
its axes, the dtype and the seed. What is large goes with the run, and before where the disk has no room for more: it is
made again when it is wanted.
"""

from __future__ import annotations

import hashlib
import shutil
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Mapping
from pathlib import Path

import msgspec
import numpy as np

from harness.machine import digest
from harness.planning.plan import Planned
from harness.running.recording import refused
from harness.worker.client import Answer, Server
from harness.worker.messages import DataJob

WORKLOADS = digest.ROOT / "workloads"
KEPT_BYTES = 64 << 20  # of one point, at most
ROOM_OVER_LIVE = 1.5  # what lives in float32: references are float64; `standard` took 11.0 GiB where 7.8 live
CACHE_BYTES = 1 << 30  # of all that is kept; what was used longest ago goes first
SPARE_BYTES = 2 << 30  # of the disk, for what compilers and processes write meanwhile


def room_bytes(plan: Iterable[Planned]) -> int:
    """About how much the inputs and references of a plan take at most beside its results; they go with the run."""
    live = {(planned.case.place[:4], planned.case.seed): planned.work.live_bytes for planned in plan}
    return round(ROOM_OVER_LIVE * sum(size for size in live.values() if size > KEPT_BYTES))


def free_bytes(folder: Path) -> int:
    """What is free on the disk of a folder that may not be there yet."""
    return shutil.disk_usage(next(path for path in (folder, *folder.absolute().parents) if path.is_dir())).free


class Inputs:
    """Folders with `inputs/` and `reference/` of each point; `scratch` is for what is too large to be kept.

    `server` gives NumPy's, whichever that is now. A process may take `timeout_s`, as one of a case may.
    """

    def __init__(
        self, server: Callable[[], Server], scratch: Path, cache: Path, threads: int, timeout_s: float
    ) -> None:
        self._server, self._scratch, self._cache = server, scratch, cache / "inputs"
        self._threads, self._timeout_s = threads, timeout_s
        self._found: dict[str, Path | Answer] = {}
        self._sources = msgspec.json.encode([digest.sources(), np.__version__], order="deterministic")

    def of(self, planned: Planned) -> Path | Answer:
        """The folder of its point, after `make`; or the answer that every case of it gets: why there is none."""
        return self._found.get(self._key(planned)) or refused("no inputs were made")

    def make(self, cases: Iterable[Planned], abreast: int) -> None:
        """Make what is missing: a process a workload, so that what its points share is made once; `abreast` at once.

        ServerError where the server dies of it; what was made before stays.
        """
        todo: dict[tuple[str, str, int], dict[str, Planned]] = defaultdict(dict)
        wanted = {self._key(planned): planned for planned in cases}
        self._found |= {key: self._found.pop(key) for key in wanted if key in self._found}  # what was used last is last
        for key, planned in wanted.items():
            case, known = planned.case, self._found.get(key)
            if known is not None and (isinstance(known, Answer) or known.is_dir()):  # it may have been taken away
                continue
            if _ours(planned) and (self._cache / key / "reference").is_dir():
                (self._cache / key).touch()
                self._found[key] = self._cache / key
            else:
                todo[case.workload, case.dtype, case.seed].setdefault(key, planned)
        if todo:
            self._make_room(room_bytes(planned for points in todo.values() for planned in points.values()), wanted)
            self._made(list(todo.values()), abreast)

    def _make_room(self, needed: int, wanted: Container[str]) -> None:
        """Forget what was used longest ago and is not `wanted` now, until there is room for that many bytes more."""
        of_run = [
            (key, folder)
            for key, folder in self._found.items()
            if key not in wanted and isinstance(folder, Path) and folder.parent == self._scratch
        ]
        for key, folder in of_run:
            if not needed or free_bytes(self._scratch) >= needed + SPARE_BYTES:
                return
            shutil.rmtree(folder, ignore_errors=True)
            del self._found[key]

    def refuse(self, cases: Iterable[Planned], reason: str) -> None:
        """Answer for those of the cases that have none yet: none will be made."""
        for planned in cases:
            self._found.setdefault(self._key(planned), refused(f"no inputs or reference: {reason}"))

    def _made(self, wanted: list[dict[str, Planned]], abreast: int) -> None:
        answers = self._server().each([self._job(points) for points in wanted], self._timeout_s, abreast)
        single = []
        for points, answer in zip(wanted, answers, strict=True):
            if answer.measured.status == "ok":
                self._found.update({key: self._kept(key, planned) for key, planned in points.items()})
            elif len(points) == 1:
                why = refused(f"no inputs or reference: {answer.measured.reason}", answer.log)
                self._found.update(dict.fromkeys(points, why))
            else:  # one bad point must not take the others with it
                single += [{key: planned} for key, planned in points.items()]
        if single:
            self._made(single, abreast)

    def _job(self, points: Mapping[str, Planned]) -> DataJob:
        case = next(iter(points.values())).case
        return DataJob(
            workload=case.workload,
            points=[(p.case.params, p.case.mode) for p in points.values()],
            dtype=case.dtype,
            seed=case.seed,
            folders=[str(self._scratch / key) for key in points],
            threads=self._threads,
        )

    def _kept(self, key: str, planned: Planned) -> Path:
        """Where the folder that was just made is to stay; appears there whole or not at all."""
        made = self._scratch / key
        if not _ours(planned) or sum(file.stat().st_size for file in made.rglob("*.npy")) > KEPT_BYTES:
            return made
        try:
            self._cache.mkdir(parents=True, exist_ok=True)
            partial = self._cache / f".{key}.partial"
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(made, partial)
            partial.rename(self._cache / key)
        except OSError:  # a full disk, or another run that was quicker: then it is ours for this run only
            return made
        shutil.rmtree(made)
        return self._cache / key

    def trim(self) -> None:
        """Forget what was used longest ago, until the rest is within CACHE_BYTES."""
        if not self._cache.is_dir():
            return
        folders = sorted(self._cache.iterdir(), key=lambda folder: folder.stat().st_mtime, reverse=True)
        held = 0
        for folder in folders:
            held += sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
            if held > CACHE_BYTES:
                shutil.rmtree(folder, ignore_errors=True)

    def _key(self, planned: Planned) -> str:
        c = planned.case
        text = msgspec.json.encode([c.workload, c.params, c.mode, c.dtype, c.seed], order="deterministic")
        return hashlib.sha256(self._sources + text).hexdigest()[:16]


def _ours(planned: Planned) -> bool:
    """Whether the digest of our sources and the axes say all that decides it: of no workload of the user's.

    The pattern of a file is named by its content.
    """
    return (WORKLOADS / f"{planned.case.workload}.py").is_file()
