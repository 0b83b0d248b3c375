"""The compile caches on disk, seen from outside: whether compiling a case was served from them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal


def files(cache: Path) -> int:
    """How many files the caches hold."""
    return sum(len(files) for _, _, files in os.walk(cache))


def state(cache: Path, before: int) -> Literal["cold", "warm"]:
    """`cold` when compiling left new files in the on-disk caches, `warm` when it was served from them."""
    return "cold" if files(cache) > before else "warm"
