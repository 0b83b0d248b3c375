"""Device files: what may stand in one, what is said of what may not, and that what is written reads back alike."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import UserError
from harness.modelling import device_file
from harness.modelling.device_schema import json_schema
from harness.modelling.toml_text import as_toml

GOOD = """
name = "small"
kind = "prototype"
source = "a test"

[matmul.rate]
float32 = 1e11

[[memory.levels]]
bytes = 1e6
read = 1e11

[[memory.levels]]
bytes = 1e9
read = 1e10

[gather]
rows_per_s = 1e8

[launch]
op_s = 1e-6
program_s = 1e-5

[backend.torch.launch]
op_s = 2e-6
"""


def read(tmp_path: Path, text: str, name: str = "device.toml"):
    (tmp_path / name).write_text(text)
    return device_file.read_device(tmp_path / name)


def refused(tmp_path: Path, text: str) -> str:
    with pytest.raises(UserError) as said:
        read(tmp_path, text)
    assert "\n" not in str(said.value)
    return str(said.value).removeprefix(f"{tmp_path}/device.toml: ")


def test_a_good_file_is_read(tmp_path):
    device = read(tmp_path, GOOD)
    assert (device.matmul.rate["float32"], device.gather.rows_per_s) == (1e11, 1e8)
    assert device.backend["torch"].launch.op_s == 2e-6


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[matmul.rate]\nfloat32 = 1e11", "", "matmul.rate is missing"),
        ("float32 = 1e11", "float32 = -1e11", "matmul.rate.float32 is -100000000000.0"),
        ("float32 = 1e11", "float32 = 10", "matmul.rate.float32 is 10: expected float >= 1000000.0"),
        ("float32 = 1e11", "float32 = nan", "matmul.rate.float32 is nan"),
        ("float32 = 1e11", "float32 = inf", "matmul.rate.float32 is inf"),
        ("float32 = 1e11", "float32 = true", "matmul.rate.float32 is True"),
        ("float32 = 1e11", "float12 = 1e11", "(invalid enum value 'float12'); known are float64, float32"),
        ("[matmul.rate]", "[matmul]\ntile = [0, 1, 1]\n[matmul.rate]", "matmul.tile[0] is 0: expected int >= 1"),
        ("[matmul.rate]", "[matmul.sparse]\n'4:2' = 2.0\n[matmul.rate]", "matmul.sparse.4:2 keeps as many"),
        ("rows_per_s", "row_per_s", "gather.row_per_s is no key of a device file; did you mean rows_per_s?"),
        ("[backend.torch.launch]", "[backend.torch.lunch]", "backend.torch.lunch is no key of a device file"),
        ("bytes = 1e9", "bytes = 1e5", "memory.levels must go from the smallest working set up"),
        ("bytes = 1e9", "", "memory.levels[1].bytes is missing"),
        (
            "[matmul.rate]",
            "[matmul]\nsmall = [{side = 4, share = 0.1}, {side = 4, share = 0.2}]\n[matmul.rate]",
            "side up",
        ),
        ("[matmul.rate]", "[matmul]\nsmall = [{side = 4, share = 1.5}]\n[matmul.rate]", "matmul.small[0].share is 1.5"),
        (
            "[matmul.rate]",
            "[backend.jax.matmul]\nthin = [{side = 9, share = 0.1}, {side = 4, share = 0.2}]\n[matmul.rate]",
            "backend.jax.matmul.thin must go from the shortest side up, found side [9, 4]",
        ),
        (
            "[matmul.rate]",
            "[sparse.bag]\nfar = [{bytes = 9, share = 0.1}, {bytes = 4, share = 0.2}]\n[matmul.rate]",
            "sparse.bag.far must go from the smallest table up, found bytes [9.0, 4.0]",
        ),
        ("[matmul.rate]", "[matmul]\nvector = [{bytes = 9, share = 0}]\n[matmul.rate]", "matmul.vector[0].share is 0"),
        ("[matmul.rate]", "[sparse.bog]\n[matmul.rate]", "sparse.bog is no key of a device file; did you mean bag?"),
        ('name = "small"', "", "name is missing"),
        ('kind = "prototype"', 'kind = "toaster"', "kind is 'toaster'"),
        (
            'source = "a test"',
            'source = "a test"\nsources = {"sparse.rate" = "x"}',
            "sources.sparse.rate is about a key",
        ),
        (
            'source = "a test"',
            'source = "a test"\nintervals = {"memory.levels[7].read" = [1.0, 2.0]}',
            "intervals.memory.levels[7].read is about a key",
        ),
        ('source = "a test"', 'source = "a test"\nintervals = {"gather" = [2.0, 1.0]}', "intervals.gather must be"),
        ('source = "a test"', 'source = "a test"\nbase = "toady"', "there is no device 'toady'; did you mean today"),
        ('source = "a test"', 'source = "a test"\nbase = "device.toml"', "base leads back to itself"),
        ('source = "a test"', 'source = "a test"\nfactor = {"sparse.values_per_s" = 2.0}', "gives no number"),
        ('source = "a test"', 'source = "a test"\nfactor = {"gather" = -2.0}', "factor.gather must be a number"),
        ('source = "a test"', "source = ", "is no TOML"),
    ],
)
def test_each_fault_is_one_sentence_with_its_key(tmp_path, old, new, said):
    found = refused(tmp_path, GOOD.replace(old, new, 1))
    assert said.replace("gives no number", "give no number") in found


def test_what_is_no_file_is_a_sentence(tmp_path):
    for name, said in (("gone.toml", "there is no such device file"), ("todya", "did you mean today")):
        with pytest.raises(UserError, match=said):
            device_file.read_device(name)
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="not text in UTF-8"):
        device_file.read_device(tmp_path / "bytes.toml")


def test_a_file_on_a_base_says_only_what_differs_and_that_for_every_framework(tmp_path):
    read(tmp_path, GOOD)
    device = read(
        tmp_path,
        'name = "faster"\nkind = "prototype"\nsource = "a test"\nbase = "device.toml"\n'
        '[factor]\n"gather.rows_per_s" = 16.0\n"memory.levels.read" = 2.0\n"launch.program_s" = 2.0\n'
        "[launch]\nop_s = 0.0\n",
        "faster.toml",
    )
    assert (device.name, device.gather.rows_per_s, device.matmul.rate["float32"]) == ("faster", 16e8, 1e11)
    assert [level.read for level in device.memory.levels] == [2e11, 2e10]
    assert device.launch.program_s == 5e-6  # a cost is divided: a factor is always how many times as good
    assert (device.launch.op_s, device.backend["torch"].launch.op_s) == (0.0, None)


@pytest.mark.parametrize("table", ["matmul", "memory", "sparse"])
def test_a_factor_on_a_whole_table_scales_rates_and_leaves_the_curves_where_they_are(tmp_path, table):
    text = 'name = "faster"\nkind = "prototype"\nsource = "a test"\nbase = "today"\n'
    today = device_file.read_device("today")
    device = read(tmp_path, f"{text}[factor]\n{table} = 2.0\n", "faster.toml")
    assert [(p.side, p.share) for p in device.matmul.small] == [(p.side, p.share) for p in today.matmul.small]
    assert [level.bytes for level in device.memory.levels] == [level.bytes for level in today.memory.levels]
    rates = {
        "matmul": lambda d: d.matmul.rate["float32"],
        "memory": lambda d: d.memory.levels[0].read,
        "sparse": lambda d: d.sparse.values_per_s,
    }
    for name, of in rates.items():
        assert of(device) == (2 if name == table else 1) * of(today)


def test_every_device_that_comes_along_is_good_and_there_are_eight_prototypes():
    devices = {name: device_file.read_device(name) for name in (*device_file.shipped(), *device_file.datasheets())}
    assert sum(device.kind == "prototype" for device in devices.values()) >= 8
    assert devices["nvidia-h100-sxm"].matmul.rate["bfloat16"] == 989.5e12
    assert devices["gather-x16"].gather.rows_per_s == pytest.approx(16 * devices["today"].gather.rows_per_s)
    assert devices["dataflow"].limits.static_shapes
    assert devices["nvidia-h100-sxm"].energy.idle_w == 700
    assert devices["tpu-v5e"].energy.idle_w is None  # its maker does not say
    packing = {name for name, device in devices.items() if device.matmul.packs and device.kind != "prototype"}
    assert packing == {name for name, d in devices.items() if d.kind == "cpu" and not d.matmul.thin}
    assert all(device.source for device in devices.values())


def test_every_number_of_the_schema_has_a_unit_and_a_description():
    def numbers(part):
        if isinstance(part, dict):
            if part.get("type") in ("number", "integer") and "minimum" in part:
                yield part
            for inner in part.values():
                yield from numbers(inner)
        elif isinstance(part, list):
            for inner in part:
                yield from numbers(inner)

    found = list(numbers(json_schema()))
    assert len(found) > 20
    assert all(number["unit"] and number["description"] for number in found)


def one_sentence(read) -> bool:
    """Whether a device comes of it, or one sentence that begins with the file."""
    try:
        read()
    except UserError as error:
        return "device.toml: " in str(error) and "\n" not in str(error)
    return True


PLAIN = st.one_of(
    st.booleans(),
    st.integers(-(10**9), 10**9),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
)
NAMES = st.sampled_from(["matmul", "rate", "float32", "memory", "levels", "gather", "rows_per_s", "x", "backend", "é"])
DOCUMENTS = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4))


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(NAMES, DOCUMENTS, max_size=4))
def test_any_document_is_a_device_or_one_sentence(extra):
    document = tomllib.loads(GOOD) | extra
    assert one_sentence(lambda: device_file.checked(document, "device.toml"))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_a_device_or_one_sentence(tmp_path_factory, noise):
    path = tmp_path_factory.mktemp("fuzz") / "device.toml"
    path.write_bytes(GOOD.encode() + noise)
    assert one_sentence(lambda: device_file.read_device(path))


TABLES = st.dictionaries(
    st.text(min_size=1, max_size=6),
    st.one_of(
        st.booleans(),
        st.integers(-(10**12), 10**12),
        st.floats(allow_nan=False, allow_infinity=False, width=16),
        st.text(max_size=12),
    ),
    max_size=4,
)


@settings(max_examples=60, deadline=None)
@given(TABLES, TABLES, st.lists(TABLES.filter(bool), max_size=2))
def test_what_is_written_reads_back_alike(plain, inner, several):
    document = plain | {"inner": inner, "several": several}
    found = tomllib.loads(as_toml(document))
    wanted = {k: v for k, v in document.items() if v != {}}
    assert _close(found, wanted)


def _close(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_close(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(_close, a, b))
    return a == pytest.approx(b, rel=1e-5) if isinstance(a, float) else a == b


@pytest.mark.fault("device files: a base outside the folder, names too long, numbers beyond every float", "files")
@pytest.mark.parametrize(
    ("base", "said"),
    [
        ("../other.toml", "base ../other.toml is outside the folder of the file that names it; copy it there"),
        ("linked.toml", "base linked.toml is outside the folder of the file that names it; copy it there"),
        ("/etc/passwd", "base /etc/passwd is outside the folder of the file that names it; copy it there"),
        ("../two\\nlines", "base ../two lines is outside the folder of the file that names it; copy it there"),
        ("a" * 5000 + ".toml", "there is no such device file"),
    ],
)
def test_a_base_is_a_file_beside_or_below(tmp_path, base, said):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "beside.toml").write_text(GOOD)
    (tmp_path / "other.toml").write_text(GOOD)
    (tmp_path / "mine" / "linked.toml").symlink_to("../other.toml")
    assert read(tmp_path, 'base = "mine/beside.toml"\n').name == "small"
    with pytest.raises(UserError, match=re.escape(said)):
        read(tmp_path / "mine", f'base = "{base}"\n')


@pytest.mark.parametrize(("digits", "said"), [(400, "matmul.rate.float32 is inf"), (5000, "is no TOML: Exceeds the")])
def test_a_number_beyond_every_float_is_refused_where_it_is_scaled(tmp_path, digits, said):
    text = GOOD.replace("float32 = 1e11", f"float32 = 1{'0' * digits}") + '\n[factor]\n"matmul.rate" = 2.0\n'
    assert said in refused(tmp_path, text)
