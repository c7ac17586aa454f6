"""An LLM engine with continuous batching, as a state machine that is told the time.

Called by the simulator, which leaps from event to event, and by the cost-model server, which waits
in real time. Durations come from `cost_model`; what it computes is left to whoever calls.

Iterations follow each other without a gap while there is work (vLLM 0.x):

1. Waiting sequences are admitted in order of (priority, arrival), while the first of them fits and
   leaves 1 % of the blocks free; one that doesn't fit holds up those behind it. If any was
   admitted, the iteration is their prefill alone. It emits the first token of each.
2. Otherwise it is one decode step of all that run, one token each. A sequence of n tokens has the
   KV of n − 1 and takes a new block when that is a multiple of the block size. Where blocks don't
   suffice, the sequence of the least urgent priority that came last is preempted: it loses its KV,
   waits before all others of its priority, and is prefilled again with what it had generated.

Between two changes of the batch all decode steps are alike, so they are one *run*: with B sequences
and T tokens the i-th step takes d + i·g (d = decode(B, T), g = decode(B, T + B) − d), j steps take
j·d + g·j(j−1)/2, and the new blocks of step s are counted by `crossings`. A run is
over after the last step before a sequence ends, blocks run out, a copy ends or a lease that a
waiting sequence needs expires. Work is O(changes of the batch), not O(tokens).

Invariants: private + keyed ≤ blocks; Σ of blocks held by sequences that run or are prefilled is
private + their keys; a sequence is in one of waiting, prefill, running; nothing but `finish` and
`abort` ends one.
"""

import heapq
import math
from bisect import insort
from collections.abc import Iterator, Sequence

from fairstow.serving.cost_model import Profile
from fairstow.serving.crossings import Crossings
from fairstow.serving.jobs import Change, Event, Job, Tracked
from fairstow.serving.kv_cache import Key, KvCache
from fairstow.serving.model import Phase

NEVER = math.inf


