"""Disks that fill up, folders that go away or may not be written, torn lines: one sentence, and nothing is lost."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from _stored import RUN, record

from harness.records import disk, store
from harness.records.record import SCHEMA
from harness.records.store import INFO, RECORDS, Store, StoreError, load, new_folder

ROOT = Path(__file__).resolve().parents[2]
HELPERS = str(ROOT / "tests" / "helpers")
LINE = msgspec.json.encode(record("b")) + b"\n"


def formulations(folder):
    return [r.case.formulation for r in load(folder).records]


@pytest.mark.fault("a disk that fills up in the middle of a line", "storage")
@pytest.mark.parametrize("room", [0, 1, len(LINE) - 1, len(LINE), len(LINE) + 1, 2 * len(LINE) - 1])
def test_a_full_disk_keeps_the_lines_that_found_room_whole(tmp_path, monkeypatch, room):
    out, left = Store(tmp_path / "out", RUN), [room]
    out.append(record("a"))
    real = os.write

    def full(file, content):
        if not left[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = real(file, bytes(content)[: left[0]])
        left[0] -= written
        return written

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(
        StoreError, match=r"cannot be written any more \(No space left on device\): what was measured"
    ) as e:
        out.append(record("b"), record("b", 1))
    assert "\n" not in str(e.value)
    monkeypatch.undo()
    out.close()
    (one, *two) = load(tmp_path / "out").records
    assert one == record("a")
    assert sum(len(r.time.trials) for r in two) == room // len(LINE)
    assert not load(tmp_path / "out").warnings
    with Store(tmp_path / "out", RUN, resume=True) as again:
        assert len(again.before) == 1 + len(two)


@pytest.mark.fault("a limit on the size of files, as a quota sets it", "storage")
def test_a_real_limit_of_the_system_is_told_the_same(tmp_path):
    """In a process of its own: RLIMIT_FSIZE makes the kernel take a part of a line and refuse the rest."""
    code = (
        "import resource, sys\n"
        f"sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'tests' / 'helpers')!r}]\n"
        "from pathlib import Path\n"
        "from _stored import RUN, record\n"
        "from harness.records.store import Store, StoreError\n"
        f"store = Store(Path({str(tmp_path / 'out')!r}), RUN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({2 * len(LINE) + 100}, {2 * len(LINE) + 100}))\n"
        "try:\n"
        "    for _ in range(9): store.append(record('b'))\n"
        "except StoreError as error:\n"
        "    print(error)\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "cannot be written any more (File too large)" in out.stdout
    assert (tmp_path / "out" / RECORDS).read_bytes() == 2 * LINE


@pytest.mark.fault("run.json that cannot be replaced: a folder that lost its permission, a full disk", "storage")
@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_run_json_stays_as_it_was_where_it_cannot_be_replaced(tmp_path, monkeypatch, number):
    out = Store(tmp_path / "out", RUN)
    out.append(record("a"))

    def refuse(self, target):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(StoreError, match="cannot be written any more"):
        out.write_info(msgspec.structs.replace(RUN, notes=["late"]))
    out.close()
    monkeypatch.undo()
    assert sorted(os.listdir(tmp_path / "out")) == [RECORDS, INFO]
    assert load(tmp_path / "out").info.notes == []
    assert formulations(tmp_path / "out") == ["a"]


@pytest.mark.fault("a read-only file system", "storage")
def test_a_read_only_place_is_one_sentence(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(StoreError, match=r"--out .*out cannot be written \(Read-only file system\)"):
        Store(tmp_path / "out", RUN)
    with pytest.raises(StoreError, match=r"cannot be made \(Read-only file system\); name a results folder by --out"):
        new_folder(tmp_path / "runs" / "one")


@pytest.mark.fault("a disk that is full from the beginning", "storage")
@pytest.mark.parametrize("made_before", [False, True])
def test_a_run_that_cannot_begin_leaves_no_folder_of_its_own(tmp_path, monkeypatch, made_before):
    if made_before:
        (tmp_path / "out").mkdir()

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(store, "replace", full)
    with pytest.raises(StoreError, match=r"--out .*out cannot be written \(No space left on device\); name another"):
        Store(tmp_path / "out", RUN)
    assert os.listdir(tmp_path) == (["out"] if made_before else [])
    assert not made_before or os.listdir(tmp_path / "out") == []


@pytest.mark.fault("a results folder that is deleted while the run goes on", "storage")
def test_a_folder_that_vanishes_is_made_again_with_everything(tmp_path):
    out = Store(tmp_path / "out", RUN)
    out.append(record("a"))
    shutil.rmtree(tmp_path / "out")
    out.append(record("b"))
    shutil.rmtree(tmp_path / "out")
    out.write_info(msgspec.structs.replace(out.info, wall_s=3.0))
    out.close()
    assert formulations(tmp_path / "out") == ["a", "b"]
    info = load(tmp_path / "out").info
    assert info.wall_s == 3.0
    assert ["was taken away while the run went on" in note for note in info.notes] == [True, True]


@pytest.mark.fault("a results folder that is moved away, another put in its place", "storage")
def test_a_folder_that_cannot_be_made_again_is_saved_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setattr(store.tempfile, "mkdtemp", lambda prefix: str(make(tmp_path / f"{prefix}x")))
    out = Store(tmp_path / "out", RUN)
    out.append(record("a"))
    (tmp_path / "out").rename(tmp_path / "mine")
    make(tmp_path / "out")
    (tmp_path / "out" / RECORDS).write_text("another's")
    with pytest.raises(StoreError, match=r"everything measured is in .*hwlottery-saved-x; move it"):
        out.append(record("b"))
    with pytest.raises(StoreError, match="hwlottery-saved-x"):
        out.note("it is saved once")
    out.close()
    assert formulations(tmp_path / "hwlottery-saved-x") == ["a"]
    assert (tmp_path / "out" / RECORDS).read_text() == "another's"


def make(folder):
    folder.mkdir()
    return folder


@pytest.mark.fault("a last line that was cut at any byte", "storage", times=20)
def test_a_torn_last_line_is_cut_off_and_said_so(tmp_path):
    for number, at in enumerate(range(1, len(LINE), len(LINE) // 19)):
        folder = tmp_path / str(number)
        Store(folder, RUN).close()
        (folder / RECORDS).write_bytes(LINE + LINE[:at])
        with Store(folder, RUN, resume=True) as again:
            assert again.before == [record("b")]
            whole = at == len(LINE) - 1  # only its line end is missing
            assert any("was torn" in note for note in again.info.notes) is not whole
            again.append(record("c"))
        assert formulations(folder) == ["b", "c"]
        assert not load(folder).warnings


def test_a_line_without_its_end_is_whole(tmp_path):
    Store(tmp_path, RUN).close()
    (tmp_path / RECORDS).write_bytes(LINE[:-1])
    with Store(tmp_path, RUN, resume=True) as again:
        assert again.before == [record("b")]
        again.append(record("c"))
    assert formulations(tmp_path) == ["b", "c"]


@pytest.mark.fault("a line of rubbish in the middle of the records", "storage")
def test_what_cannot_be_read_stays_where_a_run_goes_on(tmp_path):
    Store(tmp_path, RUN).close()
    (tmp_path / RECORDS).write_bytes(b"\xff\x00rubbish\n" + LINE + LINE[:9])
    with Store(tmp_path, RUN, resume=True) as again:
        assert again.before == [record("b")]
    assert b"\xff\x00rubbish\n" in (tmp_path / RECORDS).read_bytes()
    assert formulations(tmp_path) == ["b"]


@pytest.mark.fault("records or run.json of a newer version", "storage")
@pytest.mark.parametrize("which", ["record", "run"])
def test_what_a_newer_version_wrote_is_not_gone_on_with(tmp_path, which):
    info = RUN if which == "record" else msgspec.structs.replace(RUN, schema=SCHEMA + 1)
    with Store(tmp_path, info) as out:
        out.append(msgspec.structs.replace(record("a"), schema=SCHEMA + (which == "record")))
    before = (tmp_path / RECORDS).read_bytes()
    with pytest.raises(StoreError, match=rf"schema {SCHEMA + 1},? .*is newer than {SCHEMA}; update"):
        Store(tmp_path, RUN, resume=True)
    assert (tmp_path / RECORDS).read_bytes() == before


@pytest.mark.fault("two runs that begin in one second", "storage")
def test_two_runs_of_one_second_get_two_folders(tmp_path):
    wanted = tmp_path / "runs" / "20260101T000000Z-quick"
    made = [new_folder(wanted) for _ in range(3)]
    assert [folder.name.removeprefix(wanted.name) for folder in made] == ["", "-2", "-3"]
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="is no folder"):
        new_folder(tmp_path / "file" / "one")


@pytest.mark.fault("a process killed while it replaces a file", "storage")
def test_what_a_killed_process_left_half_written_is_removed(tmp_path):
    Store(tmp_path, RUN).close()
    (tmp_path / RECORDS).with_suffix(".partial").write_text("half")
    (tmp_path / INFO).with_suffix(".partial").write_text("half")
    Store(tmp_path, RUN, resume=True).close()
    assert sorted(os.listdir(tmp_path)) == [RECORDS, INFO]


@pytest.mark.fault("a results folder and options whose names are no UTF-8", "text")
def test_names_that_are_no_utf8_are_stored_with_a_mark(tmp_path):
    folder = tmp_path / "\udcff results"
    info = msgspec.structs.replace(RUN, command=["hwlottery", "run", "--out", str(folder)])
    with Store(folder, info) as out:
        out.note(f"{folder} is on a file system without locks")
        out.append(msgspec.structs.replace(record("a"), reason=f"{folder}/x is not there"))
    found = load(folder)
    shown = f"{tmp_path}/\N{REPLACEMENT CHARACTER} results"
    assert found.info.command[-1] == shown
    assert found.info.notes == [f"{shown} is on a file system without locks"]
    assert found.records[0].reason == f"{shown}/x is not there"


def test_replacing_a_file_leaves_nothing_where_it_fails(tmp_path):
    with pytest.raises(OSError, match="No such file"):
        disk.replace(tmp_path / "gone" / "file.json", b"x")
