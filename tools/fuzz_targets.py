"""What the fuzzers send hostile files through, what they start from, and what no input may do.

A target reads what others wrote and returns a value, or raises the one sentence that a user is told. Anything else
that it raises is a fault, and so is whatever runs code, starts a process or opens a file outside the folder at hand
meanwhile: an audit hook watches.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

import click  # noqa: E402
import msgspec  # noqa: E402

from backends.discovery import Broken, attempt, with_helpers  # noqa: E402
from harness.cli.parameters import Duration, Names, Setting  # noqa: E402
from harness.cli.publish import slower_than  # noqa: E402
from harness.errors import UserError  # noqa: E402
from harness.fleet import description  # noqa: E402
from harness.gate.refusal import Refusal  # noqa: E402
from harness.gate.strict_read import Alike, read_info, read_records  # noqa: E402
from harness.gate.validate import Remembered, validate  # noqa: E402
from harness.machine.digest import _of_files  # noqa: E402
from harness.modelling import device_faults, device_file, device_schema  # noqa: E402
from harness.planning import learnt  # noqa: E402
from harness.records.store import load  # noqa: E402
from harness.records.text import plain, private  # noqa: E402
from harness.worker.check import is_backend  # noqa: E402
from tools import fuzz_devices  # noqa: E402
from workloads import discovery  # noqa: E402
from workloads.common.matrix import MatrixError, Source  # noqa: E402
from workloads.common.matrix_files import read  # noqa: E402
from workloads.common.matrix_names import load as find  # noqa: E402

CORPUS = ROOT / "tests" / "tools" / "corpus"
STORED = ROOT / "results" / "quick-cpu"
DEVICES = ROOT / "harness" / "modelling" / "devices"
TEMPLATE = ROOT / "harness" / "cli" / "templates" / "workload.py.txt"
SHARES = {  # of a hundred
    "smtx": 18,
    "market": 18,
    "record": 22,
    "info": 13,
    "words": 9,
    "device": 6,
    "store": 4,
    "learnt": 4,
    "fleet": 3,
    "workload": 2,
    "folder": 1,
}
PIECES = (
    *(b"", b"0", b"-1", b"1e999", b"NaN", b"Infinity", b"null", b"{}", b"[]", b'"', b"\\", b"\n", b"\x00", b"\xff"),
    *(b"9" * 400, b"[" * 200, b'{"a":' * 50, b"2147483647", b"2147483648", b"18446744073709551616", b"-0.0", b"1e308"),
    *(b'"../../etc/passwd"', b'"\\ud800"', b'"\xe2\x80\xae"', b"smtx:/etc/passwd", b",", b" ", b"\t", b"\r", b"=1+1"),
    *(
        b"inf",
        b"nan",
        b'base = "../a.toml"\n',
        b"[factor]\n",
        b"-" * 2000,
        b"(" * 300,
        b"9" * 5000,
        b"# coding: utf-7\n",
    ),
)
_GUARD = b"raise ImportError('it is loaded no further')\n"  # a mutated file that is Python after all must not run
_STARTS = ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "pickle.find_class")
_KNOWN = (Path(sys.prefix), Path(sys.base_prefix), Path(os.__file__).parent, DEVICES)

Target = Callable[[bytes], object]
Watch = Callable[[bool], list[str]]


def corpus() -> dict[str, list[bytes]]:
    """What is mutated, by target: the files of the corpus, records of a stored run, what comes with the harness."""
    lines = (STORED / "records.jsonl").read_bytes().splitlines()
    few = [*sorted(lines, key=len)[:6], min((line for line in lines if b'"ok"' in line), key=len)]
    info = (STORED / "run.json").read_bytes()
    kept = {name: [f.read_bytes() for f in sorted((CORPUS / name).glob("*"))] for name in SHARES}
    made = {"record": few, "info": [info], "store": [info + b"\n\0" + b"\n".join(few)]}
    taught = msgspec.json.encode(learnt.Learnt())
    made |= {"folder": made["store"], "learnt": [taught]}
    shipped = [f.read_bytes() for f in sorted(DEVICES.glob("*.toml"))]
    made |= {"device": [*shipped, *fuzz_devices.seeds()], "workload": [TEMPLATE.read_bytes()]}
    return {name: [*made.get(name, []), *kept[name]] for name in SHARES}


def targets(folder: Path) -> Mapping[str, Target]:
    """Everything that reads what others wrote, by name; each returns a value or raises what a user is told."""
    alike, remembered = Alike(), Remembered()
    machine = {"cpu": "fuzz", "architecture": "fuzz", "cores_usable": 1}
    for part in vars(device_schema).values():  # once made of their annotations, which are ours
        if isinstance(part, type) and issubclass(part, msgspec.Struct):
            device_faults._types(part)

    def smtx(data: bytes) -> object:
        (folder / "a.smtx").write_bytes(data)
        return read(Source(folder / "a.smtx"))

    def market(data: bytes) -> object:
        (folder / "a.mtx").write_bytes(data)
        return read(Source(folder / "a.mtx"))

    def record(data: bytes) -> object:
        return [_told(found) for found in read_records(folder, alike, data)]

    def info(data: bytes) -> object:
        return _told(read_info(folder, data))

    def store(data: bytes) -> object:
        (folder / "run.json").write_bytes(_split(data)[0])
        (folder / "records.jsonl").write_bytes(_split(data)[1])
        return load(folder)

    def whole(data: bytes) -> object:
        (folder / "run.json").touch()
        report = validate(folder, remembered, dict(zip(("run.json", "records.jsonl"), _split(data), strict=True)))
        bad = [refusal for refusal in report.refusals if refusal.code == "unchecked"]
        assert not bad, bad
        return report

    def taught(data: bytes) -> object:
        file = learnt._file(folder, machine)
        file.write_bytes(data)
        return learnt.known(folder, machine)

    def device(data: bytes) -> object:
        (folder / "a.toml").write_bytes(data)
        return device_file.read_device(folder / "a.toml")

    def fleet(data: bytes) -> object:
        (folder / "fleet.toml").write_bytes(data)
        return description.read(folder / "fleet.toml")

    return {
        "smtx": smtx,
        "market": market,
        "record": record,
        "info": info,
        "words": _words,
        "device": device,
        "store": store,
        "learnt": taught,
        "fleet": fleet,
        "workload": functools.partial(_workload, folder / "mine.py"),
        "folder": whole,
    }


def _split(data: bytes) -> tuple[bytes, bytes]:
    first, _, rest = data.partition(b"\n\0")
    return first, rest


def _words(data: bytes) -> object:
    """Words of the command line and of frameworks."""
    text = data.decode("utf-8", "surrogateescape")
    shown = plain(private(text, {"/a/b": "<cache>"}))
    shown.encode()
    for kind in (Duration(), Names(), Setting(), slower_than, find):
        with contextlib.suppress(click.ClickException, UserError, MatrixError):
            kind(text) if not isinstance(kind, click.ParamType) else kind.convert(text, None, None)
    return shown


def _workload(path: Path, data: bytes) -> object:
    """What is said of a file that is no workload, and which files it imports: its code is its author's, and not run."""
    path.write_bytes(_GUARD + data)
    _of_files(path.parent, with_helpers(path))
    is_backend(path)
    found = attempt(functools.partial(discovery._read, path), str(path), path)
    assert isinstance(found, Broken), found
    assert found.reason.startswith(str(path)), found.reason
    assert len(found.reason.splitlines()) == 1, found.reason
    found.reason.encode()
    return found


