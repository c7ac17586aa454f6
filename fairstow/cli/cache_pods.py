"""`cache explain`, `purge` and `feedback`: what an owner asks of the sidecars of a SemanticCache.

Called by `caching`. They are reached by port-forward and shown the admin token of the cache's
Secret, so that who may neither read that nor forward ports learns nothing.
"""

from __future__ import annotations

import ssl
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import typer

from fairstow.cli import terminal
from fairstow.cli.errors import ClusterError, Code
from fairstow.cli.layout import count, wrapped
from fairstow.cli.live import Live
from fairstow.cli.objects import Objects, objects
from fairstow.cli.options import Output
from fairstow.cli.serialise import as_json
from fairstow.cluster.errors import InputError
from fairstow.semantic_cache.injection import ADMIN_PORT, INJECTED
from fairstow.semantic_cache.sidecar_file import ADMIN_KEY, AUTHORITY, holder

CHAT = "/v1/chat/completions"


def explain(
    live: Live, name: str, namespace: str, asked: Mapping[str, Any], output: Output, pod: str | None
) -> None:
    """Show what would become of a request, and why."""
    with objects(live) as api:
        names = [pod] if pod else _pods(api, namespace, name)[:1]
        access = _access(api, namespace, name)
        found = msgspec.json.decode(_ask(api, (namespace, names[0]), "/explain", access, asked))
    if output is Output.JSON:
        terminal.write(as_json({"pod": names[0], **found}))
    else:
        terminal.write("\n".join(explained(found, names[0], terminal.look().width)))


def purge(
    live: Live, name: str, namespace: str, what: Mapping[str, Any], *, yes: bool, dry_run: bool
) -> None:
    """Remove entries from every sidecar, after saying how many.

    Raises:
        typer.Exit: the person thinks better of it.
    """
    with objects(live) as api:
        names, access = _pods(api, namespace, name), _access(api, namespace, name)

        def ask(more: Mapping[str, Any]) -> int:
            return sum(
                int(
                    msgspec.json.decode(_ask(api, (namespace, each), "/purge", access, more))[
                        "entries"
                    ]
                )
                for each in names
            )

        there = ask({**what, "dryRun": True})
        entries = "1 entry" if there == 1 else f"{there} entries"
        said = f"{entries} of {count(len(names), 'sidecar')}"
        if dry_run or not there:
            terminal.write(f"{said} would be removed.")
            return
        if not yes and not typer.confirm(f"{said} will be removed. Go on?", err=True):
            terminal.note("Nothing was changed.")
            raise typer.Exit(Code.REFUSED)
        terminal.write(f"{ask({**what, 'dryRun': False})} removed.")


def feedback(live: Live, name: str, namespace: str, entry: str) -> None:
    """Say that an entry's answer was wrong; it is removed wherever it is.

    Raises:
        InputError: no sidecar has it.
    """
    with objects(live) as api:
        access, had = _access(api, namespace, name), 0
        for pod in _pods(api, namespace, name):
            had += (
                _ask(api, (namespace, pod), "/feedback", access, {"entry": entry}, none=404) != b""
            )
    if not had:
        raise InputError(f"entry {entry}", "is in no sidecar (any more)")
    terminal.write(f"Entry {entry} is gone from {count(had, 'sidecar')}.")


def request_of(question: str | None, file: str | None, headers: Sequence[str]) -> dict[str, Any]:
    """Return what is to be explained, as the sidecar takes it.

    Raises:
        InputError: there is no question, or too many.
    """
    if (question is None) == (file is None):
        raise InputError("cache explain", "needs a question, or -f with a request's body")
    if file is None:
        body: Any = {"model": "", "messages": [{"role": "user", "content": question}]}
    else:
        body = _body(file)
    said = dict(_header(each) for each in headers)
    return {"path": CHAT, "body": body, "headers": said}


