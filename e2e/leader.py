"""A process that is the leader or waits to be; run by test_leadership.py, killed and paused there.

    python -m e2e.leader KUBECONFIG NAMESPACE NAME IDENTITY LOG

While it may act it writes a line "IDENTITY SECONDS" every few milliseconds, by the clock that all
processes of a machine share. It ends when it loses the Lease, and gives it back on SIGTERM. A file
LOG.IDENTITY says that it is up.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from pathlib import Path

from fairstow.kube.aio.api import Api
from fairstow.kube.aio.leadership import Leadership

DURATION, DEADLINE, RETRY = 4.0, 2.5, 0.2


async def main(kubeconfig: str, namespace: str, name: str, identity: str, log: str) -> None:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    Path(f"{log}.{identity}").touch()
    async with (
        Api.connect(kubeconfig) as api,
        Leadership(
            api, namespace, name, identity, duration=DURATION, deadline=DEADLINE, retry=RETRY
        ) as leadership,
    ):
        with Path(log).open("a", buffering=1) as acts:
            while not leadership.lost.is_set():
                if leadership.held:
                    acts.write(f"{identity} {time.monotonic()}\n")
                await asyncio.sleep(0.005)


if __name__ == "__main__":
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(main(*sys.argv[1:]))
