"""A case that is compiled and not run, because its device is not here."""

from __future__ import annotations

from collections.abc import Callable

from backends import aot
from backends.ahead import Ahead
from backends.discovery import backends
from backends.ops import Device, Unsupported
from harness.measuring.hlo_estimate import estimate
from harness.records.record import FailureClass
from harness.worker import outcome
from harness.worker.messages import CaseJob, Measured
from workloads.base import Formulation, Inputs


def case(job: CaseJob, formulation: Formulation, load: Callable[[], Inputs], phase: Callable[[str], None]) -> Measured:
    """Compile the case for the chip that it names; `load` gives its host inputs. Unsupported is raised before that.

    What the compiler refuses is `unsupported` with its words. Nothing is run, so nothing is checked and no time is
    measured; the seconds to compile are this machine's and say nothing of the chip.
    """
    name, device = job.case.backend, Device.parse(job.case.device)
    if job.case.execution != "compiled":
        raise Unsupported(
            f"{device} is compiled for and not run: it has the execution compiled, not {job.case.execution}"
        )
    backend = backends()[0][name]
    no_route = f"{backend.title} has no route to the {aot.COMPILERS[device.kind].name}"
    if not backend.ahead:
        raise Unsupported(no_route)
    phase(f"describing {device}")
    ops = backend.open(device)
    if not isinstance(ops, Ahead):
        raise Unsupported(no_route)
    phase("preparing operands")
    operands = list(formulation.prepare(ops, load(), job.case.params))
    phase(f"compiling for {device.chip}")
    try:
        program = ops.program(formulation.step(ops, job.case.params), operands)
    except Unsupported as refusal:
        status, kind, reason = outcome.of_refusal(str(refusal))
        return Measured(status=status, reason=reason, failure_class=_class(str(refusal), kind), settings=ops.settings())
    found = estimate(program, str(device.chip))
    return Measured(
        status="estimated",
        estimate=found,
        settings=ops.settings(),
        fallback="; ".join((*program.fallbacks, *found.loops)) or None,
    )


def _class(words: str, kind: FailureClass) -> FailureClass:
    if "RESOURCE_EXHAUSTED" in words or "Ran out of memory" in words:
        return "memory"
    return "other" if words.startswith(("INTERNAL", "INVALID_ARGUMENT")) else kind
