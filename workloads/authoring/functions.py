"""What is known of an author's function: where it stands, what it asks for by name, and where in it an error arose."""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, TypeVar


class WorkloadError(ValueError):
    """A workload is not as it must be; one sentence with the place and what to do."""


_PACKAGE = Path(__file__).resolve().parents[1]
_ROOT = _PACKAGE.parent
# Frames in these are not an author's: what calls his functions, the frameworks, Python itself.
_MACHINERY = (
    *(_PACKAGE / name for name in ("authoring", "base.py", "conformance.py", "facts.py")),
    *(_ROOT / name for name in ("backends", "harness")),
    Path(sys.prefix),
    Path(sys.base_prefix) / "lib",
)


def _code(function: Callable[..., Any]) -> CodeType | None:
    bare: Any = inspect.unwrap(function)
    while isinstance(bare, partial):
        bare = inspect.unwrap(bare.func)
    code: CodeType | None = getattr(bare, "__code__", None)
    return code


def _shown(path: str, line: int) -> str:
    """`FILE:LINE`, relative to the working directory where it lies below it."""
    file, here = Path(path), Path.cwd()
    return f"{file.relative_to(here) if file.is_relative_to(here) else file}:{line}"


Placed = TypeVar("Placed", bound=Callable[..., Any])


def placed(function: Placed, frame: FrameType) -> Placed:
    """`function`, made for an author by a call of ours in `frame`: there it stands, for `where`."""
    function.author_place = _shown(frame.f_code.co_filename, frame.f_lineno)  # type: ignore[attr-defined]
    return function


def where(function: Callable[..., Any]) -> str:
    """`FILE:LINE` of a function as its author wrote it, or its name where it has no source."""
    place: str | None = getattr(inspect.unwrap(function), "author_place", None)
    if place is not None:
        return place
    code = _code(function)
    return _shown(code.co_filename, code.co_firstlineno) if code else repr(inspect.unwrap(function))


def _authors_line(error: BaseException, own: str | None) -> tuple[str, int] | None:
    found = None
    step = error.__traceback__
    while step is not None:
        name = step.tb_frame.f_code.co_filename
        file = Path(name)
        if name == own or (file.is_file() and not any(file.is_relative_to(folder) for folder in _MACHINERY)):
            found = name, step.tb_lineno
        step = step.tb_next
    return found


def raised_at(error: BaseException, function: Callable[..., Any]) -> str:
    """`FILE:LINE` of the innermost line of an author's file at which `error` arose; of `function` if there is none."""
    code = _code(function)
    # its own file counts even where it is installed beside the frameworks
    found = _authors_line(error, code.co_filename if code else None)
    return where(function) if found is None else _shown(*found)


def line_of(error: BaseException, function: Callable[..., Any]) -> str | None:
    """As `raised_at`, the file's name alone, since a record tells nobody's folders; None where no author's line is."""
    code = _code(function)
    found = _authors_line(error, code.co_filename if code else None)
    return None if found is None else f"{Path(found[0]).name}:{found[1]}"


@dataclass(frozen=True, slots=True)
class ByName:
    """An author's function that is called by the names of its parameters: it asks for what it needs and no more.

    `names` are its parameters, `needed` those without a default, `rest` whether it takes `**others` as well.
    """

    function: Callable[..., Any]
    what: str  # "the reference of vector_norm"
    names: tuple[str, ...]
    needed: tuple[str, ...]
    rest: bool

    @classmethod
    def of(cls, function: Callable[..., Any], what: str) -> ByName:
        """WorkloadError where a parameter has no name to call it by."""
        parameters = inspect.signature(function).parameters.values()
        for parameter in parameters:
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL):
                raise WorkloadError(
                    f"{where(function)}: {what} is called by the names of its parameters, and {parameter} has none; "
                    "name each, or take **others"
                )
        named = [p for p in parameters if p.kind is not p.VAR_KEYWORD]
        return cls(
            function,
            what,
            tuple(p.name for p in named),
            tuple(p.name for p in named if p.default is p.empty),
            len(named) < len(parameters),
        )

    def __call__(self, given: Mapping[str, Any], extra: Mapping[str, Any]) -> Any:
        """Call it with what it names of `given` and `extra`; `**others` are the rest of `given`.

        WorkloadError with file and line where it names what there is not.
        """
        known = {**given, **extra}
        missing = [name for name in self.needed if name not in known]
        if missing:
            raise WorkloadError(
                f"{where(self.function)}: {self.what} asks for {missing[0]!r}, and there is {', '.join(known)}"
            )
        asked = {name: known[name] for name in self.names if name in known}
        others = {name: v for name, v in given.items() if name not in asked} if self.rest else {}
        return self.function(**asked, **others)


def returned_names(function: Callable[..., Any]) -> tuple[str, ...] | None:
    """The keys that a function returns, read in its source: None unless every `return` is a dict of the same words."""
    try:
        source = textwrap.dedent(inspect.getsource(inspect.unwrap(function)))
        (definition,) = ast.parse(source).body
    except (OSError, TypeError, SyntaxError, ValueError):
        return None
    if not isinstance(definition, ast.FunctionDef):
        return None
    found = {_keys(node.value) for node in _own(definition) if isinstance(node, ast.Return)}
    return found.pop() if len(found) == 1 else None


def _own(node: ast.AST) -> list[ast.AST]:
    """Everything below a node but what stands in functions of its own."""
    out: list[ast.AST] = []
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.Lambda | ast.AsyncFunctionDef):
            out += [child, *_own(child)]
    return out


def _keys(value: ast.expr | None) -> tuple[str, ...] | None:
    if not isinstance(value, ast.Dict):
        return None
    words = [key.value for key in value.keys if isinstance(key, ast.Constant) and isinstance(key.value, str)]
    return tuple(words) if len(words) == len(value.keys) and words else None
