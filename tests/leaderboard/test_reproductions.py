"""How far a submission may be believed: levels, whose word counts, and what a reproduction never does to a board."""

from __future__ import annotations

import shutil
import subprocess

import msgspec
import pytest
from _submissions import SLOW, pair, taken, write

from harness.cli.main import run_cli
from harness.gate.foreign_file import digest_of
from harness.gate.signature import SIGNATURE, sign
from harness.leaderboard import site
from harness.leaderboard.standings import leaderboard
from harness.records.store import INFO, RECORDS, REPRODUCES

DAYS = tuple(f"2026-11-{day:02}T00:00:00Z" for day in range(1, 9))
CALM = (0.20, 0.201, 0.199)  # seconds of an idea whose twin takes 1
CODE = {"sources": {"backends": "a" * 64}, "versions": {"torch": "2.13"}}


def one(digest, times, day, *, run, signer=None, of=None, **info):
    settings = {"preset": "quick"} | ({REPRODUCES: of} if of else {})
    known = {"started_at": DAYS[day], "settings": settings, **CODE}
    item = taken(digest, pair(times, run=run), **known | info)
    return msgspec.structs.replace(item, signer=signer, level="signed" if signer else "self-reported")


def levels(*submissions):
    board = leaderboard(submissions, [], {})
    return {s.digest[0]: s.level for s in board.submissions}, board


def shifted(share):
    return tuple(second * share for second in CALM)


def test_a_run_of_equal_hardware_and_code_with_the_same_speed_up_is_a_reproduction():
    found, board = levels(one("a", CALM, 0, run="r1"), one("b", shifted(1.01), 1, run="r2"))
    assert found == {"a": "reproduced", "b": "self-reported"}, "only what came before is reproduced"
    (by,) = board.reproduced_by["a" * 8]
    assert (by.digest[0], by.hand, by.asked) == ("b", "unknown", False)
    assert (by.reproduced, by.not_reproduced, by.cannot_tell) == (1, 0, 0)


@pytest.mark.fault("a run that says nothing of another, or says no", "trust")
@pytest.mark.parametrize(
    ("times", "info"),
    [
        (SLOW, {}),  # another speed-up
        (shifted(1.01), {"machine": {"cpu": "Processor B"}}),
        (shifted(1.01), {"versions": {"torch": "2.14"}}),
        (shifted(1.01), {"sources": {"backends": "b" * 64}}),
        (shifted(1.01), {"sources": {}}),
        ((0.2, 0.9, 0.05), {}),  # so noisy that nothing can be told
    ],
)
def test_what_is_unlike_reproduces_nothing(times, info):
    found, _ = levels(one("a", CALM, 0, run="r1"), one("b", times, 1, run="r2", **info))
    assert found == {"a": "self-reported", "b": "self-reported"}


def test_by_another_is_who_is_known_to_be_another():
    first = one("a", CALM, 0, run="r1", signer="ann")
    again = shifted(1.01)
    assert levels(first)[0] == {"a": "signed"}
    assert levels(first, one("b", again, 1, run="r2"))[0]["a"] == "reproduced"
    assert levels(first, one("b", again, 1, run="r2", signer="ann"))[0]["a"] == "signed", "her own word again"
    found, board = levels(first, one("b", again, 1, run="r2", signer="ben"))
    assert found["a"] == "reproduced by another"
    (standing, *_) = board.boards["unstructured_sparse"][0].standings
    assert standing.submission == "b" * 8, "the newest stands for the machine, with its own level"
    assert standing.level == "signed"


