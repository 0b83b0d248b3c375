"""Holds the model to stored runs: python tools/model_errors.py [--write] [RUN[=DEVICE.toml]…].

Prints the errors by class. Each run is reckoned by the device that its own ceilings describe, or by a calibrated device
file of the same machine. With --write the table that the package carries is made anew.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

import msgspec  # noqa: E402
from msgspec.structs import replace  # noqa: E402

from harness.modelling import calibration, device_file, validated  # noqa: E402
from harness.modelling.class_errors import FEWEST_CASES, REGRET  # noqa: E402
from harness.modelling.device_parts import unknown  # noqa: E402
from harness.modelling.device_schema import ModelDevice  # noqa: E402
from harness.modelling.recommend import transfers  # noqa: E402
from harness.modelling.validation import Validation, validate_device  # noqa: E402
from harness.records.store import load  # noqa: E402
from harness.report.modelled_text import validation_text  # noqa: E402
from workloads.discovery import workloads  # noqa: E402

RUNS = (
    *("results/quick-today=today", "results/quick-xeon=xeon-avx512", "results/quick-avx512=xeon-avx512"),
    *("results/quick-cpu", "results/standard-cpu"),
)
MACHINES = ("results/quick-today", "results/quick-xeon", "results/quick-cpu")  # one run of each


def held(run: str) -> tuple[ModelDevice, Validation]:
    """The device and what came of it, for RUN or RUN=DEVICE.toml."""
    name, _, file = run.partition("=")
    folder = Path(name) if Path(name).is_absolute() else ROOT / name
    records = load(folder).records
    if file:
        device = device_file.read_device(file)
    else:
        source = f"the ceilings of {name}"
        device = device_file.checked(calibration.device_of(records, name=name, source=source), name)
    return device, validate_device(device, records, workloads()[0])


def table(runs: Sequence[str]) -> validated.HeldRuns:
    """All runs and their cases together; a class counts from FEWEST_CASES."""
    every: list[validated.HeldRun] = []
    pooled, full = Validation(judged=[], left_out={}), Validation(judged=[], left_out={})
    for run in runs:
        held_to, found = held(run)
        device = held_to.name
        print("\n".join(validation_text(device, found)))
        regrets = found.regrets()
        name = run.partition("=")[0]
        every.append(
            validated.HeldRun(
                run=name,
                device=device,
                errors=found.classes(),
                shapes=found.held_out("shape"),
                workloads=found.held_out("workload"),
                by_workload=found.by("workload", "backend"),
                points=len(regrets),
                within=sum(regret <= REGRET for regret in regrets),
                choices=found.regret_by_class(),
                left_out=found.left_out,
            )
        )
        apart = [path._replace(point=(name, *path.point)) for path in found.judged]
        pooled = Validation(judged=[*pooled.judged, *apart], left_out={})
        if not unknown(msgspec.to_builtins(held_to)):
            full = Validation(judged=[*full.judged, *apart], left_out={})
    errors, calibrated = ([e for e in v.classes() if e.cases >= FEWEST_CASES] for v in (pooled, full))
    chosen = {error.name: error for error in errors}  # in few points nine tenths cannot be told: of all runs
    calibrated = [replace(e, points=chosen[e.name].points, within=chosen[e.name].within) for e in calibrated]
    return validated.HeldRuns(errors=errors, calibrated=calibrated, runs=every, transfers=transferred())


def transferred() -> list[validated.HeldTransfer]:
    """Each machine left out: of all ideas together what the other machines recommend, on MACHINES."""
    runs = [load(ROOT / name) for name in MACHINES]
    ideas = [name for name, w in workloads()[0].items() if w.role == "idea"]
    found = zip(MACHINES, transfers(runs, ideas), strict=True)
    return [validated.HeldTransfer(run=name, points=of.points, within=of.within) for name, of in found]


def main() -> int:
    """0, or the UserError of what cannot be read."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="*", default=RUNS)
    parser.add_argument("--write", action="store_true", help="make the table of the package anew")
    asked = parser.parse_args()
    made = table(asked.runs)
    if asked.write:
        text = msgspec.json.format(msgspec.json.encode(made), indent=1)
        validated.TABLE.write_bytes(text + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
