"""Examples of a page, run for real: `console` blocks, in a folder of the page's own that holds its example files.

In a block `console`, the lines that begin with `$ ` are run by bash, one after the other, and what they print takes the
place of what stood below them. Words behind the name: `exit=1` is the exit code expected of the last command,
`head=20` shows so many lines of each, `varies` keeps what is shown, for its numbers are never the same: it must then
exit as expected and print mostly the same words.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import weakref
from dataclasses import dataclass, field
from pathlib import Path

from tools import docs_sources as sources
from tools.docs_pages import Block, PageError

_EXAMPLE = re.compile(r"<!-- example: ([\w./-]+) -->\n```\w+\n(.*?)```", re.DOTALL)
_LINKS = ("results", "tools", "tests", "constraints.txt")
_KEPT = ("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "LD_LIBRARY_PATH")  # of the environment: a page is anybody's
_LIMIT_S = 300
_ALIKE = 0.7  # share of the words shown that a new run of what `varies` must print again
_PROGRESS = re.compile(r"^.*: \d+ of \d+, about .* left; now .*\n", re.MULTILINE)  # of a run that takes its time
# Of a run that is not alone, as two are that are only looked at: its lines would push others out of what is shown.
_DISTURBED = re.compile(r"^(?:DISTURBED: .*\n(?:  .*\n)*|note: the machine disturbed the run: .*\n)", re.MULTILINE)
_SHELL = 'hwlottery() { "$PYTHON" -m harness "$@"; }; python() { "$PYTHON" "$@"; }; set -o pipefail; '


@dataclass
class Examples:
    """The folders of all pages; `rewrite` takes what `varies` anew where it prints other words."""

    rewrite: bool = False
    folders: dict[Path, Path] = field(default_factory=dict)

    def console(self, block: Block) -> str:
        """The block with its commands' output."""
        options = dict(word.split("=") for word in block.words if "=" in word)
        folder = self._folder(block.page)
        lines = block.body.strip().removeprefix("```console").removesuffix("```").strip().splitlines()
        commands = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        if not commands:
            raise PageError(f"{block.page}: a console block has no line that begins with '$ '")
        out = []
        for number, command in enumerate(commands):
            wanted = int(options.get("exit", 0)) if number == len(commands) - 1 else 0
            printed = _run(command, folder, wanted, block.page)
            printed = (printed if self.rewrite else _DISTURBED.sub("", printed)).splitlines()
            most = int(options.get("head", len(printed)))
            out += [f"$ {command}", *printed[:most], *(["…"] if len(printed) > most else [])]
        made = "\n".join(["```console", *(line.rstrip() for line in out), "```"])
        if "varies" in block.words:
            same = _words(block.body) == _words(made)
            if not (same or self.rewrite):
                alike(block.page, block.body, made)
            return block.body.strip("\n") if same or not self.rewrite else made
        return made

    def _folder(self, page: Path) -> Path:
        """The page's folder, with its example files and the checkout's results."""
        if page not in self.folders:
            folder = Path(tempfile.mkdtemp(prefix="hwlottery-docs-"))
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
            for name in _LINKS:
                (folder / name).symlink_to(sources.ROOT / name)
            for name, content in examples(page).items():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_text(content, encoding="utf-8")
            self.folders[page] = folder
        return self.folders[page]


def examples(page: Path) -> dict[str, str]:
    """File name → content of the example files that a page shows whole."""
    return dict(_EXAMPLE.findall(page.read_text(encoding="utf-8")))


def alike(page: Path, shown: str, printed: str) -> None:
    """PageError unless most words of what is shown were printed again."""
    before, now = _words(shown), _words(printed)
    if before and len(before & now) < _ALIKE * len(before):
        lost = ", ".join(sorted(before - now)[:12])
        raise PageError(f"{page}: an example prints other words now, without {lost}; run: python tools/docs.py --write")


def _words(text: str) -> set[str]:
    return set(re.findall(r"[A-Za-z_]{3,}", text))


def _run(command: str, folder: Path, wanted: int, page: Path) -> str:
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    settings = {
        "PYTHON": sys.executable,
        "PYTHONPATH": str(sources.ROOT),
        "COLUMNS": "80",
        "NO_COLOR": "1",
        "TERM": "dumb",
        "HWLOTTERY_CACHE": str(folder / ".cache"),
        "HWLOTTERY_HOST_LOCK": "off",
    }
    try:
        done = subprocess.run(
            ["bash", "-c", _SHELL + command],
            cwd=folder,
            env=kept | settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_LIMIT_S,
        )
    except subprocess.TimeoutExpired:
        raise PageError(f"{page}: {command!r} took over {_LIMIT_S} s; choose a smaller example") from None
    if done.returncode != wanted:
        raise PageError(f"{page}: {command!r} exits with {done.returncode}, {wanted} is expected:\n{done.stdout}")
    shown = _PROGRESS.sub("", done.stdout)
    return shown.replace(f"{folder}/", "").replace("python -m harness", "hwlottery")
