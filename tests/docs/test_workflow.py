"""The workflow for a repository of submissions: its own commands pass what is sound and fail on what is not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
import yaml
from _sound import SOUND, written

from harness.cli.main import run_cli
from tools.docs_sources import DOCS, ROOT

WORKFLOW = yaml.safe_load((DOCS / "_static" / "submissions.yml").read_text(encoding="utf-8"))
STEPS = WORKFLOW["jobs"]["check"]["steps"]
COMMANDS = {step["name"]: step["run"] for step in STEPS if "run" in step and "pip install" not in step["run"]}


@pytest.fixture(scope="module")
def submission(tmp_path_factory):
    """A submission as `submit` makes one."""
    folder = tmp_path_factory.mktemp("submission")
    assert run_cli(["submit", str(written(folder / "run", SOUND)), "-o", str(folder / "out")]) == 0
    return next(path for path in (folder / "out").iterdir() if path.is_dir())


@pytest.fixture
def repository(submission, tmp_path):
    """A repository with one submission, and a `hwlottery` that is this one."""
    shutil.copytree(submission, tmp_path / "submissions" / submission.name)
    (tmp_path / "allowed_signers").write_text("")
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "hwlottery"
    program.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m harness "$@"\n')
    program.chmod(0o755)
    return tmp_path


def _step(name, repository):
    path = f"{repository / 'bin'}{os.pathsep}{os.environ['PATH']}"
    words = ["bash", "-e", "-o", "pipefail", "-c", COMMANDS[name]]  # as GitHub runs a step
    return subprocess.run(words, cwd=repository, env={**os.environ, "PATH": path}, capture_output=True, text=True)


def test_every_command_passes_a_sound_submission(repository):
    assert list(COMMANDS) == ["Nothing but submissions", "May they be published?", "The site"]
    for name in COMMANDS:
        done = _step(name, repository)
        assert done.returncode == 0, (name, done.stderr)
    assert "1 submissions of 1 machines, 0 refused" in done.stderr
    assert (repository / "site" / "index.html").is_file()


def test_a_submission_that_was_changed_fails(repository, submission):
    info = repository / "submissions" / submission.name / "run.json"
    info.write_text(info.read_text().replace('"seed": 0', '"seed":  0'))
    done = _step("May they be published?", repository)
    assert done.returncode == 1
    assert "its folder is named for another" in done.stdout


@pytest.mark.parametrize("stray", ["submissions/README.md", "submissions/{digest}/run.sh", "submissions/evil/run.json"])
def test_anything_beside_submissions_fails(repository, submission, stray):
    path = repository / stray.format(digest=submission.name)
    path.parent.mkdir(exist_ok=True)
    path.write_text("")
    assert _step("Nothing but submissions", repository).returncode == 1


def test_the_workflow_may_write_nothing_and_keeps_no_credentials():
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert [step["with"]["persist-credentials"] for step in STEPS if "checkout" in step.get("uses", "")] == [False]
