"""A real HTTP server with canned replies, for faults a healthy API server doesn't produce."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Reply = tuple[int, Any, dict[str, str]]
Answer = Callable[[str, dict[str, str]], Reply]
"""From path and query to status, body (bytes, or data to be JSON) and headers."""

SILENCE = 0


@contextmanager
def serving(answer: Answer, heard: list[tuple[str, bytes]] | None = None) -> Iterator[str]:
    """Serve on a free port of this machine; yields the address. Status `SILENCE` never answers.

    Methods and bodies of requests are added to `heard`.
    """
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if heard is not None:
                heard.append((self.command, body))
            parts = urlsplit(self.path)
            query = {k: v[0] for k, v in parse_qs(parts.query).items()}
            status, body, headers = answer(parts.path, query)
            if status == SILENCE:
                over.wait(30)
                return
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(data))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_PATCH = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        over.set()
        server.shutdown()
        server.server_close()
        thread.join()


def kubeconfig(server: str, user: dict[str, Any] | None = None) -> str:
    """Return a kubeconfig for that server as text."""
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {"server": server}}],
            "users": [{"name": "u", "user": user or {"token": "secret"}}],
            "contexts": [{"name": "test", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "test",
        }
    )
