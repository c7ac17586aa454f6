"""An engine that counts one block, one token and one step at a time: the oracle of `engine`.

It shares no code with it but the durations, knows no keys, leases or copies, and is slow.
"""

from dataclasses import dataclass

from fairstow.serving.cost_model import Profile
from fairstow.serving.jobs import Job


@dataclass
class _Request:
    job: Job
    generated: int = 0
    blocks: int = 0


class SlowEngine:
    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.free = profile.blocks
        self.waiting: list[_Request] = []
        self.running: list[_Request] = []
        self.events: list[tuple[float, str, str]] = []
        self.most_used = 0

    def play(self, arrivals: list[tuple[float, Job]]) -> list[tuple[float, str, str]]:
        """Run jobs to their ends; arrivals are in order of time."""
        rest = list(arrivals)
        now = 0.0
        while rest or self.waiting or self.running:
            if not self.waiting and not self.running:
                now = max(now, rest[0][0])
            while rest and rest[0][0] <= now:
                self._queue(_Request(rest.pop(0)[1]))
            now = self._iterate(now)
        return self.events

    def _queue(self, request: _Request) -> None:
        behind = [i for i, r in enumerate(self.waiting) if r.job.priority > request.job.priority]
        self.waiting.insert(behind[0] if behind else len(self.waiting), request)

    def _requeue(self, request: _Request) -> None:
        ahead = [r for r in self.waiting if r.job.priority < request.job.priority]
        self.waiting.insert(len(ahead), request)

    def _iterate(self, now: float) -> float:
        batch = self._admitted()
        if batch:
            lengths = [r.job.prompt + r.generated for r in batch]
            now += self.profile.prefill_s(sum(lengths), sum(n * n for n in lengths))
            self.running += batch
            for request in batch:
                self.events.append((now, "first", request.job.id))
            self._emit(now, batch)
            return now
        self._take_blocks(now)
        tokens = sum(r.job.prompt + r.generated for r in self.running)
        now += self.profile.decode_s(len(self.running), tokens)
        self._emit(now, self.running)
        return now

    def _admitted(self) -> list[_Request]:
        batch: list[_Request] = []
        tokens = 0
        while self.waiting and len(self.running) + len(batch) < self.profile.batch:
            request = self.waiting[0]
            length = request.job.prompt + request.generated
            blocks = -(-length // self.profile.block)
            if self.free - blocks < int(0.01 * self.profile.blocks):
                break
            if tokens and tokens + length > self.profile.prefill_tokens:
                break
            self.waiting.pop(0)
            self.free -= blocks
            request.blocks = blocks
            batch.append(request)
            tokens += length
        self.most_used = max(self.most_used, self.profile.blocks - self.free)
        return batch

    def _take_blocks(self, now: float) -> None:
        """Give each its next block, preempting until they suffice."""
        while True:
            needy = [
                r
                for r in self.running
                if -(-(r.job.prompt + r.generated) // self.profile.block) > r.blocks
            ]
            if len(needy) <= self.free:
                break
            least = max(r.job.priority for r in self.running)
            victim = [r for r in self.running if r.job.priority == least]
            last = max(victim, key=lambda r: int(r.job.id))
            self.running.remove(last)
            self.free += last.blocks
            last.blocks = 0
            self._requeue(last)
            self.events.append((now, "preempt", last.job.id))
        for request in needy:
            request.blocks += 1
            self.free -= 1
        self.most_used = max(self.most_used, self.profile.blocks - self.free)

    def _emit(self, now: float, batch: list[_Request]) -> None:
        for request in list(batch):
            request.generated += 1
            if request.generated == request.job.output:
                self.running.remove(request)
                self.free += request.blocks
                self.events.append((now, "finish", request.job.id))
