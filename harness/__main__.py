"""`python -m harness …`, also installed as `hwlottery`."""

from __future__ import annotations

import signal
import sys


def main() -> None:
    """Run the command line and exit with its code."""
    from harness.cli.main import run_cli

    code = run_cli()
    if code >= 128:  # asked to end, and cleaned up: a second signal may not cut the interpreter's own end short
        from harness.running.stopping import ASKING

        for number in ASKING:
            signal.signal(number, signal.SIG_IGN)
    sys.exit(code)


if __name__ == "__main__":
    main()
