"""Dashboards and alerts on the real Prometheus, which scrapes what the programs themselves export.

Every expression is evaluated, and must give something: with each metric set once. Where Prometheus
(Debian's package of that name) is missing, the tests are skipped. Grafana isn't run: its JSON is
checked in tests/monitoring, and pod discovery is the chart's (e2e of the chart).
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import isnan
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
import yaml
from prometheus_client import Counter, Gauge, Histogram, generate_latest

from tests.monitoring.expressions import ALERTS, REGISTRIES, expressions, rules
from tools.generate.dashboards import queries

pytestmark = pytest.mark.e2e

VALUES = {
    "state": ("allocated", "total", "free"),
    "reason": ("Fragmented", "Succeeded", "PodGone"),
    "outcome": ("late", "in time"),
}


@pytest.fixture(scope="module")
def exporter() -> Iterator[str]:
    """The address at which all programs' metrics are, in use and growing."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            _use_all()
            body = b"".join(map(generate_latest, REGISTRIES))
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def _use_all() -> None:
    """Use each of our metrics once more, with every value that an expression selects."""
    ours = {c for r in REGISTRIES for n, c in r._names_to_collectors.items()
            if n.startswith("fairstow_")}  # fmt: skip
    for metric in ours:
        names = getattr(metric, "_labelnames", ())
        choices = max((len(VALUES.get(name, "x")) for name in names), default=1)
        for i in range(choices):
            values = [VALUES[n][i % len(VALUES[n])] if n in VALUES else "x" for n in names]
            child = metric.labels(*values) if names else metric  # type: ignore[attr-defined]
            if isinstance(child, Counter):
                child.inc()
            elif isinstance(child, Histogram):
                child.observe(0.01)
            elif isinstance(child, Gauge):
                child.set(1)


@pytest.fixture(scope="module")
def prometheus(exporter: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Prometheus that has scraped the exporter a few times."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("no prometheus here; Debian: apt-get install prometheus (make setup-system)")
    folder = tmp_path_factory.mktemp("prometheus")
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(ALERTS)],
        "scrape_configs": [{"job_name": "fairstow", "static_configs": [{"targets": [exporter]}]}],
    }
    path = folder / "prometheus.yaml"
    path.write_text(yaml.dump(config))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [program, f"--config.file={path}", f"--storage.tsdb.path={folder / 'data'}",
             f"--web.listen-address={address}"],
            stdout=log, stderr=log,
        )  # fmt: skip
        try:
            _wait_for_samples(address, folder / "log", process)
            yield address
        finally:
            process.terminate()
            process.wait(30)


def _wait_for_samples(address: str, log: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    scraped = "count_over_time(up[1m]) >= 4"
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if asked(address, "query", query=scraped)["data"]["result"]:
                return
        except OSError:
            pass
        time.sleep(0.5)
    pytest.fail(f"Prometheus has no samples: {log.read_text()[-2000:]}")


def asked(address: str, what: str, **query: str) -> Any:
    with urlopen(f"http://{address}/api/v1/{what}?{urlencode(query)}", timeout=10) as reply:
        return json.load(reply)


def as_grafana_asks(expression: str) -> str:
    """The expression with Grafana's variables filled in."""
    plain = expression.replace("$__rate_interval", "1m")
    return re.sub(r"\$(pool|policy|cache|queue)\b", ".*", plain)


def test_no_expression_of_a_panel_is_empty(prometheus: str) -> None:
    for where, expression in queries():
        found = asked(prometheus, "query", query=as_grafana_asks(expression))
        assert found["status"] == "success", where
        assert found["data"]["result"], f"{where}: {expression} gives nothing"
        values = [float(each["value"][1]) for each in found["data"]["result"]]
        assert not all(map(isnan, values)), f"{where}: nothing but NaN"


def test_every_expression_is_taken(prometheus: str) -> None:
    for where, expression in expressions():
        found = asked(prometheus, "query", query=as_grafana_asks(expression))
        assert found["status"] == "success", where


def test_every_alert_is_loaded_and_evaluated(prometheus: str) -> None:
    def loaded() -> list[dict[str, Any]]:
        groups = asked(prometheus, "rules", type="alert")["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and any(rule["health"] == "unknown" for rule in loaded()):
        time.sleep(0.5)
    assert {rule["name"]: rule["health"] for rule in loaded()} == {
        rule["alert"]: "ok" for rule in rules()
    }
