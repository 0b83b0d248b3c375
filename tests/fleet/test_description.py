"""FILE.toml: what it may say, and one sentence for each thing that it may not, with what comes nearest."""

from __future__ import annotations

import pytest
from _fleet import fleet

from harness.errors import UserError
from harness.fleet import description, labels

GOOD = """
engine = "ray"
tries = 2

[ray]
address = "auto"

[machine.a]
labels = { kind = "cpu", zone = "north" }
count = 2
env = { A = "1" }

[machine.b]
labels = { kind = "gpu" }

[[want]]
name = "small"
on = { kind = ["cpu", "gpu"] }
preset = "smoke"
backends = ["numpy", "torch"]
workloads = "capsule_conv"
set = { density = [0.1, 0.3], n = 4 }
seed = 7
exhaustive = true
"""


def _read(tmp_path, text):
    path = tmp_path / "f.toml"
    path.write_text(text)
    return description.read(path)


def test_a_whole_file_is_read(tmp_path):
    found = _read(tmp_path, GOOD)
    assert (found.engine, found.tries, found.engine_options) == ("ray", 2, {"address": "auto"})
    assert found.kinds["a"].machines == ["a-1", "a-2"]
    assert found.kinds["b"].machines == ["b"]
    (want,) = found.wants
    assert want.on == {"kind": ("cpu", "gpu")}
    assert want.workloads == ("capsule_conv",)
    assert want.options["set"] == ("density=0.1,0.3", "n=4")
    assert (want.options["exhaustive"], want.options["seed"]) == (("",), ("7",))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('engine = "ray"', "engine = ray", "is not TOML"),
        ('engine = "ray"', 'engine = "rai"', "there is no choice 'rai'; did you mean ray?"),
        ("tries = 2", "tris = 2", "there is no key 'tris'; did you mean tries?"),
        ("tries = 2", "tries = 0", "tries = 0 is not between 1 and"),
        ("tries = 2", 'tries = "2"', "tries = '2' is not a whole number"),
        ("tries = 2", "tries = true", "tries = True is not a whole number"),
        ('address = "auto"', "address = 5", "[ray]: address = 5 is not a text"),
        ('address = "auto"', 'adress = "auto"', "did you mean address?"),
        ("[ray]", "[slurm]", "[slurm]: there is no key 'address'"),
        ('zone = "north"', "zone = 1", "labels = {'kind': 'cpu', 'zone': 1} is not of the form"),
        ('zone = "north"', 'zone = "no/rth"', "label zone = 'no/rth' is none"),
        ("count = 2", "count = 0", "[machine.a] count = 0 is not between"),
        ("count = 2", "cout = 2", "did you mean count?"),
        ("[machine.b]", '[machine."b c"]', "'b c' is no name"),
        ("[machine.b]", "[machine.a-1]", "both have a machine called a-1"),
        ("[[want]]", "[want]", "want is a list of tables"),
        ("[[want]]", '[[want]]\nname = "x"\n[[want]]', None),
        ('name = "small"', 'name = "a/b"', "'a/b' is no name"),
        ('preset = "smoke"', 'presets = "smoke"', "did you mean preset?"),
        ('"numpy", "torch"', '"numpy,torch"', "'numpy,torch' is no name; write several as a list"),
        ('"numpy", "torch"', '"--out"', "'--out' is no name"),
        ('"numpy", "torch"', "1", "is not a list of texts"),
        ("exhaustive = true", 'exhaustive = "yes"', "is neither true nor false"),
        ("n = 4", "n = [[4]]", "sets an axis to what is neither"),
        ("seed = 7", 'seed = 7\ncontrol = ["dense_cnn"]', 'control is for share = "split"'),
        ("seed = 7", 'share = "split"', "but b is one; write count = 2"),
        ("seed = 7", 'share = "split"\nruns = 2', 'runs is for share = "replicate"'),
        ('on = { kind = ["cpu", "gpu"] }', 'on = { kind = "cpuu" }', "the nearest is kind=cpu (machine a)"),
        ('on = { kind = ["cpu", "gpu"] }', 'on = { kind = "gpu", zone = "north" }', "a comes nearest and has kind=cpu"),
        ('on = { kind = ["cpu", "gpu"] }', "on = 3", 'is not of the form { KEY = "VALUE" }'),
    ],
)
def test_what_is_wrong_is_one_sentence(tmp_path, old, new, words):
    assert old in GOOD
    text = GOOD.replace(old, new, 1)
    if words is None:
        assert [want.name for want in _read(tmp_path, text).wants] == ["x", "small"]
        return
    with pytest.raises(UserError) as error:
        _read(tmp_path, text)
    said = str(error.value)
    assert words in said
    assert "\n" not in said
    assert str(tmp_path) in said


