"""Which processor this is, by its name, its family and its instruction set, and which of its cores to use first.

The name alone tells too little: hypervisors call unlike processors "Intel(R) Xeon(R) Processor", and ARM has none at
all in /proc/cpuinfo, where the maker and part stand instead (Arm ARM, MIDR_EL1). `root` is the file system's.
"""

from __future__ import annotations

import hashlib
import platform
import re
import subprocess
from collections import Counter
from collections.abc import Iterable

from harness.machine import linux as readers

# MIDR_EL1.Implementer, and the parts of Arm's own that servers, boards and laptops have (util-linux, lscpu-arm.c).
_MAKERS = {
    "0x41": "Arm",
    "0x42": "Broadcom",
    "0x43": "Cavium",
    "0x46": "Fujitsu",
    "0x48": "HiSilicon",
    "0x4e": "NVIDIA",
    "0x50": "Applied Micro",
    "0x51": "Qualcomm",
    "0x53": "Samsung",
    "0x56": "Marvell",
    "0x61": "Apple",
    "0x6d": "Microsoft",
    "0x70": "Phytium",
    "0xc0": "Ampere",
}
_PARTS = {
    "0xd03": "Cortex-A53",
    "0xd05": "Cortex-A55",
    "0xd07": "Cortex-A57",
    "0xd08": "Cortex-A72",
    "0xd0b": "Cortex-A76",
    "0xd0c": "Neoverse-N1",
    "0xd40": "Neoverse-V1",
    "0xd49": "Neoverse-N2",
    "0xd4f": "Neoverse-V2",
    "0xd84": "Neoverse-V3",
    "0xd8e": "Neoverse-N3",
}
# What a compiler may use. The kernel's other flags change with its version, and must not make another machine of one.
_INSTRUCTIONS = re.compile(
    r"(mmx|sse|ssse|avx|amx|fma|f16c|aes|sha|bmi|vaes|v?pclmul|gfni|adx|popcnt|movbe|xop|tbm|"
    r"asimd|neon|sve|sme|fp|bf16|i8mm|atomics|crc32|pmull|lm$|cx16)"
)
_FAMILY = ("vendor_id", "cpu family", "model", "CPU implementer", "CPU architecture", "CPU part", "uarch", "cpu")
Block = dict[str, str]


def name(root: str = "") -> str | None:
    """The processor as people call it: its model name, else its maker and parts; None where nothing tells."""
    blocks = _blocks(root)
    named = next((block[key] for block in blocks for key in ("model name", "cpu", "uarch") if block.get(key)), None)
    if named is None:
        parts = Counter(_arm(block) for block in blocks if "CPU part" in block)
        several = len(parts) > 1  # big and small cores
        named = " + ".join(f"{count} × {part}" if several else part for part, count in sorted(parts.items()))
    return named or _brand() or platform.processor() or None


def identity(root: str = "") -> str | None:
    """Maker, family and model of its cores and a digest of the instructions that they have; None where nothing tells.

    It tells apart what has one name, and compiled programs go by it.
    """
    blocks = _blocks(root)
    families = {" ".join(block[key] for key in _FAMILY if block.get(key)) for block in blocks} - {""}
    used = sorted(flag for flag in flags(root) if _INSTRUCTIONS.match(flag))
    if not families and not used:
        return _brand()
    instructions = hashlib.sha256(" ".join(used).encode()).hexdigest()[:8]
    return f"{' + '.join(sorted(families)) or platform.machine()}, instructions {instructions}"


def flags(root: str = "") -> set[str]:
    """What the kernel says that its cores have; empty where it does not."""
    return {flag for block in _blocks(root) for flag in (block.get("flags") or block.get("Features") or "").split()}


def spread(cores: Iterable[int], root: str = "") -> list[int]:
    """`cores` in the order in which to use them: one thread of each core first, faster cores before slower ones."""
    ids = sorted(cores)
    seen: Counter[str] = Counter()
    order = []
    for core in ids:
        folder = f"{root}/sys/devices/system/cpu/cpu{core}"
        siblings = readers.text(f"{folder}/topology/thread_siblings_list") or f"alone {core}"
        capacity = readers.integer(f"{folder}/cpu_capacity") or 0  # of 1024, where cores differ
        order.append((seen[siblings], -capacity, core))
        seen[siblings] += 1
    return [core for _, _, core in sorted(order)]


def _blocks(root: str) -> list[Block]:
    """What /proc/cpuinfo says of each core, and of the machine, a block each."""
    text = readers.text(f"{root}/proc/cpuinfo") or ""
    blocks = [_block(part) for part in re.split(r"\n\s*\n", text)]
    return [block for block in blocks if block]


def _block(text: str) -> Block:
    pairs = (line.partition(":") for line in text.splitlines())
    return {key.strip(): value.strip() for key, colon, value in pairs if colon}


def _arm(block: Block) -> str:
    maker, part = block.get("CPU implementer", "unknown maker").lower(), block["CPU part"].lower()
    revision = f"r{_number(block.get('CPU variant'))}p{block.get('CPU revision', '0')}"
    known = _PARTS.get(part) if maker == "0x41" else None
    return f"{_MAKERS.get(maker, maker)} {known or f'part {part}'} {revision}"


def _number(text: str | None) -> int:
    try:
        return int(text or "0", 16)
    except ValueError:
        return 0


def _brand() -> str | None:
    """What macOS calls its processor."""
    if platform.system() != "Darwin":
        return None
    try:
        words = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(words, capture_output=True, text=True, timeout=10, check=False).stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        return None
