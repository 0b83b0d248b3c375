"""The errors that were found when the model was last held to stored runs: every figure carries that of its class.

Made by `python tools/model_errors.py --write`; nobody types into it.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import msgspec

from harness.modelling.class_errors import ClassError, ClassRegret
from harness.modelling.device_parts import unknown
from harness.modelling.device_schema import ModelDevice

TABLE = Path(__file__).with_name("validated.json")


class HeldRun(msgspec.Struct, frozen=True, kw_only=True):
    """One stored run, by a device: errors by class and framework, with a factor learnt from other shapes and from other
    workloads, by workload; regret, by class as well; and how many measured cases have no figure, by why.
    """

    run: str
    device: str
    errors: list[ClassError]
    shapes: list[ClassError]
    workloads: list[ClassError]
    by_workload: list[ClassError]
    points: int
    within: int
    choices: list[ClassRegret]
    left_out: dict[str, int]


class HeldTransfer(msgspec.Struct, frozen=True, kw_only=True):
    """A machine left out: in `within` of `points` what the others recommend takes at most 1.1 times its own best."""

    run: str
    points: int
    within: int


class HeldRuns(msgspec.Struct, frozen=True, kw_only=True):
    """All of them, and the errors of their cases together; `calibrated` are those of devices calibrated in full.

    How well the model chooses in a class is of all runs in both: of one run there are too few points to tell.
    """

    errors: list[ClassError]
    calibrated: list[ClassError]
    runs: list[HeldRun]
    transfers: list[HeldTransfer]


@cache
def held() -> HeldRuns:
    """What the package holds."""
    return msgspec.json.decode(TABLE.read_bytes(), type=HeldRuns)


def known_errors(device: ModelDevice) -> dict[str, ClassError]:
    """By "class framework", such as "dense torch"; "dense any" for a device by itself.

    A device that gives all that a calibration gives has the errors of such, where a class has enough cases of them; any
    other has those of all runs.
    """
    full = not unknown(msgspec.to_builtins(device))
    return {error.name: error for error in (*held().errors, *(held().calibrated if full else ()))}
