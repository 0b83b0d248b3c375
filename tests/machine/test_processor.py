"""Which processor this is, on machines that are not this one: files stand for them, and every reading is chosen."""

from __future__ import annotations

import os
import stat

import pytest
from _readings import lay

from harness.cli import cache
from harness.errors import UserError
from harness.machine import facts, linux, processor

XEON = """processor\t: 0
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: {model}
model name\t: Intel(R) Xeon(R) Processor
stepping\t: 2
flags\t\t: fpu sse sse2 {flags} hypervisor md_clear

"""
ARM = """processor\t: {core}
BogoMIPS\t: 50.00
Features\t: fp asimd {features}
CPU implementer\t: {maker}
CPU architecture: 8
CPU variant\t: 0x3
CPU part\t: {part}
CPU revision\t: 1

"""


def machine(folder, text):
    return str(lay(folder, {"proc/cpuinfo": text}))


def arm(folder, *parts, maker="0x41", features="sve"):
    text = "".join(ARM.format(core=n, part=part, maker=maker, features=features) for n, part in enumerate(parts))
    return machine(folder, text)


@pytest.mark.fault("an ARM machine, which has no model name (files stand for it)", "machines")
def test_an_arm_machine_is_named_by_maker_and_part(tmp_path):
    assert processor.name(arm(tmp_path / "a", "0xd40", "0xd40")) == "Arm Neoverse-V1 r3p1"
    assert (
        processor.name(arm(tmp_path / "b", "0xd05", "0xd0b", "0xd0b"))
        == "1 × Arm Cortex-A55 r3p1 + 2 × Arm Cortex-A76 r3p1"
    )
    assert processor.name(arm(tmp_path / "c", "0xac3", maker="0xc0")) == "Ampere part 0xac3 r3p1"
    assert processor.name(arm(tmp_path / "d", "0x001", maker="0x99")) == "0x99 part 0x001 r3p1"
    ids = {processor.identity(str(tmp_path / name)) for name in "abcd"}
    assert len(ids) == 4
    assert None not in ids


@pytest.mark.fault("unlike processors under one generic name (files stand for them)", "machines")
def test_unlike_processors_of_one_name_are_told_apart_by_family_model_and_instructions(tmp_path):
    texts = {
        "emerald": XEON.format(model=207, flags="avx512f amx_bf16"),
        "ice": XEON.format(model=106, flags="avx512f amx_bf16"),
        "masked": XEON.format(model=207, flags=""),
        "other_kernel": XEON.format(model=207, flags="avx512f amx_bf16 ibrs_enhanced").replace("md_clear", ""),
    }
    roots = {name: machine(tmp_path / name, text) for name, text in texts.items()}
    assert {processor.name(root) for root in roots.values()} == {"Intel(R) Xeon(R) Processor"}
    ids = {name: processor.identity(root) for name, root in roots.items()}
    assert ids["emerald"] == ids["other_kernel"], "what the kernel adds is no other processor"
    assert len({ids["emerald"], ids["ice"], ids["masked"]}) == 3


def test_a_name_that_is_no_utf8_is_read_as_far_as_it_goes(tmp_path):
    root = tmp_path / "x"
    (root / "proc").mkdir(parents=True)
    (root / "proc/cpuinfo").write_bytes(b"model name\t: Prozessor \xfc\n")
    assert processor.name(str(root)) == "Prozessor \ufffd"


@pytest.mark.fault("the first logical CPUs are siblings of one core (files stand for the machine)", "machines")
def test_a_thread_of_each_core_comes_before_the_second_of_any(tmp_path):
    siblings = {0: "0-1", 1: "0-1", 2: "2-3", 3: "2-3"}
    top = "sys/devices/system/cpu"
    root = lay(tmp_path, {f"{top}/cpu{n}/topology/thread_siblings_list": f"{s}\n" for n, s in siblings.items()})
    assert processor.spread({0, 1, 2, 3}, str(root)) == [0, 2, 1, 3]
    assert processor.spread({1, 3, 2}, str(root)) == [1, 2, 3]
    lay(tmp_path, {f"{top}/cpu{n}/cpu_capacity": f"{1024 if n > 1 else 400}\n" for n in siblings})
    assert processor.spread({0, 1, 2, 3}, str(root)) == [2, 0, 3, 1], "the faster core first"
    assert processor.spread({5, 4}, str(tmp_path / "nothing")) == [4, 5]


