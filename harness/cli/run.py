"""What `run` does once its arguments are parsed."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import msgspec

from backends import aot
from backends.device import is_ahead_of_time
from backends.discovery import backends as find_backends
from backends.install import install_hint
from backends.ops import Backend, Device
from harness.errors import UserError, nearest
from harness.machine import digest, facts
from harness.measuring.settings import PowerModel
from harness.planning import plan
from harness.planning.options import ENDS_S, ENOUGH_S, FEWEST_ROUNDS, ROUNDS, WINDOWS, Options
from harness.planning.plan import Ask, Planned
from harness.records.record import FAILED, SCHEMA
from harness.records.store import RunInfo, Store, load
from harness.running.progress import Watch
from harness.running.runner import Runner
from harness.worker.client import Server
from harness.worker.messages import DevicesJob
from workloads.base import Definition, Point, Value
from workloads.discovery import workloads as find_workloads


def run(options: Mapping[str, Any]) -> int:
    """Plan, run, store and print; the exit code of the run."""
    workloads, broken = find_workloads()
    backends, broken_backends = find_backends()
    problems = [b.reason for b in (*broken, *broken_backends)]
    for reason in problems:
        click.echo(f"warning: left out: {reason}", err=True)
    ask = _ask(options, workloads, backends)
    planned_cases = plan.cases(ask, workloads, backends)
    rounds = options["rounds"]
    precision = options["precision"] if options["budget"] and rounds is None else None
    if rounds is None:
        rounds = ROUNDS[ask.preset] if precision is None or not ROUNDS[ask.preset] else FEWEST_ROUNDS
    if options["dry_run"]:
        _show_plan(planned_cases, rounds, as_json=options["as_json"])
        return 0
    how = _how(options, ask, rounds, precision)
    _check_devices(ask, backends, how)
    info = _info(ask, how, backends)
    folder = options["out"] or Path("runs") / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{ask.preset}"
    with Store(folder, info, resume=options["resume"]) as store:
        interrupted = False
        with Watch() as watch:
            runner = Runner(planned_cases, backends, how, store, watch)
            try:
                runner.execute()
            except KeyboardInterrupt:
                interrupted = True
                watch.say("interrupted; everything measured so far is kept")
    stored = load(folder)
    if options["as_json"]:
        for record in stored.records:
            click.echo(msgspec.json.encode(record).decode())
    elif stored.records:
        from harness.cli.publish import rendered

        click.echo(rendered([folder]))
    for note in stored.info.notes:
        click.echo(f"note: {note}", err=True)
    click.echo(f"results: {folder}\nnext: hwlottery report {folder} --all", err=True)
    if interrupted:
        return 130
    return 1 if problems or any(r.status in FAILED for r in stored.records) else 0


# -- from options to a plan -----------------------------------------------------------------------------------------


def _ask(options: Mapping[str, Any], workloads: Mapping[str, Definition], backends: Mapping[str, Backend]) -> Ask:
    points: dict[str, tuple[Point, ...]] = {}
    names = options["workload"]
    if options["smtx"]:
        names = names or ("unstructured_sparse",)
        points = _smtx_points(options["smtx"], options["preset"], workloads)
    return Ask(
        preset=options["preset"],
        workloads=names,
        backends=_present(options["backend"], backends),
        devices=options["device"] or ("cpu",),
        dtypes=options["dtype"] or ("float32",),
        executions=options["execution"],
        formulations=options["formulation"],
        seed=options["seed"],
        axes=_axes(options["axes"], workloads),
        points=points,
    )


def _present(asked: Sequence[str], backends: Mapping[str, Backend]) -> tuple[str, ...]:
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


def _axes(pairs: Sequence[str], workloads: Mapping[str, Definition]) -> dict[str, tuple[Value, ...]]:
    known = {axis for w in workloads.values() if w.role == "idea" for axis in w.axes}
    axes: dict[str, tuple[Value, ...]] = {}
    for pair in pairs:
        axis, equals, values = pair.partition("=")
        if not equals or not values:
            raise UserError(f"--set {pair!r} is not AXIS=VALUE[,VALUE], such as density=0.3,0.1")
        if axis not in known:
            raise nearest("axis", axis, sorted(known))
        axes[axis] = tuple(_value(v) for v in values.split(","))
    return axes


def _value(text: str) -> Value:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _smtx_points(
    files: Sequence[Path], preset: str, workloads: Mapping[str, Definition]
) -> dict[str, tuple[Point, ...]]:
    from workloads.common.smtx import SmtxError
    from workloads.unstructured_sparse import from_smtx

    columns = sorted({int(p.params["n"]) for p in workloads["unstructured_sparse"].presets[preset]})
    points = []
    for file in files:
        for n in columns:
            try:
                points.append(Point(from_smtx(file.resolve(), n)))
            except SmtxError as error:
                raise UserError(str(error)) from None
    return {"unstructured_sparse": tuple(points)}


def _how(options: Mapping[str, Any], ask: Ask, rounds: int, precision: float | None) -> Options:
    usable = len(os.sched_getaffinity(0))
    threads = options["threads"] or usable
    if threads > usable:
        raise UserError(f"--threads {threads} is more than the {usable} cores usable here")
    watts = {
        "core_w": options["core_watts"],
        "core_low_w": options["core_watts_low"],
        "core_high_w": options["core_watts_high"],
        "memory_w_per_gb": options["memory_watts_per_gb"],
    }
    power = PowerModel(**{k: v for k, v in watts.items() if v is not None})
    if not power.core_low_w <= power.core_w <= power.core_high_w:
        raise UserError(
            f"the watts of a core must lie between their bounds: found {power.core_low_w:g} ≤ {power.core_w:g} ≤ "
            f"{power.core_high_w:g}; set --core-watts, --core-watts-low and --core-watts-high together"
        )
    limit = options["memory_limit"]
    ours = options["rounds"] is None and options["budget"] is None  # what a user asks for is done
    return Options(
        rounds=rounds,
        long_rounds=FEWEST_ROUNDS if ours else rounds,
        enough_s=ENOUGH_S.get(ask.preset) if ours else None,
        ends_s=ENDS_S.get(ask.preset) if ours else None,
        timeout_s=options["timeout"],
        threads=threads,
        sampling=WINDOWS[ask.preset],
        power=power,
        cache=cache_folder(),
        seed=options["seed"],
        budget_s=options["budget"],
        precision=precision,
        memory_bytes=int(limit * 2**30) if limit else facts.memory_limit_bytes(),
    )


def cache_folder() -> Path:
    """Where the frameworks keep compiled programs between runs: HWLOTTERY_CACHE, or the user's cache folder."""
    import platformdirs

    folder = Path(os.environ.get("HWLOTTERY_CACHE") or platformdirs.user_cache_path("hwlottery") / "compiled")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"the compile cache {folder} cannot be made ({error.strerror}); set HWLOTTERY_CACHE") from None
    return folder


