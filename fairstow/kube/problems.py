"""What goes wrong between a program and an API server, in words.

Used by both connections, `client` for one command's run and `aio` for programs that stay.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from fairstow.cluster.errors import InputError, printable

CONNECT_SECONDS = 5.0
READ_SECONDS = 60.0
"""Longest silence of the API server while it replies."""

TRIES = 4
LONGEST_WAIT = 10.0
_BUDGET = b'"DisruptionBudget"'


class ApiError(Exception):
    """The API server's refusal.

    Attributes:
        status: HTTP status.
        said: its own message.
        reason: its word for the case, such as AlreadyExists; may be empty.
    """

    def __init__(self, status: int, said: str, reason: str = "") -> None:
        self.status = status
        self.said = said
        self.reason = reason
        super().__init__(f"{status}: {said}")


class _Status(msgspec.Struct):
    message: str | None = None
    reason: str | None = None


def busy(method: str, status: int, body: bytes) -> bool:
    """Whether to ask again: 429 comes before a request is looked at, 503 may come after.

    The 429 of an eviction that a disruption budget refuses is an answer.
    """
    return (status == 429 and _BUDGET not in body) or (status == 503 and method == "GET")


def wait_of(headers: Mapping[str, str]) -> float:
    """Return the seconds after which a reply asks to come back."""
    wait = headers.get("Retry-After", "1")
    return float(wait) if wait.isdigit() else 1.0


def refusal(status: int, body: bytes) -> ApiError:
    """Return the error that a reply's status and body tell of."""
    try:
        found = msgspec.json.decode(body, type=_Status)
    except (ValueError, RecursionError):
        found = _Status()
    said = found.message or body[:200].decode(errors="replace")
    return ApiError(status, printable(said, 400), printable(found.reason or ""))


def unauthorized(name: str) -> InputError:
    """Return the error of a server that doesn't know who is asking."""
    return InputError(
        name,
        "the API server doesn't accept the credentials (401 Unauthorized)",
        "They have probably expired: log in again, then try `kubectl auth whoami`.",
    )


def unreachable(name: str, server: str, error: Exception) -> InputError:
    """Say why a request failed before any reply: name, network, time or certificates."""
    said = short(error) or type(error).__name__
    what, hint = f"no answer from {server} ({said})", "Is the cluster up, and a VPN needed?"
    kinds = {type(e).__name__ for e in causes(error)}
    if kinds & {"NameResolutionError", "gaierror", "LocationParseError", "InvalidUrlClientError"}:
        what, hint = f"the host of {server} has no address", "Check the server in the kubeconfig."
    elif "certificate" in said.lower() or kinds & {"SSLError", "SSLCertVerificationError"}:
        what = f"the TLS handshake with {server} failed ({said})"
        hint = "A certificate has expired or isn't the cluster's: fetch the kubeconfig again."
    elif kinds & {"ReadTimeoutError", "ConnectTimeoutError", "TimeoutError"}:
        what = f"{server} gave no answer in time ({said})"
    elif "ConnectionRefusedError" in kinds or "refused" in said:
        what = f"{server} refuses connections"
    return InputError(name, what, hint)


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what led to it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def short(error: object) -> str:
    """Return an error's message on one line."""
    return printable(" ".join(str(error).split()), 240)
