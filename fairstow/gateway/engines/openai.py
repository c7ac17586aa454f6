"""Any server of OpenAI's completions that takes and tells token ids (`return_token_ids`).

vLLM without its token endpoints, and those that follow it. A leg is a completion of the ids so far;
a request that was cut is recomputed elsewhere. A server that doesn't tell ids serves requests as
they are (`forward`), and none of them can be moved.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from hashlib import sha256
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

COMPLETIONS = "/v1/completions"
ASSUMED_LENGTH = 32_768
ID = "token_id:"


class _Likely(msgspec.Struct):
    tokens: list[str] = []
    token_logprobs: list[float | None] = []
    top_logprobs: list[dict[str, float] | None] = []


class _Choice(msgspec.Struct):
    token_ids: list[int] | None = None
    finish_reason: str | None = None
    stop_reason: int | str | None = None
    logprobs: _Likely | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []
    error: dict[str, Any] | None = None


_CHUNK = msgspec.json.Decoder(_Chunk)


class OpenAiEngine(ParsesNothing):
    """One running server. Its load isn't known: the gateways' own count has to do."""

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
        self._model = ""

    async def probe(self) -> Capabilities:
        """Ask what it is and can; checked against the running server, nothing assumed."""
        card = msgspec.json.decode(await self._wire.get("/v1/models"))["data"][0]
        self._model = card["id"]
        missing = []
        length = card.get("max_model_len") or self._declared.max_length
        if not length:
            length = ASSUMED_LENGTH
            missing.append(
                f"It doesn't tell how long a sequence may be; {length} is assumed. Declare it."
            )
        if self._vocabulary is None:
            missing.append(
                "Its tokenizer isn't known here, so that nothing can be moved; name its file."
            )
        asked = {"model": self._model, "prompt": [1], "max_tokens": 1, "return_token_ids": True}
        said = _CHUNK.decode(await self._wire.post(COMPLETIONS, asked))
        if not said.choices or said.choices[0].token_ids is None:
            self._vocabulary = None
            missing.append("It doesn't tell token ids, so that nothing can be moved.")
        known = f"{self._declared.weights}\n{self._model}\n{card.get('root')}"
        return Capabilities(
            kind="openai",
            version="",
            model=self._model,
            compatibility=sha256(known.encode()).hexdigest()[:16],
            max_length=length,
            kv_tokens=0,
            block=1,
            movement=Movement.RECOMPUTE,
            bounded=False,
            missing=tuple(missing),
            speed=self._declared.speed,
        )

    async def load(self) -> Load:
        """Ask whether it is there; how busy it is it doesn't say."""
        await self._wire.get("/v1/models")
        return Load(running=0, waiting=0, kv_used=0.0)

    async def render(self, path: str, body: Mapping[str, Any]) -> Rendered:
        """Return the prompt's ids of an OpenAI request, where the server has /tokenize."""
        fields = ("messages", "tools", "chat_template_kwargs", "model")
        match path, body.get("prompt"):
            case "/v1/chat/completions", _:
                asked = {name: body[name] for name in fields if name in body}
                asked["add_generation_prompt"] = True
            case "/v1/completions", str(prompt):
                asked = {"prompt": prompt, "model": self._model}
            case "/v1/completions", [int(), *_] as ids:
                return Rendered(msgspec.convert(ids, list[int]))
            case _:
                raise EngineError(400, f"{path}: this engine renders one text or list of ids")
        said = msgspec.json.decode(await self._wire.post("/tokenize", asked))
        return Rendered(msgspec.convert(said["tokens"], list[int]))

    def decoder(self, prompt: Sequence[int]) -> Decoder:  # noqa: ARG002  # bytes need no context
        """Return a new decoder of what follows the prompt."""
        if self._vocabulary is None:
            raise EngineError(None, "its tokens aren't known here")
        return self._vocabulary.decoder()

    @asynccontextmanager
    async def generate(self, order: Order) -> AsyncGenerator[AsyncIterator[Piece], None]:
        """Run a leg; leaving the context before its end aborts it on the engine."""
        if order.hold is not None:
            raise EngineError(None, "it takes no KV cache")
        body = {
            "model": self._model,
            "prompt": order.tokens,
            "stream": True,
            "return_token_ids": True,
            **_sampling(order.sampling),
        }
        async with self._wire.events(COMPLETIONS, body) as events:
            yield _pieces(events)

    async def hold(self, tokens: Sequence[int], salt: str) -> Hold:  # noqa: ARG002
        """Raise EngineError: it hands over no KV cache."""
        raise EngineError(None, "it hands over no KV cache")

    async def pull(self, tokens: Sequence[int], salt: str, hold: Hold) -> None:  # noqa: ARG002
        """Raise EngineError: it takes no KV cache."""
        raise EngineError(None, "it takes no KV cache")

    def forward(
        self,
        path: str,
        body: Mapping[str, Any],
        *,
        salt: str,  # noqa: ARG002  # not of OpenAI's API
        priority: int,  # noqa: ARG002  # nor this
    ) -> AbstractAsyncContextManager[Reply]:
        """Pass a request that can't be moved; leaving the context aborts it."""
        return self._wire.passed(path, body)


async def _pieces(events: AsyncIterator[bytes]) -> AsyncGenerator[Piece, None]:
    async for data in events:
        try:
            chunk = _CHUNK.decode(data)
        except msgspec.DecodeError as error:
            raise EngineError(None, f"{COMPLETIONS} streams {error}") from error
        if chunk.error is not None:
            raise EngineError(chunk.error.get("code"), str(chunk.error.get("message")))
        for choice in chunk.choices:
            finish = {"stop": Finish.STOP, "length": Finish.LENGTH}.get(choice.finish_reason or "")
            matched = choice.stop_reason if isinstance(choice.stop_reason, int) else None
            logprobs = _logprobs(choice.logprobs) if choice.logprobs else ()
            yield Piece(choice.token_ids or (), finish, matched, logprobs)


def _logprobs(said: _Likely) -> tuple[Logprob, ...]:
    tops = said.top_logprobs or [None] * len(said.tokens)
    return tuple(
        Logprob(_id(token), value or 0.0, tuple((_id(t), p) for t, p in (top or {}).items()))
        for token, value, top in zip(said.tokens, said.token_logprobs, tops, strict=True)
    )


def _id(token: str) -> int:
    return int(token.removeprefix(ID))


def _sampling(sampling: Sampling) -> dict[str, Any]:
    """Return OpenAI's parameters, and those of vLLM's that aren't at their defaults."""
    given = msgspec.to_builtins(sampling, str_keys=True)  # defaults are left out
    given["temperature"] = sampling.temperature
    if sampling.logprobs is not None:
        given["return_tokens_as_token_ids"] = True
    return {name: value for name, value in given.items() if value is not None}
