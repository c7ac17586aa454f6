"""Builds all that the e2e tests run, or says which tests are left out without it."""

import sys

from e2e.controlplane.__main__ import NO_GO
from e2e.controlplane.__main__ import main as controlplane
from e2e.controlplane.build import REAL_NODE
from e2e.controlplane.realnode import needs


def main() -> int:
    """Return 0 also where Go is missing: the e2e tests then skip, each with its reason."""
    code = controlplane(["build"])
    if code == NO_GO:
        print("The tests on a real Kubernetes are left out.", file=sys.stderr)
        return 0
    if code == 0 and (reason := needs.missing()):
        print(f"The tests on a real node are left out: {reason}", file=sys.stderr)
    elif code == 0:
        code = controlplane(["build", *(program.name for program in REAL_NODE), "image"])
    return code


if __name__ == "__main__":
    sys.exit(main())
