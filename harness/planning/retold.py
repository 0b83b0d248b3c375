"""The request of a run that is over, from what its run.json says: the words of its command line and its settings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from backends.ops import Scalar
from harness.planning.plan import Ask

FLAGS = frozenset({"--resume", "--exhaustive", "--dry-run", "--json", "--debug", "--no-wait", "--tf32"})  # of `run`
_NAMES = ("workload", "backend", "device", "dtype", "execution", "formulation")


def ask_of(command: Sequence[str], preset: Scalar, seed: Scalar) -> Ask | None:
    """What was asked to be planned; None where points were of files, which are not at hand to be planned again.

    The words are those of `hwlottery run`, which were followed when they were typed: what they do not bear is left out.
    """
    given: dict[str, list[str]] = defaultdict(list)
    words = iter(command)
    for word in words:
        if not word.startswith("--") or word in FLAGS:
            continue
        option, equals, value = word[2:].partition("=")
        given[option].append(value if equals else next(words, ""))
    if given["matrix"] or given["smtx"] or given["workload-file"]:
        return None
    names = {name: tuple(part.strip() for text in given[name] for part in text.split(",")) for name in _NAMES}
    return Ask(
        preset=str(preset),
        workloads=names["workload"],
        backends=names["backend"],
        devices=names["device"] or ("cpu",),
        dtypes=names["dtype"] or ("float32",),
        executions=names["execution"],
        formulations=names["formulation"],
        seed=seed if isinstance(seed, int) else 0,
        axes=_axes(given["set"]),
    )


def _axes(settings: Sequence[str]) -> dict[str, tuple[int | float | str, ...]]:
    out: dict[str, dict[int | float | str, None]] = defaultdict(dict)
    for text in settings:
        axis, _, values = text.partition("=")
        out[axis].update(dict.fromkeys(map(number, values.split(","))))
    return {axis: tuple(values) for axis, values in out.items()}


def number(text: str) -> int | float | str:
    """The value of an axis as it was typed: a number where it is one."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
