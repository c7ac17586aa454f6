"""Builds the local Kubernetes for the e2e tests, or says which tests are left out without it."""

import sys

from e2e.controlplane.__main__ import NO_GO
from e2e.controlplane.__main__ import main as controlplane


def main() -> int:
    """Return 0 also where Go is missing: the e2e tests then skip, each with its reason."""
    code = controlplane(["build"])
    if code == NO_GO:
        print("The tests on a real Kubernetes are left out.", file=sys.stderr)
        return 0
    return code


if __name__ == "__main__":
    sys.exit(main())
