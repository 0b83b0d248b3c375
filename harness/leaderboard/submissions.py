"""Finds the folders of strangers and reads them without believing a word.

Links are never followed, only regular files are opened, and sizes, depth and counts have limits. A submission is known
by the digest of its bytes: no name of theirs becomes a path of ours. What cannot be read is refused with its reason,
and never stops the rest.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import UserError
from harness.figures.summary import Summary, summarise
from harness.gate.foreign_file import MOST_BYTES, content, digest_of
from harness.gate.refusal import Refusal
from harness.gate.signature import MOST_BYTES as MOST_SIGNATURE_BYTES
from harness.gate.signature import SIGNATURE, signer
from harness.gate.validate import Remembered, validate
from harness.leaderboard.submission import Refused, Submission, submission
from harness.records.store import INFO, RECORDS
from harness.records.text import plain, without_path

MOST_SUBMISSIONS = 10_000
MOST_DEPTH = 8  # folders below a DIR
MOST_LOOKED_AT = 200_000  # files and folders in all
MOST_REASONS = 50


@dataclass(frozen=True, slots=True)
class Found:
    """What lies in the folders given: those to read with their names below the roots, and what is refused unread."""

    folders: list[tuple[Path, str]]
    refused: list[tuple[Path, Refused]]


def find(roots: Sequence[Path], leave_out: Path | None = None) -> Found:
    """Every folder with a run.json or records.jsonl at or below `roots`, except below `leave_out` (the site itself).

    The roots are the user's own and may be links. UserError where one is no folder, or where nothing is found.
    """
    folders: dict[Path, str] = {}
    refused: dict[Path, Refused] = {}
    looked = 0
    away = leave_out.resolve() if leave_out is not None else None
    for root in roots:
        if not root.is_dir():
            raise UserError(f"{root} is not a folder; give folders of submissions, each with {INFO} and {RECORDS}")
        waiting = [(root.resolve(), 0)]
        while waiting:
            here, depth = waiting.pop()
            if here in folders or here == away:
                continue
            try:
                names = sorted(_listing(here))
            except OSError as error:
                refused[here] = _unread(here, root, f"the folder cannot be listed ({error.strerror}); make it readable")
                continue
            looked += len(names)
            if looked > MOST_LOOKED_AT:
                raise UserError(
                    f"{root} and what came before hold more than {MOST_LOOKED_AT} files and folders; give the folders "
                    "of the submissions themselves"
                )
            if any(name in (INFO, RECORDS) for name, _ in names):
                folders[here] = _name(here, root)
                continue
            for name, kind in names:
                if kind == "link":
                    refused[here / name] = _unread(here / name, root, "it is a link; submit the files themselves")
                elif kind == "folder" and depth >= MOST_DEPTH:
                    why = f"it lies more than {MOST_DEPTH} folders deep; submit it further up"
                    refused[here / name] = _unread(here / name, root, why)
                elif kind == "folder" and not name.startswith("."):
                    waiting.append((here / name, depth + 1))
    if len(folders) > MOST_SUBMISSIONS:
        raise UserError(f"{len(folders)} submissions are more than the {MOST_SUBMISSIONS} that a site can show")
    if not folders and not refused:
        where = ", ".join(str(root) for root in roots)
        raise UserError(f"{where} holds no submission; each is a folder with {INFO} and {RECORDS}, as `run` writes it")
    return Found(sorted(folders.items()), sorted(refused.items()))


def _listing(folder: Path) -> Iterator[tuple[str, str]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_symlink():
                yield entry.name, "link"
            elif entry.is_dir(follow_symlinks=False):
                yield entry.name, "folder"
            else:
                yield entry.name, "file"


def _name(path: Path, root: Path) -> str:
    """The place below the user's folder, never a path of this machine."""
    base = root.resolve()
    return plain(path.relative_to(base).as_posix() if path != base else "the folder given")


def _unread(path: Path, root: Path, why: str) -> Refused:
    return Refused(name=_name(path, root), reasons=[why])


def read(
    folder: Path, name: str, learnt: Remembered | None = None, signers: Path | None = None
) -> tuple[Submission, Summary] | Refused:
    """One submission with its figures, or every reason why it is refused. Raises nothing that a file can provoke.

    A refusal is named by the digest of the bytes, or by `name` where these cannot be had. Who reads many gives the same
    `learnt` for all of them. `signers` is the file of those whose signatures count.
    """
    files = {}
    for file in (INFO, RECORDS):
        found = content(folder / file, MOST_BYTES[file], links=False)
        if isinstance(found, Refusal):
            return Refused(name=name, reasons=[str(found)])
        files[file] = found
    digest = digest_of(files)
    name = f"submission {digest[:8]}"
    try:
        report = validate(folder, learnt, files)
        if report.refusals or report.run is None:
            return Refused(name=name, reasons=_reasons(report.refusals, folder))
        summary = summarise(report.run.records, cells=False, amortised=False, basis=report.basis)
        marks = [str(mark) for mark in report.marks]
        by = None if signers is None else _signer(folder, digest, signers)
        run = report.run
        return submission(run.info, run.records, summary, digest, _without(marks, folder), by), summary
    except (Exception, RecursionError) as error:  # one bad file must not stop a thousand good ones
        words = _without([f"reading it failed: {type(error).__name__}: {error}"], folder)
        return Refused(name=name, reasons=[plain(word, 600) for word in words])


def _signer(folder: Path, digest: str, signers: Path) -> str | None:
    """Who signed a submission; None where nobody did whose signature counts."""
    if not os.path.lexists(folder / SIGNATURE):
        return None
    found = content(folder / SIGNATURE, MOST_SIGNATURE_BYTES, links=False)
    return None if isinstance(found, Refusal) else signer(digest, found, signers)


def _reasons(refusals: Iterable[object], folder: Path) -> list[str]:
    out = []
    for refusal in refusals:
        parts = (getattr(refusal, "where", ""), getattr(refusal, "what", ""), getattr(refusal, "remedy", ""))
        out.append("{}: {}; {}".format(*parts) if all(parts) else ", ".join(p for p in parts if p) or str(refusal))
    out = sorted({plain(text, 600) for text in _without(out, folder)}) or ["it holds no run that can be read"]
    return out if len(out) <= MOST_REASONS else [*out[:MOST_REASONS], f"and {len(out) - MOST_REASONS} reasons more"]


def _without(texts: Iterable[str], folder: Path) -> list[str]:
    """The texts with the folders of this machine taken out."""
    named = (without_path(text, str(folder), "the submission") for text in texts)
    return [text.replace(f"the submission{os.sep}", "") for text in named]
