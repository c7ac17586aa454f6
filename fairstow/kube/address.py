"""Where a port listens, as command lines say it: HOST:PORT."""

import argparse
from dataclasses import dataclass


@dataclass(frozen=True)
class Address:
    """Where a port listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def address(text: str) -> Address:
    """Return what an argument says; for argparse's `type`."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 <= int(port) < 1 << 16:
        raise argparse.ArgumentTypeError(f"{text!r} isn't HOST:PORT, such as 0.0.0.0:8443")
    return Address(host.strip("[]"), int(port))
