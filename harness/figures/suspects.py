"""Where every path is wrong alike, no framework is to blame: the reference is, or an input that is ill-conditioned."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import msgspec

from harness.records.record import Record

ALIKE = 1.1  # the largest of the errors over the smallest, up to which they are the same


class Suspect(msgspec.Struct, frozen=True, kw_only=True):
    """A computation of which every output that was checked is wrong, by several formulations or on several backends.

    `error_low` and `error_high` are the smallest and the largest of its errors, relative to the largest value of the
    reference; None where one of them is unknown, as that of an output which is not finite is. `alike` says whether
    they are the same within a tenth.
    """

    run: str
    workload: str
    point: str
    mode: str
    dtype: str
    backends: list[str]
    formulations: list[str]
    cases: int
    error_low: float | None
    error_high: float | None

    @property
    def alike(self) -> bool:
        """Whether all are wrong by the same."""
        return bool(self.error_low and self.error_high and self.error_high <= ALIKE * self.error_low)

    @property
    def sentence(self) -> str:
        """The finding in words, without what it is about."""
        where = " and ".join(filter(None, (", ".join(self.backends[:-1]), self.backends[-1])))
        by = ""
        if self.error_low is not None and self.error_high is not None:
            errors = f"{self.error_low:.2g}" if self.alike else f"{self.error_low:.2g} to {self.error_high:.2g}"
            by = f", by {errors} of the largest value"
        who = "the reference" if self.alike else "the reference, or an input that is ill-conditioned,"
        only = " or its only formulation" if len(self.formulations) == 1 else ""
        return f"all {self.cases} paths are wrong on {where}{by}: {who}{only} is suspect, not the frameworks"


def suspects(records: Iterable[Record]) -> list[Suspect]:
    """Every computation of which two paths or more gave an output and none agreed with the reference.

    Two paths are two formulations or two backends; executions of one formulation share its mistakes and count once.
    What gave no output (unsupported, crash, …) says nothing here.
    """
    checked = [record for record in records if record.status in ("ok", "wrong")]
    groups: dict[tuple[str, ...], list[Record]] = defaultdict(list)
    for record in checked:
        if record.status == "wrong":
            groups[_place(record)].append(record)
    agreed = {_place(record) for record in checked if record.status == "ok"} if groups else set()
    out = []
    for (run, workload, point, mode, dtype), group in groups.items():
        paths = {(record.case.backend, record.case.formulation) for record in group}
        if len(paths) < 2 or (run, workload, point, mode, dtype) in agreed:
            continue
        errors = [record.verdict.max_rel_error if record.verdict else None for record in group]
        known = [error for error in errors if error is not None and error == error]
        sure = len(known) == len(errors)
        out.append(
            Suspect(
                run=run,
                workload=workload,
                point=point,
                mode=mode,
                dtype=dtype,
                backends=sorted({backend for backend, _ in paths}),
                formulations=sorted({formulation for _, formulation in paths}),
                cases=len(group),
                error_low=min(known) if sure else None,
                error_high=max(known) if sure else None,
            )
        )
    return out


def _place(record: Record) -> tuple[str, ...]:
    case = record.case
    return (record.run, case.workload, case.point, case.mode, case.dtype)
