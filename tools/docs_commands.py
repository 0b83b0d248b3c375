"""Commands that pages name: each must parse, and each option that is named must exist, run or not."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click

from tools import docs_sources as sources
from tools.docs_pages import fenced

_STARTS = (("hwlottery",), ("python", "-m", "harness"))
_OPTION = re.compile(r"`(--[a-z][\w-]*)")
# Options of other programs that pages name.
_FOREIGN = {"--format=freeze", "--only-binary", "--benchmark-only", "--pre"}


def faults(page: Path, text: str) -> Iterator[str]:
    """A sentence for each command line that does not parse and each option that nothing has."""
    for line in _lines(text):
        words = shlex.split(line.partition(" | ")[0].partition(" > ")[0].partition(" && ")[0], comments=True)
        for start in _STARTS:
            if tuple(words[: len(start)]) == start:
                said = _parsed(words[len(start) :])
                if said:
                    yield f"{page}: `{line}` is no command of ours: {said}"
        if words[:1] == ["python"] and words[1:] and words[1].startswith("tools/"):
            for said in _script(words[1], words[2:]):
                yield f"{page}: `{line}` {said}"
    known = _options()
    for option in sorted(set(_OPTION.findall(text)) - known - _FOREIGN):
        yield f"{page}: no command has the option {option}"


def _lines(text: str) -> list[str]:
    found = [line.strip() for body in fenced(text, "console") for line in body.splitlines()]
    lines = [line.removeprefix("$ ") for line in found if line.startswith("$ ")]
    inline = re.findall(r"`((?:hwlottery|python -m harness|python tools/[^\s`]+)[^`\n]*)`", text)
    return [*lines, *(line for line in inline if "…" not in line and "[OPTIONS]" not in line)]


def _parsed(words: list[str]) -> str | None:
    """What is wrong with the arguments; None where nothing is."""
    verbs = sources.commands()
    if not words or words[0].startswith("-"):
        return None
    if words[0] not in verbs:
        return f"there is no verb {words[0]!r}"
    try:
        verbs[words[0]].make_context(words[0], list(words[1:]))
    except click.exceptions.NoArgsIsHelpError:
        return None
    except click.MissingParameter:
        return None if len(words) == 1 else "an argument is missing"  # the verb alone is a name
    except click.UsageError as error:
        return error.format_message()
    except click.exceptions.Exit:
        return None
    return None


def _script(path: str, words: list[str]) -> Iterator[str]:
    """What is wrong with the call of a script in tools/."""
    file = sources.ROOT / path
    if not file.is_file():
        yield "names a file that is not there"
        return
    content = file.read_text(encoding="utf-8")
    asked = words[: words.index("--")] if "--" in words else words
    yield from (f"has no option {word}" for word in asked if word.startswith("--") and f'"{word}"' not in content)


def _options() -> set[str]:
    """Every option of ours: of the command line and of the scripts in tools/."""
    ours = {"--help", "--debug", "--version"}
    queue = list(sources.commands().values())
    while queue:
        command = queue.pop()
        queue += command.commands.values() if isinstance(command, click.Group) else []
        ours |= {option for parameter in command.params for option in parameter.opts}
    for path in sources.source_files("tools"):
        ours |= set(re.findall(r'add_argument\("(--[\w-]+)"', path.read_text(encoding="utf-8")))
    return ours
