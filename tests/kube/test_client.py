"""Finding a cluster and its credentials, and the message for each way in which that fails.

Certificates and RBAC are tried on a real API server in e2e/test_snapshot.py.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from fairstow.cluster.errors import InputError
from fairstow.kube.client import connect
from tests.kube.server import kubeconfig, serving


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def write(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_the_argument_wins_over_the_environment_and_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "home" / ".kube" / "config", kubeconfig("http://home:1"))
    assert connect().server == "http://home:1"
    both = [write(tmp_path / "a", kubeconfig("http://env:1")), str(tmp_path / "missing")]
    monkeypatch.setenv("KUBECONFIG", ":".join(both))
    assert connect().server == "http://env:1"
    assert connect(write(tmp_path / "b", kubeconfig("http://arg:1"))).server == "http://arg:1"


def test_a_context_is_chosen_by_name(tmp_path: Path) -> None:
    path = write(tmp_path / "c", kubeconfig("http://one:1"))
    assert connect(path, "test").server == "http://one:1"
    with pytest.raises(InputError, match="has no context nowhere"):
        connect(path, "nowhere")


def test_in_a_pod_without_a_kubeconfig_the_service_account_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    with pytest.raises(InputError, match=r"this pod.*[Ss]ervice token file does not exist"):
        connect()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "file is empty"),
        ("{", "isn't a kubeconfig"),
        ("[1, 2]", "isn't a kubeconfig"),
        ("\x00\x01", "isn't a kubeconfig"),
        ("kind: Config", "no current context|usable kubeconfig"),
        (kubeconfig("http://x").replace('"c"', '"d"', 1), "usable kubeconfig"),
    ],
)
def test_what_is_no_kubeconfig_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path / "broken", text)
    with pytest.raises(InputError, match=message) as refused:
        connect(path)
    assert path in refused.value.where
    assert "-f cluster.json" in refused.value.hint


def test_a_missing_kubeconfig_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such kubeconfig"):
        connect(str(tmp_path / "missing"))
    with pytest.raises(InputError, match=r"\.kube/config: no such kubeconfig"):
        connect()


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("no-such-login-plugin", "no-such-login-plugin"),
        ("false", "returned 1"),
        ("true", "failed to decode"),
    ],
)
def test_a_failing_credential_plugin_is_named(
    tmp_path: Path, command: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin: dict[str, Any] = {
        "exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": command}
    }
    path = write(tmp_path / "c", kubeconfig("http://x", plugin))
    with pytest.raises(InputError, match="credential plugin failed") as refused:
        connect(path)
    assert message in str(refused.value)
    assert capsys.readouterr().err == ""


def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    port = free_port()
    connection = connect(write(tmp_path / "c", kubeconfig(f"http://127.0.0.1:{port}")))
    with pytest.raises(InputError, match=f"127.0.0.1:{port} refuses connections"):
        connection.get("/api/v1/nodes")


def test_a_host_without_an_address_is_named(tmp_path: Path) -> None:
    connection = connect(write(tmp_path / "c", kubeconfig("https://no.such.host.invalid")))
    with pytest.raises(InputError, match="has no address"):
        connection.get("/api/v1/nodes")


def test_plain_text_on_a_tls_port_is_named(tmp_path: Path) -> None:
    with serving(lambda _path, _query: (200, b"", {})) as server:
        connection = connect(write(tmp_path / "c", kubeconfig(server.replace("http", "https"))))
        with pytest.raises(InputError, match="TLS handshake"):
            connection.get("/api/v1/nodes")
