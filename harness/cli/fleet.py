"""What the commands of `fleet` do: they read the file, hand it to its room, and print."""

from __future__ import annotations

import shlex
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import click
import msgspec

from harness.cli.parameters import EXIT_FAILED, EXIT_OK, Duration, program
from harness.errors import UserError, nearest
from harness.fleet.campaign import JOURNAL, RUNS, Campaign
from harness.fleet.description import Fleet, Want, read
from harness.fleet.engines.base import Engine
from harness.fleet.shards import FleetPlan
from harness.fleet.shards import plan as shards_of
from harness.machine.digest import sources
from harness.planning.plan import Planned
from harness.planning.request import RunRequest
from harness.records.text import plain

MOST_SAID = 20  # lost attempts that are named
_SLOW = {"ray": ("poll", "keep")}  # options that are times


def described(file: Path, *, checked: bool = True) -> tuple[Fleet, FleetPlan]:
    """The fleet of a file and its plan; UserError for the first thing that is wrong with it.

    Unless `checked`, what is wanted is not held against what there is: the campaign's beginning was.
    """
    fleet = read(file)
    if checked:
        for want in fleet.wants:
            _weights(want)
    return fleet, shards_of(fleet, _weights)


def _opened(file: Path, campaign: Path | None, *, checked: bool = True) -> Campaign:
    fleet, plan = described(file, checked=checked)
    return Campaign(campaign or Path("campaigns") / file.stem, fleet, plan)


def _begun(file: Path, campaign: Path | None) -> Campaign:
    """A campaign that is there, read; UserError where it was never begun."""
    opened = _opened(file, campaign, checked=False)
    if not (opened.folder / JOURNAL).exists():
        raise UserError(f"{opened.folder} is no campaign; begin it by: {program()} fleet run {_words(opened)}")
    return opened.read()


def _words(campaign: Campaign) -> str:
    return f"{shlex.quote(str(campaign.fleet.path))} -o {shlex.quote(str(campaign.folder))}"


# -- what a want would run ---------------------------------------------------------------------------------------------


@cache
def _request(options: tuple[str, ...]) -> RunRequest:
    """The request that `run` makes of these options; UserError where it would refuse them."""
    from harness.cli.run_command import request
    from harness.cli.run_command import run as command

    try:
        return request(command.make_context("run", list(options)).params)
    except click.ClickException as error:
        raise UserError(error.format_message()) from None


@cache
def _cases(options: tuple[str, ...]) -> Sequence[Planned]:
    """The cases of a run of these options."""
    from harness.cli.foreseen import planned

    return planned(_request(options))


def _weights(want: Want) -> Mapping[str, int]:
    """The ideas that a want runs, with the number of their cases."""
    from workloads.discovery import workloads

    options = [
        word for key, values in want.options.items() for v in values for word in (f"--{key}", *([v] if v else []))
    ]
    if want.share == "split" and want.workloads:
        options += [word for name in want.control for word in ("--workload", name)]
    roles = workloads()[0]
    for name in want.control if want.share == "split" else ():
        if name not in roles:
            raise nearest("workload", name, roles)
    try:
        _request(tuple(options))  # the seed, too, may be none
        cases = _cases(_unseeded(options))
    except UserError as error:
        raise UserError(f"want {want.name!r}: {error}") from None
    chosen = set(want.workloads) or {name for name, workload in roles.items() if workload.role == "idea"}
    return Counter(case.case.workload for case in cases if case.case.workload in chosen)


@cache
def _about_s(options: tuple[str, ...]) -> float | None:
    """How long a run would take on this machine, if that is known."""
    from harness.cli.foreseen import expected_s

    return expected_s(_request(options), _cases(options), _sources())


def _unseeded(options: Sequence[str]) -> tuple[str, ...]:
    """Options without the seed, on which no time hangs: plans that are repeated are reckoned once."""
    if "--seed" not in options:
        return tuple(options)
    at = list(options).index("--seed")
    return (*options[:at], *options[at + 2 :])


