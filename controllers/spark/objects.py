"""Spark's pods, SparkApplications, queues and queued namespaces as the API server last showed them.

Fed by reflectors; read by the Spark controller. Pods and applications are kept as small records:
there may be ten thousand that wait.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Set
from typing import Any, Generic, TypeVar

import msgspec
from pydantic import ValidationError

from controllers.followed import Followed
from fairstow.api import PackingPlan, SparkAdmission, SparkQueue, problems
from fairstow.cluster.items import sentence
from fairstow.cluster.kinds import POD, READ, Kind, own_kind
from fairstow.cluster.live import name_of
from fairstow.kube.aio.api import Api
from fairstow.kube.aio.reflector import Reflector, Store
from fairstow.spark.applications import Application, SparkApp, applications, read_app
from fairstow.spark.names import OPERATOR_GROUP, QUEUE, ROLE
from fairstow.spark.pods import SparkPod, read_pod

logger = logging.getLogger(__name__)
T = TypeVar("T")

APPLICATION = Kind(
    "SparkApplication", f"{OPERATOR_GROUP}/v1beta2", "sparkapplications", extension=True
)
NAMESPACE = next(kind for kind in READ if kind.name == "Namespace")
SPARK_QUEUE, ADMISSION = own_kind(SparkQueue), own_kind(SparkAdmission)


class Records(Generic[T]):
    """A sink that keeps what it reads of each object, by "namespace/name"."""

    def __init__(self, read: Callable[[msgspec.Raw], T], changed: asyncio.Event) -> None:
        self.found: dict[str, T] = {}
        self._read, self._changed = read, changed

    def upsert(self, kind: Kind, obj: msgspec.Raw) -> None:
        """Take in an object; one that can't be read is left out."""
        name = name_of(obj)
        try:
            self.found[name] = self._read(obj)
        except (ValueError, RecursionError) as error:
            self.found.pop(name, None)
            logger.warning("%s %s is left out: %s", kind.name, name, sentence(error))
        self._changed.set()

    def delete(self, _kind: Kind, obj: msgspec.Raw) -> None:
        """Forget an object."""
        self.found.pop(name_of(obj), None)
        self._changed.set()

    def retain(self, _kind: Kind, names: Set[str]) -> None:
        """Forget all but those."""
        self.found = {name: each for name, each in self.found.items() if name in names}
        self._changed.set()

    def unknown(self, kind: Kind) -> None:
        """Forget all."""
        self.retain(kind, frozenset())


class Known(msgspec.Struct, frozen=True, rename="camel"):
    """What is remembered of a SparkAdmission's status."""

    phase: str = ""
    position: int | None = None
    reason: str = ""
    served_core_seconds: float = 0.0
    admitted_at: str = ""
    virtual_finish: int | None = None
    reservation: dict[str, Any] | None = None


class Admission(msgspec.Struct, frozen=True):
    """A SparkAdmission that is there."""

    uid: str
    application: str
    status: Known


class _Meta(msgspec.Struct):
    uid: str = ""


class _Spec(msgspec.Struct):
    uid: str = ""


class _Admission(msgspec.Struct):
    metadata: _Meta
    spec: _Spec
    status: Known | None = None


def _read_admission(raw: msgspec.Raw) -> Admission:
    found = msgspec.json.decode(raw, type=_Admission)
    return Admission(found.metadata.uid, found.spec.uid, found.status or Known())


def admission_name(app: Application) -> str:
    """Return the name of an application's SparkAdmission, the same whoever makes it."""
    return f"{app.name[:200].rstrip('-.')}-{app.id[:8]}"


class SparkObjects(Followed):
    """See the module.

    Attributes:
        plans: returns the PackingPlans there are; what those under way keep is nobody's room.
    """

    def __init__(self, api: Api, plans: Callable[[], Iterable[PackingPlan]] = tuple) -> None:
        self.plans = plans
        self._store = Store()
        self.changed = self._store.changed
        self._pods: Records[SparkPod] = Records(read_pod, self.changed)
        self._apps: Records[SparkApp] = Records(read_app, self.changed)
        self._admissions: Records[Admission] = Records(_read_admission, self.changed)
        self._said: dict[str, str] = {}
        self._before: dict[str, Application] = {}
        spark, queued = {"labelSelector": ROLE}, {"labelSelector": QUEUE}
        self.reflectors = (
            Reflector(api, POD, self._pods, query=spark),
            Reflector(api, APPLICATION, self._apps),
            Reflector(api, NAMESPACE, self._store, query=queued),
            Reflector(api, SPARK_QUEUE, self._store),
            Reflector(api, ADMISSION, self._admissions),
        )

    def fresh(self) -> bool:
        """Whether all of it is known as it is now."""
        return all(each.synced.is_set() and not each.problem for each in self.reflectors)

    def applications(self) -> tuple[Application, ...]:
        """Return all applications of queued namespaces."""
        pods, apps = self._pods.found.values(), self._apps.found.values()
        found = applications(pods, apps, self.defaults, self._before)
        self._before = {each.id: each for each in found}
        return found

    @property
    def defaults(self) -> Mapping[str, str]:
        """The default queue of each queued namespace."""
        found = self._store.of(NAMESPACE)
        return {name: each["metadata"]["labels"][QUEUE] for name, each in found.items()}

    @property
    def admissions(self) -> Mapping[str, Admission]:
        """By "namespace/name"."""
        return self._admissions.found

    def admission_of(self, app: Application) -> Admission | None:
        """Return an application's SparkAdmission, None where it hasn't one yet."""
        return self._admissions.found.get(f"{app.namespace}/{admission_name(app)}")

    def queues(self) -> dict[str, SparkQueue]:
        """Return the queues by name."""
        found = {}
        for name, obj in sorted(self._store.of(SPARK_QUEUE).items()):
            try:
                found[name] = SparkQueue.model_validate(obj)
            except ValidationError as error:  # an object of another version
                said = "; ".join(problems(error))
                if self._said.get(name) != said:
                    logger.warning("SparkQueue %s is left out, it can't be read: %s", name, said)
                    self._said[name] = said
        return found
