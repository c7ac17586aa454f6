"""The operator: one replica acts, under a Lease; it ends when it can't be sure of that any more.

Called by operator/main.py. kopf watches Fairstow's own kinds; everything else are loops of ours,
since kopf's timers and daemons put finalizers on what they serve.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import socket
import uuid
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import kopf

from controllers import metrics
from controllers.admin import Port, admin
from controllers.certs import keep, secrets
from controllers.packing.extender import Extender
from controllers.packing.parts import Parts
from controllers.packing.plans import PlanLoop
from controllers.packing.policies import PolicyLoop
from controllers.packing.pools import PoolLoop
from controllers.semantic_cache.caches import CacheLoop
from controllers.serving.gateways import Gateways
from controllers.serving.objects import ServingObjects
from controllers.serving.pools import ServingLoop
from controllers.serving.rescheduling import ReschedulingLoop
from controllers.spark.keeping import Keeper
from controllers.spark.objects import SparkObjects
from controllers.spark.queues import SparkLoop
from controllers.watching import Watching
from fairstow.kube.aio.api import Api
from fairstow.kube.aio.leadership import Leadership
from fairstow.kube.aio.recorder import About, Recorder
from fairstow.kube.aio.tasks import running, stop_signal
from fairstow.kube.flags import LOG_LEVELS, address, seconds
from fairstow.kube.logs import log_json
from fairstow.kube.permissions import OPERATOR_LEASE
from fairstow.kube.tls import CertificateFiles
from fairstow.packing.announce import Announcement
from fairstow.packing.worker import Worker

logger = logging.getLogger(__name__)


class LeaseLostError(Exception):
    """The Lease couldn't be renewed in time: another replica may act from now on."""

    def __str__(self) -> str:
        return "the Lease was lost: another replica may act now"


@dataclass(frozen=True)
class Settings:
    """What the command line says.

    Attributes:
        namespace: of the installation: Leases and Secrets are there.
        enforced: names of schedulers that ask our extender; none: plans are best effort.
        extender: the extender's Service in that namespace, "" if none is installed.
        replica: this replica's name.
        certificates: who makes them: Fairstow or CertManager; None: nobody has to.
        admin: the port of health and metrics; None: there is none.
        max_watch_age: seconds without a word of the API server until we aren't ready.
    """

    namespace: str
    enforced: tuple[str, ...]
    extender: str
    replica: str
    certificates: str | None = None
    admin: Port | None = None
    max_watch_age: float = 150.0
    log_level: str = "info"
    kubeconfig: str | None = None
    context: str | None = None


def settings_of(arguments: Sequence[str]) -> Settings:
    """Read the command line; a wrong one ends the program with a sentence."""
    parser = argparse.ArgumentParser(
        prog="operator/main.py",
        allow_abbrev=False,
        description="Watches pools and policies, makes packing plans and carries them out.",
    )
    here = os.environ.get("POD_NAMESPACE", "fairstow-system")
    name = os.environ.get("POD_NAME") or socket.gethostname()
    parser.add_argument("--namespace", default=here, help="of the installation")
    parser.add_argument("--replica", default=name, metavar="NAME", help="default: $POD_NAME")
    parser.add_argument(
        "--enforced-schedulers",
        default="",
        metavar="NAMES",
        help="schedulers that ask Fairstow's extender, separated by commas",
    )
    parser.add_argument(
        "--extender-service",
        default="",
        metavar="NAME",
        help="the extender's Service; without one, nobody keeps the room of plans",
    )
    parser.add_argument("--certificates", choices=("Fairstow", "CertManager"))
    _add_admin(parser)
    parser.add_argument("--log-level", choices=LOG_LEVELS, default="info")
    parser.add_argument("--kubeconfig", metavar="FILE", help="default: as kubectl, or the pod's")
    parser.add_argument("--context", metavar="NAME")
    given = parser.parse_args(arguments)
    enforced = tuple(name for name in given.enforced_schedulers.split(",") if name)
    files = CertificateFiles(given.tls_cert, given.tls_key)
    return Settings(
        namespace=given.namespace,
        enforced=enforced,
        extender=given.extender_service,
        replica=given.replica,
        certificates=given.certificates,
        admin=Port(given.admin_listen, files) if given.admin_listen else None,
        max_watch_age=given.max_watch_age,
        log_level=given.log_level,
        kubeconfig=given.kubeconfig,
        context=given.context,
    )


def _add_admin(parser: argparse.ArgumentParser) -> None:
    port = parser.add_argument_group("health and metrics")
    port.add_argument("--admin-listen", type=address, metavar="HOST:PORT", help="no port without")
    port.add_argument(
        "--tls-cert",
        type=Path,
        default="/tls/tls.crt",
        metavar="FILE",
        help="chain, PEM; until it is there, one of our own (default %(default)s)",
    )
    port.add_argument(
        "--tls-key",
        type=Path,
        default="/tls/tls.key",
        metavar="FILE",
        help="its key, PEM (default %(default)s)",
    )
    port.add_argument(
        "--max-watch-age",
        type=seconds,
        default=150.0,
        metavar="S",
        help="not ready when the API server was silent for longer (default %(default)s)",
    )


