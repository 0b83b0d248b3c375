"""Regenerates what the README shows: the table of the stored run and the help of every command.

`python tests/readme_blocks.py` writes it; test_readme.py checks that nothing has drifted.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
STORED = ROOT / "results" / "quick-cpu"
STANDARD = ROOT / "results" / "standard-cpu"


def table() -> str:
    from harness.cli.formats import render
    from harness.records.store import load

    first, *others = render(load(STORED).records, "markdown").strip().split("\n## ")
    notes = others[-1].splitlines()[2:]
    shown = ("- cases", "- […]", "- tie", "- \\*", "- ?", "- break-even", "- ceiling")
    lines = [note for note in notes if note.startswith(shown)]
    return "\n".join([*first.splitlines()[2:], "", *lines])


def took() -> str:
    from harness.records.store import load

    info = load(STORED).info
    share = info.phases_s["measuring_compiling_checking_s"] + info.phases_s["inputs_and_references_s"]
    return (
        f"{info.wall_s / 60:.1f} minutes, {100 * share / info.wall_s:.0f} % of them measuring, compiling or checking, "
        f"with {', '.join(f'{k} {v}' for k, v in info.versions.items() if k in ('torch', 'jax', 'tensorflow'))}"
    )


def trust() -> str:
    text = (ROOT / "results" / "perf-cpu" / "trust.txt").read_text()

    def found(pattern: str) -> tuple[str, ...]:
        match = re.search(pattern, text)
        assert match is not None, pattern
        return match.groups()

    far = {name: found(rf"{re.escape(name)}.* +([\d.]+) %\n")[0] for name in ("hwlottery", "torch.utils", "pytest-b")}
    holds, pairs, _ = found(r"holds 1 in (\d+) of (\d+) pairs \((\d+) %\)")
    slower, faster, trials = found(r"all +slower (\d+), tie \d+, faster (\d+) of (\d+)")
    return (
        f"three groups hold a case within {far['hwlottery']} % of itself at the 95th percentile, where "
        f"torch.utils.benchmark is within {far['torch.utils']} % and pytest-benchmark within {far['pytest-b']} %; the "
        f"95 % interval held 1 in {holds} of {pairs} pairs; 5 % more work was called slower by ten groups in {slower} "
        f"of {trials} trials and faster in {faster}"
    )


def help_() -> str:
    import click

    from harness.cli.main import cli

    out = []
    for name, command in cli.commands.items():
        context = click.Context(command, info_name=f"hwlottery {name}", max_content_width=100, terminal_width=100)
        options = []
        for parameter in command.params:
            record = parameter.get_help_record(context)
            if record is not None and isinstance(parameter, click.Option):
                flags = ", ".join(f"`{opt}`" for opt in (*parameter.opts, *parameter.secondary_opts))
                options.append(f"| {flags} | {' '.join(record[1].split())} |")
        usage = " ".join(command.get_usage(context).removeprefix("Usage: ").split())
        out += [f"**`{usage}`**: {command.help}", "", "| option | |", "| --- | --- |", *options, ""]
    return "\n".join(out).strip()


def findings() -> str:
    from readme_headlines import headlines

    return headlines(STANDARD)


BLOCKS = {"table": table, "took": took, "headlines": findings, "trust": trust, "help": help_}
INLINE = ("took", "trust")  # within a sentence


def regenerated(text: str) -> str:
    for name, make in BLOCKS.items():
        pattern = re.compile(rf"(<!-- begin: {name} -->)(.*?)(<!-- end: {name} -->)", re.DOTALL)
        gap = "" if name in INLINE else "\n"
        text, count = pattern.subn(lambda m, make=make, gap=gap: f"{m[1]}{gap}{make()}{gap}{m[3]}", text)
        if count != 1:
            raise ValueError(f"README.md must have one block {name!r}, found {count}")
    return text


def examples() -> dict[str, tuple[str, str]]:
    """File name → (kind, code) of the complete examples."""
    found = re.findall(r"<!-- example: (\w+) (\w+\.py) -->\n```python\n(.*?)```", README.read_text(), re.DOTALL)
    return {name: (kind, code) for kind, name, code in found}


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    README.write_text(regenerated(README.read_text()))
