"""The stored run of `quick`, and its page, made once for the tests of pages and charts."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.figures.summary import summarise
from harness.records.store import load
from harness.report.published import Published
from harness.web import report_page

QUICK = Path(__file__).resolve().parents[2] / "results" / "quick-cpu"


@pytest.fixture(scope="session")
def quick():
    run = load(QUICK)
    return Published(summary=summarise(run.records), records=run.records, runs=[run.info])


@pytest.fixture(scope="session")
def quick_page(quick):
    return report_page.html(quick)
