"""Takes out of a results folder what is private, before it is handed in: folders, users, hosts, secrets.

What was measured stays digit by digit: only texts change, and of these none that says what a case is.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import platform
import re
import socket
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from harness.records.store import INFO, RECORDS
from harness.records.text import without_path

# What says which case it is, or when: a text in these is part of the plan, and is looked at only.
_KEPT_OF_RECORD = frozenset({"run", "case", "twins", "status", "failure_class", "started_at"})
_KEPT_OF_INFO = frozenset({"run", "started_at", "ended_at", "versions", "sources", "distributions", "models"})
# Folders that every machine of a kind has alike, and that name nobody.
_PUBLIC_ROOTS = ("/bin", "/dev", "/etc", "/lib", "/lib64", "/proc", "/sbin", "/sys", "/usr")
_NOBODY = frozenset(
    {"admin", "builder", "ec2-user", "home", "jovyan", "localhost", "nobody", "root", "runner", "ubuntu", "user"}
)
LEAST_NAME = 3  # letters of a name that can be told from other words
LEAST_SECRET = 6  # characters of a value of the environment

_SECRET_VARIABLE = re.compile(r"TOKEN|SECRET|PASSW|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|CREDENTIAL", re.IGNORECASE)
# A path from the root, or from a home, of two parts at least: in quotes it may have blanks.
_QUOTED = re.compile(r"""(["'])((?:~\w*/|/(?!/)|[A-Za-z]:\\)[^"'\n]*)\1""")
_PATH = re.compile(
    r"""(?:file://(?=/)|(?<![\w.~/%-]))(?:~\w*/[^\s"'<>|,;:)\]}]+|/(?!/)[^\s"'<>|,;:)\]}/]+/[^\s"'<>|,;:)\]}]*)"""
)
_WINDOWS = re.compile(r"""(?<!\w)[A-Za-z]:\\[^\s"'<>|,;)\]}]+""")
_HOME = re.compile(r"(?:/home/|/Users/|\\Users\\)([A-Za-z_][\w.-]*)")
_MAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)*")
_HOLDER = re.compile(r"(process \d+) of [^,]+,")  # who held the lock of the machine, in a note


@dataclass(frozen=True, slots=True)
class Private:
    """What must not be handed in: homes, the names of users and of hosts, and secret values of the environment."""

    homes: frozenset[str]
    users: frozenset[str]
    hosts: frozenset[str]
    secrets: frozenset[str]


class StillPrivateError(ValueError):
    """Something private stands where it cannot be taken out; the message says what kind and where."""


def of_here(known: Collection[str] = ()) -> Private:
    """What is private of this machine and whoever runs this; words that are `known` names of ours are none."""
    home = os.path.expanduser("~")
    users = {os.environ.get(name, "") for name in ("USER", "LOGNAME", "USERNAME", "SUDO_USER")} | {Path(home).name}
    with contextlib.suppress(KeyError, OSError):  # a container that knows no names
        users.add(getpass.getuser())
    hosts = {socket.gethostname(), platform.node(), os.environ.get("HOSTNAME", "")}
    hosts |= {host.partition(".")[0] for host in hosts}
    secrets = {value for name, value in os.environ.items() if _SECRET_VARIABLE.search(name)}
    return Private(
        homes=frozenset({home, str(Path.home())} - {"/", "", "~"}),
        users=_names(users, known),
        hosts=_names(hosts, known),
        secrets=frozenset(value for value in secrets if len(value) >= LEAST_SECRET),
    )


def _names(found: Collection[str], known: Collection[str]) -> frozenset[str]:
    return frozenset(n for n in found if len(n) >= LEAST_NAME and n.lower() not in _NOBODY and n not in known)


def stripped(files: Mapping[str, bytes], private: Private, known: Collection[str] = ()) -> dict[str, bytes]:
    """`run.json` and `records.jsonl` without what is private; a file without any is the same, byte by byte.

    Users whose homes the texts name are private, too: a folder may come from another machine. StillPrivateError where
    a name stands in what says which case it is.
    """
    texts = [text for content in files.values() for text in _strings_of_lines(content)]
    more = {name for text in texts for name in _HOME.findall(text)}
    everyone = Private(private.homes, private.users | _names(more, known), private.hosts, private.secrets)
    clean = _cleaner(everyone)
    info = _rewritten(files[INFO], lambda found: _info(found, clean), indent=2)
    records = b"".join(
        _rewritten(line, lambda found: _walked(found, clean, _KEPT_OF_RECORD)) + b"\n"
        for line in files[RECORDS].split(b"\n")
        if line
    )
    out = {INFO: info, RECORDS: records}
    for name, content in out.items():
        for kind, number in remaining(content, everyone):
            raise StillPrivateError(f"{name} line {number} holds {kind} in what says which case it is, or is a name")
    return out


def remaining(content: bytes, private: Private) -> Iterator[tuple[str, int]]:
    """What is private and still there: its kind, and the line."""
    named = _any_of(private.users | private.hosts)
    for number, line in enumerate(content.split(b"\n"), 1):
        text = "\n".join(_strings_of_lines(line))
        if any(without_path(text, home, "") != text for home in private.homes) or _HOME.search(text):
            yield "a home folder", number
        if named is not None and named.search(text):
            yield "the name of a user or host", number
        if any(secret in text for secret in private.secrets):
            yield "a secret of the environment", number


def _strings_of_lines(content: bytes) -> Iterator[str]:
    """Every text in a file of JSON, or of JSON lines; of what is none, the whole."""
    try:
        yield from _strings(msgspec.json.decode(content))
    except msgspec.DecodeError:
        for line in content.split(b"\n"):
            try:
                yield from _strings(msgspec.json.decode(line))
            except msgspec.DecodeError:
                yield line.decode(errors="replace")


def _strings(found: Any) -> Iterator[str]:
    if isinstance(found, str):
        yield found
    elif isinstance(found, dict):
        for key, value in found.items():
            yield from _strings(key)
            yield from _strings(value)
    elif isinstance(found, list):
        for value in found:
            yield from _strings(value)


def _rewritten(content: bytes, change: Callable[[Any], Any], indent: int = 0) -> bytes:
    found = msgspec.json.decode(content)
    changed = change(found)
    if changed == found:
        return content
    out = msgspec.json.encode(changed)
    return msgspec.json.format(out, indent=indent) + b"\n" if indent else out


def _walked(found: Any, clean: Callable[[str], str], kept: Collection[str] = ()) -> Any:
    if isinstance(found, str):
        return clean(found)
    if isinstance(found, dict):
        return {clean(k): v if k in kept else _walked(v, clean) for k, v in found.items()}
    return [_walked(value, clean) for value in found] if isinstance(found, list) else found


def _info(found: dict[str, Any], clean: Callable[[str], str]) -> dict[str, Any]:
    """Of the command line `--out` is left out, which says nothing of what was measured."""
    words, command = iter(found.get("command", [])), []
    for word in words:
        if word == "--out":
            next(words, None)
        elif not word.startswith("--out="):
            command.append(word)
    rest = _walked(found, clean, {*_KEPT_OF_INFO, "command"})
    return {**rest, "command": [_word(word, clean) for word in command]}


def _word(word: str, clean: Callable[[str], str]) -> str:
    """A word of the command line is a path as a whole, blanks and all."""
    option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    if value.startswith(("/", "~", "../")) or re.match(r"[A-Za-z]:\\", value):
        value = f"…/{_last(value)}"
    return clean(f"{option}{equals}{value}")


def _cleaner(private: Private) -> Callable[[str], str]:
    named, secret = _any_of(private.users | private.hosts), _any_of(private.secrets, whole=False)
    homes = sorted(private.homes, key=len, reverse=True)

    def clean(text: str) -> str:
        if secret is not None:
            text = secret.sub("<secret>", text)
        text = _HOLDER.sub(r"\1 of <user>,", text)
        text = _QUOTED.sub(lambda found: f"{found[1]}{_shortened(found[2])}{found[1]}", text)
        text = _PATH.sub(lambda found: _shortened(found[0]), text)
        text = _WINDOWS.sub(lambda found: _shortened(found[0]), text)
        for home in homes:
            text = without_path(text, home, "~")
        text = _MAIL.sub("<address>", text)
        text = _HOME.sub("<home>", text)
        return text if named is None else named.sub("<name>", text)

    return clean


def _shortened(path: str) -> str:
    """The last part of a path alone, unless it is one that every machine has."""
    plain_path = path.removeprefix("file://")
    if plain_path.startswith(tuple(f"{root}/" for root in _PUBLIC_ROOTS)) and ".." not in plain_path:
        return path
    return f"…/{_last(plain_path)}"


def _last(path: str) -> str:
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1]


def _any_of(names: Collection[str], *, whole: bool = True) -> re.Pattern[str] | None:
    if not names:
        return None
    either = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    return re.compile(rf"(?<![\w])(?:{either})(?![\w])" if whole else either, re.IGNORECASE if whole else 0)