def test_what_was_asked_to_reproduce_counts_under_other_versions_and_is_on_no_board():
    first = one("a", CALM, 0, run="r1")
    asked = one("b", shifted(1.01), 1, run="r2", of="r1", versions={"torch": "2.14"})
    found, board = levels(first, asked)
    assert found == {"a": "reproduced", "b": "self-reported"}
    (idea_board,) = board.boards["unstructured_sparse"]
    assert [standing.submission for standing in idea_board.standings] == ["a" * 8]
    assert board.changes["b" * 8].leads == []
    page = site.with_trust(site.one_submission(first, _summary())[1], first, board.reproduced_by["a" * 8])
    assert b"1 reproduced, 0 not reproduced, 0 cannot be told" in page
    assert b"whole run" not in page
    own = site.one_submission(asked, _summary())[1]
    assert b"A reproduction of the run r1: its published paths alone, on no board." in own
    other = one("c", shifted(1.01), 2, run="r3", of="r9", versions={"torch": "2.14"})
    assert levels(first, other)[0]["a"] == "self-reported", "of another run"


def _summary():
    from harness.figures.summary import summarise

    return summarise(pair(CALM))


def test_a_reproduction_that_says_no_outweighs_none_that_says_yes():
    no = one("b", SLOW, 1, run="r2", of="r1")
    found, board = levels(one("a", CALM, 0, run="r1"), no)
    assert found["a"] == "self-reported"
    assert board.reproduced_by["a" * 8][0].not_reproduced == 1, "it is shown all the same"


def test_pages_have_the_command_and_the_lock(tmp_path, open_gate):
    write(tmp_path / "in", pair(CALM), command=["hwlottery", "run", "--set", "n=<b>"], distributions={"jax": "0.10.2"})
    assert run_cli(["leaderboard", str(tmp_path / "in"), "-o", str(tmp_path / "site")]) == 0
    (page,) = (tmp_path / "site").glob("submission-*.html")
    text = page.read_text()
    for said in ("--set &#39;n=&lt;b&gt;&#39;", "jax==0.10.2", "1 distributions that were installed", "Self-reported"):
        assert said in text


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen (OpenSSH) is not installed")
def test_a_site_shows_who_signed_and_what_others_reproduced(tmp_path, open_gate):
    for name in ("ann", "ben", "eve"):
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(tmp_path / name)]
        subprocess.run(words, check=True)
    allowed = "".join(f"{name} {(tmp_path / f'{name}.pub').read_text()}" for name in ("ann", "ben"))
    (tmp_path / "allowed").write_text(allowed)
    for name, times, day in (("ann", CALM, 0), ("ben", shifted(1.01), 1), ("eve", shifted(0.99), 2)):
        folder = write(tmp_path / "in" / name, pair(times, run=name), started_at=DAYS[day], **CODE)
        digest = digest_of({file: (folder / file).read_bytes() for file in (INFO, RECORDS)})
        (folder / SIGNATURE).write_bytes(sign(digest, tmp_path / name))
    words = ["leaderboard", str(tmp_path / "in"), "-o", str(tmp_path / "site")]
    assert run_cli([*words, "--signers", str(tmp_path / "allowed")]) == 0
    pages = {page.name: page.read_text() for page in (tmp_path / "site").glob("submission-*.html")}
    by = {name: next(text for text in pages.values() if f"<dd>{name}</dd>" in text) for name in ("ann", "ben", "eve")}
    assert "Reproduced by another on a machine of the same kind. Signed by ann." in by["ann"]
    assert "by another signer, a whole run of the same versions: 1 reproduced" in by["ann"]
    assert "Signed by ben." in by["ben"]
    assert "Self-reported: nobody has signed it" in by["eve"], "a key that is not allowed"
    assert run_cli(words) == 0
    assert not any("Signed by" in p.read_text() for p in (tmp_path / "site").glob("*.html")), "nobody was asked for"


def test_a_list_of_signers_that_is_not_there_is_one_sentence(tmp_path, capsys):
    write(tmp_path / "in", pair(CALM))
    words = ["leaderboard", str(tmp_path / "in"), "-o", str(tmp_path / "site"), "--signers", str(tmp_path / "none")]
    assert run_cli(words) == 2
    assert "is no file; give an ALLOWED SIGNERS file" in capsys.readouterr().err
