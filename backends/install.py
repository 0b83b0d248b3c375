"""The command that installs what an extra of this package brings.

The name of this package is not ours on the public index: a command that asks an index for it would install somebody
else's code. So a checkout is installed again from its own folder, and without one the packages themselves are named.
"""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DISTRIBUTION = "hwlottery"
_EXTRA = re.compile(r"""\s*;\s*extra\s*==\s*['"]([\w.-]+)['"]\s*$""")


def install_hint(extra: str) -> str:
    """The command for `extra` of pyproject.toml, such as `python -m pip install -e ".[torch]"` in a checkout's folder.

    From another folder it names the checkout's. ValueError where there is neither a checkout nor such an extra.
    """
    if (ROOT / "pyproject.toml").is_file():
        here = "." if Path.cwd() == ROOT else ROOT
        return f'python -m pip install -e "{here}[{extra}]"'
    packages = _packages(extra)
    if not packages:
        raise ValueError(f"{DISTRIBUTION} has no extra named {extra!r}; its extras stand in pyproject.toml")
    return f"python -m pip install {' '.join(packages)}"


def _packages(extra: str) -> list[str]:
    """The requirements of `extra`, quoted for a shell, where an extra may name further ones of this package."""
    try:
        requirements = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        requirements = []
    wanted: list[str] = []
    for line in requirements:
        found = _EXTRA.search(line)
        if found is None or found[1] != extra:
            continue
        package = line[: found.start()]
        ours = re.fullmatch(rf"{DISTRIBUTION}\[([\w.,-]+)\]", package)
        wanted += [p for e in ours[1].split(",") for p in _packages(e)] if ours else [f'"{package}"']
    return wanted