async def operate(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT.

    Raises:
        InputError: there is no cluster to work on.
        LeaseLostError: another replica may act.
    """
    log_json(settings.log_level)
    if settings.log_level != "debug":
        logging.getLogger("kopf").setLevel(logging.WARNING)
    stop = stop_signal()

    # 1. The solver, first: it loads while the rest starts.
    with Worker() as worker:
        async with Api.connect(settings.kubeconfig, settings.context) as api:
            # 2. Who we are, and that nobody else acts. Whatever comes is watched meanwhile, so
            #    that a successor needs no time to begin.
            user = await _user(api)
            watching = Watching(api)
            metrics.watch_ages(watching.age, watching.ages)
            watching.cluster.listeners.append(metrics.count_change)
            recorder = Recorder(api, "fairstow.dev/operator", settings.replica)
            holder = f"{settings.replica}_{uuid.uuid4().hex[:8]}"
            leadership = Leadership(api, settings.namespace, OPERATOR_LEASE, holder)

            # 3. The controllers.
            parts = Parts(
                cluster=watching.cluster,
                objects=watching.objects,
                api=api,
                solve=worker,
                enforced=frozenset(settings.enforced),
                identity=user,
                announce=lambda said: _record(recorder, said),
            )
            extender = Extender(api, settings.namespace, settings.extender)
            loops: list[Coroutine[Any, Any, Any]] = [
                PoolLoop(parts).run(),
                PolicyLoop(parts).run(),
                PlanLoop(parts, api, extender, watching.fresh, lambda: leadership.held).run(),
            ]
            serving, gateways = ServingObjects(api), Gateways(api, user)
            loops += [
                ServingLoop(
                    api,
                    watching.cluster,
                    serving,
                    gateways,
                    recorder=recorder,
                    clock=parts.clock,
                    turns=parts.turns,
                ).run(),
                ReschedulingLoop(serving, gateways, clock=parts.clock, turns=parts.turns).run(),
            ]
            caches = CacheLoop(api, recorder=recorder, clock=parts.clock, turns=parts.turns)
            loops.append(caches.run())
            spark = SparkObjects(api, lambda: watching.objects.plans)
            loops.append(
                SparkLoop(
                    api,
                    watching.cluster,
                    spark,
                    Keeper(api, settings.namespace),
                    recorder=recorder,
                    fresh=watching.fresh,
                    clock=parts.clock,
                    turns=parts.turns,
                ).run()
            )
            if settings.certificates == "Fairstow":
                whose = secrets.Settings(namespace=settings.namespace)
                turned = partial(parts.turns.finished, "certificates")
                loops.append(keep.keep(api, whose, turned=turned))
            beside: list[Coroutine[Any, Any, None]] = []
            if settings.admin is not None:
                unready = partial(watching.behind, settings.max_watch_age)
                beside = admin(api, settings.admin, unready=unready, dead=parts.turns.stuck)
            work = [
                *beside,
                *watching.tasks(),
                *serving.tasks(),
                caches.watch().run(),
                *spark.tasks(),
                recorder.run(),
                _kopf(watching, stop),
                _lead(leadership, watching, worker, loops),
            ]
            async with running([stop.wait(), *work]) as ended:
                await ended


async def _user(api: Api) -> str:
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    reply = await api.create("/apis/authentication.k8s.io/v1/selfsubjectreviews", review)
    return str(reply["status"]["userInfo"].get("username", ""))


async def _kopf(watching: Watching, stop: asyncio.Event) -> None:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False  # our own Events say what users need to know
    settings.scanning.disabled = True  # our kinds are known, and CRDs are not ours to list
    await kopf.operator(
        registry=watching.registry,
        settings=settings,
        standalone=True,
        clusterwide=True,
        stop_flag=stop,
    )


async def _lead(
    leadership: Leadership,
    watching: Watching,
    worker: Worker,
    loops: Iterable[Coroutine[Any, Any, Any]],
) -> None:
    """Act once everything is known and the Lease is held, until it is lost."""
    await watching.synced()
    while not await asyncio.to_thread(worker.ready, 1.0):
        pass  # a policy's window is for the search, not for loading the solver
    logger.info("everything is known, %s nodes; waiting for the Lease", len(watching.cluster.nodes))
    async with leadership:
        logger.info("acting")
        async with running([leadership.lost.wait(), *loops]) as ended:
            await ended
        raise LeaseLostError


def _record(recorder: Recorder, said: Announcement) -> None:
    about = About("v1", "Pod", said.pod.namespace, said.pod.name, said.pod.uid)
    recorder.record(
        about, said.reason.value, said.message,
        action=said.action, warning=said.warning, key=said.key,
    )  # fmt: skip
