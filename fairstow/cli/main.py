"""Entry point of `fairstow` and `kubectl-fairstow`.

Imports almost nothing, so that Ctrl-C is handled from the first moment, and so that the solver
process, which Python starts by importing this again, doesn't load the command line.
"""

import signal
import sys


def main() -> None:
    """Run the program."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        from fairstow.cli.app import run

        run()
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