def _check_devices(ask: Ask, backends: Mapping[str, Backend], how: Options) -> None:
    """One sentence for a device that no backend of the request has; the host is always there."""
    for text in ask.devices:
        if text == "cpu":
            continue
        if is_ahead_of_time(text):
            why = aot.missing(Device.parse(text))
            if why is not None:
                raise UserError(why)
            continue
        seen: dict[str, str] = {}
        for name in ask.backends:
            with Server(backends[name], Device.parse(text), how.threads, how.cache) as server:
                measured = server.run(DevicesJob(), how.timeout_s).measured
            if text in measured.answer:
                break
            seen[name] = ", ".join(measured.answer) or str(measured.reason)
        else:
            found = "; ".join(f"{name} sees {devices}" for name, devices in seen.items())
            raise UserError(f"device {text} is not there: {found}; `hwlottery list devices` shows what is")


def _info(ask: Ask, how: Options, backends: Mapping[str, Backend]) -> RunInfo:
    now = datetime.now(UTC)
    return RunInfo(
        schema=SCHEMA,
        run=f"{now:%Y%m%dT%H%M%SZ}-{os.urandom(4).hex()}",
        started_at=now.isoformat(timespec="seconds").replace("+00:00", "Z"),
        ended_at=None,
        command=["hwlottery", *sys.argv[1:]],
        machine={**facts.facts(), **facts.state()},
        versions=facts.versions([backends[name] for name in ask.backends]),
        settings={
            "preset": ask.preset,
            "seed": ask.seed,
            "rounds": how.rounds,
            "precision": how.precision,
            "threads": how.threads,
            "timeout_s": how.timeout_s,
            "budget_s": how.budget_s,
            "enough_s": how.enough_s,
            "ends_s": how.ends_s,
            "long_rounds": how.long_rounds,
            "memory_limit_bytes": how.memory_bytes,
            **{f"power_{k}": v for k, v in msgspec.to_builtins(how.power).items()},
            **{f"sampling_{k}": v for k, v in msgspec.to_builtins(how.sampling).items()},
        },
        sources=digest.sources(),
    )


def _show_plan(planned_cases: Sequence[Planned], rounds: int, *, as_json: bool) -> None:
    if as_json:
        for planned in planned_cases:
            click.echo(msgspec.json.encode(planned.case).decode())
        return
    for planned in planned_cases:
        click.echo(f"{'survey' if planned.survey else 'sweep '} {planned.case}")
    survey = sum(planned_case.survey for planned_case in planned_cases)
    minutes = plan.estimate_s(planned_cases, rounds) / 60
    click.echo(
        f"{survey} cases in the survey, at most {len(planned_cases) - survey} in the sweep, then {rounds} rounds "
        f"of the best paths; about {minutes:.0f} min with cold compile caches, roughly half with warm ones",
        err=True,
    )
