"""Which backends and devices of a request are there."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence

import click

from backends import aot
from backends.device import is_ahead_of_time, is_modelled
from backends.install import install_hint
from backends.ops import Backend, Device
from harness.errors import UserError, nearest
from harness.planning.options import Options
from harness.planning.plan import Ask
from harness.worker.client import Server
from harness.worker.messages import DevicesJob


def present(asked: Sequence[str], backends: Mapping[str, Backend]) -> tuple[str, ...]:
    """The backends to run; UserError for one that is asked for and missing, or when none is there at all."""
    missing = {n: b for n, b in backends.items() if importlib.util.find_spec(b.module) is None}
    for name in asked:
        if name not in backends:
            raise nearest("backend", name, backends)
        if name in missing:
            raise UserError(f"{missing[name].title} is not installed; try: {missing[name].install}")
    if asked:
        return tuple(asked)
    present = [n for n, b in backends.items() if b.default and n not in missing]
    for name, backend in missing.items():
        if backend.default and present:
            click.echo(f"note: {name} is left out: not installed; try: {backend.install}", err=True)
    if not present:
        raise UserError(f"no framework is installed; try: {install_hint('all')}, or run --backend numpy")
    return tuple(present)


def check_devices(ask: Ask, backends: Mapping[str, Backend], options: Options, *, only_unknown: bool = False) -> None:
    """One sentence for a device that no backend of the request has; the host is always there.

    `only_unknown`: of those alone that have no name that is known here, and may be no device at all.
    """
    for text in ask.devices:
        if text == "cpu" or is_modelled(text) or (only_unknown and Device.parse(text).well_known):
            continue
        if is_ahead_of_time(text):
            why = aot.missing(Device.parse(text))
            if why is not None:
                raise UserError(why)
            continue
        seen: dict[str, str] = {}
        for name in ask.backends:
            with Server(backends[name], Device.parse(text), options.threads, options.cache, bare=True) as server:
                measured = server.run(DevicesJob(), options.timeout_s).measured
            if text in measured.answer:
                break
            seen[name] = ", ".join(measured.answer) or str(measured.reason)
        else:
            found = "; ".join(f"{name} sees {devices}" for name, devices in seen.items())
            raise UserError(f"device {text} is not there: {found}; `hwlottery list devices` shows what is")
