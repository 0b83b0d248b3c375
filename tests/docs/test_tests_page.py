"""Every file of tests says in one line what it holds, and tests/README.md repeats it."""

from __future__ import annotations

import pytest

from tools import docs_tests


def test_the_page_names_every_file_of_tests():
    page = docs_tests.made()
    for path in (docs_tests.ROOT / "tests").rglob("*.py"):
        assert f"- `{path.name}`: {docs_tests.first_line(path)}" in page


def test_a_file_that_says_nothing_is_refused(tmp_path):
    path = tmp_path / "test_nothing.py"
    path.write_text("x = 1\n")
    with pytest.raises(docs_tests.DocstringError, match="has no docstring"):
        docs_tests.first_line(path)