@cache
def _sources() -> Mapping[str, str]:
    from harness.cli.information import all_sources

    return all_sources()


# -- commands ----------------------------------------------------------------------------------------------------------


class PlanRow(msgspec.Struct, frozen=True, kw_only=True):
    """A run that is wanted: of which kind of machine, by which command, how long it takes about, None if not known."""

    shard: str
    want: str
    kind: str
    command: list[str]
    about_s: float | None
    state: str


def plan(file: Path, campaign: Path | None, as_json: bool) -> int:
    """Print who would run what."""
    opened = _opened(file, campaign).read()
    given_up = set(opened.ledger.given_up())
    rows = [
        PlanRow(
            shard=shard.name,
            want=shard.want,
            kind=shard.kind,
            command=["run", *shard.options],
            about_s=_about_s(_unseeded(shard.options)),
            state=opened.state(shard.name, given_up),
        )
        for shard in opened.plan.shards
    ]
    machines = opened.plan.machines
    if as_json:
        click.echo(_json({"engine": opened.fleet.engine, "machines": machines, "rows": rows}))
        return EXIT_OK
    left = [row for row in rows if row.state != "done"]
    alike: dict[tuple[str, str, tuple[str, ...]], list[PlanRow]] = defaultdict(list)
    for row in left:
        alike[row.want, row.kind, tuple(row.command)].append(row)
    for (want, kind, command), several in alike.items():
        times = f"{len(several)} × " if len(several) > 1 else ""
        about = _span(several[0].about_s)
        click.echo(f"{want}: {times}{_said_of(machines[kind])}, {about} each: {shlex.join(command)}")
    click.echo(_summary(opened, left), err=True)
    return EXIT_OK


def _said_of(machines: Sequence[str]) -> str:
    return f"on {machines[0]}" if len(machines) == 1 else f"on one of {machines[0]} … {machines[-1]}"


def _span(seconds: float | None) -> str:
    from harness.cli.foreseen import in_words

    return "for a time that is not known" if seconds is None else f"about {in_words(seconds)}"


def _summary(opened: Campaign, left: Sequence[PlanRow]) -> str:
    """How many runs, on how many machines, and how long the busiest is at it."""
    times: dict[str, list[float]] = defaultdict(list)  # of the runs of each kind of machine
    for row in left:
        times[row.kind].append(row.about_s or 0.0)
    machines = {kind: len(opened.plan.machines[kind]) for kind in times}
    if opened.fleet.engine == "local":  # one run at a time
        total = sum(map(sum, times.values()))
    else:
        total = max((max(*of, sum(of) / machines[kind]) for kind, of in times.items()), default=0.0)
    unknown = sum(row.about_s is None for row in left)
    longest = f"{_span(total)} in all, by what this machine takes" if unknown < len(left) else "how long is not known"
    more = f", {unknown} of them for a time that is not known" if 0 < unknown < len(left) else ""
    whole = len(opened.plan.shards)
    done = f"; {whole - len(left)} are done" if len(left) < whole else ""
    runs = f"{len(left)} runs on {sum(machines.values())} machines by {opened.fleet.engine}"
    return f"{runs}{more}: {longest}{done}"


def run(file: Path, campaign: Path | None, wait_s: float) -> int:
    """Drive a campaign; 1 where something wanted is not done or a case failed."""
    from harness.fleet.drive import Driver

    opened = _opened(file, campaign)
    with opened:
        engine = _engine(opened)
        Driver(opened, engine, sources=sources(), say=lambda said: click.echo(said, err=True), wait_s=wait_s).drive()
        ledger = opened.ledger
        failed = [name for name in ledger.done if ledger.attempts[ledger.of_shard[name][-1]].code]
        left = len(ledger.shards) - len(ledger.done)
    click.echo(f"results: {opened.folder / RUNS}", err=True)
    if left:
        click.echo(
            f"{left} of {len(ledger.shards)} runs are not done; see: {program()} fleet status {_words(opened)}",
            err=True,
        )
    click.echo(f"next: {program()} fleet collect {_words(opened)}", err=True)
    return EXIT_FAILED if left or failed else EXIT_OK


