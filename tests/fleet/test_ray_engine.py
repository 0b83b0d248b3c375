"""The engine of Ray over a stand-in for Ray: which machine has which node, and what a node lacks."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from _fleet import fleet

from harness.fleet.engines.base import Job
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


def _engine(tmp_path, *nodes):
    described, _ = fleet(tmp_path, TEXT)
    engine = RayEngine("campaign")
    engine._kinds = described.kinds
    engine._ray = SimpleNamespace(nodes=lambda: list(nodes), get_actor=lambda name: name)
    return engine


def test_who_takes_a_run_up_gives_its_node_to_no_other_machine(tmp_path):
    engine = _engine(tmp_path, _node("first", kind="spare"), _node("second", kind="spare"))
    engine.there()
    kind = engine._kinds["node"]
    job = Job(attempt="w", machine="node-1", kind=kind, options=[], results=Path(), log=Path(), place="second")
    assert engine.adopt(job)
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
