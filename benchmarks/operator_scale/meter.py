"""What is read of the operator from outside: /proc, and its metrics port as Prometheus sees it."""

from __future__ import annotations

import asyncio
import bisect
import os
import re
import ssl
import time
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import msgspec

from fairstow.cluster.kinds import POD, Kind
from fairstow.kube.aio.api import Api
from fairstow.kube.aio.reflector import Reflector

_TICK = os.sysconf("SC_CLK_TCK")
POLL_SECONDS = 0.1
_CHANGES = re.compile(r'^fairstow_packing_changes_total\{kind="Pod"\} (\S+)$', re.MULTILINE)
_RUNS = re.compile(r"^fairstow_packing_runs_total\{.*\} (\S+)$", re.MULTILINE)


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has taken, its children's not counted."""
    return sum(_times(pid)[:2])


def _times(pid: int) -> list[float]:
    """Return the seconds of /proc/PID/stat: user's, system's, and those of children that ended."""
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return [int(ticks) / _TICK for ticks in stat[11:15]]


def megabytes(pid: int, name: str = "VmRSS") -> float:
    """Return a figure of /proc/PID/status: VmRSS is what is resident, VmHWM the most there was."""
    text = Path(f"/proc/{pid}/status").read_text()
    found = re.search(rf"^{name}:\s+(\d+) kB$", text, re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0


def children(pid: int) -> list[int]:
    """Return the processes that a process has started and that still run."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


class Solvers:
    """The processes that the operator has started: it ends and starts them as it needs them.

    Attributes: peak: most MB that one of them was seen to have taken.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.peak = 0.0

    def cpu_seconds(self) -> float:
        """Return the CPU time of those there are and those that have ended."""
        return sum(_times(self._pid)[2:]) + sum(self._each(cpu_seconds))

    def look(self) -> None:
        """Take notice of their memory."""
        self.peak = max([self.peak, *self._each(lambda child: megabytes(child, "VmHWM"))])

    def _each(self, figure: Callable[[int], float]) -> Iterator[float]:
        for child in children(self._pid):
            with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
                yield figure(child)


@dataclass(frozen=True)
class Poll:
    """One look at the metrics: when it was answered, pod changes taken in, runs made."""

    at: float
    changes: int
    runs: int


def read(text: str, at: float) -> Poll:
    """Return what a page of metrics says."""
    found = _CHANGES.search(text)
    runs = sum(float(each) for each in _RUNS.findall(text))
    return Poll(at, int(float(found[1])) if found else 0, int(runs))


class Metrics:
    """The operator's metrics port; open as a context manager."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {token}"}

    async def __aenter__(self) -> Metrics:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # it makes its certificate at each start
        connector = aiohttp.TCPConnector(ssl=context)
        self._session = aiohttp.ClientSession(connector=connector, headers=self._headers)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def poll(self) -> Poll:
        """Look once."""
        async with self._session.get(f"{self._url}/metrics") as reply:
            text = await reply.text()
            reply.raise_for_status()
        return read(text, time.monotonic())

    async def ready(self, seconds: float) -> None:
        """Wait until the operator says that everything has been listed."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                async with self._session.get(f"{self._url}/readyz") as reply:
                    if reply.status == 200:
                        return
                    said = await reply.text()
            except aiohttp.ClientError as error:
                said = str(error)
            if time.monotonic() > deadline:
                raise TimeoutError(f"the operator isn't ready: {said}")
            await asyncio.sleep(POLL_SECONDS)


class BareWatch:
    """A watch of pods that only notes when each event came: the earliest that any program knows.

    Attributes: moments: of the events after the first list; synced: set after that list.
    """

    def __init__(self) -> None:
        self.moments: list[float] = []

    async def run(self, api: Api, listed: asyncio.Event) -> None:
        """Watch until cancelled; set `listed` once the events begin."""
        reflector = Reflector(api, POD, self)
        watching = asyncio.create_task(reflector.run())
        try:
            await reflector.synced.wait()
            self.moments.clear()
            listed.set()
            await watching
        finally:
            watching.cancel()

    def upsert(self, _kind: Kind, _obj: msgspec.Raw) -> None:
        """Note an event."""
        self.moments.append(time.monotonic())

    def delete(self, _kind: Kind, _obj: msgspec.Raw) -> None:
        """Note an event."""
        self.moments.append(time.monotonic())

    def retain(self, _kind: Kind, _names: Set[str]) -> None:
        """The first list is over."""

    def unknown(self, kind: Kind) -> None:
        """Give up: without pods there is nothing to see."""
        raise RuntimeError(f"{kind.plural} can't be listed")


def lags(came: Sequence[float], base: int, polls: Sequence[Poll]) -> list[float]:
    """Return for each event how long after a bare watch the operator showed that it had it.

    The n-th event is taken in once the operator has counted n more than `base`; since that is seen
    only by polls, what is returned is too long by up to the time between two of them.

    Args:
        came: when each event came to a bare watch; those before the first poll aren't judged.
        base: what the operator had counted before the first event.
        polls: in order; events that even the last doesn't have are left out.
    """
    counts = [poll.changes - base for poll in polls]
    found = []
    for number, moment in enumerate(came, start=1):
        seen = bisect.bisect_left(counts, number)
        if moment >= polls[0].at and seen < len(polls):
            found.append(max(0.0, polls[seen].at - moment))
    return found


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value that so large a share of them doesn't exceed."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))]
