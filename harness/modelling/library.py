"""The devices that come with the harness: files of today's machine and of prototypes, and one for each datasheet.

What a datasheet does not publish is taken at the most that it allows, and says so in `sources`: rows gathered and
scattered at one line each of the full bandwidth, launches free. So such a device's times are lower bounds.
Joules are its thermal design power times these, where that is published.
"""

from __future__ import annotations

import re
from typing import Any

from harness.machine.hardware import Hardware, table
from harness.modelling.device_schema import DTYPES, PACKS

LINES = {"gpu": 32.0, "tpu": 64.0, "cpu": 64.0}  # bytes that memory hands out at once
_BOUND = "assumed: the most that the bandwidth allows, a line a row; no datasheet says"
_POWER = "assumed: its thermal design power as long as a call takes, whatever it does"
_FREE = "assumed: free, since no datasheet says; times are lower bounds"


def slug(name: str) -> str:
    """`nvidia-h100-sxm` of "NVIDIA H100 SXM"."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower().replace("+", " plus")).strip("-")


def datasheet_documents() -> dict[str, dict[str, Any]]:
    """The document of a device file for each device of the hardware table whose bandwidth is published, by its slug."""
    return {slug(h.name): _document(h) for h in table() if h.bandwidth_bytes_per_s}


def _document(h: Hardware) -> dict[str, Any]:
    bandwidth, line = float(h.bandwidth_bytes_per_s or 0), LINES[h.kind]
    rates = {str(dtype): float(rate) for dtype, rate in h.peak_flop_per_s.items() if dtype in DTYPES}
    vector = {dtype: rates[dtype] for dtype in ("float64", "float32") if dtype in rates}
    capacity = float(h.memory_bytes or 2**40)
    document: dict[str, Any] = {
        "name": h.name,
        "kind": h.kind,
        "source": h.source,
        "note": h.note or "as its maker describes it; nothing of it was measured",
        "matmul": {"rate": rates},
        "memory": {"levels": [{"bytes": capacity, "read": bandwidth}]},
        "gather": {"rows_per_s": bandwidth / line, "line_bytes": line},
        "scatter": {"rows_per_s": bandwidth / line},
        "launch": {"op_s": 0.0, "program_s": 0.0, "kernel_s": 0.0},
        "sources": {
            "matmul.rate": h.source,
            "memory.levels": h.source,
            "gather.rows_per_s": _BOUND,
            "scatter.rows_per_s": _BOUND,
            "launch": _FREE,
        },
    }
    if h.kind == "cpu":
        document["matmul"]["packs"] = True
        document["sources"]["matmul.packs"] = PACKS
    if vector:
        document["vector"] = {"rate": vector}
        document["sparse"] = {"values_per_s": bandwidth / line, "rate": dict(vector)}
        document["sources"] |= {
            "vector.rate": f"{h.source}, the rate outside of product units where it has such",
            "sparse.values_per_s": _BOUND,
            "sparse.rate": "assumed: the vector rate, the most that there can be",
        }
    if h.tdp_w:
        document["energy"] = {"pj_per_flop": dict.fromkeys(rates, 0.0), "pj_per_launch": 0.0, "idle_w": float(h.tdp_w)}
        document["memory"]["levels"][0]["pj_per_byte"] = 0.0
        document["sources"]["energy"] = f"{h.source}; {_POWER}"
    if h.memory_bytes:
        document["memory"]["capacity"] = float(h.memory_bytes)
    return document
