"""The shell's part in a command: it leaves the exit code in a file, for whoever asks when nobody waits any more."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

# Asked to end, it asks the command. USR2 is what SLURM's job manager sends first, which would kill a Python unprepared.
# The name of the computer is for a job that goes on: it must do so on the same.
_SCRIPT = """
exec >> "$0" 2>&1
uname -n > "$0.host"
(trap '' USR2; exec "$@") & run=$!
trap 'kill -TERM $run 2>/dev/null' TERM INT HUP USR2
while :; do wait $run; code=$?; kill -0 $run 2>/dev/null || break; done
echo $code > "$0.new" && mv "$0.new" "$0.code"
exit $code
""".strip()


def wrapped(argv: Sequence[str], log: Path) -> list[str]:
    """A command that prints to the file `log`, and leaves its exit code in `log`.code, where it ran in `log`.host."""
    return ["/bin/sh", "-c", _SCRIPT, str(log), *argv]


def code_of(log: Path) -> int | None:
    """The exit code; None as long as it has none."""
    try:
        return int(Path(f"{log}.code").read_text())
    except (OSError, ValueError):
        return None


def host_of(log: Path) -> str | None:
    """The name of the computer it ran on last; None where it never ran."""
    try:
        return Path(f"{log}.host").read_text().strip() or None
    except OSError:
        return None


def begin(log: Path) -> None:
    """Forget the exit code of an earlier part."""
    Path(f"{log}.code").unlink(missing_ok=True)


def last_words(log: Path, most: int = 4096) -> str:
    """The last line of what was printed that says anything, an error's before others."""
    try:
        with log.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - most))
            found = [line for line in file.read().decode("utf-8", "replace").splitlines() if line.strip()]
    except OSError:
        return ""
    errors = [line for line in found if line.startswith("error: ")]
    return (errors or found or [""])[-1]
