"""Makes everything in the documentation that is generated: python tools/docs.py --write, or --check that it is current.

Blocks of README.md, CONTRIBUTING.md and docs/, the picture, and the JSON Schema of the records. Examples of commands
are run for real; what would take minutes shows a stored run and says so.
"""

from __future__ import annotations

import argparse
import difflib
import shutil
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from tools import (  # noqa: E402
    docs_blocks,
    docs_commands,
    docs_ideas,
    docs_losing,
    docs_model,
    docs_names,
    docs_picture,
    docs_quality,
    docs_reference,
    docs_tests,
)
from tools.docs_console import Examples  # noqa: E402
from tools.docs_pages import Maker, PageError, regenerated  # noqa: E402

_SHOWN = 12  # lines of a difference


def makers(examples: Examples) -> Mapping[str, Maker]:
    """Every block by its name."""
    return {
        "aloud": docs_blocks.aloud,
        "answer": docs_blocks.answer,
        "chips": docs_blocks.chips,
        "columns": docs_reference.columns,
        "command": docs_blocks.command,
        "commands": docs_reference.commands,
        "console": examples.console,
        "core": docs_reference.core,
        "device-keys": docs_model.device_keys,
        "eight": docs_blocks.eight,
        "faults": docs_blocks.faults,
        "fields": docs_reference.fields,
        "found": docs_ideas.found,
        "gradient-flow": docs_ideas.flow,
        "headlines": docs_blocks.headlines,
        "machine": docs_blocks.machine,
        "machine-left-out": docs_model.left_out,
        "model-errors": docs_model.model_errors,
        "names": docs_names.names,
        "notes": docs_blocks.notes,
        "perf": docs_blocks.perf,
        "quality": docs_quality.study,
        "quality-beside": docs_quality.beside,
        "quality-command": docs_quality.command,
        "rows": docs_blocks.rows,
        "sections": docs_blocks.sections,
        "source": docs_blocks.source,
        "took": docs_blocks.took,
        "trust": docs_blocks.trust,
    }


def pages() -> list[Path]:
    """Every page that may have blocks."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]


def files() -> dict[Path, str]:
    """Files that are generated whole."""
    return {
        docs_losing.PAGE: docs_losing.made(),
        docs_tests.PAGE: docs_tests.made(),
        **docs_ideas.pictures(),
        ROOT / "docs" / "_static" / "chips.svg": docs_picture.chips(),
        ROOT / "docs" / "_static" / "quick-epyc.svg": docs_picture.svg("quick-epyc"),
        ROOT / "docs" / "_static" / "device.schema.json": docs_model.schema_file(),
        ROOT / "docs" / "_static" / "record.schema.json": docs_reference.schema_file("records.jsonl"),
        ROOT / "docs" / "_static" / "run.schema.json": docs_reference.schema_file("run.json"),
    }


def examine(*, write: bool) -> list[str]:
    """What is not current, a sentence each, or an error; with `write` everything is made anew first."""
    examples = Examples(rewrite=write)
    made = makers(examples)
    found = []
    try:
        # Examples wait for processes of their own. What is written is one after the other: a run that is shown has the
        # machine for itself, and says nothing of what disturbed it.
        with ThreadPoolExecutor(1 if write else 2) as pool:
            for sentences in pool.map(lambda path: _page(path, made, write), pages()):
                found += sentences
        for path, content in files().items():
            found += _settled(path, path.read_text(encoding="utf-8") if path.exists() else "", content, write)
    finally:
        for folder in examples.folders.values():
            shutil.rmtree(folder, ignore_errors=True)
    return found


def _page(path: Path, made: Mapping[str, Maker], write: bool) -> list[str]:
    """What is wrong with one page, after it was made anew."""
    text = path.read_text(encoding="utf-8")
    found = list(docs_commands.faults(path.relative_to(ROOT), text))
    try:
        return found + _settled(path, text, regenerated(path, text, made), write)
    except PageError as error:
        return [*found, str(error).replace(f"{ROOT}/", "")]


def _settled(path: Path, text: str, made: str, write: bool) -> list[str]:
    """Nothing where the text is what was made; else it is written, or a sentence says where they differ."""
    if made == text:
        return []
    if write:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(made, encoding="utf-8")
        return []
    lines = difflib.unified_diff(text.splitlines(), made.splitlines(), "stored", "made anew", lineterm="", n=0)
    shown = "\n".join(list(lines)[:_SHOWN])
    return [f"{path.relative_to(ROOT)} is not current; run: python tools/docs.py --write\n{shown}"]


def main() -> int:
    """0 when everything is current or was written, 1 with a sentence for each fault."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("--write", action="store_true", help="make everything anew")
    group.add_argument("--check", action="store_true", help="say what is not current, exit code 1")
    asked = parser.parse_args()
    found = examine(write=asked.write)
    for sentence in found:
        print(sentence, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