def _body(file: str) -> Any:
    try:
        found = msgspec.json.decode(Path(file).read_bytes())
    except (OSError, msgspec.DecodeError) as error:
        raise InputError(file, f"can't be used: {error}") from error
    if not isinstance(found, dict):
        raise InputError(file, "holds no object", "Give the body of a chat completion.")
    return found


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise InputError("--header", f"{text!r} is no header", "Write it as NAME: VALUE.")
    return name.strip(), value.strip()


def explained(found: Mapping[str, Any], pod: str, width: int | None) -> list[str]:
    """Return the explanation as lines: outcome, tier, category, nearest entry, reasons."""
    verdict = found["verdict"]
    outcome = verdict["outcome"] + (", in Enforce a hit" if verdict.get("shadow") else "")
    lines = [
        f"Outcome:    {outcome}",
        f"Category:   {verdict['category']} (by {found['by']})",
    ]
    if verdict.get("entry"):
        lines.append(f"Entry:      {verdict['entry']}")
    if verdict.get("similarity") is not None:
        at = verdict.get("threshold")
        against = "" if at is None else f" (threshold {at:.3f})"
        lines.append(f"Similarity: {verdict['similarity']:.3f}{against}")
    if verdict.get("age") is not None:
        lines.append(f"Age:        {verdict['age']:.0f} s")
    lines += [f"Sidecar:    {pod}", "", "Reasons:"]
    for each in verdict.get("reasons", ()):
        about = f" [{each['entry'][:12]}]" if each.get("entry") else ""
        lines.append(wrapped(f"{each['rule']}: {each['detail']}{about}", width, "  ", "    "))
    return lines


def _pods(api: Objects, namespace: str, name: str) -> list[str]:
    """Return the pods with a sidecar of the cache that run."""
    query = {"labelSelector": f"{INJECTED}={name}", "fieldSelector": "status.phase=Running"}
    found = api.core(f"namespaces/{namespace}/pods", f"pods of {namespace}", query)
    names = sorted(_names(found["items"]))
    if not names:
        raise InputError(
            f"semanticcache/{name}",
            f"no running pod in namespace {namespace} has its sidecar",
            f"See: kubectl -n {namespace} get scache",
        )
    return names


def _names(pods: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for pod in pods:
        if "deletionTimestamp" not in pod["metadata"]:
            yield pod["metadata"]["name"]


class _Access(NamedTuple):
    """What a cache's Secret has: the token of the admin port, and by what that is checked."""

    token: str
    tls: tuple[ssl.SSLContext, str]


def _access(api: Objects, namespace: str, name: str) -> _Access:
    where = f"secret/{holder(name)}"
    data = api.core(f"namespaces/{namespace}/secrets/{holder(name)}", where).get("data") or {}
    for key in (ADMIN_KEY, AUTHORITY):
        if key not in data:
            raise InputError(where, f"has no {key}: delete it, it is made anew")
    token, authority = (b64decode(data[key]).decode() for key in (ADMIN_KEY, AUTHORITY))
    try:
        context = ssl.create_default_context(cadata=authority)
    except (ssl.SSLError, ValueError) as error:
        raise InputError(where, f"{AUTHORITY} holds no certificate: {error}") from error
    return _Access(token, (context, holder(name)))


def _ask(
    api: Objects,
    pod: tuple[str, str],
    path: str,
    access: _Access,
    body: Mapping[str, Any],
    *,
    none: int = 0,
) -> bytes:
    """Ask one sidecar; b"" where it answers with the status `none`."""
    from fairstow.kube.client import ApiError
    from fairstow.kube.forward import ask

    where = f"pod {pod[1]}"
    try:
        status, said = ask(
            api.connection,
            pod,
            ADMIN_PORT,
            ("POST", path),
            token=access.token,
            body=body,
            tls=access.tls,
        )
    except ApiError as error:
        hint = "Needs the verb create on pods/portforward."
        raise ClusterError(InputError(where, error.said, hint)) from error
    if status == none:
        return b""
    if status != 200:
        raise InputError(where, f"its sidecar says {status}: {_message(said)}")
    return said


def _message(said: bytes) -> str:
    try:
        found = msgspec.json.decode(said)
        return str(found["error"]["message"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return said[:200].decode("utf-8", "replace")
