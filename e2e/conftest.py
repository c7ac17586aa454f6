"""Fixtures of the end-to-end tests: a cluster for the session, a namespace for each test.

Where no cluster can be had, every test that asks for one is skipped and says why.
"""

from __future__ import annotations

import os
import signal
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from e2e.controlplane.build import DEFAULT, REAL_NODE, BuildError, Program, ensure
from e2e.controlplane.cluster import LocalCluster
from e2e.controlplane.kwok import gpu_node
from e2e.controlplane.provider import (
    Kind,
    UnavailableError,
    choose,
    provide,
    provide_real,
    real_node_missing,
)
from e2e.controlplane.realnode import product
from e2e.own_webhook import Webhook, beside
from e2e.workers import ByModule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from xdist.remote import Producer

    from e2e.controlplane.client import Cluster
    from e2e.controlplane.realnode.cluster import RealCluster


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByModule | None:
    """Tell several workers what to keep together."""
    return ByModule(config, log) if config.getvalue("dist") == "loadscope" else None


def _build(pytestconfig: pytest.Config, programs: Sequence[Program]) -> None:
    """Build what is missing, with its progress on the terminal."""
    capture: Any = pytestconfig.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        try:
            for program in programs:
                ensure(program)
        except BuildError as error:
            pytest.skip(f"no local control plane: {error}")


@pytest.fixture(scope="session")
def local_programs(pytestconfig: pytest.Config) -> None:
    """Build the local control plane, if need be."""
    _build(pytestconfig, DEFAULT)


@pytest.fixture(scope="session")
def real_node_programs(pytestconfig: pytest.Config) -> None:
    """Build what a real node runs, if need be; skip where this machine can't have one."""
    if reason := real_node_missing(os.environ):
        pytest.skip(f"no real node: {reason}")
    _build(pytestconfig, (*DEFAULT, *REAL_NODE))


@pytest.fixture(scope="session")
def product_image(real_node_programs: None, pytestconfig: pytest.Config) -> tuple[str, Path]:
    """Build the product's image, if need be: its name, and the archive it is in."""
    capture: Any = pytestconfig.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        try:
            return product.image()
        except product.BaseError as error:
            pytest.skip(f"no image: {error}")


@pytest.fixture(scope="session")
def cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """A running cluster; its fake nodes come alive by themselves."""
    try:
        if choose(os.environ) is Kind.LOCAL:
            request.getfixturevalue("local_programs")
        with provide(tmp_path_factory.mktemp("cluster")) as running:
            yield running
    except UnavailableError as error:
        pytest.skip(f"no cluster: {error}")


@pytest.fixture(scope="session")
def real_cluster(
    product_image: tuple[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RealCluster]:
    """A second cluster, one of whose nodes is real, with helm and the product's image on it."""
    with provide_real(tmp_path_factory.mktemp("real"), *product_image) as running:
        yield running


@pytest.fixture(scope="module")
def own_cluster(
    local_programs: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[LocalCluster, Cluster]]:
    """A control plane of the module's own, whose processes may be changed and broken."""
    local = LocalCluster(tmp_path_factory.mktemp("own"))
    with local as running:
        yield local, running


@pytest.fixture(scope="module")
def webhook(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Webhook]:
    """The webhook beside the cluster, as the chart sets it up."""
    with beside(cluster, tmp_path_factory.mktemp("webhook")) as running:
        yield running


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A fresh namespace in which pods can be created; it goes away after the test."""
    name = f"e2e-{uuid.uuid4().hex[:8]}"
    cluster.kubectl("create", "namespace", name)
    cluster.wait(
        lambda: cluster.get("-n", name, "serviceaccount", "default"),
        f"the default ServiceAccount of {name}",
    )
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def gpu_nodes(cluster: Cluster) -> Iterator[Callable[..., list[str]]]:
    """A function that makes `count` fake nodes (arguments as of kwok.gpu_node) and their names.

    They are Ready when it returns, and deleted after the test.
    """
    made: list[str] = []

    def make(count: int, **properties: Any) -> list[str]:
        stem = f"node-{uuid.uuid4().hex[:6]}"
        names = [f"{stem}-{index}" for index in range(count)]
        made.extend(names)
        cluster.apply(gpu_node(name, **properties) for name in names)
        cluster.kubectl("wait", "--for=condition=Ready", *(f"node/{name}" for name in names))
        return names

    yield make
    if made:
        cluster.kubectl("delete", "node", "--ignore-not-found", "--wait=false", *made)


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Let child processes obey Ctrl-C, which those of a background job are born ignoring."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
