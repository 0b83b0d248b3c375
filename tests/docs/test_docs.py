"""The documentation shows what the code does: blocks, examples, names, options and links, each seen saying no."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import fastjsonschema
import pytest
import yaml

from tools import docs, docs_commands, docs_names, docs_picture, docs_reference
from tools.docs_console import Examples
from tools.docs_pages import Block, PageError, regenerated
from tools.docs_sources import DOCS, RESULTS, ROOT

README = ROOT / "README.md"


@pytest.mark.slow
def test_everything_is_current():
    """Blocks, pictures and schemas are those that the code makes, and every example runs as it is shown."""
    assert docs.examine(write=False) == []


def test_a_drifted_row_is_seen():
    text = README.read_text(encoding="utf-8")
    makers = docs.makers(Examples())
    drifted = text.replace("| torch |", "| torhc |", 1)
    assert drifted != text
    assert regenerated(README, drifted, makers) == regenerated(README, text, makers) != drifted


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<!-- begin: took quick-cpu -->", "begin and end do not match"),
        ("<!-- begin: took quick-cpu -->\n<!-- begin: rows x -->\n<!-- end -->\n<!-- end -->", "do not match"),
        ("<!-- begin: took quick-cpu --><!-- end --> minutes", "begins a line"),
        ("<!-- begin: nonsense -->\n<!-- end -->", "no block is called 'nonsense'"),
    ],
)
def test_a_block_that_is_none_is_refused(text, words):
    with pytest.raises(PageError, match=words):
        regenerated(Path("page.md"), text, docs.makers(Examples()))


def test_the_readme_is_short():
    assert len(README.read_text(encoding="utf-8").split()) < 900


# -- examples ----------------------------------------------------------------------------------------------------------


def _console(tmp_path, body, *words, rewrite=False):
    page = tmp_path / "page.md"
    page.write_text(f"<!-- example: greet.txt -->\n```text\nhello\n```\n{body}")
    examples = Examples(rewrite=rewrite)
    return examples.console(Block("console", words, f"\n```console\n{body}\n```\n", page))


def test_an_example_is_run_beside_the_files_of_its_page(tmp_path):
    made = _console(tmp_path, "$ cat greet.txt\nwhatever stood here\n$ ls -d results")
    assert made == "```console\n$ cat greet.txt\nhello\n$ ls -d results\nresults\n```"


def test_what_two_examples_at_once_disturb_pushes_no_line_out(tmp_path):
    """What is written is of a run that was alone, and says so if it was not."""
    command = "$ printf 'a\\nDISTURBED: other\\n  and again.\\nb\\nnote: the machine disturbed the run: x\\nc\\nd\\n'"
    assert _console(tmp_path, command, "head=3").splitlines()[2:] == ["a", "b", "c", "…", "```"]
    assert _console(tmp_path, command, rewrite=True).splitlines()[3] == "DISTURBED: other"


def test_pages_are_written_one_at_a_time(monkeypatch):
    """A run that a page shows has the machine for itself."""
    running, most = [], []

    def page(path, *_):
        running.append(path)
        most.append(len(running))
        time.sleep(0.01)
        running.remove(path)
        return []

    monkeypatch.setattr(docs, "_page", page)
    monkeypatch.setattr(docs, "files", dict)
    assert docs.examine(write=True) == []
    assert len(most) == len(docs.pages())
    assert max(most) == 1


def test_an_example_that_fails_or_should_have_is_refused(tmp_path):
    with pytest.raises(PageError, match="exits with 2, 0 is expected"):
        _console(tmp_path, "$ hwlottery report nowhere")
    with pytest.raises(PageError, match="exits with 0, 1 is expected"):
        _console(tmp_path, "$ true", "exit=1")
    assert "error: " in _console(tmp_path, "$ hwlottery report nowhere", "exit=2")


def test_a_block_without_a_command_is_refused(tmp_path):
    with pytest.raises(PageError, match="no line that begins with"):
        _console(tmp_path, "hwlottery list presets")


def test_what_varies_must_still_print_mostly_the_same_words(tmp_path):
    shown = "$ echo speed-up of the idea 12.3\nspeed-up of the idea 45.6"
    assert "45.6" in _console(tmp_path, shown, "varies")
    with pytest.raises(PageError, match="prints other words now"):
        _console(tmp_path, "$ echo something else\nspeed-up of the idea, its tax and its share", "varies")


# -- commands that are named -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("`hwlottery reprot DIR`", "there is no verb 'reprot'"),
        ("`hwlottery run --presett quick`", "No such option"),
        ("```console\n$ python -m harness run --nonsense\n```", "No such option"),
        ("`python tools/nothing.py --out x`", "names a file that is not there"),
        ("`python tools/gpu_run.py --nonsense`", "has no option --nonsense"),
        ("use `--nonsense` here", "no command has the option --nonsense"),
    ],
)
def test_a_command_or_option_that_is_not_there_is_seen(text, words):
    (fault,) = [fault for fault in docs_commands.faults(Path("page.md"), text) if words in fault]
    assert fault.startswith("page.md: ")


def test_a_command_that_is_there_is_no_fault():
    text = "`hwlottery run --preset smoke --out x` and `hwlottery validate results/quick-cpu`, `--fail-on slower:5%`"
    text += " and `python tools/faults.py` makes it; `--seed` too"
    assert list(docs_commands.faults(Path("page.md"), text)) == []


# -- names -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", docs_names.KINDS)
def test_a_table_that_lacks_a_name_or_has_one_too_many_is_refused(kind):
    body = "\n".join(f"| `{name}` | |" for name in sorted(docs_names.KINDS[kind]()))
    page = Path("page.md")
    assert docs_names.names(Block("names", (kind,), body, page)) == body
    with pytest.raises(PageError, match="unknown HWLOTTERY_PLANTED"):
        docs_names.names(Block("names", (kind,), f"{body}\n| `HWLOTTERY_PLANTED` | |", page))
    with pytest.raises(PageError, match=r"missing \w"):
        docs_names.names(Block("names", (kind,), body.partition("\n")[2], page))


def test_names_of_an_unknown_kind_are_refused():
    with pytest.raises(PageError, match="no names are called 'birds'"):
        docs_names.names(Block("names", ("birds",), "", Path("page.md")))


def test_every_variable_of_ours_is_found_in_the_code():
    assert {"HWLOTTERY_CACHE", "HWLOTTERY_WORKLOADS", "HWLOTTERY_BACKENDS"} <= docs_names.environment()


# -- links, citation, schema, picture ----------------------------------------------------------------------------------

_LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")


def _lost(page, text):
    return [link for link in _LINK.findall(text) if not (page.parent / link).exists()]


@pytest.mark.parametrize("page", docs.pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    assert _lost(page, page.read_text(encoding="utf-8")) == []


def test_a_link_that_leads_nowhere_is_seen():
    assert _lost(README, "[here](docs/nowhere.md#part) and [there](docs/index.md)") == ["docs/nowhere.md"]


def test_every_page_is_in_the_tables_of_contents():
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    listed = {line for part in re.findall(r"```{toctree}(.*?)```", index, re.DOTALL) for line in part.split()}
    pages = {page.relative_to(DOCS).with_suffix("").as_posix() for page in DOCS.rglob("*.md")} - {"index"}
    assert pages <= listed


def _citation_faults(text):
    found = yaml.safe_load(text)
    faults = [f"{key} is missing" for key in ("cff-version", "message", "title", "authors") if not found.get(key)]
    faults += ["cff-version must be 1.2.0"] if found.get("cff-version") != "1.2.0" else []
    known = {"name", "family-names", "given-names", "orcid", "affiliation", "email", "website", "alias"}
    for author in found.get("authors") or []:
        faults += (
            [] if set(author) <= known and ("name" in author or "family-names" in author) else [f"author {author}"]
        )
    return faults


def test_the_citation_is_valid():
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert _citation_faults(text) == []
    assert _citation_faults(text.replace("authors:", "writers:", 1)) == ["authors is missing"]
    assert _citation_faults(text.replace("1.2.0", "1.1.0", 1)) == ["cff-version must be 1.2.0"]


def test_the_citation_has_the_version_of_the_package():
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert f"\nversion: {version[1]}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["records.jsonl", "run.json"])
def test_stored_results_are_as_the_schema_says_and_others_are_not(name):
    schema = docs_reference.schema(name)
    del schema["$schema"]  # fastjsonschema knows drafts up to 7, of which this uses nothing that has changed
    check = fastjsonschema.compile(schema)
    for run in ("quick-cpu", "quick-tpu-aot-v5e"):
        text = (RESULTS / run / name).read_text(encoding="utf-8")
        objects = [json.loads(line) for line in text.splitlines()] if name == "records.jsonl" else [json.loads(text)]
        for found in objects:
            check(found)
        with pytest.raises(fastjsonschema.JsonSchemaException):
            check({**objects[0], "schema": "one"})
        with pytest.raises(fastjsonschema.JsonSchemaException):
            check({key: value for key, value in objects[0].items() if key != "run"})


def test_the_picture_has_every_idea_and_moves_with_the_numbers(monkeypatch):
    made = docs_picture.svg("quick-cpu")
    assert made == docs_picture.svg("quick-cpu")
    for workload in ("capsule_routing", "forward_forward", "unstructured_sparse"):
        assert workload in made
    monkeypatch.setattr(docs_picture, "WIDTH", 700)
    assert docs_picture.svg("quick-cpu") != made
