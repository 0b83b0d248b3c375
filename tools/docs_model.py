"""Blocks about the model: the keys of a device file, and the errors that were found against stored runs."""

from __future__ import annotations

import json
from typing import Any

from harness.modelling.class_errors import ClassError
from harness.modelling.device_schema import json_schema
from harness.modelling.reasons import CHOICE, REASONS
from harness.modelling.validated import HeldRun, held
from tools.docs_pages import Block, table


def schema_file() -> str:
    """JSON Schema (2020-12) of a device file, as the text of a file."""
    found = json_schema()
    for part in found["$defs"].values():
        if "description" in part:
            part["description"] = " ".join(part["description"].split())
    whole = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "A device as its file describes it"}
    return json.dumps(whole | found, indent=1, ensure_ascii=False) + "\n"


def device_keys(_: Block) -> str:
    """Every key of a device file with its unit, range, and where its value is from; none has a default but unknown."""
    parts = json_schema()["$defs"]
    rows: list[list[str]] = []
    for key, part in parts["FrameworkPart"]["properties"].items():
        rows += _keys(key, parts[_reference(part)], parts)
    rows += [row for key in ("limits", "energy") for row in _keys(key, parts[_of("ModelDevice", key, parts)], parts)]
    return table(["key", "unit", "from … to", "where it is from"], rows)


def _of(name: str, key: str, parts: dict[str, Any]) -> str:
    return _reference(parts[name]["properties"][key])


def _reference(part: dict[str, Any]) -> str:
    found: str = (
        part["$ref"] if "$ref" in part else next(p["$ref"] for p in part["allOf" if "allOf" in part else "anyOf"])
    )
    return found.rpartition("/")[2]


def _keys(key: str, section: dict[str, Any], parts: dict[str, Any]) -> list[list[str]]:
    rows: list[list[str]] = []
    for name, part in section["properties"].items():
        if "$ref" in part:  # a table within the section
            rows += _keys(f"{key}.{name}", parts[_reference(part)], parts)
            continue
        for suffix, number in _numbers(part, parts):
            bounds = f"{number['minimum']:g} … {number['maximum']:g}" if "minimum" in number else "true or false"
            unit = number.get("unit", "")
            rows.append([f"`{key}.{name}{suffix}`", unit, bounds, number.get("source", "the author of the file")])
    return rows


def _numbers(part: dict[str, Any], parts: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The number, or numbers, that a key holds, with what follows the key."""
    if "anyOf" in part:
        return [found for several in part["anyOf"] for found in _numbers(several, parts)]
    if part.get("type") in ("number", "integer", "boolean"):
        return [("", part)]
    if part.get("type") == "object":
        return [(".…", number) for _, number in _numbers(part["additionalProperties"], parts)]
    if part.get("type") == "array":
        if "prefixItems" in part:
            return [("", part["prefixItems"][0])]
        inner = parts[_reference(part["items"])]
        return [
            (f"[].{name}", number)
            for name, field in inner["properties"].items()
            for _, number in _numbers(field, parts)
        ]
    return []


def model_errors(_: Block) -> str:
    """All runs together, with which class has a break-even and why not; then by run and class, and regret below."""
    names = ["class", "cases", "median", "95 %", "chosen well", "break-even", "why it is off"]
    out = []
    for title, errors in (
        ("What `whatif` says of a device that gives all that a calibration gives", held().calibrated),
        ("What it says of any other device: all runs together", held().errors),
    ):
        out += [f"**{title}**", "", table(names, [_told(e) for e in errors]), ""]
    for run in held().runs:
        shapes, loads = ({e.name: e for e in several} for several in (run.shapes, run.workloads))
        choices = {c.name: f"{c.within} of {c.points}" for c in run.choices}
        rows = [
            [
                *(e.name, str(e.cases), _share(e.median_error), _share(e.p95_error), f"{e.bias:.2f}"),
                *(_median(shapes, e.name), _median(loads, e.name), choices.get(e.name, "–")),
            ]
            for e in run.errors
        ]
        names = [
            *("class", "cases", "median", "95 %", "reckoned / measured", "leave a shape out", "leave a workload out"),
            "chosen well",
        ]
        out += [f"**{run.run}**", "", table(names, rows), "", _regret(run), ""]
    return "\n".join(out).strip()


def _told(error: ClassError) -> list[str]:
    told = "told" if error.breaks_even else "not told"
    chosen = f"{error.within} of {error.points}" if error.points else "–"
    figures = [_share(error.median_error), _share(error.p95_error), chosen]
    why = [*([] if error.near else [REASONS[error.kind]]), *([] if error.chooses else [CHOICE])]
    return [error.name, str(error.cases), *figures, told, "; ".join(why) or "–"]


def left_out(_: Block) -> str:
    """How good what other machines recommend is on one that is left out."""
    rows = [[t.run, f"{t.within} of {t.points}"] for t in held().transfers]
    return table(["machine left out", "points within 1.1 of its own best"], rows)


def _regret(run: HeldRun) -> str:
    left = "; ".join(f"{why.replace(run.device, 'the device')}: {count}" for why, count in sorted(run.left_out.items()))
    of = f"{run.within} of {run.points} points"
    chosen = f"The formulation that the model chooses takes at most 1.1 times the best in {of}."
    return f"{chosen} Measured cases without a figure, and why: {left or 'none'}."


def _share(value: float) -> str:
    return f"{100 * value:.0f} %"


def _median(errors: dict[str, ClassError], name: str) -> str:
    return _share(errors[name].median_error) if name in errors else "–"
