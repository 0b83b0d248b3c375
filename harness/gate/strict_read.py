"""Reads the results of strangers: limits first, then JSON by the schema, strictly; raises for nothing they hold."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import islice
from pathlib import Path
from types import UnionType
from typing import Any, Generic, TypeVar, Union, get_args, get_origin

import msgspec

from backends.ops import Scalar
from harness.gate.foreign_file import MOST_BYTES, content
from harness.gate.refusal import Refusal, refusal
from harness.records.record import SCHEMA, Case, Record, TwinRef
from harness.records.store import INFO, RECORDS, RunInfo

MOST_LINE_BYTES = 8 << 20
MOST_LINES = 100_000
MOST_VALUES = 400_000  # in a line: a thousand processes of 400 samples
MOST_DEPTH = 8  # objects and arrays within each other; a record has five
MOST_LEFT_OUT, MOST_REASONS, MOST_WORDS = 10_000, 50, 1_000  # cases left out of a run, for reasons, each so long
MOST_BAD_LINES = 100  # that are told apart
MOST_ALIKE = 10_000  # values of a field that are kept, each of at most as many bytes:
MOST_ALIKE_BYTES = 2048

Read = TypeVar("Read", RunInfo, Record)


class Line(msgspec.Struct, Generic[Read], frozen=True):
    """What was decoded, and where it stood."""

    where: str
    value: Read


def place(path: Path) -> Path | None:
    """The results folder that `path` is, or that the results file `path` lies in; None for neither."""
    if path.is_dir():
        return path
    return path.parent if path.name in (INFO, RECORDS) and path.is_file() else None


def read_info(folder: Path, found: bytes | None = None) -> RunInfo | Refusal:
    """The run's own facts, from its file or from the bytes `found` there."""
    whole = content(folder / INFO, MOST_BYTES[INFO]) if found is None else found
    info = whole if isinstance(whole, Refusal) else _decoded(whole, _INFO.decode, INFO)
    return info if isinstance(info, Refusal) else _too_much_left_out(info) or info


def _too_much_left_out(info: RunInfo) -> Refusal | None:
    """What a run says that it left out, within limits: every case of it is looked at, and reasons are shown."""
    cases = sum(map(len, info.left_out.values()))
    if cases > MOST_LEFT_OUT or len(info.left_out) > MOST_REASONS:
        said = (
            f"it left out {cases} cases for {len(info.left_out)} reasons; {MOST_LEFT_OUT} and {MOST_REASONS} are read"
        )
        return refusal("too-large", INFO, said, "leave out less: run with --exhaustive")
    longest = max((len(text) for why, of in info.left_out.items() for text in (why, *of)), default=0)
    if longest > MOST_WORDS:
        said = f"a case or reason in left_out has {longest} characters, at most {MOST_WORDS} are read"
        return refusal("too-large", INFO, said, "publish run.json as it was written")
    return None


def read_records(folder: Path, alike: Alike, found: bytes | None = None) -> Iterator[Line[Record] | Refusal]:
    """Every line of the records, of their file or of the bytes `found` there: what is in it, or why it cannot be read.

    Records share the parts that are equal, and with those of other runs that are read with the same `alike`.
    """
    whole = content(folder / RECORDS, MOST_BYTES[RECORDS]) if found is None else found
    if isinstance(whole, Refusal):
        yield whole
        return
    lines = list(islice(_lines(whole), MOST_LINES + 1))
    if len(lines) > MOST_LINES:
        said = f"it has more than the {MOST_LINES} lines that are read"
        yield refusal("too-many-lines", RECORDS, said, "submit fewer cases")
        return
    if not lines:
        yield refusal("empty", RECORDS, "it holds no record", "submit a run that measured something")
    bad = 0
    for number, line in enumerate(lines, 1):
        where = f"{RECORDS} line {number}"
        read = _decoded(line, alike.decode, where)
        if isinstance(read, Refusal):
            bad += 1
            if bad > MOST_BAD_LINES:
                said = f"{MOST_BAD_LINES} lines before cannot be read, so the rest is not looked at"
                yield refusal("unreadable", where, said, "submit the file as `hwlottery run` wrote it")
                return
            yield read
        else:
            yield Line(where, read)


def _lines(whole: bytes) -> Iterator[memoryview]:
    """The lines of a file, of which none is copied."""
    view, start = memoryview(whole), 0
    while start < len(whole):
        end = whole.find(b"\n", start)
        end = len(whole) if end < 0 else end
        yield view[start:end]
        start = end + 1


