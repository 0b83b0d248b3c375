"""What is known of an author's function: where it stands, what it asks for by name, and where in it an error arose."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any


class WorkloadError(ValueError):
    """A workload is not as it must be; one sentence with the place and what to do."""


def _code(function: Callable[..., Any]) -> CodeType | None:
    bare = inspect.unwrap(function)
    while isinstance(getattr(bare, "func", None), Callable):
        bare = inspect.unwrap(bare.func)  # type: ignore[attr-defined]
    return getattr(bare, "__code__", None)


def where(function: Callable[..., Any]) -> str:
    """`FILE:LINE` of a function as it was written, or its name where it has no source."""
    code = _code(function)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else repr(function)


def raised_at(error: BaseException, function: Callable[..., Any]) -> str:
    """`FILE:LINE` of the innermost line of the author's file at which an error arose in `function`.

    The author's file is that of `function`; without a frame in it, the innermost frame there is.
    """
    code = _code(function)
    places = []
    step = error.__traceback__
    while step is not None:
        places.append((step.tb_frame.f_code.co_filename, step.tb_lineno))
        step = step.tb_next
    own = [place for place in places if code is not None and place[0] == code.co_filename]
    if not own:
        return where(function)
    return f"{own[-1][0]}:{own[-1][1]}"


def short(place: str, against: Path | None = None) -> str:
    """`FILE:LINE` with the file relative to the working directory where it lies below it."""
    path, _, line = place.rpartition(":")
    base = against or Path.cwd()
    file = Path(path)
    return f"{file.relative_to(base) if path and file.is_relative_to(base) else file}:{line}"


@dataclass(frozen=True, slots=True)
class Named:
    """An author's function that is called by the names of its parameters, so that it asks for what it needs and no more.

    `names` are its parameters, `needed` those without a default, `rest` whether it takes `**others` as well.
    """

    function: Callable[..., Any]
    what: str  # "the reference of vector_norm"
    names: tuple[str, ...]
    needed: tuple[str, ...]
    rest: bool

    @classmethod
    def of(cls, function: Callable[..., Any], what: str) -> Named:
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
