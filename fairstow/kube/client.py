"""A connection to one Kubernetes API server, for one command's run.

Called by `fairstow.kube.live` and the command line. Credentials come from the official client's
reader of kubeconfigs; replies stay bytes, since a generated model of a pod costs nine times what
its JSON does. Everything that can go wrong on the way is an `InputError` that says what to do.
Reads are tried again while the server is busy; writes only after 429, which the server gives before
it looks at a request, so that nothing is done twice.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlencode

import msgspec

from fairstow.cluster.errors import InputError, printable

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

CONNECT_SECONDS = 5.0
READ_SECONDS = 60.0
"""Longest silence of the API server while it replies."""

_TRIES = 4
_LONGEST_WAIT = 10.0
_BUSY = {"GET": (429, 503), "POST": (429,), "PATCH": (429,)}


_WARNING = re.compile(r'299 \S+ "((?:[^"\\]|\\.)*)".*')
"""RFC 7234, 5.5, as the API server writes it."""


class ApiError(Exception):
    """The API server's refusal. Attributes: status: HTTP status; said: its own message."""

    def __init__(self, status: int, said: str) -> None:
        self.status = status
        self.said = said
        super().__init__(f"{status}: {said}")


class _Status(msgspec.Struct):
    message: str | None = None


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
            raise _unreachable(self.name, self.server, error) from error
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
        for _ in range(_TRIES - 1):
            if reply.status not in _BUSY[method]:
                break
            time.sleep(min(_wait(reply.headers), _LONGEST_WAIT))
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
            raise InputError(
                self.name,
                "the API server doesn't accept the credentials (401 Unauthorized)",
                "They have probably expired: log in again, then try `kubectl auth whoami`.",
            )
        raise ApiError(status, _message(body))

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
            said = _unreachable(self.name, self.server, error)
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


def connect(kubeconfig: str | None = None, context: str | None = None) -> Connection:
    """Return a connection as kubectl would choose it: arguments, $KUBECONFIG, ~/.kube/config.

    Inside a pod without any of these, the pod's ServiceAccount is used.

    Raises:
        InputError: there is no usable configuration.
    """
    from kubernetes.client import ApiClient, Configuration
    from kubernetes.config import ConfigException, load_incluster_config, load_kube_config

    files = kubeconfig or os.environ.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")
    settings: Any = Configuration()
    inside = "KUBERNETES_SERVICE_HOST" in os.environ
    found = [f for f in files.split(os.pathsep) if f and Path(f).expanduser().is_file()]
    if not found and kubeconfig is None and context is None and inside:
        where, load = "this pod", partial(load_incluster_config, settings)
    elif not found:
        raise InputError(files, "no such kubeconfig", _NO_CLUSTER)
    else:
        where = f"{files}, context {context}" if context else files
        load = partial(
            load_kube_config, files, context, client_configuration=settings, persist_config=False
        )
    with _logged() as said:
        try:
            load()
        except ConfigException as error:
            raise InputError(where, _configuration_problem(str(error)), _NO_CLUSTER) from error
        except Exception as error:  # a kubeconfig is a stranger's YAML: any lookup may fail
            raise InputError(
                where, f"isn't a kubeconfig ({type(error).__name__}: {_short(error)})", _NO_CLUSTER
            ) from error
    if said:  # the client logs a credential plugin's failure and goes on without credentials
        raise InputError(
            where,
            f"the credential plugin failed: {printable('; '.join(said), 400)}",
            "Install or fix the command under users[].user.exec of the kubeconfig, or log in.",
        )
    name = f"cluster {context or settings.host}"
    return Connection(ApiClient(settings), name)


_NO_CLUSTER = (
    "See `kubectl config get-contexts`, or work from a dump: -f cluster.json, fetched where\n"
    "kubectl works."
)


@contextmanager
def _logged() -> Iterator[list[str]]:
    """Collect what is logged as an error meanwhile instead of printing it."""
    said: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno >= logging.ERROR:
                said.append(record.getMessage())

    root, handler = logging.getLogger(), Collect()
    before = root.handlers[:]
    root.handlers[:] = [handler]
    try:
        yield said
    finally:
        root.handlers[:] = before


def _configuration_problem(said: str) -> str:
    if match := re.search(r"Expected object with name (\S+) in .*contexts", said):
        return f"has no context {match[1]}"
    if "current-context" in said:
        return "names no current context; choose one with --context"
    return f"isn't a usable kubeconfig ({_short(said)})"


def _unreachable(name: str, server: str, error: Exception) -> InputError:
    """Say why a request failed before any reply: name, network, time or certificates."""
    said = _short(error)
    what, hint = f"no answer from {server} ({said})", "Is the cluster up, and a VPN needed?"
    kinds = {type(e).__name__ for e in _causes(error)}
    if kinds & {"NameResolutionError", "gaierror", "LocationParseError"}:
        what, hint = f"the host of {server} has no address", "Check the server in the kubeconfig."
    elif "certificate" in said.lower() or kinds & {"SSLError", "SSLCertVerificationError"}:
        what = f"the TLS handshake with {server} failed ({said})"
        hint = "A certificate has expired or isn't the cluster's: fetch the kubeconfig again."
    elif kinds & {"ReadTimeoutError", "ConnectTimeoutError", "TimeoutError"}:
        what = f"{server} gave no answer in time ({said})"
    elif "ConnectionRefusedError" in kinds or "refused" in said:
        what = f"{server} refuses connections"
    return InputError(name, what, hint)


def _wait(headers: Mapping[str, str]) -> float:
    said = headers.get("Retry-After", "1")
    return float(said) if said.isdigit() else 1.0


def _never_sent(error: Exception) -> bool:
    """Whether a request failed before the server can have seen it."""
    names = {type(e).__name__ for e in _causes(error)}
    return bool(names & {"NewConnectionError", "ConnectTimeoutError", "NameResolutionError"})


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _short(error: object) -> str:
    return printable(" ".join(str(error).split()), 240)


def _message(body: bytes) -> str:
    try:
        said = msgspec.json.decode(body, type=_Status).message
    except (ValueError, RecursionError):
        said = None
    return printable(said or body[:200].decode(errors="replace"), 400)
