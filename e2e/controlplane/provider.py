"""Provides the cluster that end-to-end tests run on: given, kind, or local. See README.md.

Used by e2e/conftest.py. Tests see a client.Cluster and can't tell which one it is.
"""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from e2e.controlplane import kwok
from e2e.controlplane.audit import audited
from e2e.controlplane.build import CONTROLPLANE, HELM_CLI, KWOK_CONTROLLER, BuildError, ensure
from e2e.controlplane.client import Cluster
from e2e.controlplane.cluster import LocalCluster
from e2e.controlplane.kind import KindError, docker_works, kind_cluster
from e2e.controlplane.options import ClusterOptions
from e2e.controlplane.processes import Processes
from e2e.controlplane.realnode import needs
from e2e.controlplane.realnode.cluster import RealCluster
from e2e.controlplane.realnode.node import RealNode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

KUBECONFIG_VARIABLE = "FAIRSTOW_E2E_KUBECONFIG"
KIND_VARIABLE = "E2E_CLUSTER"


class UnavailableError(Exception):
    """This machine can't provide a cluster; the message says why."""


class Kind(Enum):
    """Where the cluster comes from."""

    GIVEN = "given"
    KIND = "kind"
    LOCAL = "local"


def choose(
    environ: Mapping[str, str],
    *,
    has_go: Callable[[], bool] = lambda: shutil.which("go") is not None or CONTROLPLANE.built,
    has_docker: Callable[[], bool] = docker_works,
) -> Kind:
    """Choose by the environment first, and then by what this machine has.

    Raises UnavailableError for an unknown E2E_CLUSTER.
    """
    if environ.get(KUBECONFIG_VARIABLE):
        return Kind.GIVEN
    wish = environ.get(KIND_VARIABLE)
    if wish:
        if wish not in (Kind.KIND.value, Kind.LOCAL.value):
            raise UnavailableError(f"{KIND_VARIABLE}={wish}: choose kind or local")
        return Kind(wish)
    return Kind.KIND if not has_go() and has_docker() else Kind.LOCAL


@contextmanager
def provide(folder: Path, environ: Mapping[str, str] = os.environ) -> Iterator[Cluster]:
    """Yield a running cluster that plays fake nodes. Raises UnavailableError.

    A local one that does not come up raises ComponentError: that is a failure, not a skip.
    """
    try:
        match choose(environ):
            case Kind.LOCAL:
                ensure(CONTROLPLANE)
                ensure(KWOK_CONTROLLER)
                with LocalCluster(folder) as cluster:
                    yield cluster
            case Kind.KIND:
                with kind_cluster(folder) as kubeconfig, _beside(folder, kubeconfig) as cluster:
                    yield cluster
            case Kind.GIVEN:
                kubeconfig = Path(environ[KUBECONFIG_VARIABLE]).expanduser()
                if not kubeconfig.is_file():
                    raise UnavailableError(f"{KUBECONFIG_VARIABLE}={kubeconfig} is no file")
                with _beside(folder, kubeconfig) as cluster:
                    yield cluster
    except (BuildError, KindError) as error:
        raise UnavailableError(str(error)) from error


def real_node_missing(environ: Mapping[str, str]) -> str | None:
    """Say why there can be no cluster with a real node; None if there can."""
    try:
        kind = choose(environ)
    except UnavailableError as error:
        return str(error)
    if kind is not Kind.LOCAL:
        return f"only the local cluster has one, and this is the {kind.value} one"
    return needs.missing()


@contextmanager
def provide_real(folder: Path, image: str, archive: Path) -> Iterator[RealCluster]:
    """Yield a local cluster with a real node that has `image`, loaded from `archive`.

    Raises ComponentError, BuildError or NodeError.
    """
    helm = ensure(HELM_CLI)
    audit = audited(folder)
    local = LocalCluster(folder, ClusterOptions(real_node=True, apiserver_args=audit.arguments))
    with local as running:
        node = RealNode(local.blueprint)
        node.load(archive)
        network = local.network
        yield RealCluster(
            running.kubeconfig, running.kubectl_command, helm, image, node, audit, network
        )


@contextmanager
def _beside(folder: Path, kubeconfig: Path) -> Iterator[Cluster]:
    """Yield somebody else's cluster, with a KWOK of ours that plays its fake nodes.

    A copy of the kubeconfig, so that nothing of ours is written beside the original.
    """
    folder.mkdir(parents=True, exist_ok=True)
    copy = folder / "given.kubeconfig"
    copy.touch(mode=0o600)
    copy.write_bytes(kubeconfig.read_bytes())
    cluster = Cluster(copy, _kubectl())
    processes = Processes(folder, die_with_parent=True)
    try:
        processes.spawn("kwok", kwok.command(_kwok(), copy))
        cluster.wait(lambda: cluster.get("serviceaccount", "default"), f"the cluster of {copy}")
        processes.check()
        yield cluster
    finally:
        processes.stop()


def _kubectl() -> tuple[str, ...]:
    if found := shutil.which("kubectl"):
        return (found,)
    return (str(ensure(CONTROLPLANE)), "kubectl")


def _kwok() -> Path:
    if found := shutil.which("kwok"):
        return Path(found)
    return ensure(KWOK_CONTROLLER)
