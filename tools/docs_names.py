"""Tables that must name everything of a kind: each name in backquotes in the first column, in a block `names KIND`."""

from __future__ import annotations

import ast
import re
import tomllib
import typing
from collections.abc import Callable, Mapping
from functools import cache

from tools import docs_sources as sources
from tools.docs_pages import Block, PageError

VARIABLE = re.compile(r"\bHWLOTTERY_[A-Z][A-Z_]*[A-Z]\b")


def names(block: Block) -> str:
    """The block as it is; PageError where it lacks a name or has one that is not in the code."""
    (kind,) = block.words
    if kind not in KINDS:
        raise PageError(f"{block.page}: no names are called {kind!r}; there are {', '.join(sorted(KINDS))}")
    found = set(re.findall(r"^\| `([^`]+)`", block.body, re.MULTILINE))
    expected = KINDS[kind]()
    if found != expected:
        lacking = ", ".join(sorted(expected - found)) or "none"
        unknown = ", ".join(sorted(found - expected)) or "none"
        raise PageError(
            f"{block.page}: the table of {kind} must name what the code has: missing {lacking}; unknown {unknown}"
        )
    return block.body.strip("\n")


def environment() -> set[str]:
    """Every variable of ours that the code reads or sets."""
    files = [*sources.source_files("harness", "backends", "workloads", "tools", "tests"), sources.ROOT / "tox.ini"]
    return {name for path in files for name in VARIABLE.findall(path.read_text(encoding="utf-8"))} - _MADE_UP


_MADE_UP = {"HWLOTTERY_PLANTED", "HWLOTTERY_NO_SUCH_VARIABLE"}  # of tests of this very check


def statuses() -> set[str]:
    """How a case may end."""
    from harness.records.record import Status

    return set(typing.get_args(Status))


def failures() -> set[str]:
    """Classes of failure."""
    from harness.records.record import FailureClass

    return set(typing.get_args(FailureClass))


def fallbacks() -> set[str]:
    """What a framework may silently run instead."""
    from backends.ops import FallbackKind

    return set(typing.get_args(FallbackKind))


def energy() -> set[str]:
    """Sources of energy."""
    from harness.records.record import EnergySource

    return set(typing.get_args(EnergySource))


def extras() -> set[str]:
    """The extras of the package."""
    project = tomllib.loads((sources.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return set(project["optional-dependencies"])


def presets() -> set[str]:
    """The presets."""
    from harness.planning.plan import PRESETS

    return set(PRESETS)


def formats() -> set[str]:
    """The formats of `report`."""
    from harness.cli.formats import FORMATS

    return set(FORMATS)


def workloads() -> set[str]:
    """The workloads of this checkout."""
    from workloads.discovery import workloads as found

    return set(found()[0])


def refusals() -> set[str]:
    """Codes of refusals: the first argument of `refusal` and of `refuse`, and those that a trial's check returns."""
    return _first_strings("refusal") | _first_strings("refuse") | _returned("_trial")


def marks() -> set[str]:
    """Codes of marks of a publishable run."""
    return _keyword("Mark", "code")


def warnings() -> set[str]:
    """Codes of the warnings of the machine's state."""
    return _keyword("StateWarning", "code") | _first_strings("_above")


@cache
def _nodes() -> list[ast.Call | ast.FunctionDef]:
    trees = (ast.parse(path.read_text(encoding="utf-8")) for path in sources.source_files("harness"))
    return [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call | ast.FunctionDef)]


def _calls(name: str) -> list[ast.Call]:
    """Calls of a function, or of a method, of that name."""
    return [node for node in _nodes() if isinstance(node, ast.Call) and _named(node.func) == name]


def _named(function: ast.expr) -> str | None:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else None


def _first_strings(name: str) -> set[str]:
    return {
        str(call.args[0].value)
        for call in _calls(name)
        if call.args and isinstance(call.args[0], ast.Constant) and isinstance(call.args[0].value, str)
    }


def _keyword(name: str, keyword: str) -> set[str]:
    values = [k.value for call in _calls(name) for k in call.keywords if k.arg == keyword]
    return {str(value.value) for value in values if isinstance(value, ast.Constant)}


def _returned(function: str) -> set[str]:
    """First strings of the pairs that functions of this name return."""
    found = set()
    for node in _nodes():
        if isinstance(node, ast.FunctionDef) and node.name == function:
            returns = [n.value for n in ast.walk(node) if isinstance(n, ast.Return)]
            pairs = [v.elts[0] for v in returns if isinstance(v, ast.Tuple)]
            found |= {str(c.value) for c in pairs if isinstance(c, ast.Constant) and isinstance(c.value, str)}
    return found


KINDS: Mapping[str, Callable[[], set[str]]] = {
    "energy": energy,
    "environment": environment,
    "extras": extras,
    "failures": failures,
    "fallbacks": fallbacks,
    "formats": formats,
    "marks": marks,
    "presets": presets,
    "refusals": refusals,
    "statuses": statuses,
    "warnings": warnings,
    "workloads": workloads,
}