def test_two_wants_of_one_name_and_files_without_any_are_refused(tmp_path):
    with pytest.raises(UserError, match="two wants are called 'small'"):
        _read(tmp_path, GOOD + '\n[[want]]\nname = "small"\n')
    with pytest.raises(UserError, match="names no machine"):
        _read(tmp_path, 'engine = "local"')
    with pytest.raises(UserError, match="wants nothing"):
        _read(tmp_path, '[machine.a]\nlabels = { k = "v" }')
    with pytest.raises(UserError, match=r"nowhere\.toml cannot be read \(No such file"):
        description.read(tmp_path / "nowhere.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="no UTF-8"):
        description.read(tmp_path / "bytes.toml")


def test_the_nearest_label_is_of_the_kind_that_is_lacking():
    machines = {"a": {"kind": "cpu", "zone": "north"}, "b": {"kind": "gpu", "zone": "south"}}
    assert "there are kind=cpu" in labels.nearest({"colour": ("blue",)}, machines)
    both = {**machines, "c": {"kind": "gpu", "rack": "1"}}
    nearest = labels.nearest({"kind": ("gpu",), "rack": ("1",), "zone": ("north",)}, both)
    assert nearest == "no machine has all of them at once: c comes nearest and has no label zone"
    assert "add labels to [machine.a]" in labels.nearest({"kind": ("cpu",)}, {"a": {}})
    assert labels.said({"kind": ("cpu", "gpu")}) == "kind=cpu or gpu"
    assert labels.meets({"kind": "cpu"}, {}) is True
    assert labels.meets({"kind": "cpu"}, {"kind": ("gpu",)}) is False


# -- shards ------------------------------------------------------------------------------------------------------------


def test_a_want_is_replicated_on_every_kind_as_often_as_it_says(tmp_path):
    _, plan = fleet(tmp_path, GOOD.replace("seed = 7", "seed = 7\nruns = 2"))
    assert [shard.name for shard in plan.shards] == ["small-a-run1", "small-a-run2", "small-b-run1", "small-b-run2"]
    assert plan.shards[0].options == [
        *("--workload", "capsule_conv", "--backend", "numpy", "--backend", "torch", "--preset", "smoke"),
        *("--seed", "7", "--exhaustive", "--set", "density=0.1,0.3", "--set", "n=4"),
    ]
    assert plan.machines == {"a": ("a-1", "a-2"), "b": ("b",)}


SPLIT = GOOD.replace('["cpu", "gpu"]', '"cpu"').replace("seed = 7", 'share = "split"\ncontrol = ["dense_cnn"]')


def test_two_runs_of_one_name_are_refused(tmp_path):
    text = '[machine.b-c]\nlabels = { k = "1" }\n[machine.c]\nlabels = { k = "2" }\n'
    text += '[[want]]\nname = "a"\non = { k = "1" }\n[[want]]\nname = "a-b"\non = { k = "2" }\n'
    with pytest.raises(UserError, match="want 'a' on b-c and want 'a-b' on c would both have a run called a-b-c-run1"):
        fleet(tmp_path, text)
    fleet(tmp_path, text.replace('"a-b"', '"b"'))


def test_a_want_is_split_by_workload_and_every_share_has_the_control(tmp_path):
    _, plan = fleet(tmp_path, SPLIT)
    chosen = [
        [value for key, value in zip(s.options, s.options[1:], strict=False) if key == "--workload"]
        for s in plan.shards
    ]
    assert chosen == [["dense_cnn", "capsule_conv"], ["dense_cnn", "forward_forward", "local_update"]]
    assert all(shard.options.count("numpy") == 1 for shard in plan.shards)  # never by backend


def test_a_want_with_less_to_share_than_machines_is_refused(tmp_path):
    with pytest.raises(UserError, match="has 3 workloads beside its control to split over 4 machines"):
        fleet(tmp_path, SPLIT.replace("count = 2", "count = 4"))


def test_the_plan_is_the_same_plan_until_what_is_wanted_or_who_is_there_changes(tmp_path):
    digest = fleet(tmp_path, GOOD)[1].digest
    assert fleet(tmp_path, GOOD.replace('address = "auto"', 'address = "10.0.0.1:6379"'))[1].digest == digest
    assert fleet(tmp_path, GOOD.replace("seed = 7", "seed = 8"))[1].digest != digest
    assert fleet(tmp_path, GOOD.replace("north", "south"))[1].digest != digest
