"""A connection to one Kubernetes API server, for one command's run.

Called by `fairstow.kube.live` and the command line. Credentials come from the official client's
reader of kubeconfigs; replies stay bytes, since a generated model of a pod costs nine times what
its JSON does. Everything that can go wrong on the way is an `InputError` that says what to do.
Reads are tried again while the server is busy; writes only after 429, which the server gives before
it looks at a request, so that nothing is done twice.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlencode

import msgspec

from fairstow.cluster.errors import InputError, printable
from fairstow.kube.problems import (
    CONNECT_SECONDS,
    LONGEST_WAIT,
    READ_SECONDS,
    TRIES,
    ApiError,
    busy,
    causes,
    refusal,
    unauthorized,
    unreachable,
    wait_of,
)
from fairstow.kube.settings import choose, explained

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

__all__ = ["ApiError", "Connection", "connect"]

_WARNING = re.compile(r'299 \S+ "((?:[^"\\]|\\.)*)".*')
"""RFC 7234, 5.5, as the API server writes it."""


class Connection:
    """An API server and the rights of one user.

    Attributes:
        name: how messages call it.
        warnings: what the server has said beside its replies, each once.
    """

    def __init__(self, api: ApiClient, name: str, *, read_seconds: float = READ_SECONDS) -> None:
        self.name = name
        self._api = api
        self._read_seconds = read_seconds
        self._date = ""
        self.warnings: list[str] = []

    @property
    def server(self) -> str:
        """The API server's address."""
        host: str = self._api.configuration.host
        return host

    @property
    def api(self) -> ApiClient:
        """The official client, for what only it can do."""
        return self._api

    @property
    def date(self) -> str:
        """The Date header of the last reply, empty if there was none."""
        return self._date

    def get(self, path: str, query: Mapping[str, str] | None = None) -> bytes:
        """Return the body of a GET; waits and asks again while the server says it is busy.

        Raises:
            ApiError: the server refused.
            InputError: it can't be reached, or doesn't know who is asking.
        """
        return self._asked("GET", path, query)

    def create(
        self, path: str, content: Mapping[str, Any], query: Mapping[str, str] | None = None
    ) -> bytes:
        """Create an object in a collection; return it as stored. Raises as `get`."""
        return self._asked("POST", path, query, content, "application/json")

    def patch(
        self, path: str, content: Mapping[str, Any], query: Mapping[str, str] | None = None
    ) -> bytes:
        """Change an object by JSON merge patch; return it as stored. Raises as `get`.

        With `metadata.resourceVersion` in the patch, nothing happens (409) if the object has
        changed since it was read.
        """
        return self._asked("PATCH", path, query, content, "application/merge-patch+json")

    def watch(self, path: str, query: Mapping[str, str]) -> Iterator[bytes]:
        """Yield the events of a watch, until the server ends it. Raises as `get`."""
        import urllib3

        reply = self._request("GET", path, {"watch": "1", **query}, None, "", stream=True)
        try:
            if reply.status >= 400:
                self._refuse(reply.status, reply.read())
            rest = b""
            for chunk in reply.stream():
                *lines, rest = (rest + chunk).split(b"\n")
                yield from lines
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise unreachable(self.name, self.server, error) from error
        finally:
            reply.close()

    def _asked(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        content: Mapping[str, Any] | None = None,
        form: str = "",
    ) -> bytes:
        reply = self._request(method, path, query or {}, content, form)
        for _ in range(TRIES - 1):
            if not busy(method, reply.status, reply.data):
                break
            time.sleep(min(wait_of(reply.headers), LONGEST_WAIT))
            reply = self._request(method, path, query or {}, content, form)
        self._date = reply.headers.get("Date", "")
        said = (_WARNING.fullmatch(header) for header in reply.headers.getlist("Warning"))
        heard = [printable(re.sub(r"\\(.)", r"\1", each[1])) for each in said if each]
        self.warnings += [warning for warning in heard if warning not in self.warnings]
        if reply.status >= 400:
            self._refuse(reply.status, reply.data)
        body: bytes = reply.data
        return body

    def _refuse(self, status: int, body: bytes) -> NoReturn:
        if status == 401:
            raise unauthorized(self.name)
        raise refusal(status, body)

    def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        content: Mapping[str, Any] | None,
        form: str,
        *,
        stream: bool = False,
    ) -> Any:
        import urllib3

        headers: dict[str, str] = {"Accept": "application/json"}
        headers |= {} if stream else {"Accept-Encoding": "gzip"}
        headers |= {"Content-Type": form} if form else {}
        self._api.update_params_for_auth(headers, [], ["BearerToken"], path, method, None)
        timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=self._read_seconds)
        url = self.server + path + ("?" + urlencode(query) if query else "")
        try:
            return self._api.rest_client.pool_manager.request(
                method,
                url,
                body=None if content is None else msgspec.json.encode(content),
                headers=headers,
                timeout=timeout,
                retries=False,
                redirect=False,
                preload_content=not stream,
            )
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            said = unreachable(self.name, self.server, error)
            if content is not None and not _never_sent(error):
                said = InputError(
                    said.where,
                    f"{said.problem}; whether the change was made isn't known",
                    "Look before you try again: kubectl fairstow plans",
                )
            raise said from error

    def close(self) -> None:
        """Close what is open."""
        self._api.rest_client.close()


_POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


def connect(kubeconfig: str | None = None, context: str | None = None) -> Connection:
    """Return a connection as kubectl would choose it: arguments, $KUBECONFIG, ~/.kube/config.

    Inside a pod without any of these, the pod's ServiceAccount is used.

    Raises:
        InputError: there is no usable configuration.
    """
    from kubernetes import config as untyped
    from kubernetes.client import ApiClient, Configuration

    config: Any = untyped
    source = choose(kubeconfig, context)
    settings: Any = Configuration()
    with explained(source, logging.getLogger()):
        if source.files is None:
            config.load_incluster_config(settings)
        else:
            config.load_kube_config(
                source.files, context, client_configuration=settings, persist_config=False
            )
    return Connection(ApiClient(settings), f"cluster {context or settings.host}")


def namespace_of(kubeconfig: str | None = None, context: str | None = None) -> str:
    """Return the namespace that kubectl would take without -n.

    Raises:
        InputError: there is no usable configuration.
    """
    from kubernetes import config as untyped

    config: Any = untyped
    source = choose(kubeconfig, context)
    if source.files is None:
        return _POD_NAMESPACE.read_text(encoding="utf-8").strip()
    with explained(source, logging.getLogger()):
        every, active = config.list_kube_config_contexts(source.files)
    chosen = next((each for each in every if each["name"] == context), active)
    return str((chosen.get("context") or {}).get("namespace") or "default")


def _never_sent(error: Exception) -> bool:
    """Whether a request failed before the server can have seen it."""
    names = {type(e).__name__ for e in causes(error)}
    return bool(names & {"NewConnectionError", "ConnectTimeoutError", "NameResolutionError"})