@pytest.mark.fault("a container with a CPU quota, a system without affinity (stand-ins)", "machines")
def test_no_more_cores_are_used_than_a_quota_feeds_and_a_system_without_affinity_counts_its_own(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3}, raising=False)
    for quota, cores in ((None, 4), (8.0, 4), (2.0, 2), (1.5, 1), (1.0, 1), (0.2, 1)):
        monkeypatch.setattr(linux, "quota_cores", lambda groups, q=quota: q)
        assert facts.usable_cores() == cores
    monkeypatch.setattr(linux, "quota_cores", lambda groups: None)
    monkeypatch.delattr(os, "sched_getaffinity")
    assert facts.usable_cores() == os.cpu_count()


# -- the folder of compiled programs ----------------------------------------------------------------------------------


@pytest.fixture
def own(tmp_path, monkeypatch):
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "own"))
    return tmp_path / "own"


@pytest.mark.fault("a compile cache that unlike processors share", "machines")
def test_each_kind_of_processor_has_a_cache_of_its_own(own, monkeypatch):
    one = cache.cache_folder()
    assert one.parent == own
    assert one == cache.cache_folder()
    monkeypatch.setattr(processor, "identity", lambda root="": "GenuineIntel 6 85, instructions 0")
    assert cache.cache_folder() != one


@pytest.mark.fault("HWLOTTERY_CACHE=. and other relative folders", "text")
def test_a_relative_folder_is_made_absolute(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in (".", "below", "-x y"):
        monkeypatch.setenv(cache.VARIABLE, name)
        assert cache.cache_folder().is_relative_to(tmp_path)


@pytest.mark.fault("a compile cache in which other users may write", "machines")
def test_a_cache_that_others_may_write_to_is_refused(own, monkeypatch):
    folder = cache.cache_folder()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder.chmod(0o777)
    with pytest.raises(UserError, match="can be written to by every user"):
        cache.cache_folder()
    folder.chmod(0o700)
    real = os.getuid()
    os.chown(folder, real + 1 if real == 0 else real, -1)
    monkeypatch.setattr(cache.os, "getuid", lambda: folder.stat().st_uid + 1)
    with pytest.raises(UserError, match="belongs to another user"):
        cache.cache_folder()


@pytest.mark.fault("no HOME, and no temporary folder", "machines")
def test_without_a_home_the_temporary_folder_is_taken_and_without_that_it_is_said(monkeypatch, tmp_path):
    monkeypatch.delenv(cache.VARIABLE, raising=False)
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: cache.Path("~/.cache") / name)
    monkeypatch.setattr(cache.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert cache.cache_folder().is_relative_to(tmp_path / f"hwlottery-{os.getuid()}")
    assert not (tmp_path / "~").exists()
    monkeypatch.setattr(cache.tempfile, "gettempdir", lambda: (_ for _ in ()).throw(FileNotFoundError(2, "none")))
    with pytest.raises(UserError, match="no folder for temporary files"):
        cache.cache_folder()


@pytest.mark.fault("a compile cache whose path is no UTF-8, or a file", "text")
def test_a_cache_that_cannot_be_is_one_sentence(monkeypatch, tmp_path):
    for name, said in ((os.fsdecode(b"caf\xe9"), "is no text in UTF-8"), ("file/below", "cannot be made")):
        (tmp_path / "file").write_text("x")
        monkeypatch.setenv(cache.VARIABLE, str(tmp_path / name))
        with pytest.raises(UserError, match=said):
            cache.cache_folder()
