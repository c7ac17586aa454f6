"""`python operator/webhook.py`: the admission webhook.

Exit codes: 0 ended when told to, 1 failed, 2 wrong usage.
"""

import asyncio
import sys
from pathlib import Path

# Run as a file: this folder's name is the standard library's, so it never is on the path.
sys.path[0] = str(Path(__file__).resolve().parents[1])

from controllers.webhook.serve import serve, settings_of  # noqa: E402
from fairstow.cluster.errors import InputError  # noqa: E402
from fairstow.kube.tls import CertificateError  # noqa: E402


def main() -> int:
    """Run the webhook and return its exit code."""
    try:
        asyncio.run(serve(settings_of(sys.argv[1:])))
    except (CertificateError, InputError, OSError) as error:
        print(f"webhook: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
