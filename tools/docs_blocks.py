"""Blocks made from stored results: rows, findings and figures in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tools import docs_sources as sources
from tools.docs_pages import Block, PageError, table
from tools.perf_tables import Cell, Table, markdown, read

if TYPE_CHECKING:
    from harness.figures.summary import Row

# The rows of the README: workload, words of its point, backend.
EIGHT = (
    ("unstructured_sparse", "n=1", "torch"),
    ("unstructured_sparse", "n=128", "torch"),
    ("unstructured_sparse", "n=128", "jax"),
    ("block_sparse", "block=32", "tensorflow"),
    ("capsule_conv", "", "torch"),
    ("capsule_routing", "", "jax"),
    ("local_update", "", "torch"),
    ("forward_forward", "", "tensorflow"),
)
ALOUD = ("unstructured_sparse", "n=128", "torch")
_TITLES = {"torch": "PyTorch", "jax": "JAX", "tensorflow": "TensorFlow"}
_MAIN = ("Ideas against their dense twin", "Compiled for, not run")  # titles of main tables
_NOTES = ("- constant", "- dense twins", "- cases", "- […]", "- tie", "- \\*", "- ?", "- break-even", "- ceiling")


def _row(workload: str, label: str, backend: str) -> Row:
    found = [
        row
        for row in sources.summary(sources.QUICK).rows
        if (row.workload, row.backend) == (workload, backend) and label in row.label.split(", ")
    ]
    if len(found) != 1:
        raise PageError(f"results/{sources.QUICK} has {len(found)} rows of {workload} {label} {backend}, 1 is wanted")
    return found[0]


def eight(_: Block) -> str:
    """Eight rows of the stored run of `quick`."""
    names = ("idea", "backend", "best path", "speed-up", "tax")
    rows = []
    for wanted in EIGHT:
        cells = sources.cells(_row(*wanted))
        rows.append([f"{cells['workload']}: {cells['point']}", *(cells[name] for name in names[1:])])
    return table(names, rows)


def answer(_: Block) -> str:
    """What the stored run of `quick` says, in the sentences that the terminal prints before every table."""
    said = sources.summary(sources.QUICK).answer
    if not said:
        raise PageError(f"results/{sources.QUICK} has nothing to say: every row is a tie or has no interval")
    return " ".join(said)


def aloud(_: Block) -> str:
    """One of the eight rows in words."""
    row = _row(*ALOUD)
    twin = row.principal
    if twin is None or twin.speed_up is None or twin.tax is None or twin.work_ratio is None:
        raise PageError(f"results/{sources.QUICK}: the row that is read aloud has no twin")
    cells = sources.cells(row)
    low, high = twin.speed_up_low or 0.0, twin.speed_up_high or 0.0
    return (
        f"A 1024×1024 weight matrix with density {row.params['density']} times {row.params['n']} columns, in "
        f"{_TITLES[row.backend]}: the fastest of all correct ways to write it is `{row.formulation}`, "
        f"{row.execution}, {cells['time'].partition(' [')[0]} a call. The dense product of the same shape takes "
        f"{twin.speed_up:.3g} times as long (95 % interval {low:.3g} to {high:.3g}): the idea pays. But it needs "
        f"{twin.work_ratio:.2g} of the FLOP, so each of them costs {twin.tax:.3g} times a FLOP of the dense path: "
        "that is its tax"
    )


def _sections(name: str) -> dict[str, str]:
    """The sections of a stored run's Markdown report, by their titles."""
    parts = ("\n" + sources.report(name)).split("\n## ")[1:]
    return {part.partition("\n")[0].strip(): part.partition("\n")[2].strip() for part in parts}


def _main(block: Block, found: dict[str, str]) -> str:
    """The title of the main table; PageError where there is none."""
    for title in _MAIN:
        if title in found:
            return title
    raise PageError(f"{block.page}: the report of {block.words[0]} has no main table; its sections: {', '.join(found)}")


def rows(block: Block) -> str:
    """The main table of a stored run."""
    found = _sections(block.words[0])
    return found[_main(block, found)]


def sections(block: Block) -> str:
    """Everything of a stored run's report but the main table, a heading lower."""
    found = _sections(block.words[0])
    found.pop(_main(block, found))
    return "\n\n".join(f"### {title}\n\n{body}" for title, body in found.items())


