"""vLLM's HTTP API over the cost model's engine: the part that adapters use, and OpenAI's.

Paths, bodies, errors, request ids, metrics and what is refused are those of vLLM 0.32 with
`--enable-scale-out --scheduling-policy priority` and a NIXL connector (docs/engines.md); what it
writes is said in `text`. KV of other engines is read at `/kv/read` of this same server, so that it
needs the key as all else does but health. Called by `fairstow.gateway.cost_model_server`.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from hmac import compare_digest
from typing import Any

import aiohttp
import msgspec
from aiohttp import web

from fairstow.gateway.cost_model import calls, openai, text
from fairstow.gateway.cost_model.runner import Ask, KvGoneError, Model, Runner, Told, likelihood
from fairstow.gateway.openai.responses import ResponseAnswer
from fairstow.serving.cost_model import Profile

VERSION = "0.32.0+costmodel"
OPEN = frozenset({"/health", "/ping"})
LARGEST_BODY = 64 << 20
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class RefusedError(Exception):
    """A request that gets an error in OpenAI's shape."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class SamplingParams(msgspec.Struct):
    """The part of vLLM's that this engine heeds."""

    max_tokens: int | None = None
    min_tokens: int = 0
    ignore_eos: bool = False
    stop_token_ids: list[int] | None = None
    logprobs: int | None = None
    n: int = 1


class GenerateBody(msgspec.Struct):
    """The body of /inference/v1/generate."""

    token_ids: list[int]
    sampling_params: SamplingParams
    request_id: str = ""
    model: str | None = None
    stream: bool = False
    cache_salt: str | None = None
    priority: int = 0
    kv_transfer_params: dict[str, Any] | None = None


class KvRead(msgspec.Struct):
    """The body of /kv/read."""

    ticket: str
    tokens: int


