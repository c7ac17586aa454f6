"""llama.cpp's server; facts in docs/engines.md.

A leg is a request to `/completion` in a slot that this adapter chooses: a slot keeps the KV cache
of its last leg until the next one. A hold saves a slot to a file once the leg has ended, a pull
restores it into a slot of the destination; llama.cpp compares the file's own token list with the
prompt of the next leg there and computes what differs. Either both servers have the same folder
under `--slot-save-path` (`Declared.slots`); a file is named by engine and slot, so that there are
never more than there are slots. Or a carrier beside each fetches files from the other's
(`Declared.carrier`). Nothing is copied while a leg runs (`Movement.COPY`).

The stream leaves out the ids of half characters, but counts them; they are found again from the
bytes of the character (`split`). llama.cpp has neither min_tokens nor stop token ids: the first is
refused, the second looked for here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from hashlib import sha256
from secrets import token_hex
from typing import Any

import aiohttp
import msgspec

from fairstow.gateway.engines.declared import Declared
from fairstow.gateway.engines.protocol import (
    Capabilities,
    Decoder,
    EngineError,
    Finish,
    Hold,
    Load,
    Logprob,
    Movement,
    Order,
    ParsesNothing,
    Piece,
    Rendered,
    Reply,
    Sampling,
)
from fairstow.gateway.engines.vocabulary import Vocabulary
from fairstow.gateway.engines.wire import Wire

FILE_LASTS_S = 30.0  # a slot's file is written over by the slot's next hold
SAMPLERS = ("temperature", "min_p", "top_k", "top_p")


class _Top(msgspec.Struct):
    id: int
    logprob: float | None = None
    top_logprobs: list[_Top] = []


class _Chunk(msgspec.Struct):
    content: str = ""
    tokens: list[int] = []
    tokens_predicted: int = 0
    stop: bool = False
    stop_type: str = ""
    completion_probabilities: list[_Top] = []
    error: dict[str, Any] | None = None


class _Slot(msgspec.Struct):
    """What a slot holds: the ids of its last leg, and whose they are."""

    number: int
    tokens: list[int] = []
    salt: str = ""


_CHUNK = msgspec.json.Decoder(_Chunk)


class LlamaCppEngine(ParsesNothing):
    """One running llama.cpp server.

    Args:
        session: of the gateway, with no limit on connections.
        vocabulary: of its tokenizer.
        slots: the numbers this gateway may use, where several share the engine; None all.
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
        slots: Sequence[int] | None = None,
    ) -> None:
        self.name = name
        self.url = url
        self._wire = Wire(session, url, key, reuse=False)  # it ends idle connections at will
        self._declared = declared or Declared()
        carrier = self._declared.carrier
        self._carrier = Wire(session, carrier, key, reuse=False) if carrier else None
        self._vocabulary = vocabulary
        self._numbers = slots
        self._free: list[_Slot] = []  # the one used longest ago first
        self._returned = asyncio.Condition()

    async def probe(self) -> Capabilities:
        """Ask what it is and can; checked against the running server, nothing assumed."""
        props = msgspec.json.decode(await self._wire.get("/props"))
        model = msgspec.json.decode(await self._wire.get("/v1/models"))["data"][0]
        slots, length = int(props["total_slots"]), props["default_generation_settings"]["n_ctx"]
        if not self._free:
            self._free = [_Slot(number) for number in self._numbers or range(slots)]
        missing = [*await self._text_lacking(), *await self._copy_lacking()]
        meta = model.get("meta") or {}
        said = (
            self._declared.weights,
            model["id"],
            *(str(meta.get(key)) for key in ("n_params", "size", "ftype", "n_vocab")),
            str(props.get("chat_template")),
        )
        return Capabilities(
            kind="llama.cpp",
            version=str(props.get("build_info", "")),
            model=model["id"],
            compatibility=sha256("\n".join(said).encode()).hexdigest()[:16],
            max_length=length,
            kv_tokens=length * slots,
            block=1,
            movement=Movement.RECOMPUTE if missing else Movement.COPY,
            bounded=False,
            missing=tuple(missing),
            speed=self._declared.speed,
        )

    async def load(self) -> Load:
        """Ask how busy it is."""
        slots = msgspec.json.decode(await self._wire.get("/slots"))
        busy = [slot for slot in slots if slot["is_processing"]]
        used = sum(slot.get("n_prompt_tokens", 0) for slot in busy)
        return Load(
            running=len(busy),
            waiting=0,
            kv_used=used / max(1, sum(slot["n_ctx"] for slot in slots)),
        )

    async def render(self, path: str, body: Mapping[str, Any]) -> Rendered:
        """Return the prompt's ids of an OpenAI request, by the engine's own chat template."""
        match path, body.get("prompt"):
            case "/v1/chat/completions", _:
                rendered = msgspec.json.decode(await self._wire.post("/apply-template", body))
                return Rendered(await self._tokenize(rendered["prompt"]))
            case "/v1/completions", str(prompt):
                return Rendered(await self._tokenize(prompt))
            case "/v1/completions", [int(), *_] as ids:
                return Rendered(msgspec.convert(ids, list[int]))
        raise EngineError(400, f"{path}: this engine renders one text or list of ids")

    def decoder(self, prompt: Sequence[int]) -> Decoder:  # noqa: ARG002  # bytes need no context
        """Return a new decoder of what follows the prompt."""
        if self._vocabulary is None:
            raise EngineError(None, "its tokenizer isn't known here")
        return self._vocabulary.decoder()

    @asynccontextmanager
    async def generate(self, order: Order) -> AsyncGenerator[AsyncIterator[Piece], None]:
        """Run a leg; leaving the context before its end aborts it on the engine."""
        if order.sampling.min_tokens:
            raise EngineError(400, "llama.cpp has no min_tokens")
        if order.hold is not None:
            await self.pull(order.tokens, order.salt, order.hold)
        slot = await self._take(order.tokens, order.salt)
        body = {
            "prompt": order.tokens,
            "id_slot": slot.number,
            # Another tenant's prefix may not be told by how fast it is.
            "cache_prompt": slot.salt == order.salt,
            "stream": True,
            "return_tokens": True,
            **_sampling(order.sampling),
        }
        slot.tokens, slot.salt = list(order.tokens), order.salt
        try:
            async with self._wire.events("/completion", body) as events:
                yield self._pieces(events, slot, order.sampling)
        finally:
            await self._give(slot)

    async def hold(self, tokens: Sequence[int], salt: str) -> Hold:
        """Save the KV of exactly these ids, which a leg that has ended computed."""
        slot = await self._take(tokens, salt)
        try:
            if slot.salt != salt or slot.tokens[: len(tokens)] != list(tokens):
                raise EngineError(None, "no slot has these ids any more")
            file = self._file(slot)
            said = await self._slot(slot.number, "save", file)
            # The newest token has no KV yet.
            if said.get("n_saved", 0) < len(tokens) - 1:
                raise EngineError(None, f"it saved {said.get('n_saved')} of {len(tokens)} ids")
        finally:
            await self._give(slot)
        expires = asyncio.get_running_loop().time() + FILE_LASTS_S
        ticket = {"file": file, "slots": self._declared.slots, "carrier": self._declared.carrier}
        return Hold(tokens=len(tokens), expires=expires, ticket=ticket)

    async def pull(self, tokens: Sequence[int], salt: str, hold: Hold) -> None:
        """Restore what was saved of these ids into a slot, for the next leg that begins so."""
        if hold.tokens != len(tokens):
            raise EngineError(None, f"KV of {hold.tokens} ids is held, not of {len(tokens)}")
        if hold.expires <= asyncio.get_running_loop().time():
            raise EngineError(None, "the hold has expired")
        file: str = hold.ticket["file"]
        shared = self._declared.slots and hold.ticket.get("slots") == self._declared.slots
        if not shared:
            await self._fetch(file, hold.ticket.get("carrier", ""))
        slot = await self._take((), salt)
        try:
            slot.tokens = []
            said = await self._slot(slot.number, "restore", file)
            if said.get("n_restored", 0) < len(tokens) - 1:
                raise EngineError(None, f"it restored {said.get('n_restored')} ids")
            slot.tokens, slot.salt = list(tokens), salt
        finally:
            await self._give(slot)
            if not shared:
                await self._drop(file)

    def forward(
        self,
        path: str,
        body: Mapping[str, Any],
        *,
        salt: str,  # noqa: ARG002  # it knows no salts; slots aren't shared between legs
        priority: int,  # noqa: ARG002  # nor priorities
    ) -> AbstractAsyncContextManager[Reply]:
        """Pass a request that can't be moved; leaving the context aborts it."""
        return self._wire.passed(path, body)

    async def _take(self, tokens: Sequence[int], salt: str) -> _Slot:
        """Wait for a slot: the one that has most of these ids, else that used longest ago."""
        async with self._returned:
            await self._returned.wait_for(lambda: self._free)
            best = max(self._free, key=lambda slot: slot.salt == salt and _common(slot, tokens))
            self._free.remove(best)
            return best

    async def _give(self, slot: _Slot) -> None:
        async with self._returned:
            self._free.append(slot)
            self._returned.notify()

    def _file(self, slot: _Slot) -> str:
        """Return what a slot's file is called: written over by the next one, if nobody drops it."""
        made = f"{sha256(self.name.encode()).hexdigest()[:16]}-{slot.number}"
        return f"{made}-{token_hex(8)}.kv" if self._carrier else f"{made}.kv"

    async def _fetch(self, file: str, source: str) -> None:
        """Have a file carried here. Raises EngineError."""
        if self._carrier is None or not source:
            raise EngineError(None, "it doesn't share the folder of slots")
        await self._carrier.post(f"/slots/{file}?action=fetch", {"from": source})

    async def _drop(self, file: str) -> None:
        """Have a file removed where it was carried to; one that stays is swept."""
        if self._carrier is not None:
            with suppress(EngineError):
                await self._carrier.post(f"/slots/{file}?action=drop", {})

    async def _slot(self, number: int, action: str, file: str) -> dict[str, Any]:
        path = f"/slots/{number}?action={action}"
        said: dict[str, Any] = msgspec.json.decode(await self._wire.post(path, {"filename": file}))
        return said

    async def _tokenize(self, text: str) -> list[int]:
        asked = {"content": text, "add_special": True, "parse_special": True}
        return msgspec.convert(
            msgspec.json.decode(await self._wire.post("/tokenize", asked))["tokens"], list[int]
        )

    async def _pieces(
        self, events: AsyncIterator[bytes], slot: _Slot, sampling: Sampling
    ) -> AsyncGenerator[Piece, None]:
        seen = 0
        async for data in events:
            try:
                chunk = _CHUNK.decode(data)
            except msgspec.DecodeError as error:
                raise EngineError(None, f"/completion streams {error}") from error
            if chunk.error is not None:
                raise EngineError(chunk.error.get("code"), str(chunk.error.get("message")))
            left_out = self._left_out(chunk, seen)
            seen += len(left_out) + len(chunk.tokens)
            # How likely half characters were isn't told.
            for said in (Piece(left_out), _piece(chunk, sampling)):
                piece = _until_stop(said, sampling)
                slot.tokens += piece.tokens
                if piece.tokens or piece.finish is not None:
                    yield piece
                if piece.matched is not None:
                    return

    def _left_out(self, chunk: _Chunk, seen: int) -> list[int]:
        """Return the ids before a chunk's that the stream didn't tell, by the text it did."""
        lacking = chunk.tokens_predicted - seen - len(chunk.tokens)
        if chunk.stop or not chunk.tokens or lacking <= 0:
            return []  # half a character at the very end stays untold
        found = None
        if self._vocabulary is not None:
            last = b"".join(self._vocabulary.tokens[token] for token in chunk.tokens)
            told = chunk.content.encode()
            if told.endswith(last):
                found = split(told.removesuffix(last), lacking, self._vocabulary.spelled)
        if found is None:
            raise EngineError(None, f"its stream left out {lacking} ids of {chunk.content!r}")
        return found

    async def _text_lacking(self) -> list[str]:
        if self._vocabulary is None:
            return ["Its tokenizer isn't known here, so that nothing can be moved; name its file."]
        sample = self._vocabulary.sample()
        said = msgspec.json.decode(await self._wire.post("/detokenize", {"tokens": sample}))
        if said["content"].lstrip() != self._vocabulary.decode(sample).lstrip():
            self._vocabulary = None
            return ["The tokenizer given here isn't the engine's; nothing can be moved."]
        return []

    async def _copy_lacking(self) -> list[str]:
        if not self._declared.slots and self._carrier is None:
            return ["Nothing shares or carries its slots' files, so that a move recomputes."]
        slot = await self._take((), "")
        try:
            slot.tokens = []
            file = self._file(slot)
            await self._slot(slot.number, "save", file)
        except EngineError as error:
            return [
                (
                    f"It doesn't save slots ({error.said}), so that a move recomputes; "
                    "start it with --slots and --slot-save-path."
                )
            ]
        finally:
            await self._give(slot)
        try:
            if self._carrier is not None:
                await self._carrier.post(f"/slots/{file}?action=drop", {})
        except EngineError as error:
            return [f"What carries its slots' files has none of them ({error.said})."]
        return []


