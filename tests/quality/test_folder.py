"""The folder of a study: nothing stored is lost, nothing torn is read, one writer at a time."""

from __future__ import annotations

import errno

import msgspec
import numpy as np
import pytest

from harness.quality import folder as folders
from harness.quality.facts import SCHEMA, StudyInfo, Tuned
from harness.quality.folder import ABOUT, FACTS, StudyStore, load_study, read_weights
from harness.records.store import StoreError


def info(**more):
    known = {
        "schema": SCHEMA, "study": "s", "started_at": "t", "ended_at": None, "command": [], "preset": "smoke",
        "machine": {"cpu": "one"}, "versions": {}, "settings": {"seed": 0}, "shape": {"batch": 8}, "sources": {},
    }  # fmt: skip
    return StudyInfo(**{**known, **more})


def tuned(learner):
    return Tuned(
        learner=learner, rates=[0.1], seeds=[1], steps=1, every=1, best=[[1]], reached=[[1]], rate=0.1, disagreement=0.0
    )


def test_what_is_kept_is_read_back(tmp_path):
    with StudyStore(tmp_path / "s", info(), resume=False) as store:
        store.keep(tuned("a"))
        found = load_study(tmp_path / "s")
    assert found.facts == {"tuned a": tuned("a")}
    assert not found.warnings


def test_a_second_writer_is_told_of_the_first(tmp_path):
    with (
        StudyStore(tmp_path, info(), resume=False),
        pytest.raises(StoreError, match=r"a study is writing to .*process"),
    ):
        StudyStore(tmp_path, info(), resume=True)


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path):
    (tmp_path / "mine").write_text("x")
    with pytest.raises(StoreError, match="is not empty; name another folder: it holds no study"):
        StudyStore(tmp_path, info(), resume=False)
    with pytest.raises(StoreError, match="is not empty"):
        StudyStore(tmp_path, info(), resume=True)
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


def test_a_study_goes_on_with_what_is_there_and_a_torn_line_is_cut_off(tmp_path):
    with StudyStore(tmp_path, info(), resume=False) as store:
        store.keep(tuned("a"))
    with (tmp_path / FACTS).open("ab") as file:
        file.write(b'{"schema": 1, "stu')
    assert "torn line" in load_study(tmp_path).warnings[0]
    with StudyStore(tmp_path, info(started_at="later"), resume=True) as store:
        assert {*store.facts} == {"tuned a"}
        store.keep(tuned("b"))
    found = load_study(tmp_path)
    assert {*found.facts} == {"tuned a", "tuned b"}
    assert not found.warnings
    assert found.info.notes == ["went on at later"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"preset": "quick"}, "preset"),
        ({"settings": {"seed": 1}}, "seed"),
        ({"machine": {"cpu": "two"}}, "cpu"),
        ({"sources": {"quality": "ff"}}, "sources of quality"),
        ({"versions": {"numpy": "9"}}, "numpy"),
    ],
)
def test_a_study_of_other_conditions_is_not_gone_on_with(tmp_path, changed, said):
    StudyStore(tmp_path, info(sources={"quality": "aa"}), resume=False).close()
    with pytest.raises(StoreError, match=said):
        StudyStore(tmp_path, info(**{"sources": {"quality": "aa"}, **changed}), resume=True)


def test_a_line_that_cannot_be_read_is_left_out_with_a_warning_and_nothing_goes_on_over_it(tmp_path):
    with StudyStore(tmp_path, info(), resume=False) as store:
        store.keep(tuned("a"))
    content = (tmp_path / FACTS).read_bytes()
    (tmp_path / FACTS).write_bytes(b"not JSON\n" + content)
    found = load_study(tmp_path)
    assert {*found.facts} == {"tuned a"}
    assert "line 1 was left out" in found.warnings[0]
    with pytest.raises(StoreError, match="line 1"):
        StudyStore(tmp_path, info(), resume=True)


def test_a_newer_study_is_said_to_be_newer(tmp_path):
    StudyStore(tmp_path, info(), resume=False).close()
    (tmp_path / ABOUT).write_bytes(msgspec.json.encode(info(schema=SCHEMA + 1)))
    with pytest.raises(StoreError, match="update hwlottery"):
        load_study(tmp_path)


def test_a_full_disk_keeps_what_was_whole_and_says_how_to_go_on(tmp_path, monkeypatch):
    with StudyStore(tmp_path, info(), resume=False) as store:
        store.keep(tuned("a"))

        def full(file, content):
            import os

            os.write(file, content[:20])
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(folders, "write", full)
        with pytest.raises(StoreError, match=r"No space left on device.*--resume --out"):
            store.keep(tuned("b"))
    found = load_study(tmp_path)
    assert {*found.facts} == {"tuned a"}
    assert not found.warnings


def test_weights_are_the_ones_that_were_written(tmp_path):
    with StudyStore(tmp_path, info(), resume=False) as store:
        path, digest = store.keep_weights("a", {"w0": np.ones(3)})
    assert read_weights(tmp_path, path, digest)["w0"].tolist() == [1, 1, 1]
    with pytest.raises(ValueError, match="another"):
        read_weights(tmp_path, path, "0" * 64)
    with pytest.raises(ValueError, match="does not lie in weights"):
        read_weights(tmp_path, "weights/../quality.json", digest)
    with pytest.raises(ValueError, match="cannot be read"):
        read_weights(tmp_path, "weights/b.npz", digest)