class Server:
    """One engine's server.

    Attributes:
        host, port: where other engines reach it.
        longest: most ids of a sequence.
    """

    def __init__(
        self,
        profile: Profile,
        model: Model,
        *,
        host: str,
        port: int,
        speed: float = 1.0,
        key: str | None = None,
    ) -> None:
        self.host, self.port = host, port
        self.key = key
        self.runner = Runner(profile, model, speed=speed, read=self._read_remote)
        self.longest = int(0.99 * profile.blocks) * profile.block
        self._session: aiohttp.ClientSession | None = None

    def app(self) -> web.Application:
        """Return the application; it starts and stops the engine with itself."""
        app = web.Application(middlewares=[self._guarded], client_max_size=LARGEST_BODY)
        app.cleanup_ctx.append(self._running)
        get: dict[str, Handler] = {
            "/health": self._health,
            "/ping": self._health,
            "/version": self._version,
            "/v1/models": self._models,
            "/metrics": self._metrics,
            "/tokenizer_info": self._tokenizer_info,
        }
        post: dict[str, Handler] = {
            "/tokenize": self._tokenize,
            "/detokenize": self._detokenize,
            "/v1/completions/render": self._render,
            "/v1/chat/completions/render": self._render,
            "/v1/responses/render": self._render,
            "/v1/chat/completions/derender": self._derender,
            "/inference/v1/generate": self._generate,
            "/inference/v1/abort_requests": self._abort,
            "/v1/completions": self._openai,
            "/v1/chat/completions": self._openai,
            "/v1/responses": self._openai,
            "/kv/read": self._kv_read,
        }
        app.add_routes([web.get(path, handler) for path, handler in get.items()])
        app.add_routes([web.post(path, handler) for path, handler in post.items()])
        return app

    async def _running(self, _: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(self.runner.run())
        async with aiohttp.ClientSession() as self._session:
            yield
        task.cancel()
        await asyncio.wait([task])

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            if self.key is not None and request.path not in OPEN:
                given = request.headers.get("Authorization", "")
                if not compare_digest(given.encode(), f"Bearer {self.key}".encode()):
                    raise RefusedError(401, "Unauthorized")
            return await handler(request)
        except RefusedError as refused:
            return _error(refused.status, str(refused))
        except openai.BadRequestError as error:
            return _error(400, str(error))
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            return _error(400, str(error))
        except web.HTTPException as error:
            return _error(error.status, error.reason)

    # What it is and how it does.

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response(status=503 if self.runner.failed else 200)

    async def _version(self, _: web.Request) -> web.Response:
        return _json({"version": VERSION})

    async def _models(self, _: web.Request) -> web.Response:
        model = self.runner.model
        card = {
            "id": model.name,
            "object": "model",
            "created": 0,
            "owned_by": "vllm",
            "root": f"cost-model/{self.runner.profile.name}@{model.weights}",
            "parent": None,
            "max_model_len": self.longest,
        }
        return _json({"object": "list", "data": [card]})

    async def _tokenizer_info(self, _: web.Request) -> web.Response:
        return _json({"tokenizer_class": "CostModelBytes"})

    async def _metrics(self, _: web.Request) -> web.Response:
        runner = self.runner
        engine, profile = runner.engine, runner.profile
        labels = f'engine="0",model_name="{runner.model.name}"'
        values = {
            "vllm:num_requests_running": engine.batch,
            "vllm:num_requests_waiting": engine.waiting,
            "vllm:kv_cache_usage_perc": runner.used(),
            "vllm:num_preemptions_total": engine.preemptions,
        }
        lines = [f"{name}{{{labels}}} {value}" for name, value in values.items()]
        lines.append(
            f'vllm:cache_config_info{{block_size="{profile.block}",cache_dtype="auto",'
            f'engine="0",num_gpu_blocks="{profile.blocks}"}} 1.0'
        )
        return web.Response(text="\n".join(lines) + "\n")

    # Text and ids.

    async def _tokenize(self, request: web.Request) -> web.Response:
        body = await _body(request)
        path = "/v1/chat/completions" if "messages" in body else "/v1/completions"
        ids = openai.prompt_of(path, body)
        return _json({"count": len(ids), "max_model_len": self.longest, "tokens": ids})

    async def _detokenize(self, request: web.Request) -> web.Response:
        body = await _body(request)
        return _json({"prompt": text.decode(msgspec.convert(body.get("tokens"), list[int]))})

    async def _render(self, request: web.Request) -> web.Response:
        path = request.path.removesuffix("/render")
        body = await _body(request)
        self._check_model(body.get("model"))
        ids = openai.prompt_of(path, body)
        self._check_length(len(ids), 1)
        rendered = {"request_id": secrets.token_hex(16), "token_ids": ids, "features": None}
        return _json([rendered] if path == "/v1/completions" else rendered)

    async def _derender(self, request: web.Request) -> web.Response:
        body = msgspec.json.decode(await request.read(), type=calls.Body)
        try:
            return _json(calls.derender(body))
        except ValueError as error:
            raise RefusedError(400, str(error)) from error

    # Tokens in, tokens out.

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        body = msgspec.json.decode(await request.read(), type=GenerateBody)
        self._check_model(body.model)
        if not body.token_ids or not all(0 <= t < text.VOCABULARY for t in body.token_ids):
            raise RefusedError(400, f"token_ids: ids from 0 to {text.VOCABULARY - 1}, at least one")
        params, transfer = body.sampling_params, body.kv_transfer_params or {}
        room = self.longest - len(body.token_ids)
        limit = min(params.max_tokens or room, room)  # cut without a word, as vLLM does
        self._check_length(len(body.token_ids), max(1, limit))
        ask = Ask(
            id=f"generate-tokens-{body.request_id or secrets.token_hex(16)}",
            tokens=body.token_ids,
            limit=limit,
            at_least=params.min_tokens,
            priority=body.priority,
            salt=body.cache_salt or "",
            ends=not params.ignore_eos,
            stops=frozenset(params.stop_token_ids or ()),
            remote=transfer if transfer.get("do_remote_prefill") else None,
        )
        if body.stream:
            return await _stream(request, self._chunks(ask, params.logprobs))
        return await self._answer(ask, params.logprobs, hold=bool(transfer.get("do_remote_decode")))

    async def _answer(self, ask: Ask, logprobs: int | None, *, hold: bool) -> web.Response:
        pieces = [told async for told in self.told(ask)]
        last = pieces[-1]
        every = Told(
            [token for told in pieces for token in told.tokens],
            [value for told in pieces for value in told.logprobs],
            last.finish,
            last.matched,
        )
        answer = {
            "request_id": ask.id,
            "created": 0,
            "model": self.runner.model.name,
            "choices": [_choice(every, logprobs)],
            "kv_transfer_params": None,
        }
        if hold and last.finish in ("stop", "length"):
            where = {"remote_host": self.host, "remote_port": self.port}
            wanted = {"do_remote_prefill": True, "do_remote_decode": False}
            held = self.runner.hold(ask.id, ask.tokens, ask.salt)
            answer["kv_transfer_params"] = wanted | held | where
        return _json(answer)

    async def _chunks(self, ask: Ask, logprobs: int | None) -> AsyncGenerator[bytes, None]:
        async for told in self.told(ask):
            chunk = {"request_id": ask.id, "choices": [_choice(told, logprobs)], "usage": None}
            yield msgspec.json.encode(chunk)

    async def told(self, ask: Ask) -> AsyncGenerator[Told, None]:
        """Yield what the engine says to an ask. Raises RefusedError."""
        try:
            async with aclosing(self.runner.generate(ask)) as pieces:
                async for told in pieces:
                    yield told
        except KvGoneError as error:
            raise RefusedError(500, f"KV load failed: {error}") from error
        except ValueError as error:
            raise RefusedError(400, str(error)) from error

    async def _abort(self, request: web.Request) -> web.Response:
        body = await _body(request)
        if "request_ids" not in body:
            raise RefusedError(400, "Missing 'request_ids' in request body")
        for job in msgspec.convert(body["request_ids"], list[str]):
            self.runner.abort(job)
        return web.Response()

    # OpenAI's own.

    async def _openai(self, request: web.Request) -> web.StreamResponse:
        body = await _body(request)
        self._check_model(body.get("model"))
        wanted = openai.wanted(request.path, body)
        ids = openai.prompt_of(request.path, body)
        limit = wanted.max_tokens or self.longest - len(ids)
        self._check_length(len(ids), limit)
        job = f"{wanted.prefix}-{secrets.token_hex(16)}"
        asks = [
            Ask(
                id=f"{job}-{number}",
                tokens=ids,
                limit=limit,
                at_least=wanted.min_tokens,
                priority=wanted.priority,
                salt=wanted.salt,
                ends=not wanted.ignore_eos,
                stops=wanted.stops,
                variant=number,
            )
            for number in range(wanted.n)
        ]
        if request.path == "/v1/responses":
            return await self._respond(request, body, asks[0])
        answer = openai.Answer(job, self.runner.model.name, wanted, len(ids))
        if wanted.stream:
            return await _stream(request, openai.chunks(answer, [self.told(ask) for ask in asks]))
        return _json(await openai.whole(answer, [self.told(ask) for ask in asks]))

    async def _respond(
        self, request: web.Request, body: Mapping[str, Any], ask: Ask
    ) -> web.StreamResponse:
        answer = ResponseAnswer(body, 0, str)
        if body.get("stream"):
            events = openai.response_events(answer, len(ask.tokens), self.told(ask))
            return await _stream(request, events, framed=True)
        whole = await openai.response(answer, len(ask.tokens), self.told(ask))
        return web.Response(body=whole, content_type="application/json")

    # KV cache between engines.

    async def _kv_read(self, request: web.Request) -> web.Response:
        body = msgspec.json.decode(await request.read(), type=KvRead)
        try:
            return web.Response(body=await self.runner.read(body.ticket, body.tokens))
        except KvGoneError as error:
            raise RefusedError(404, str(error)) from error

    async def _read_remote(self, remote: Mapping[str, Any], tokens: int) -> bytes:
        assert self._session is not None
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        url = f"http://{remote.get('remote_host')}:{remote.get('remote_port')}/kv/read"
        body = msgspec.json.encode(KvRead(str(remote.get("remote_request_id")), tokens))
        try:
            async with self._session.post(url, data=body, headers=headers) as response:
                if response.status != 200:
                    raise KvGoneError(f"{url} answered {response.status}")
                return await response.read()
        except aiohttp.ClientError as error:
            raise KvGoneError(f"{url}: {error}") from error

    def _check_model(self, name: object) -> None:
        if name is not None and name != self.runner.model.name:
            raise RefusedError(404, f"The model `{name}` does not exist.")

    def _check_length(self, prompt: int, limit: int) -> None:
        if prompt + limit > self.longest or limit < 1:
            raise RefusedError(
                400,
                f"This model's maximum context length is {self.longest} tokens. However, you "
                f"requested {limit} output tokens and your prompt contains {prompt} input tokens.",
            )


def _choice(told: Told, logprobs: int | None) -> dict[str, Any]:
    likely = None
    if logprobs is not None:
        likely = {
            "content": [
                {
                    "token_id": token,
                    "logprob": value,
                    "rank": 1,
                    "top_logprobs": top(token, logprobs),
                }
                for token, value in zip(told.tokens, told.logprobs, strict=True)
            ]
        }
    return {
        "index": 0,
        "token_ids": told.tokens,
        "logprobs": likely,
        "finish_reason": told.finish,
        "stop_reason": told.matched,
    }


def top(token: int, count: int) -> list[dict[str, Any]]:
    """Return the likeliest tokens instead of one, itself the first."""
    others = [(token + step) % 256 for step in range(max(1, count))]
    return [
        {"token_id": other, "logprob": likelihood(token) - step, "rank": step + 1}
        for step, other in enumerate(others)
    ]


async def _stream(
    request: web.Request, chunks: AsyncGenerator[bytes, None], *, framed: bool = False
) -> web.StreamResponse:
    """Send chunks as events; `framed` ones are events already, and end by themselves."""
    before, after = (b"", b"") if framed else (b"data: ", b"\n\n")
    async with aclosing(chunks):
        # The first is awaited before the status: a request may be refused until then.
        first = await anext(chunks)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(before + first + after)
        async for chunk in chunks:
            await response.write(before + chunk + after)
        if not framed:
            await response.write(b"data: [DONE]\n\n")
    return response


async def _body(request: web.Request) -> dict[str, Any]:
    return msgspec.json.decode(await request.read(), type=dict[str, Any])


def _json(content: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(content), content_type="application/json")


def _error(status: int, message: str) -> web.Response:
    kind = {401: "AuthenticationError", 404: "NotFoundError"}.get(status, "BadRequestError")
    if status >= 500:
        kind = "InternalServerError"
    error = {"message": message, "type": kind, "param": None, "code": status}
    response = _json({"error": error})
    response.set_status(status)
    return response
