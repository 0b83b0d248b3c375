"""The engine of Ray over a stand-in for Ray: which machine has which node, and what a node lacks."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from _fleet import fleet

from harness.fleet.engines.base import Gone, Job
from harness.fleet.engines.ray_engine import RayEngine

TEXT = """
engine = "ray"
[machine.node]
count = 2
labels = { kind = "spare" }
[[want]]
name = "w"
preset = "smoke"
"""


def _node(name, resources=None, **labels):
    return {"NodeID": name, "Alive": True, "Resources": {"hwlottery": 1} if resources is None else resources} | {
        "Labels": {"ray.io/node-id": name, **labels}
    }


class _Error(Exception):
    """Stands for Ray's errors."""


class _AwayError(_Error):
    """Stands for an actor that is away for a time."""


class _Actor:
    def __init__(self):
        self.read = SimpleNamespace(remote=lambda stored, known: "answer")


def _engine(tmp_path, *nodes, **more):
    described, _ = fleet(tmp_path, TEXT)
    engine = RayEngine("campaign", poll_s=0.0)
    engine._kinds = described.kinds
    engine._ray = SimpleNamespace(
        nodes=lambda: list(nodes),
        get_actor=lambda name: _Actor(),
        wait=lambda answers, **_: (answers, []),
        exceptions=SimpleNamespace(RayError=_Error, ActorUnavailableError=_AwayError),
        **more,
    )
    return engine


def _taken_up(engine):
    kind = engine._kinds["node"]
    engine.there()
    return engine.adopt(
        Job(attempt="w", machine="node-1", kind=kind, options=[], results=Path(), log=Path(), place="second")
    )


def test_who_takes_a_run_up_gives_its_node_to_no_other_machine(tmp_path):
    engine = _engine(tmp_path, _node("first", kind="spare"), _node("second", kind="spare"))
    assert _taken_up(engine)
    assert sorted(engine.there()) == ["node-1", "node-2"]
    assert engine._nodes == {"node-1": "second", "node-2": "first"}


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ([], "the cluster has no node"),
        ([_node("first")], "no node of the cluster has a label; start the node with --labels=kind=spare"),
        (
            [_node("first", kind="spire")],
            "no machine has the label kind=spare; the nearest is kind=spire (machine first)",
        ),
        (
            [_node("first", {}, kind="spare")],
            "node first has no free resource hwlottery; start it with --resources='{\"hwlottery\": 1}'",
        ),
    ],
)
def test_what_the_nodes_lack_is_said_with_what_to_do(tmp_path, nodes, said):
    engine = _engine(tmp_path, *nodes)
    assert engine.there() == []
    assert engine.missing() == {"node": said}


def test_an_actor_that_is_away_is_asked_again_and_one_that_failed_leaves_its_node_free(tmp_path):
    errors, killed = [_AwayError("for a time"), _Error("The worker died.\nPages follow.")], []

    def get(answer):
        raise errors.pop(0)

    engine = _engine(tmp_path, _node("second", kind="spare"), get=get, kill=killed.append)
    assert _taken_up(engine)
    engine.there()
    assert engine.heard(0.0) == []
    assert not killed
    assert engine.heard(0.0) == [
        Gone(attempt="w", why="Ray lost node second or its worker there (_Error: The worker died.)")
    ]
    assert len(killed) == 1
    assert engine.heard(0.0) == []


def test_what_cannot_be_started_says_what_was_raised(tmp_path):
    error = _Error("The actor died because of an error raised in its creation task\n  File\nOSError: no space left")
    error.actor_init_failed = True

    def get(answer):
        raise error

    engine = _engine(tmp_path, _node("second", kind="spare"), get=get, kill=lambda actor: None)
    assert _taken_up(engine)
    engine.there()
    (gone,) = engine.heard(0.0)
    assert gone.why == "nothing can be started on node second (OSError: no space left)"