def _told(found: object) -> object:
    assert not isinstance(found, Refusal) or (found.what and found.remedy and "\n" not in str(found)), found
    return found


def watch(folder: Path) -> Watch:
    """Note what no data may do while it is watched: run code, start a process, open a file outside `folder`.

    The file of a workload is compiled, and stopped by its first line; the codec that it names is Python's own. Devices
    that come with the harness may be read.
    """
    state: dict[str, Any] = {"on": False, "seen": []}
    mine = str(folder / "mine.py")

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if not state["on"]:
            return
        if event == "exec":
            file = arguments[0].co_filename
            if file != mine and not _known(Path(file)):
                state["seen"].append(f"exec {file[:80]}")
        elif event == "compile":
            if str(arguments[1]) not in (mine, "<unknown>"):  # the latter is ast.parse, which runs nothing
                state["seen"].append(f"compile {str(arguments)[:80]}")
        elif event in _STARTS:
            state["seen"].append(f"{event} {str(arguments)[:80]}")
        elif event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
            path = Path(os.fsdecode(arguments[0]))
            if path.is_absolute() and not path.is_relative_to(folder) and not _known(path):
                state["seen"].append(f"open {str(path)[:80]}")

    sys.addaudithook(hook)

    def switch(on: bool) -> list[str]:
        seen, state["on"], state["seen"] = state["seen"], on, []
        return list(seen)

    return switch


def _known(path: Path) -> bool:
    return path.is_absolute() and any(path.is_relative_to(place) for place in _KNOWN)


def fault_of(target: Target, data: bytes, switch: Watch) -> str | None:
    """What is wrong with what a target does with an input; None where it gives a value or one sentence."""
    fault = None
    switch(True)
    try:
        target(data)
    except (UserError, MatrixError) as error:
        if not str(error) or "\n" in str(error).strip():
            fault = f"not one sentence: {error!r}"
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        fault = f"{type(error).__name__}: {error}"[:300]
    finally:
        seen = switch(False)
    return fault or ("; ".join(seen) or None)


def warmed(folder: Path, name: str, seeds: list[bytes]) -> Target:
    """A target whose first calls are over: what is imported and made there is no input's doing."""
    target = targets(folder)[name]
    for data in seeds:
        with contextlib.suppress(Exception):
            target(data)
    return target
