"""The table of what makers publish: its schema, its sources, and which names it knows."""

import json
from urllib.parse import urlparse

import msgspec
import pytest
from _records import dense

from backends.ops import TPU_CHIPS
from harness.cli.formats import render
from harness.figures.datasheets import datasheets
from harness.machine import hardware
from harness.machine.hardware import Hardware


def test_every_entry_has_the_fields_of_the_schema_and_a_public_source():
    """A device without a source, or with a rate that no unit fits, is not in the table."""
    for item in hardware.table():
        assert urlparse(item.source).scheme == "https", item.name
        assert urlparse(item.source).netloc.count("."), item.name
        assert item.peak_flop_per_s, item.name
        assert all(1e10 < rate < 1e17 for rate in item.peak_flop_per_s.values()), item.name
        assert item.bandwidth_bytes_per_s is None or 1e10 < item.bandwidth_bytes_per_s < 1e14, item.name
        assert item.memory_bytes is None or 2**33 < item.memory_bytes < 2**39, item.name
        assert item.tdp_w is None or 20 < item.tdp_w < 3000, item.name


def test_rates_are_dense():
    """Narrower numbers are at most twice as fast a step, but for the first one that a tensor core takes."""
    for item in hardware.table():
        peaks = item.peak_flop_per_s
        if "tf32" in peaks and "bfloat16" in peaks:
            assert peaks["bfloat16"] <= 2.1 * peaks["tf32"], item.name
        if "float16" in peaks and "bfloat16" in peaks:
            assert peaks["float16"] == peaks["bfloat16"], item.name


def test_an_unknown_field_or_a_missing_source_is_refused():
    """The file is checked when it is read."""
    entry = json.loads(hardware.TABLE.read_text())[0]
    with pytest.raises(msgspec.ValidationError, match="source"):
        msgspec.json.decode(json.dumps({k: v for k, v in entry.items() if k != "source"}), type=Hardware)
    with pytest.raises(msgspec.ValidationError, match="sparse_flop"):
        msgspec.json.decode(json.dumps(entry | {"sparse_flop": 1}), type=Hardware)
    with pytest.raises(msgspec.ValidationError, match="fp16"):
        msgspec.json.decode(json.dumps(entry | {"peak_flop_per_s": {"fp16": 1.0}}), type=Hardware)


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("NVIDIA H200", "NVIDIA H200 SXM"),
        ("NVIDIA H100 80GB HBM3", "NVIDIA H100 SXM"),
        ("NVIDIA H100 PCIe", "NVIDIA H100 PCIe"),
        ("NVIDIA A100-SXM4-40GB", "NVIDIA A100 SXM 40 GB"),
        ("NVIDIA A100 80GB PCIe", "NVIDIA A100 PCIe 80 GB"),
        ("Tesla V100-SXM2-16GB", "NVIDIA V100 SXM2 16 GB"),
        ("Tesla T4", "NVIDIA T4"),
        ("NVIDIA GeForce RTX 4090", "NVIDIA GeForce RTX 4090"),
        ("AMD Instinct MI300X", "AMD Instinct MI300X"),
        ("TPU v4", "TPU v4"),
        ("TPU v5 lite", "TPU v5e"),
        ("TPU v5", "TPU v5p"),
        ("TPU v5p", "TPU v5p"),
        ("TPU v6 lite", "TPU v6e"),
        ("TPU7x", "TPU v7x"),
        ("AMD EPYC 7763 64-Core Processor", "AMD EPYC 7763"),
    ],
)
def test_a_device_is_found_by_the_name_that_drivers_give_it(said, name):
    """Drivers and frameworks do not use the makers' names."""
    found = hardware.find(said)
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize(
    "said", [None, "", "AMD EPYC", "NVIDIA L40S", "NVIDIA GeForce RTX 4090 Laptop GPU", "H200 NVL"]
)
def test_a_name_that_is_not_described_is_unknown(said):
    """The nearest entry would be another device's figures."""
    assert hardware.find(said) is None


def test_every_chip_that_can_be_compiled_for_is_described():
    """Whether a program fits is answered by its memory; of a chip with two devices each has half."""
    assert hardware.undescribed() == []
    assert {chip for chip in TPU_CHIPS if hardware.chip_memory_bytes(chip) is None} == set()
    assert hardware.chip_memory_bytes("v5e") == 16 * 2**30
    assert hardware.chip_memory_bytes("v4") == 16 * 2**30
    assert hardware.chip_memory_bytes("no such") is None


def test_a_report_says_what_the_maker_publishes_of_its_devices():
    """By the name that a record carries; a host or an unknown card has no line."""
    gpu = msgspec.structs.replace(dense([1.0], device="cuda"), settings={"gpu": "NVIDIA H200"})
    chip = dense(None, device="tpu-aot:v4", status="estimated")
    other = msgspec.structs.replace(dense([1.0], device="cuda:1"), settings={"gpu": "NVIDIA L40S"})
    found = {datasheet.device: datasheet for datasheet in datasheets([gpu, chip, other, dense([1.0])])}
    assert {device: found_one.name for device, found_one in found.items()} == {
        "cuda": "NVIDIA H200 SXM",
        "tpu-aot:v4": "TPU v4",
    }
    assert found["cuda"].peak_flop_per_s["float32"] == 67e12
    text = render([gpu, chip, other], "markdown")
    assert "cuda is NVIDIA H200 SXM; its maker says float64 67000 GFLOP/s" in text
    assert "tpu-aot:v4 is TPU v4, one of its 2 devices; its maker says bfloat16 275000 GFLOP/s" in text
    assert "never used as the limit" in text
