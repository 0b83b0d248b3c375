"""Which changes of the sources make two runs incomparable."""

from __future__ import annotations

import pytest

from harness.machine.digest import DECIDING, code_of, sources

CODE = "def f(x):\n    return x + 1  # one more\n"


@pytest.fixture
def tree(tmp_path):
    for folder in ("backends", "workloads", "harness/web", *(f"harness/{room}" for room in DECIDING)):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "a.py").write_text(CODE)
    return tmp_path


@pytest.mark.parametrize(("folder", "package"), [("workloads", "workloads"), ("harness/measuring", "harness")])
def test_a_changed_line_of_code_changes_the_digest_of_its_package_alone(tree, folder, package):
    before = sources(tree)
    (tree / folder / "a.py").write_text(CODE.replace("1", "2"))
    after = sources(tree)
    assert {name for name in before if before[name] != after[name]} == {package}


def test_comments_docstrings_and_what_draws_charts_change_no_digest(tree):
    before = sources(tree)
    (tree / "harness" / "web" / "a.py").write_text("x = 2\n")
    (tree / "backends" / "a.py").write_text('"""What it is."""\n\ndef f(x):\n    """Add one."""\n    return x + 1\n')
    assert sources(tree) == before


def test_a_string_that_is_no_docstring_and_a_hash_in_a_string_are_code():
    assert code_of("x = 1\n'text'\n") != code_of("x = 1\n")
    assert code_of("x = '#1'  # a note\n") == "x = '#1'"
