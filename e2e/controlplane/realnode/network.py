"""Holds the network of a cluster with a real node, and lets the machine reach its ports.

Run by cluster.py as a script: it listens on the machine's loopback, moves into a new network
namespace and passes each connection on to the same port in there. Nothing but those listeners
shows outside; the namespace goes with the last process in it. Standard library only.

    python -I -S network.py READY_FILE ADDRESS PORT …
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
import subprocess
import sys
from pathlib import Path

_CLONE_NEWNET = 0x40000000
_CHUNK = 1 << 16


def main() -> None:
    """Listen, move, set the network up, say so, pass connections on for ever."""
    ready, address, *ports = sys.argv[1:]
    listeners = {int(port): socket.create_server(("127.0.0.1", int(port))) for port in ports}
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWNET)")
    for command in _set_up(address):
        subprocess.run(command.split(), check=True)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    draft = Path(f"{ready}.{os.getpid()}")
    draft.touch()
    draft.rename(ready)
    asyncio.run(_serve(listeners))


def _set_up(address: str) -> list[str]:
    """Return the commands that give the namespace its address.

    The route leads nowhere: it only has the kernel accept packets to a ClusterIP, whose
    destination kube-proxy's rules then replace.
    """
    return [
        "ip link set lo up",
        "ip link add uplink type veth peer name nowhere",
        "ip link set uplink up",
        "ip link set nowhere up",
        f"ip addr add {address}/24 dev uplink",
        "ip route add default dev uplink",
    ]


async def _serve(listeners: dict[int, socket.socket]) -> None:
    servers = []
    for port, listener in listeners.items():

        async def connected(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int = port
        ) -> None:
            await _pass_on(reader, writer, port)

        servers.append(await asyncio.start_server(connected, sock=listener))
    await asyncio.gather(*(server.serve_forever() for server in servers))


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
    try:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        writer.close()
        return
    await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer))
    for each in (writer, inner_writer):
        each.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy until the sender ends its half, then end the same half of the other side."""
    try:
        while chunk := await reader.read(_CHUNK):
            writer.write(chunk)
            await writer.drain()
        writer.write_eof()
    except OSError:
        # One side is gone: the other need not wait for it.
        writer.transport.abort()


if __name__ == "__main__":
    main()
