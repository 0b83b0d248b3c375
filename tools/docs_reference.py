"""Pages of the reference that are generated: the commands from their help, the record format as JSON Schema."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import click
import msgspec

from tools import docs_sources as sources
from tools.docs_pages import Block, table

_WIDTH = 100


def commands(_: Block) -> str:
    """Every command with its arguments and options, in the words of its help."""
    out = []
    for name, command in sources.commands().items():
        out += [f"## {name}", "", *_command(f"hwlottery {name}", command), ""]
    return "\n".join(out).strip()


def _command(name: str, command: click.Command) -> Iterator[str]:
    context = click.Context(command, info_name=name, max_content_width=_WIDTH, terminal_width=_WIDTH)
    usage = " ".join(command.get_usage(context).removeprefix("Usage: ").split())
    yield f"`{usage}`"
    yield ""
    yield _paragraphs(command.help or "")
    if isinstance(command, click.Group):
        for inner, each in command.commands.items():
            yield ""
            yield from _command(f"{name} {inner}", each)
    rows = [
        [", ".join(f"`{opt}`" for opt in (*parameter.opts, *parameter.secondary_opts)), _escaped(record[1])]
        for parameter in command.params
        if isinstance(parameter, click.Option) and (record := parameter.get_help_record(context)) is not None
    ]
    if rows:
        yield ""
        yield table(["option", "meaning"], rows)


def _paragraphs(text: str) -> str:
    """Help as Markdown: paragraphs filled, what stands apart kept apart."""
    parts = re.split(r"\n\s*\n", text.replace("\b\n", "").strip())
    return "\n\n".join(_escaped(" ".join(part.split())) for part in parts)


def _escaped(text: str) -> str:
    return re.sub(r"([|<>])", r"\\\1", " ".join(text.split()))


# -- the record format -------------------------------------------------------------------------------------------------


def schema(name: str) -> dict[str, Any]:
    """JSON Schema (2020-12) of a line of records.jsonl or of run.json."""
    found = msgspec.json.schema(sources.structs()[name])
    for part in found["$defs"].values():
        part["description"] = " ".join(part.get("description", "").split())
    title = "One case and everything learnt from it" if name == "records.jsonl" else "What all records of a run share"
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title, **found}


def schema_file(name: str) -> str:
    """The same as the text of a file."""
    return json.dumps(schema(name), indent=1, ensure_ascii=False) + "\n"


def fields(block: Block) -> str:
    """The fields of every part of a record, with their types."""
    parts: dict[str, Any] = {}
    for name in sources.structs():
        parts |= schema(name)["$defs"]
    out = []
    for name in block.words or tuple(parts):
        part = parts[name]
        out += [f"## {name}", "", part["description"], ""]
        needed = set(part.get("required", ()))
        rows = [[f"`{k}`", _type(v), "" if k in needed else "may be absent"] for k, v in part["properties"].items()]
        out += [table(["field", "type", ""], rows), ""]
    return "\n".join(out).strip()


def core(_: Block) -> str:
    """The methods that every backend writes."""
    names = sources.core()
    return f"the {len(names)} methods of its core: {', '.join(f'`{name}`' for name in names)}"


def columns(_: Block) -> str:
    """The columns of the data frame."""
    return table(["column", "meaning and unit"], [[f"`{k}`", _escaped(v)] for k, v in sources.columns().items()])


def _type(kind: Mapping[str, Any]) -> str:
    """A JSON Schema type in words."""
    if "$ref" in kind:
        name = str(kind["$ref"]).rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in kind:
        return " or ".join(_type(each) for each in kind["anyOf"])
    if "enum" in kind:
        return ", ".join("null" if value is None else f"`{value}`" for value in kind["enum"])
    if kind.get("type") == "array":
        return f"list of {_type(kind['items'])}" if "items" in kind else "list"
    if kind.get("type") == "object":
        inner = kind.get("additionalProperties")
        return f"object of {_type(inner)}" if isinstance(inner, Mapping) else "object"
    return str(kind.get("type", "any value"))