def _decoded(line: bytes | memoryview, decode: Callable[[bytes | memoryview], Read], where: str) -> Read | Refusal:
    """One JSON object by its schema, within the limits."""
    if len(line) > MOST_LINE_BYTES:
        said = f"it has {len(line)} bytes, at most {MOST_LINE_BYTES} are read"
        return refusal("too-large", where, said, "measure fewer processes of a case in one run")
    values = bytes(line).count(b",") if len(line) > MOST_VALUES else 0
    if values > MOST_VALUES:
        said = f"it has over {values} values, at most {MOST_VALUES} are read"
        return refusal("too-many-samples", where, said, "measure fewer processes of a case in one run")
    try:
        found = decode(line)
    except msgspec.ValidationError as error:
        if _too_deep(bytes(line)):
            return _depth(where)
        newer = _schema(bytes(line))
        if newer is not None and newer > SCHEMA:
            said = f"its schema is {newer}, newer than {SCHEMA}"
            return refusal("schema-version", where, said, "update the harness that validates")
        return refusal("schema", where, str(error), "write what docs/reference/records.md says, units and all")
    except RecursionError:
        return _depth(where)
    except (msgspec.MsgspecError, ValueError, OverflowError) as error:
        if _too_deep(bytes(line)):
            return _depth(where)
        words = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
        return refusal("json", where, words, "submit the file as `hwlottery run` wrote it; leave a torn line out")
    if not 1 <= found.schema <= SCHEMA:
        said = f"its schema is {found.schema}, known are 1 to {SCHEMA}"
        return refusal("schema-version", where, said, "update the harness that validates, or that measured")
    return found


def _depth(where: str) -> Refusal:
    return refusal("too-deep", where, f"its values lie over {MOST_DEPTH} levels deep", "write what the schema says")


_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def _too_deep(line: bytes) -> bool:
    """Asked of what could not be decoded only: the schema itself bounds the depth of what could be."""
    depth = 0
    for bracket in _STRINGS.sub(b"", line).translate(None, _NOT_BRACKETS):
        depth += 1 if bracket in b"[{" else -1
        if depth > MOST_DEPTH:
            return True
    return False


class _Schema(msgspec.Struct):
    schema: int


def _schema(line: bytes) -> int | None:
    try:
        return msgspec.json.decode(line, type=_Schema).schema
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


# -- the schema, strictly ----------------------------------------------------------------------------------------------


def strict(kind: Any) -> Any:
    """`kind` with every struct in it replaced by a subclass of the same fields that refuses unknown ones.

    A field that was renamed (`first_call_ms`) would otherwise be left out without a word.
    """
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _strict_struct(kind)
    arguments = get_args(kind)
    if isinstance(kind, UnionType) or get_origin(kind) is Union:
        return Union[tuple(strict(each) for each in arguments)]  # noqa: UP007 - made at run time
    if get_origin(kind) is list:
        return list[strict(arguments[0])]  # type: ignore[misc]
    return kind


@cache
def _strict_struct(kind: type[msgspec.Struct]) -> type[msgspec.Struct]:
    fields: list[Any] = []
    for field in msgspec.structs.fields(kind):
        default: tuple[Any, ...] = ()
        if field.default is not msgspec.NODEFAULT:
            default = (field.default,)
        elif field.default_factory is not msgspec.NODEFAULT:
            default = (msgspec.field(default_factory=field.default_factory),)
        fields.append((field.name, strict(field.type), *default))
    made = msgspec.defstruct(
        f"Strict{kind.__name__}",
        fields,
        bases=(kind,),
        module=__name__,
        frozen=True,
        kw_only=True,
        forbid_unknown_fields=True,
    )
    globals()[made.__name__] = made  # where pickle looks for it
    return made


_INFO: msgspec.json.Decoder[RunInfo] = msgspec.json.Decoder(strict(RunInfo))
_RECORD: msgspec.json.Decoder[Record] = msgspec.json.Decoder(strict(Record))

# -- what records have alike -------------------------------------------------------------------------------------------

# The fields of a record that many records have in common: within a run, or with the same case of another machine's.
_SHARED: dict[str, Any] = {"case": Case, "twins": list[TwinRef], "settings": dict[str, Scalar]}
_PARTS: dict[str, msgspec.json.Decoder[Any]] = {n: msgspec.json.Decoder(strict(kind)) for n, kind in _SHARED.items()}
OutlinedRecord = msgspec.defstruct(
    "OutlinedRecord",
    [(name, msgspec.Raw) for name in _SHARED],
    bases=(strict(Record),),
    module=__name__,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
)
_OUTLINE: msgspec.json.Decoder[Record] = msgspec.json.Decoder(OutlinedRecord)


class Alike:
    """Decodes records, each distinct value of the fields that are often alike only once.

    Values are the same if their bytes are. So equal cases are one object, whose key is made once. `unread` are fields
    of the record, dicts, that nobody will ask for: they are held to the schema and then empty, so that what lives at
    once is less.
    """

    known: dict[str, dict[bytes, Any]]

    def __init__(self, unread: Sequence[str] = ()) -> None:
        self.known = {name: {} for name in _PARTS}
        self._unread = [(name, dict[str, Scalar]()) for name in unread]

    def decode(self, line: bytes | memoryview) -> Record:
        """What `Decoder(strict(Record)).decode` gives, or raises the same."""
        try:
            record = _OUTLINE.decode(line)
            for name, known in self.known.items():
                text = bytes(getattr(record, name))
                value = known.get(text)
                if value is None:
                    value = _PARTS[name].decode(text)
                    if len(known) >= MOST_ALIKE:
                        known.clear()
                    if len(text) <= MOST_ALIKE_BYTES:
                        known[text] = value
                msgspec.structs.force_setattr(record, name, value)
            for name, nothing in self._unread:
                msgspec.structs.force_setattr(record, name, nothing)
        except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError):
            return _RECORD.decode(line)  # says where in the line it is wrong
        return record
