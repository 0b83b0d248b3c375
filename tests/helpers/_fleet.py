"""Fleets for tests: a file that describes one, its plan, and a command that stands for a run."""

from __future__ import annotations

import json
import sys
import time
from functools import cache
from pathlib import Path

from harness.fleet import description, shards
from harness.machine.digest import sources

COMMAND = Path(__file__).with_name("fleet_command.py")


def fleet(folder, text):
    """The fleet that a text describes, and its plan; every want has three ideas of unlike size."""
    path = folder / "fleet.toml"
    path.write_text(text)
    read = description.read(path)
    return read, shards.plan(read, lambda _: {"capsule_conv": 5, "local_update": 3, "forward_forward": 2})


def python(folder):
    """A file that stands for the Python of a machine."""
    path = folder / "python"
    path.write_text(f"#!{sys.executable} -S\n{COMMAND.read_text()}")
    path.chmod(0o755)
    return path


@cache
def _sources():
    return json.dumps(sources())


def of_command(folder, **told):
    """The keys of a machine that runs the command which stands for a run; its sources are ours unless it is told so."""
    told = {"FAKE_SOURCES": _sources(), **told}
    env = ", ".join(f"{key} = '{value}'" for key, value in told.items())
    return f'python = "{python(folder)}"\nenv = {{ {env} }}\n'


def lines(path):
    """The numbers of the lines that are stored of a run."""
    return [json.loads(line)["line"] for line in path.read_text().splitlines()]


def wait_for(condition, patience_s=60.0):
    """Wait until the condition holds; fail the test once the patience is at its end."""
    until = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)
