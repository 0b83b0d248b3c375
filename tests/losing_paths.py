"""Writes into each workload's file which formulations lose, and by how much, from the stored run of `standard`.

`python tests/losing_paths.py` writes it; test_losing_paths.py checks that nothing has drifted.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STORED = ROOT / "results" / "standard-cpu"
FRAMEWORKS = ("torch", "jax", "tensorflow")
BEGIN = "What a formulation takes over the best of its framework, each in its best execution (results/standard-cpu):"
END = "Most ran in one process, alone: a difference under a fifth is noise. `-` is unsupported.\n"
COMMON = {"pattern": "magnitude", "grads": "both"}  # the same throughout


def tables(workload, records: Iterable) -> str:
    """A table for each mode and point at which every formulation ran in every framework."""
    from harness.stats.process_times import centre

    found: dict[tuple[str, str], dict[tuple[str, str], list]] = {}
    ran: set[tuple[str, str]] = set()
    for record in records:
        c = record.case
        if c.workload == workload.name and not record.control:
            point = " ".join(f"{k}={v}" for k, v in c.params.items() if COMMON.get(k) != v)
            at = found.setdefault((c.mode, point), {})
            at.setdefault((c.formulation, c.backend), []).append(record)
            ran.add((c.mode, c.formulation))
    out = []
    for (mode, point), cases in sorted(found.items()):
        params = next(iter(cases.values()))[0].case.params
        known = [n for n, f in workload.formulations[mode].items() if f.applies(params)]
        tried = [name for name in known if (mode, name) in ran]
        if len(tried) < 2 or any((name, framework) not in cases for name in tried for framework in FRAMEWORKS):
            continue
        times = {
            place: min((t for r in rs if (t := centre(r)) is not None), default=None) for place, rs in cases.items()
        }
        best = {
            f: min((t for (_, g), t in times.items() if g == f and t is not None), default=None) for f in FRAMEWORKS
        }
        out += [f"{mode}, {point}", f"    {'':20}" + "".join(f"{name:>12}" for name in FRAMEWORKS)]
        for name in known:
            cells = [_cell(times.get((name, f)), best[f], cases.get((name, f), [])) for f in FRAMEWORKS]
            out.append(f"    {name:20}" + "".join(f"{cell:>12}" for cell in cells))
        out.append("")
    return "\n".join(out)


def _cell(seconds: float | None, best: float | None, records: Sequence) -> str:
    """The ratio, or the status of a formulation that has no time; `new` where the run did not know it yet."""
    if not records:
        return "new"
    if seconds is None or best is None:
        statuses = {record.status for record in records} - {"unsupported"}
        return min(statuses, default="-")
    ratio = seconds / best
    return "best" if ratio == 1 else f"{ratio:.1f}" if ratio < 9.95 else f"{ratio:.0f}"


def regenerated(text: str, workload, records: Iterable) -> str:
    """The file with its table made anew; ValueError where it has no place for one."""
    pattern = re.compile(rf"({re.escape(BEGIN)}\n\n).*?({re.escape(END)})", re.DOTALL)
    text, count = pattern.subn(lambda match: f"{match[1]}{tables(workload, records)}\n{match[2]}", text)
    if count != 1:
        raise ValueError(f"{workload.name}: its file must have one table of losing paths, found {count}")
    return text


def files() -> Mapping[str, Path]:
    """Those that have more than one formulation to choose from."""
    from workloads.discovery import workloads

    several = {n for n, w in workloads()[0].items() if any(len(by) > 1 for by in w.formulations.values())}
    return {name: ROOT / "workloads" / f"{name}.py" for name in sorted(several - {"stream"})}


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    from harness.records.store import load

    stored = load(STORED).records
    for name, path in files().items():
        path.write_text(regenerated(path.read_text(), importlib.import_module(f"workloads.{name}").WORKLOAD, stored))
