"""The name of a point: its axes as one word, the same wherever records are joined."""

from __future__ import annotations

from collections.abc import Mapping

from workloads.base import Value


def point_name(params: Mapping[str, Value]) -> str:
    """`k=32,m=48,n=8`: the same for equal axes in any order, and for 8 and 8.0."""
    return ",".join(f"{name}={_plain(params[name])}" for name in sorted(params))


def _plain(value: Value) -> Value:
    return int(value) if isinstance(value, float) and value.is_integer() else value
