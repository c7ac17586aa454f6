"""vLLM from 0.32 on, and the cost-model server, which speaks its API; facts in docs/engines.md.

A leg is a request to `/inference/v1/generate`, token ids in and out. A hold is one more of one
token with `do_remote_decode`: it hits the prefix cache of the leg that runs on, and its blocks stay
leased. A pull is the same on the destination with what the hold answered. vLLM checks nothing of
it: blocks are matched by their place from the end, whatever the ids, one block too many ends the
destination's engine process, and blocks let go of are read all the same, another request's by then.
So `_spend` checks before a pull, and `_in_time` after it: what may have arrived after the lease's
end is forgotten.

vLLM says nothing of its weights nor of how it schedules. Who starts it knows (`Declared`).
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from hashlib import sha256
from typing import Any

import aiohttp
import msgspec

from fairstow.gateway.engines import chats
from fairstow.gateway.engines.declared import Declared
from fairstow.gateway.engines.events import Pieces
from fairstow.gateway.engines.protocol import (
    Capabilities,
    Decoder,
    EngineError,
    Finish,
    Hold,
    HoldError,
    Load,
    Logprob,
    Movement,
    Order,
    Parsed,
    Piece,
    Rendered,
    Reply,
    Sampling,
    Unparsed,
)
from fairstow.gateway.engines.vocabulary import BYTES, Vocabulary
from fairstow.gateway.engines.wire import Wire

__all__ = ["Declared", "VllmEngine"]

GENERATE = "/inference/v1/generate"
ABORT = "/inference/v1/abort_requests"
PREFIX = "generate-tokens-"  # what it puts before the ids that abort wants
OLDEST = (0, 32)
# The destination renews the lease while it waits, for the first time after a sixth of it.
USABLE = 0.75
LASTS = 0.95  # of the lease; clocks of two machines may run at slightly different speeds
ABORT_TIMEOUT_S = 5.0
URGENT = -(1 << 40)  # before whatever a gateway asks for; smaller is sooner
CACHE_CONFIG = "vllm:cache_config_info"
COST_MODEL_BYTES = "CostModelBytes"
SAMPLE_TEXT = "The quick brown fox, é€🙂 0123\n"
SAMPLE_CHAT = [{"role": "user", "content": SAMPLE_TEXT}]


class _LogprobSaid(msgspec.Struct):
    token_id: int
    logprob: float
    top_logprobs: list[_LogprobSaid] = []


class _LogprobsSaid(msgspec.Struct):
    content: list[_LogprobSaid] | None = None


class _Choice(msgspec.Struct):
    token_ids: list[int] | None = None
    finish_reason: str | None = None
    stop_reason: int | str | None = None
    logprobs: _LogprobsSaid | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []
    error: dict[str, Any] | None = None


class _Answer(msgspec.Struct):
    choices: list[_Choice]
    kv_transfer_params: dict[str, Any] | None = None


class _Card(msgspec.Struct):
    id: str
    root: str | None = None
    parent: str | None = None
    max_model_len: int | None = None


class _Cards(msgspec.Struct):
    data: list[_Card]


_CHUNK = msgspec.json.Decoder(_Chunk)
_ANSWER = msgspec.json.Decoder(_Answer)
_CARDS = msgspec.json.Decoder(_Cards)
METRIC = re.compile(r"^(vllm:\w+)\{(.*)\} (\S+)$", re.MULTILINE)
LABEL = re.compile(r'(\w+)="([^"]*)"')


class VllmEngine:
    """One running vLLM.

    Args:
        session: of the gateway, with no limit on connections.
        vocabulary: of its tokenizer; None where it says itself that ids are bytes.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        name: str,
        url: str,
        *,
        key: str | None = None,
        declared: Declared | None = None,
        vocabulary: Vocabulary | None = None,
    ) -> None:
        self.name = name
        self.url = url
        self._wire = Wire(session, url, key)
        self._declared = declared or Declared()
        self._vocabulary = vocabulary
        self._aborts: set[asyncio.Task[None]] = set()
        self._spent: dict[str, float] = {}

    async def probe(self) -> Capabilities:
        """Ask what it is and can; checked against the running server, nothing assumed."""
        version = msgspec.json.decode(await self._wire.get("/version"))["version"]
        cards = _CARDS.decode(await self._wire.get("/v1/models")).data
        card = next((one for one in cards if one.parent is None), None)
        if card is None:
            raise EngineError(None, "it serves no model")
        config = _config(await self._metrics())
        block = int(config.get("block_size", "0"))
        missing = [*self._lacking(version), *await self._text_lacking()]
        movement = Movement.RECOMPUTE
        if lacking := await self._hold_lacking():
            missing.append(lacking)
        else:
            movement = Movement.PRE_COPY
        return Capabilities(
            kind="vllm",
            version=version,
            model=card.id,
            compatibility=await self._compatibility(card, config),
            max_length=card.max_model_len or 0,
            kv_tokens=block * int(config.get("num_gpu_blocks", "0")),
            block=block,
            movement=movement,
            bounded=self._declared.priority,
            parses=await chats.parses(self._wire),
            missing=tuple(missing),
            speed=self._declared.speed,
        )

    async def load(self) -> Load:
        """Ask how busy it is."""
        said = await self._metrics()
        used = [value for name, _, value in said if name == "vllm:kv_cache_usage_perc"]
        return Load(
            running=int(_sum(said, "vllm:num_requests_running")),
            waiting=int(_sum(said, "vllm:num_requests_waiting")),
            kv_used=sum(used) / len(used) if used else 0.0,
            preemptions=int(_sum(said, "vllm:num_preemptions_total")),
        )

    async def render(self, path: str, body: Mapping[str, Any]) -> Rendered:
        """Return the prompt's ids of an OpenAI request, by the engine's own chat template."""
        return await chats.render(self._wire, path, body)

    async def parse(self, asked: Unparsed) -> Parsed:
        """Return what ids say in a chat."""
        return await chats.parse(self._wire, asked)

    def decoder(self, prompt: Sequence[int]) -> Decoder:  # noqa: ARG002  # bytes need no context
        """Return a new decoder of what follows the prompt. Raises EngineError before `probe`."""
        if self._vocabulary is None:
            raise EngineError(None, "its tokenizer isn't known here")
        return self._vocabulary.decoder()

    @asynccontextmanager
    async def generate(self, order: Order) -> AsyncGenerator[AsyncIterator[Piece], None]:
        """Run a leg; leaving the context before its end aborts it on the engine."""
        body = _body(order.id, order.tokens, order.salt, _sampling(order.sampling))
        body["stream"] = True
        body["priority"] = order.priority
        if order.hold is not None:
            body["kv_transfer_params"] = self._spend(order.hold, order.tokens)
            # It may not wait behind a queue; among those that were moved the order stays.
            body["priority"] += URGENT
        leg = _Leg(order.hold)
        try:
            async with self._wire.events(GENERATE, body) as events:
                yield Pieces(events, leg.read)
        except EngineError as error:
            leg.over = leg.over or error.status is not None
            raise
        finally:
            if not leg.over:
                self._abort(order.id)

    async def hold(self, tokens: Sequence[int], salt: str) -> Hold:
        """Lease the KV of exactly these ids, which a leg of this engine has computed."""
        # The lease begins after this and before the answer.
        asked = asyncio.get_running_loop().time()
        ticket = await self._ask_one(
            tokens, salt, {"do_remote_decode": True, "do_remote_prefill": False}
        )
        if ticket is None or not ticket.get("remote_block_ids"):
            raise EngineError(None, "it holds no KV cache: it runs without a connector for it")
        lease = self._declared.lease
        until, lasts = asked + USABLE * lease, asked + LASTS * lease
        return Hold(tokens=len(tokens), expires=until, ticket=ticket, lasts=lasts)

    async def pull(self, tokens: Sequence[int], salt: str, hold: Hold) -> None:
        """Take held blocks of these ids into this engine's prefix cache."""
        await self._ask_one(tokens, salt, self._spend(hold, tokens))
        _in_time(hold)

    def forward(
        self, path: str, body: Mapping[str, Any], *, salt: str, priority: int
    ) -> AbstractAsyncContextManager[Reply]:
        """Pass a request that can't be moved; leaving the context aborts it."""
        ours = {"cache_salt": salt} if salt else {}
        return self._wire.passed(path, {**body, **ours, "priority": priority})

    def _spend(self, hold: Hold, tokens: Sequence[int]) -> Mapping[str, Any]:
        """Return a hold's ticket, once and while it lasts. Raises EngineError."""
        now = asyncio.get_running_loop().time()
        self._spent = {ticket: until for ticket, until in self._spent.items() if until > now}
        ticket = str(hold.ticket.get("remote_request_id"))
        if hold.tokens != len(tokens):
            raise HoldError(None, f"KV of {hold.tokens} ids is held, not of {len(tokens)}")
        if hold.expires <= now:
            raise HoldError(None, "the hold has expired")
        if ticket in self._spent:
            raise HoldError(None, "the hold has been used")
        self._spent[ticket] = hold.expires
        return hold.ticket

    async def _ask_one(
        self, tokens: Sequence[int], salt: str, transfer: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        """Generate one token and forget it; return where its KV is held, if it is."""
        leg = secrets.token_hex(16)
        body = _body(leg, tokens, salt, {"max_tokens": 1, "temperature": 0.0, "detokenize": False})
        body["priority"] = URGENT
        body["kv_transfer_params"] = transfer
        try:
            answer = _ANSWER.decode(await self._wire.post(GENERATE, body))
        except asyncio.CancelledError:
            self._abort(leg)
            raise
        except msgspec.DecodeError as error:
            raise EngineError(None, f"{GENERATE}: {error}") from error
        return answer.kv_transfer_params

    def _abort(self, leg: str) -> None:
        """Have a leg ended; in the background, since whoever leaves it may be cancelled."""
        task = asyncio.create_task(self._send_abort(leg))
        self._aborts.add(task)
        task.add_done_callback(self._aborts.discard)

    async def _send_abort(self, leg: str) -> None:
        # Closing the connection says the same; this one also gets through a proxy. A session
        # that is closed by now (RuntimeError) has closed the connection.
        with suppress(EngineError, TimeoutError, RuntimeError):
            async with asyncio.timeout(ABORT_TIMEOUT_S):
                await self._wire.post(ABORT, {"request_ids": [PREFIX + leg]})

    async def _metrics(self) -> list[tuple[str, str, float]]:
        text = (await self._wire.get("/metrics")).decode()
        return [(name, labels, float(value)) for name, labels, value in METRIC.findall(text)]

    def _lacking(self, version: str) -> list[str]:
        missing = []
        numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
        if numbers < OLDEST:
            missing.append(
                f"vLLM {version} is older than 0.32; what follows was checked against that."
            )
        if not self._declared.priority:
            missing.append(
                "It isn't known to schedule by priority, so that a move waits behind its queue; "
                "start it with --scheduling-policy priority and declare it."
            )
        return missing

    async def _text_lacking(self) -> list[str]:
        """Find how ids become text; say what keeps that from being known."""
        if self._vocabulary is None:
            with suppress(EngineError):
                info = msgspec.json.decode(await self._wire.get("/tokenizer_info"))
                if info.get("tokenizer_class") == COST_MODEL_BYTES:
                    self._vocabulary = BYTES
        if self._vocabulary is None:
            return ["Its tokenizer isn't known here, so that nothing can be moved; name its file."]
        sample = self._vocabulary.sample()
        try:
            said = msgspec.json.decode(await self._wire.post("/detokenize", {"tokens": sample}))
        except EngineError as error:
            return [f"It doesn't turn ids to text ({error}); the given tokenizer is unchecked."]
        if said["prompt"].lstrip() != self._vocabulary.decode(sample).lstrip():
            self._vocabulary = None
            return ["The tokenizer given here isn't the engine's; nothing can be moved."]
        return []

    async def _hold_lacking(self) -> str:
        """Hold the KV of one token; say why that can't be done."""
        try:
            await self.hold([1], "probe")
        except EngineError as error:
            if error.status == 403:
                return (
                    "Its token endpoints are off, so that nothing can be moved; "
                    "start it with --enable-scale-out."
                )
            return (
                f"It can't hand over KV cache ({error.said}), so that a move recomputes; "
                "start it with --kv-transfer-config and the NixlConnector."
            )
        return ""

    async def _compatibility(self, card: _Card, config: Mapping[str, str]) -> str:
        """Digest what makes a continuation the same: weights, tokenizer, template, KV's type."""
        said = [self._declared.weights, card.id, card.root or "", config.get("cache_dtype", "")]
        for asked in (
            {"prompt": SAMPLE_TEXT},
            {"messages": SAMPLE_CHAT, "add_generation_prompt": True},
        ):
            try:
                answer = msgspec.json.decode(await self._wire.post("/tokenize", asked))
                said.append(str(answer["tokens"]))
            except EngineError as error:
                if error.status != 400:  # it has no chat template
                    raise
                said.append("400")
        return sha256("\n".join(said).encode()).hexdigest()[:16]


def _in_time(hold: Hold) -> None:
    """Refuse what was pulled if its source may have let go of it meanwhile. Raises HoldError."""
    if asyncio.get_running_loop().time() >= hold.lasts:
        raise HoldError(None, "the lease may have ended before its KV cache had arrived")


class _Leg:
    """Reads a leg's events; `over` once it has ended with a reason, or was refused.

    Its first token says that what was held has arrived.
    """

    def __init__(self, hold: Hold | None) -> None:
        self.over = False
        self._hold = hold

    def read(self, data: bytes) -> Piece | None:
        """Return what an event says, if anything. Raises EngineError."""
        try:
            chunk = _CHUNK.decode(data)
        except msgspec.DecodeError as error:
            raise EngineError(None, f"{GENERATE} streams {error}") from error
        if chunk.error is not None:
            raise EngineError(chunk.error.get("code"), str(chunk.error.get("message")))
        if not chunk.choices:
            return None
        piece = _piece(chunk.choices[0])
        if self._hold is not None and (piece.tokens or piece.finish):
            _in_time(self._hold)
            self._hold = None
        if piece.finish is not None:
            self.over = True
        return piece


def _piece(choice: _Choice) -> Piece:
    logprobs: tuple[Logprob, ...] = ()
    if choice.logprobs is not None and choice.logprobs.content:
        logprobs = tuple(
            Logprob(
                one.token_id,
                one.logprob,
                tuple((other.token_id, other.logprob) for other in one.top_logprobs),
            )
            for one in choice.logprobs.content
        )
    # "abort" and "error" are no reasons of the model's: the leg ends unfinished.
    finish = {"stop": Finish.STOP, "length": Finish.LENGTH}.get(choice.finish_reason or "")
    matched = choice.stop_reason if isinstance(choice.stop_reason, int) else None
    return Piece(choice.token_ids or (), finish, matched, logprobs)


def _body(
    leg: str, tokens: Sequence[int], salt: str, sampling: Mapping[str, Any]
) -> dict[str, Any]:
    body = {"request_id": leg, "token_ids": tokens, "sampling_params": sampling}
    return body | {"cache_salt": salt} if salt else body


def _sampling(sampling: Sampling) -> dict[str, Any]:
    params: dict[str, Any] = {
        "max_tokens": sampling.max_tokens,
        "min_tokens": sampling.min_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
        "seed": sampling.seed,
        "ignore_eos": sampling.ignore_eos,
        "logprobs": sampling.logprobs,
        "detokenize": False,  # the gateway does
    }
    if sampling.stop_token_ids:
        params["stop_token_ids"] = sampling.stop_token_ids
    if sampling.logit_bias:
        params["logit_bias"] = {str(token): bias for token, bias in sampling.logit_bias.items()}
    return params


def _config(said: Sequence[tuple[str, str, float]]) -> dict[str, str]:
    return next(
        (dict(LABEL.findall(labels)) for name, labels, _ in said if name == CACHE_CONFIG),
        {},
    )


def _sum(said: Sequence[tuple[str, str, float]], wanted: str) -> float:
    return sum(value for name, _, value in said if name == wanted)
