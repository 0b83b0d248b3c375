"""`submit`: a folder named by its digest without what is private, the text of a pull request, and every no."""

from __future__ import annotations

import json
import shutil

import pytest
from _sound import INFO as SOUND_INFO
from _sound import SOUND, codes, written

from harness.cli.main import run_cli
from harness.gate.foreign_file import digest_of
from harness.records.store import INFO, RECORDS

PRIVATE = ("zelda", "hyrule", "/home/", "s3same-open")


@pytest.fixture
def zelda(monkeypatch):
    """Whoever runs this, where, and what the environment hides."""
    monkeypatch.setenv("USER", "zelda")
    monkeypatch.setenv("HOSTNAME", "hyrule")
    monkeypatch.setenv("CASTLE_TOKEN", "s3same-open")


@pytest.fixture
def run(tmp_path):
    """A sound run that names its user, a host and folders in every place that a run has for words."""
    info = json.loads(json.dumps(SOUND_INFO))
    info["command"] += ["--resume", "--out", "/home/zelda/castle"]  # as a fleet begins a run
    info["notes"] += ["waited for process 7 of zelda, since noon, results in /home/zelda/x", "on hyrule: s3same-open"]
    info["settings"]["variable_LD_PRELOAD"] = "/home/zelda/lib/x.so"
    info["distributions"] = {"numpy": "2.4.6", "jax": "0.10.2", "hwlottery": "0.1.0"}
    records = json.loads(json.dumps(SOUND))
    records[-1]["reason"] = 'File "/home/zelda/my lab/y.py", line 3'
    return written(tmp_path / "run", records, info)


def _submitted(out):
    (folder,) = [path for path in out.iterdir() if path.is_dir()]
    return folder


def test_a_submission_is_named_by_its_digest_and_holds_nothing_private(run, tmp_path, zelda, capsys):
    before = {name: (run / name).read_bytes() for name in (INFO, RECORDS)}
    out = tmp_path / "out"
    assert run_cli(["submit", str(run), "-o", str(out)]) == 0
    folder = _submitted(out)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert set(files) == {INFO, RECORDS}
    assert folder.name == digest_of(files)
    text = (out / "pull-request.md").read_text()
    for content in (*(found.decode() for found in files.values()), text):
        assert not [word for word in PRIVATE if word in content.lower()]
    assert codes(folder) == set(), "it passes the gate as it was"
    assert json.loads(files[INFO])["settings"]["variable_LD_PRELOAD"] == "…/x.so"
    for said in (folder.name, "hwlottery run --preset quick\n", "\nnumpy==2.4.6\n", "AMD EPYC", "| `jax` | 0.10.2 |"):
        assert said in text
    assert "\n# hwlottery==0.1.0, from its own sources\n" in text, "pip passes it over"
    assert {name: (run / name).read_bytes() for name in (INFO, RECORDS)} == before
    assert folder.name in capsys.readouterr().err
    assert run_cli(["submit", str(run), "-o", str(out)]) == 0, "the same again is the same"
    assert _submitted(out) == folder
    assert run_cli(["submit", str(folder), "-o", str(tmp_path / "again")]) == 0
    assert _submitted(tmp_path / "again").name == folder.name, "what is clean keeps its digest"


@pytest.mark.fault("a submission that was changed after it was named", "gate")
def test_a_submission_that_was_changed_is_refused_by_its_name(run, tmp_path, capsys):
    assert run_cli(["submit", str(run), "-o", str(tmp_path / "out")]) == 0
    folder = _submitted(tmp_path / "out")
    assert run_cli(["validate", str(folder)]) == 0
    info = json.loads((folder / INFO).read_text())
    (folder / INFO).write_text(json.dumps({**info, "notes": []}))
    assert run_cli(["validate", str(folder)]) == 1
    assert "its folder is named for another" in capsys.readouterr().out
    assert codes(folder) == {"digest"}


def test_a_run_that_may_not_be_published_is_not_submitted(run, tmp_path, capsys):
    records = json.loads(json.dumps(SOUND))
    records[0]["status"] = "wrong"
    written(run, records)
    assert run_cli(["submit", str(run), "-o", str(tmp_path / "out")]) == 1
    assert "refused [" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.fault("submit into a place that cannot be", "submit")
@pytest.mark.parametrize("where", ["inside", "file"])
def test_a_place_that_cannot_be_is_one_sentence(run, tmp_path, capsys, where):
    out = run / "out" if where == "inside" else tmp_path / "file"
    if where == "file":
        out.write_text("")
    assert run_cli(["submit", str(run), "-o", str(out)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: -o ")
    assert error.count("\n") == 1


def test_a_name_that_cannot_be_taken_out_is_one_sentence(run, tmp_path, monkeypatch, capsys):
    """A user who is called as a device is, which says what a case is."""
    monkeypatch.setenv("USER", "magnitude")  # the value of an axis
    assert run_cli(["submit", str(run), "-o", str(tmp_path / "out")]) == 2
    assert "holds the name of a user or host" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen (OpenSSH) is not installed")
def test_a_signed_submission_carries_its_signature_beside_its_files(run, tmp_path):
    import subprocess

    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "ann", "-f", str(key)], check=True)
    assert run_cli(["submit", str(run), "-o", str(tmp_path / "out"), "--sign", str(key)]) == 0
    folder = _submitted(tmp_path / "out")
    assert {path.name for path in folder.iterdir()} == {INFO, RECORDS, "submission.sig"}
    assert "| signed | yes |" in (tmp_path / "out" / "pull-request.md").read_text()
    assert codes(folder) == set()
