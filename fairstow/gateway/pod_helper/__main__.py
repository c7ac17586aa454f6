"""`python -m fairstow.gateway.pod_helper`: beside an engine in its pod, says when it is drained.

The webhook puts it there (`fairstow.serving.engine_pods`: why, and who asks).
"""

import signal
import sys

# A container's first process ignores what it has no handler for, and what follows takes seconds.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))

from fairstow.gateway.pod_helper.program import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
