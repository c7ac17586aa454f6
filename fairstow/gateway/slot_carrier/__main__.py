"""`python -m fairstow.gateway.slot_carrier`: beside a llama.cpp engine, carries its slots' files.

A container of the engine's pod, with the volume of its `--slot-save-path`; docs/engines.md has it.
"""

import signal
import sys

# A container's first process ignores what it has no handler for, and what follows takes seconds.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))

from fairstow.gateway.slot_carrier.program import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