def _engine(opened: Campaign) -> Engine:
    options = dict(opened.fleet.engine_options)
    for key in _SLOW.get(opened.fleet.engine, ()):
        if key in options:
            try:
                options[f"{key}_s"] = Duration().convert(options.pop(key), None, None)
            except click.ClickException as error:
                raise UserError(f"{opened.fleet.path}: [{opened.fleet.engine}] {key}: {error.message}") from None
    if opened.fleet.engine == "ray":
        from harness.fleet.engines.ray_engine import RayEngine

        return RayEngine(opened.founded.campaign if opened.founded else "", **options)
    if opened.fleet.engine == "slurm":
        from harness.fleet.engines.slurm import SlurmEngine

        return SlurmEngine(opened.folder.absolute() / "logs" / "slurm", options)
    from harness.fleet.engines.local import LocalEngine

    return LocalEngine()


def status(file: Path, campaign: Path | None, as_json: bool) -> int:
    """Print how a campaign stands."""
    from harness.fleet.standing import status as standing

    found = standing(_begun(file, campaign))
    if as_json:
        click.echo(_json(found))
        return EXIT_OK
    heads = (f"{'want':20}", f"{'machines':20}", f"{'done':>9}", "running", "waiting", "given up", f"{'lost':>5}")
    click.echo(f"{' '.join(heads)} {'records':>8}")
    for row in found.rows:
        done = f"{row.done} of {row.shards}"
        click.echo(
            f"{row.want:20} {row.kind:20} {done:>9} {row.running:7} {row.waiting:7} {row.given_up:8} {row.lost:5} "
            f"{row.records:8}"
        )
    for name, records in list(found.running.items())[:MOST_SAID]:
        click.echo(f"running: {name}, {records} records so far")
    for attempt in found.lost[-MOST_SAID:]:
        kept = f"{attempt.records} records are kept as a partial run" if attempt.records else "nothing is kept"
        click.echo(f"{attempt.state}: {attempt.attempt} on {attempt.machine}, {kept} ({plain(attempt.reason)})")
    return EXIT_OK


def collect(file: Path, campaign: Path | None, as_json: bool) -> int:
    """Take in what came by hand, and judge; 1 where something is missing or a control does not hold."""
    from harness.fleet.collecting import collected, take_in

    with _opened(file, campaign) as opened:
        found = collected(opened, take_in(opened, sources()))
    code = EXIT_FAILED if found.done < found.shards or any(c.holds is False for c in found.controls) else EXIT_OK
    if as_json:
        click.echo(_json(found))
        return code
    click.echo(f"{found.done} of {found.shards} runs are done, with {found.records} records in {opened.folder / RUNS}")
    for name in found.taken_in:
        click.echo(f"taken in: {name}")
    for folder in found.partial:
        click.echo(f"partial: {folder}")
    for name in (*found.given_up, *found.waiting)[:MOST_SAID]:
        click.echo(f"missing: {name}")
    for name, by_version in found.versions.items():
        each = "; ".join(f"{version} on {', '.join(machines)}" for version, machines in by_version.items())
        click.echo(f"differs: {name} {each}")
    for control in found.controls:
        word = {True: "holds", False: "does not hold", None: "cannot be told"}[control.holds]
        click.echo(f"control of {control.want} on {control.kind}: {word} ({control.why})")
    click.echo(f"next: {program()} leaderboard {shlex.quote(str(opened.folder / RUNS))} -o SITE", err=True)
    return code


def export(file: Path, to: str, output: Path | None) -> int:
    """Print the plan as job files."""
    from harness.fleet.export import FORMATS, exported

    if to not in FORMATS:
        raise nearest("form", to, FORMATS)
    text = exported(*described(file), to)
    if output is None:
        click.echo(text, nl=False)
    else:
        from harness.cli.publish import write

        write(text, output)
    return EXIT_OK


def _json(found: object) -> str:
    return msgspec.json.format(msgspec.json.encode(found), indent=2).decode()
