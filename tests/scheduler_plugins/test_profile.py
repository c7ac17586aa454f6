"""The scheduler's configuration, and the extender's own command line.

Covered: what an extender's entry must say, versions, flags that are wrong. Not covered: whether a
kube-scheduler takes it (e2e/test_extender.py); the chart's copy (`make verify` compares it).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fairstow.kube.versions import NEWEST, OLDEST
from scheduler_plugins.__main__ import main
from scheduler_plugins.profile import SCHEDULER, Attachment, configuration, extender

ATTACHED = Attachment("https://x.ns.svc:8443", "/tls/ca.crt", "/tls/tls.crt", "/tls/tls.key")


def test_an_extender_gets_names_only_of_all_pods_and_may_be_absent() -> None:
    entry = extender(ATTACHED)
    assert entry["nodeCacheCapable"] is True
    assert entry["ignorable"] is True
    assert "managedResources" not in entry
    assert entry["enableHTTPS"] is True
    assert entry["tlsConfig"] == {
        "caFile": "/tls/ca.crt",
        "certFile": "/tls/tls.crt",
        "keyFile": "/tls/tls.key",
    }
    assert extender(replace(ATTACHED, ignorable=False))["ignorable"] is False
    assert extender(replace(ATTACHED, server_name="y"))["tlsConfig"]["serverName"] == "y"


@pytest.mark.parametrize("minor", range(OLDEST, NEWEST + 1))
def test_every_supported_version_has_a_configuration(minor: int) -> None:
    found = configuration(ATTACHED, minor=minor, leader_election_namespace="ns")
    assert found["apiVersion"] == "kubescheduler.config.k8s.io/v1"
    assert found["profiles"] == [{"schedulerName": SCHEDULER}]
    assert found["leaderElection"]["resourceNamespace"] == "ns"


@pytest.mark.parametrize("minor", [OLDEST - 1, NEWEST + 1])
def test_other_versions_are_refused(minor: int) -> None:
    with pytest.raises(ValueError, match=rf"1\.{minor} isn't supported: use a scheduler of 1\.28"):
        configuration(ATTACHED, minor=minor, leader_election_namespace="ns")


TLS = ["--tls-cert=/no/tls.crt", "--tls-key=/no/tls.key", "--client-ca=/no/ca.crt"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], "the following arguments are required: --tls-cert, --tls-key, --client-ca"),
        ([*TLS, "--listen=8443"], "'8443' isn't HOST:PORT, such as 0.0.0.0:8443"),
        ([*TLS, "--listen=x:99999"], "'x:99999' isn't HOST:PORT"),
        ([*TLS, "--drain-seconds=soon"], "'soon' is no number of seconds"),
        ([*TLS, "--max-watch-age=-1"], "'-1' is no number of seconds"),
    ],
)
def test_wrong_flags_are_explained(
    flags: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(flags)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_missing_certificates_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kubeconfig = tmp_path / "config"
    kubeconfig.write_text(
        '{"apiVersion": "v1", "kind": "Config", "current-context": "c",'
        ' "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],'
        ' "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],'
        ' "users": [{"name": "u", "user": {"token": "t"}}]}'
    )
    assert main([*TLS, f"--kubeconfig={kubeconfig}"]) == 1
    assert "/no/tls.crt can't be read: No such file or directory" in capsys.readouterr().err