class Engine:
    """One engine. Times are seconds of the caller's clock and never go back.

    Attributes:
        preemptions: so far.
        recomputed: tokens prefilled again because of them.
    """

    def __init__(self, profile: Profile, *, watermark: float = 0.01) -> None:
        self.profile = profile
        self.preemptions = 0
        self.recomputed = 0
        self._reserve = int(watermark * profile.blocks)
        self._cache = KvCache()
        self._private = 0
        self._all: dict[str, Tracked] = {}
        self._waiting: list[Tracked] = []
        self._wanted = 0
        self._prefilling: list[Tracked] = []
        self._running: dict[str, Tracked] = {}
        self._ending: list[tuple[int, int, Tracked]] = []
        self._crossings = Crossings(profile.block)
        self._tokens = 0
        self._steps = 0
        self._orders = 0
        self._link = -NEVER
        self._events: list[Event] = []
        # The run: its step under way began at `_start` and takes `_step`, those after it `_growth`
        # more each; `_left` of them, this one among them, until `_due`.
        self._start = 0.0
        self._step = 0.0
        self._growth = 0.0
        self._left = 0
        self._due = NEVER
        self._filling = False  # the step is a prefill

    # What it is asked for.

    def submit(self, now: float, job: Job) -> None:
        """Queue a job. Raises ValueError if it could never end here."""
        if job.output < 1 or job.prompt < 1:
            raise ValueError(f"job {job.id}: prompt and output have at least one token each")
        if job.id in self._all:
            raise ValueError(f"job {job.id} is here already")
        if len(job.keys) > job.prompt // self.profile.block:
            raise ValueError(f"job {job.id}: keys are of full blocks of its prompt")
        if job.prompt + job.output > self.longest:
            raise ValueError(
                f"job {job.id} grows to {job.prompt + job.output} tokens; at most "
                f"{self.longest} fit"
            )
        self._roll(now)
        sequence = Tracked(job, self._orders)
        self._orders += 1
        self._all[job.id] = sequence
        self._queue(sequence)
        if self._waiting[0] is sequence:
            self._reconsider(now)

    @property
    def longest(self) -> int:
        """Tokens that a sequence may grow to."""
        return (self.profile.blocks - self._reserve) * self.profile.block

    def abort(self, now: float, job: str) -> int:
        """End a job, wherever it is; return how many tokens it had generated.

        The step under way goes on without its token. Raises KeyError for one that isn't here.
        """
        self._roll(now)
        generated = self.generated(job)
        sequence = self._all.pop(job)
        if sequence.phase is Phase.QUEUED:
            self._waiting.remove(sequence)
            self._wanted -= self._needs(sequence)
        elif sequence.phase is Phase.PREFILL:
            self._prefilling.remove(sequence)
            self._free(sequence, sequence.job.prompt + sequence.generated)
        else:
            length = self._steps + sequence.offset
            self._leave(sequence)
            self._free(sequence, length - 1 if self._filling else length)
        self._reconsider(now)
        return generated

    def advance(self, now: float) -> list[Event]:
        """Let everything happen that does until `now`; return what did since the last call."""
        self._roll(now)
        events, self._events = self._events, []
        return events

    def seal(self, now: float, job: str, keys: Sequence[Key]) -> None:
        """Make known by keys what a running job has computed: its first full blocks.

        `keys` begins with those it has already; one for a block not yet full raises ValueError.
        """
        self._roll(now)
        sequence = self._running[job]
        full = (self._steps + sequence.offset - 1) // self.profile.block
        if len(keys) > full:
            raise ValueError(f"job {job} has {full} full blocks, not {len(keys)}")
        new = keys[len(sequence.keys) :]
        self._private -= len(new)
        self._cache.use(new)
        sequence.keys.extend(new)

    def hold(self, now: float, ticket: str, keys: Sequence[Key], *, expires: float) -> int:
        """Lease what is here of a sequence's blocks, to be copied; return how many tokens it is."""
        self._roll(now)
        self._cache.expire(now)
        found = self._cache.match(keys)
        before = self.available
        self._cache.lease(ticket, keys[:found], expires)
        if self.available < before:
            self._cut()  # the run was laid out with idle blocks that don't give way any more
        return found * self.profile.block

    def receive(
        self, now: float, ticket: str, keys: Sequence[Key], *, expires: float
    ) -> int | None:
        """Lease room for a sequence's blocks; return how many tokens have to be copied into it.

        None if there is no room beside what runs and the reserve. They count as computed when the
        caller submits a job with these keys, so it does that after the copy.
        """
        self._roll(now)
        self._cache.expire(now)
        missing = len(keys) - sum(key in self._cache for key in keys)
        idle = self._cache.unused(keys)
        if self.available - missing - idle < self._reserve:
            return None
        self._cache.lease(ticket, keys, expires)
        self._make_room()
        self._reconsider(now)
        return missing * self.profile.block

    def release(self, now: float, ticket: str) -> None:
        """Let go of a lease; an unknown ticket means it expired before."""
        self._roll(now)
        if self._cache.release(ticket):
            self._reconsider(now)

    def copy(self, now: float, tokens: int) -> float:
        """Copy KV over the engine's link, after earlier copies; return when that is done.

        Both ends are told; decode steps take longer until then.
        """
        self._roll(now)
        self._link = max(now, self._link) + self.profile.copy_s(tokens)
        self._cut()
        return self._link

    # What it says of itself, as of the last call.

    @property
    def due(self) -> float:
        """When `advance` has something to do next but emit tokens; infinity if never."""
        return self._due

    @property
    def began(self) -> float:
        """When the iteration under way began and the last one ended."""
        return self._start

    @property
    def tick(self) -> float:
        """When the iteration under way ends and tokens are out; infinity if there is none."""
        return self._start + self._step if self._left else NEVER

    @property
    def available(self) -> int:
        """Blocks that are free or would give way."""
        return self.profile.blocks - self._private - len(self._cache) + self._cache.idle

    @property
    def used(self) -> int:
        """Blocks that sequences and leases hold."""
        return self.profile.blocks - self.available

    @property
    def batch(self) -> int:
        """Sequences that run or are prefilled."""
        return len(self._running) + len(self._prefilling)

    @property
    def tokens(self) -> int:
        """Length of all sequences that decode, added up."""
        return self._tokens

    @property
    def waiting(self) -> int:
        """Sequences in the queue."""
        return len(self._waiting)

    @property
    def wanted(self) -> int:
        """Blocks that all in the queue need."""
        return self._wanted

    @property
    def next_wants(self) -> int:
        """Blocks that the next in the queue needs."""
        return self._needs(self._waiting[0]) if self._waiting else 0

    @property
    def leases(self) -> int:
        """Tickets that are neither released nor expired."""
        return self._cache.leased

    def queued(self) -> Iterator[str]:
        """Yield the jobs that wait, the next first."""
        return (sequence.job.id for sequence in self._waiting)

    def running(self) -> Iterator[str]:
        """Yield the jobs that are in the batch."""
        yield from self._running
        yield from (sequence.job.id for sequence in self._prefilling)

    def phase(self, job: str) -> Phase:
        """Return where a job is."""
        return self._all[job].phase

    def generated(self, job: str) -> int:
        """Return how many tokens a job has generated here."""
        sequence = self._all[job]
        if sequence.phase is Phase.DECODE:
            return self._steps + sequence.offset - sequence.job.prompt
        return sequence.generated

    def cached(self, keys: Sequence[Key]) -> int:
        """Return how many leading tokens of a sequence need not be computed."""
        return self._cache.match(keys) * self.profile.block

    # How it runs.

    def _roll(self, now: float) -> None:
        while self._due <= now:
            self._complete()
        if self._left > 1 and now >= self.tick:  # asked for that very moment: at least one step
            self._pass(max(1, self._steps_within(now - self._start)))

    def _steps_within(self, seconds: float) -> int:
        """Return how many steps of the run are over after so long, the last of it excepted."""
        if seconds < self._step:
            return 0
        b = self._step - self._growth / 2
        j = int(2 * seconds / (b + math.sqrt(b * b + 2 * self._growth * seconds)))
        return min(j, self._left - 1)

    def _pass(self, steps: int) -> None:
        """Leave steps of the run behind; the one after them is under way."""
        if not steps:
            return
        self._start += steps * self._step + self._growth * (steps * (steps - 1) / 2)
        self._step += steps * self._growth
        self._left -= steps
        self._tokens += steps * len(self._running)
        self._private += self._crossings.taken(self._steps + 1, steps)
        self._steps += steps
        self._make_room()

    def _complete(self) -> None:
        """End the run: all its steps are over, or the prefill."""
        at = self._due
        if self._filling:
            for sequence in self._prefilling:
                self._join(at, sequence)
            self._prefilling = []
            self._filling = False
        elif self._left:
            self._pass(self._left - 1)
            self._steps += 1
            self._tokens += len(self._running)
        while self._ending and self._ending[0][0] <= self._steps:
            ends, _, sequence = heapq.heappop(self._ending)
            if sequence.phase is Phase.DECODE and sequence.ends == ends:
                self._finish(at, sequence)
        self._begin(at)

    def _join(self, at: float, sequence: Tracked) -> None:
        job = sequence.job
        length = job.prompt + sequence.generated + 1
        new = sequence.keys[sequence.found :]
        self._private -= len(new)
        self._cache.use(new)
        self._events.append(Event(at, Change.FIRST, job.id))
        sequence.phase = Phase.DECODE
        sequence.offset = length - self._steps
        sequence.ends = self._steps + job.output - sequence.generated - 1
        self._running[job.id] = sequence
        self._tokens += length
        self._crossings.add(sequence.offset)
        heapq.heappush(self._ending, (sequence.ends, sequence.order, sequence))

    def _leave(self, sequence: Tracked) -> None:
        del self._running[sequence.job.id]
        self._tokens -= self._steps + sequence.offset
        self._crossings.remove(sequence.offset)
        sequence.ends = -1

    def _free(self, sequence: Tracked, tokens: int) -> None:
        """Give back what a sequence with blocks for so many tokens holds."""
        keyed = sequence.keys
        if sequence.phase is Phase.PREFILL:
            keyed = keyed[: sequence.found]
        self._private -= self.profile.blocks_of(tokens) - len(keyed)
        self._cache.drop(keyed)

    def _finish(self, at: float, sequence: Tracked) -> None:
        length = self._steps + sequence.offset
        self._leave(sequence)
        self._free(sequence, length - 1)
        del self._all[sequence.job.id]
        self._events.append(Event(at, Change.FINISH, sequence.job.id))

    def _preempt(self, at: float) -> None:
        sequence = max(self._running.values(), key=lambda s: (s.job.priority, s.order))
        length = self._steps + sequence.offset
        sequence.generated = length - sequence.job.prompt
        self._leave(sequence)
        self._free(sequence, length - 1)
        sequence.phase = Phase.QUEUED
        self._orders += 1
        sequence.rank = (sequence.job.priority, -self._orders)
        self._queue(sequence)
        self.preemptions += 1
        self.recomputed += length
        self._events.append(Event(at, Change.PREEMPT, sequence.job.id))

    def _queue(self, sequence: Tracked) -> None:
        insort(self._waiting, sequence)
        self._wanted += self._needs(sequence)

    def _needs(self, sequence: Tracked) -> int:
        return self.profile.blocks_of(sequence.job.prompt + sequence.generated)

    def _begin(self, at: float) -> None:
        """Choose the next iteration."""
        self._start = at
        self._cache.expire(at)
        if self._waiting and self._admit():
            return
        running, before = self._running, self.preemptions
        while running and self._crossings.at(self._steps) > self.available:
            self._preempt(at)
        if not running:
            self._left = 0
            self._due = self._cache.next_expiry() if self._waiting else NEVER
            return
        self._private += self._crossings.at(self._steps)
        self._make_room()
        self._plan()
        if self.preemptions > before:  # room for who waits, after this step
            self._cut()

    def _plan(self) -> None:
        """Lay out the run of decode steps that begins."""
        profile, batch = self.profile, len(self._running)
        factor = profile.copying if self._link > self._start else 1.0
        self._step = factor * profile.decode_s(batch, self._tokens)
        self._growth = factor * profile.scale * profile.decode[2] * batch
        while self._ending[0][2].ends != self._ending[0][0]:
            heapq.heappop(self._ending)
        self._left = self._ending[0][0] - self._steps
        if self._left > 1:
            self._left = min(
                self._left, 1 + self._crossings.steps_with(self._steps + 1, self.available)
            )
        for bound in (self._link, self._cache.next_expiry() if self._waiting else NEVER):
            if self._start < bound < NEVER:
                self._left = min(self._left, 1 + self._steps_within(bound - self._start))
        left = self._left
        self._due = self._start + left * self._step + self._growth * (left * (left - 1) / 2)

    def _admit(self) -> bool:
        """Begin a prefill of the first that wait, if there is room for any."""
        profile = self.profile
        computed = squares = 0
        while self._waiting and self.batch < profile.batch:
            sequence = self._waiting[0]
            length = sequence.job.prompt + sequence.generated
            found = min(self._cache.match(sequence.keys), (length - 1) // profile.block)
            keys = sequence.keys[:found]
            known = found * profile.block
            need = profile.blocks_of(length) - found
            if self.available - need - self._cache.unused(keys) < self._reserve:
                break
            if computed and computed + length - known > profile.prefill_tokens:
                break
            del self._waiting[0]
            self._wanted -= need + found
            self._cache.use(keys)
            self._private += need
            self._make_room()
            sequence.phase, sequence.found = Phase.PREFILL, found
            self._prefilling.append(sequence)
            computed += length - known
            squares += length * length - known * known
        if not self._prefilling:
            return False
        self._filling = True
        self._step, self._left = profile.prefill_s(computed, squares), 1
        self._due = self._start + self._step
        return True

    def _make_room(self) -> None:
        lacking = self._private + len(self._cache) - self.profile.blocks
        if lacking > 0:
            self._cache.evict(lacking)

    def _cut(self) -> None:
        """Let the run end with the step under way, because what comes after has changed."""
        if self._left > 1:
            self._left = 1
            self._due = self._start + self._step

    def _reconsider(self, now: float) -> None:
        """Look again at who runs, as soon as an iteration ends."""
        if self._left:
            self._cut()
        else:
            self._begin(now)
