"""What the demos share: programs as processes, free ports, headings."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


@asynccontextmanager
async def program(name: str, module: str, *arguments: str) -> AsyncIterator[None]:
    """Run a module until the end.

    Raises:
        OSError: it ended by itself.
    """
    print(f"$ python -m {module} {' '.join(arguments)} &", flush=True)
    running = await asyncio.create_subprocess_exec(sys.executable, "-m", module, *arguments)
    try:
        yield
        if running.returncode is not None:
            raise OSError(f"{name} ended by itself with exit code {running.returncode}")
    finally:
        if running.returncode is None:
            running.terminate()
        await running.wait()


def free_ports(count: int) -> list[int]:
    """Return ports of loopback that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def title(said: str) -> None:
    """Print a heading."""
    print(f"\n\033[1m── {said}\033[0m" if sys.stdout.isatty() else f"\n── {said}", flush=True)
