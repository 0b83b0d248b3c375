"""The command line in a process of its own, as a user starts it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def call(*arguments, timeout=300, bytes_=False, **environ):
    """What came of `python -m harness ARGUMENTS…` in the folder of the checkout; a variable that is None is unset."""
    return subprocess.run(
        [sys.executable, "-m", "harness", *map(str, arguments)],
        capture_output=True,
        text=not bytes_,
        cwd=ROOT,
        timeout=timeout,
        env={k: v for k, v in {**os.environ, "NO_COLOR": "1", **environ}.items() if v is not None},
    )
