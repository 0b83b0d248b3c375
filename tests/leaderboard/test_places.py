"""Where a site may be put, what counts once, and what a machine is."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import pytest
from _sound import STORED
from _submissions import FAST, HARDWARE, SLOW, pair, taken, three

from harness.cli.main import run_cli
from harness.leaderboard import site, submissions
from harness.leaderboard.standings import leaderboard
from harness.leaderboard.submission import installed, machine_of


@pytest.fixture
def found(tmp_path, monkeypatch):
    from _submissions import lenient

    monkeypatch.setattr(submissions, "validate", lenient)
    return str(three(tmp_path / "in"))


def _snapshot(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.fault(
    "output folders that cannot be replaced: current, around it, link, mount point, with other files", "files"
)
@pytest.mark.parametrize("kind", ["current", "around", "link", "mount", "busy", "holds", "git"])
def test_a_folder_that_cannot_be_replaced_is_named_with_its_cause_and_nothing_is_left(
    found, tmp_path, kind, monkeypatch, capsys
):
    out = tmp_path / "there" / "out"
    out.mkdir(parents=True)
    argument, said = str(out), ""
    if kind == "current":
        monkeypatch.chdir(out)
        argument, said = ".", "-o . is the current folder, which would be replaced as a whole; name a folder in it"
    elif kind == "around":
        (out / "below").mkdir()
        monkeypatch.chdir(out / "below")
        argument, said = "..", "is a folder around the current one"
    elif kind == "link":
        (tmp_path / "there" / "link").symlink_to(out)
        argument, said = str(tmp_path / "there" / "link"), "is a link"
    elif kind == "mount":
        monkeypatch.setattr(os.path, "ismount", lambda path: Path(path) == out)
        said = "is a mount point"
    elif kind == "busy":
        real = Path.rename

        def rename(self, target):
            if self == out:
                raise OSError(errno.EBUSY, "Device or resource busy")
            return real(self, target)

        monkeypatch.setattr(Path, "rename", rename)
        said = "it is a mount point"
    elif kind == "holds":
        shutil.copytree(found, out / "in")
        (out / site.MARKER).write_text("")
        found, said = str(out / "in"), "lies in it"
    else:
        (out / site.MARKER).write_text("")
        (out / ".git").mkdir()
        said = "holds .git beside, which would be lost"
    before = _snapshot(tmp_path / "there")
    assert run_cli(["leaderboard", found, "-o", argument]) == 2
    assert said in capsys.readouterr().err
    assert _snapshot(tmp_path / "there") == before


def test_a_site_of_ours_is_replaced_as_before(found, tmp_path):
    out = tmp_path / "out"
    assert run_cli(["leaderboard", found, "-o", str(out)]) == 0
    assert run_cli(["leaderboard", found, "-o", str(out)]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"in", "out"}


@pytest.mark.fault("the same run submitted twice, written anew and in part", "gate")
def test_the_same_run_counts_once_whatever_its_bytes(tmp_path, monkeypatch, capsys):
    from _submissions import lenient

    monkeypatch.setattr(submissions, "validate", lenient)
    shutil.copytree(STORED, tmp_path / "in" / "a")
    anew, part = tmp_path / "in" / "b", tmp_path / "in" / "c"
    lines = (STORED / "records.jsonl").read_text().splitlines()
    for folder, kept in ((anew, lines), (part, lines[: len(lines) // 2])):
        folder.mkdir()
        (folder / "records.jsonl").write_text("".join(f"{json.dumps(json.loads(line))}\n" for line in kept))
        info = json.loads((STORED / "run.json").read_text())
        (folder / "run.json").write_text(json.dumps({**info, "notes": ["another"]}))
    assert run_cli(["leaderboard", str(tmp_path / "in"), "-o", str(tmp_path / "site")]) == 0
    assert "1 submissions of 1 machines, 2 refused" in capsys.readouterr().err
    assert len(list((tmp_path / "site").glob("submission-*.html"))) == 1
    assert "a run counts once" in (tmp_path / "site" / "refused.html").read_text()


def test_two_runs_of_one_machine_are_two(tmp_path):
    board = leaderboard([taken("a", pair(FAST)), taken("b", pair(SLOW, run="r2"))], [], {})
    assert len(board.submissions) == 2


@pytest.mark.fault("a little more or less memory, unlike processors of one name", "machines")
def test_a_little_memory_makes_no_other_machine_and_another_processor_does():
    base = machine_of(HARDWARE)
    for memory in (16 * 2**30 - 2**20, int(15.6 * 2**30), 16 * 2**30 + 2**20):
        assert machine_of({**HARDWARE, "memory_bytes": memory}).slug == base.slug
    for other in (8, 12, 24, 32):
        assert machine_of({**HARDWARE, "memory_bytes": other * 2**30}).slug != base.slug
    ids = {machine_of({**HARDWARE, "cpu_id": text}).slug for text in ("GenuineIntel 6 207", "GenuineIntel 6 106")}
    assert len(ids) == 2
    assert installed(25276510208) == installed(25276502016) == 24 * 2**30
    assert [installed(value) for value in (None, 0, -1, float("nan"), float("inf"), True, "x")] == [None] * 7