def chips(_: Block) -> str:
    """The lottery across chips: the estimates of all stored runs that were compiled for one, a table a figure."""
    from harness.report import chips_text
    from harness.report.sections import sections as of_summary

    found = of_summary(sources.across_chips())
    tables = [section for section in found if section.title.startswith(f"{chips_text.TITLE}: ")]
    said = f"{chips_text.READS_CHIPS[:1].upper()}{chips_text.READS_CHIPS[1:]}"
    parts = [
        f"## {section.title.partition(': ')[2].capitalize()}\n\n{table(section.names, section.cells)}"
        for section in tables
    ]
    return "\n\n".join([said, *parts])


def notes(block: Block) -> str:
    """How many cases ended how, where an idea begins to pay, and the ceilings of a stored run."""
    found = _sections(block.words[0])
    if "Notes" not in found:
        raise PageError(f"{block.page}: the report of {block.words[0]} has no notes; its sections: {', '.join(found)}")
    return "\n".join(line for line in found["Notes"].splitlines() if line.startswith(_NOTES))


def took(block: Block) -> str:
    """How long a stored run took, and with what."""
    info = sources.run(block.words[0]).info
    if info.wall_s is None:
        raise PageError(f"results/{block.words[0]}/run.json does not say how long the run took")
    versions = ", ".join(f"{_TITLES[k]} {v}" for k, v in sorted(info.versions.items()) if k in _TITLES)
    return f"{info.wall_s / 60:.1f} minutes, with {versions}"


def machine(block: Block) -> str:
    """The machine of a stored run."""
    facts = sources.run(block.words[0]).info.machine
    return f"{facts['cpu']}, {facts['cores_usable']} cores, {float(facts['memory_bytes'] or 0) / 2**30:.0f} GiB"


def command(block: Block) -> str:
    """The command line of a stored run."""
    return f"`{' '.join(sources.run(block.words[0]).info.command)}`"


def headlines(_: Block) -> str:
    """What others published, in the numbers of the stored run of `standard`."""
    from tools.docs_headlines import headlines as made

    return made(sources.RESULTS / sources.STANDARD)


def perf(block: Block) -> str:
    """A benchmark of the harness itself."""
    path = sources.RESULTS / "perf-cpu" / f"{block.words[0]}.json"
    if not path.is_file():
        raise PageError(
            f"{block.page}: {path} is not there; HWLOTTERY_BENCH_OUT={path.parent} has a benchmark write it"
        )
    return markdown(read(path))


def faults(block: Block) -> str:
    """The faults that were tried."""
    from tools.faults import FILE, markdown
    from tools.faults import read as stored

    if not FILE.is_file():
        raise PageError(f"{block.page}: results/faults.json is not there; python tools/faults.py makes it")
    return markdown(stored())


def trust(_: Block) -> str:
    """What the numbers are worth, in a sentence."""
    found = read(sources.RESULTS / "perf-cpu" / "trust.json")
    distance, power = found.tables
    ours, torch, pytest = (_found(distance, "what", name)["p95_off"] for name in _NAMES)
    every = _found(power, "backend", "all")
    facts = found.facts
    return (
        f"three groups hold a case within {_percent(ours)} of itself at the 95th percentile, where "
        f"torch.utils.benchmark is within {_percent(torch)} and pytest-benchmark within {_percent(pytest)}; the 95 % "
        f"interval held 1 in {facts['pairs whose 95 % interval holds 1']} of {facts['pairs']} pairs; 5 % more work was "
        f"called slower by ten groups in {every['slower']} of {every['trials']} trials and faster in {every['faster']}"
    )


_NAMES = ("hwlottery, 3 groups as in quick", "torch.utils.benchmark", "pytest-benchmark")


def _found(table_: Table, key: str, value: str) -> dict[str, Cell]:
    for row in table_.rows:
        if row[key] == value:
            return row
    raise PageError(f"results/perf-cpu/trust.json has no row {value!r} in {table_.title!r}")


def _percent(value: Any) -> str:
    return f"{100 * value:.1f} %"


def source(block: Block) -> str:
    """A file of the checkout."""
    path = sources.ROOT / block.words[0]
    if not path.is_file():
        raise PageError(f"{block.page}: {block.words[0]} is not there")
    return f"```python\n{path.read_text(encoding='utf-8')}```"
