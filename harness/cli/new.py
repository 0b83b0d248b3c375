"""What `new` does: write an example that is complete, small and right, and say the next command."""

from __future__ import annotations

import keyword
import shlex
from importlib.resources import files
from pathlib import Path

import click

from backends.discovery import backends
from harness.cli.parameters import program
from harness.errors import UserError
from workloads.discovery import workloads


def workload(name: str, folder: Path) -> int:
    """Write the workload `name` to a file in `folder`; UserError where the name or the place cannot be used."""
    _refuse_name(name, "workload", workloads()[0])
    file = _write("workload.py.txt", name, folder / f"{name}.py")
    words = shlex.quote(str(file))
    click.echo(
        f"written: {file}\ncheck it: {program()} check {words}\n"
        f"run it: {program()} run --preset smoke --workload-file {words}"
    )
    return 0


def backend(name: str, folder: Path) -> int:
    """Write the backend `name` to a file in `folder`; UserError where the name or the place cannot be used."""
    _refuse_name(name, "backend", backends()[0])
    file = _write("backend.py.txt", name, folder / f"{name}_backend.py")
    words = shlex.quote(str(file))
    click.echo(
        f"written: {file}\ncheck it: {program()} check {words}\n"
        f"run it: HWLOTTERY_BACKENDS={words} {program()} run --preset smoke --backend {name}"
    )
    return 0


def _refuse_name(name: str, kind: str, known: object) -> None:
    if not (name.isidentifier() and name.isascii()) or keyword.iskeyword(name) or name.startswith("_"):
        raise UserError(f"{name!r} cannot name a {kind}; use letters, digits and underscores, such as my_{kind}")
    if isinstance(known, dict) and name in known:
        raise UserError(f"there is a {kind} {name} already; choose another name")


def _write(template: str, name: str, file: Path) -> Path:
    content = (files("harness.cli") / "templates" / template).read_text(encoding="utf-8").replace("NAME", name)
    if file.exists():
        raise UserError(f"{file} is there already and is kept; choose another name, or another folder by -o")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("x", encoding="utf-8") as out:
            out.write(content)
    except OSError as error:
        raise UserError(f"{file} cannot be written ({error.strerror}); name another folder by -o") from None
    return file
