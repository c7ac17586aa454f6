"""`python operator/main.py`: the operator; see `controllers.runtime`.

Exit codes: 0 ended when told to, 1 failed or the Lease was lost, 2 wrong usage.
"""

import asyncio
import sys
from pathlib import Path

# Run as a file: this folder's name is the standard library's, so it never is on the path.
sys.path[0] = str(Path(__file__).resolve().parents[1])


def main() -> int:
    """Run the operator and return its exit code."""
    # Here, since the solver's process imports this file too and needs none of it.
    from controllers.runtime import LeaseLostError, operate, settings_of
    from fairstow.cluster.errors import InputError

    try:
        asyncio.run(operate(settings_of(sys.argv[1:])))
    except (InputError, LeaseLostError, OSError) as error:
        print(f"operator: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