def split(told: bytes, count: int, spelled: Mapping[bytes, int]) -> list[int] | None:
    """Return so many ids whose bytes are these, the longest first; None if there are none."""
    if count == 0:
        return [] if not told else None
    for length in range(len(told) - count + 1, 0, -1):
        token = spelled.get(told[:length])
        if token is not None:
            rest = split(told[length:], count - 1, spelled)
            if rest is not None:
                return [token, *rest]
    return None


def _common(slot: _Slot, tokens: Sequence[int]) -> int:
    known = slot.tokens[: len(tokens)]
    if known == list(tokens[: len(known)]):
        return len(known)
    return next(at for at, (a, b) in enumerate(zip(known, tokens, strict=False)) if a != b)


def _sampling(sampling: Sampling) -> dict[str, Any]:
    params: dict[str, Any] = {
        "n_predict": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
        "ignore_eos": sampling.ignore_eos,
        "samplers": SAMPLERS,
    }
    if sampling.seed is not None:
        params["seed"] = sampling.seed % (1 << 32)
    if sampling.logit_bias:
        params["logit_bias"] = list(sampling.logit_bias.items())
    if sampling.logprobs is not None:
        params["n_probs"] = max(1, sampling.logprobs)
    return params


def _piece(chunk: _Chunk, sampling: Sampling) -> Piece:
    finish = {"eos": Finish.STOP, "limit": Finish.LENGTH}.get(chunk.stop_type)
    logprobs: tuple[Logprob, ...] = ()
    if sampling.logprobs is not None and chunk.tokens:
        logprobs = tuple(
            Logprob(
                one.id,
                one.logprob or 0.0,
                tuple((top.id, top.logprob or 0.0) for top in one.top_logprobs),
            )
            for one in chunk.completion_probabilities
        )
    return Piece(chunk.tokens, finish, None, logprobs)


def _until_stop(piece: Piece, sampling: Sampling) -> Piece:
    """Return a piece up to the first token that the request stops at."""
    stops = sampling.stop_token_ids
    at = next((at for at, token in enumerate(piece.tokens) if token in stops), None)
    if at is None:
        return piece
    tokens = piece.tokens[: at + 1]
    return Piece(tokens, Finish.STOP, tokens[-1], piece.logprobs[: at + 1])
