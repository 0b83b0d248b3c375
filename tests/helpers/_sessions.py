"""A session of a run that measures nothing: its parts are replaced by the test."""

from __future__ import annotations

from types import SimpleNamespace

import msgspec
from _records import record

from harness.measuring.settings import PowerModel, Sampling
from harness.planning.options import Options
from harness.running.session import Session


def a_session(tmp_path, planned=(), known=(), foresight=None, before=(), **options):
    """A session in which `known` was measured by this part of the run, and `before` is stored by an earlier one."""
    quiet = SimpleNamespace(**dict.fromkeys(("begin", "now", "done", "say", "left"), lambda *_: None))
    given = {"rounds": 5, "long_rounds": 3, **options}
    options = Options(timeout_s=1, threads=1, sampling=Sampling(), power=PowerModel(), cache=tmp_path, seed=0, **given)
    info = SimpleNamespace(sources={}, versions={}, run="r", left_out={})
    store = SimpleNamespace(before=list(before), folder=tmp_path, info=info)
    session = Session(planned, {}, options, store, quiet, foresight=foresight)
    session.records |= {(record.case.key, record.control): record for record in known}
    return session


def ok(case, **settings):
    return msgspec.structs.replace(record(processes=[1.0]), case=case, settings=settings)
