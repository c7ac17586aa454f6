"""Certificates as Secrets and webhook configurations: read as facts, changed by actions.

Called by `keep`. The authority's Secret holds who signs (tls.crt, tls.key), who will sign
(next.crt, next.key) and all who are trusted (ca.crt); a leaf's holds tls.crt, tls.key and ca.crt.
Every write of a Secret is one request that fails if somebody else wrote since it was read.
"""

from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from fairstow.kube import authority
from fairstow.kube.aio.api import Api
from fairstow.kube.aio.paths import path_of
from fairstow.kube.authority import Certificate, KeyPair
from fairstow.kube.certificates import (
    Action,
    Distribute,
    Held,
    HeldLeaf,
    Inject,
    Issue,
    Leaf,
    Lifetimes,
    MakeAuthority,
    MakeComingAuthority,
    Promote,
    Roll,
    Told,
    Trust,
)
from fairstow.kube.permissions import AUTHORITY_SECRET, WEBHOOKS
from fairstow.kube.problems import ApiError

Json = dict[str, Any]
Data = dict[str, bytes]

MANAGER = "fairstow-certificates"
OPERATOR = "fairstow-operator"
SCHEDULER = "fairstow-scheduler"
TOLD = "fairstow.dev/told"
TRUSTS = "fairstow.dev/trusts"
"""On the scheduler's pods: the newest authority when they were started."""

_ADMISSION = "admissionregistration.k8s.io/v1"
_CONFIGURATIONS = ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Whose certificates. Attributes: namespace: of the installation."""

    namespace: str
    lifetimes: Lifetimes = field(default_factory=Lifetimes)

    @property
    def wanted(self) -> tuple[Leaf, ...]:
        """The leaves: three servers, by the names of their Services, and a client."""
        servers = (
            Leaf(
                secret=f"fairstow-{name}-tls",
                user=f"fairstow-{name}",
                hosts=(f"fairstow-{name}.{self.namespace}.svc",),
            )
            for name in ("operator", "webhook", "extender")
        )
        return (*servers, Leaf(secret="fairstow-scheduler-tls", user="fairstow-scheduler"))  # noqa: S106


class Secrets:
    """What one installation holds."""

    def __init__(self, api: Api, settings: Settings) -> None:
        self._api = api
        self._settings = settings
        self._secrets: dict[str, Json | None] = {}
        self._webhooks: dict[str, Json] = {}

    async def read(self) -> Held:
        """Return what there is."""
        names = (AUTHORITY_SECRET, *(leaf.secret for leaf in self._settings.wanted))
        for name in names:
            self._secrets[name] = await self._get("v1", "Secret", name)
        self._webhooks = {}
        for kind in _CONFIGURATIONS:
            found = await self._get(_ADMISSION, kind, WEBHOOKS, namespaced=False)
            if found is not None:
                self._webhooks[kind] = found
        deployment = await self._get("apps/v1", "Deployment", SCHEDULER)
        own = self._data(AUTHORITY_SECRET)
        return Held(
            authority=_certificate(own, "tls"),
            coming=_certificate(own, "next"),
            trusted=tuple(facts for facts, _ in authority.read_bundle(own.get("ca.crt", b""))),
            told=_told(self._secrets[AUTHORITY_SECRET]),
            leaves={name: self._leaf(name) for name in names[1:] if self._secrets[name]},
            bundles={kind: _bundled(found) for kind, found in self._webhooks.items()},
            rollouts={} if deployment is None else {SCHEDULER: _template_note(deployment)},
        )

    async def act(self, action: Action, now: datetime) -> None:
        """Carry out one action on what was last read.

        Raises:
            ApiError: 409 where somebody else wrote since.
        """
        own, lifetimes = self._data(AUTHORITY_SECRET), self._settings.lifetimes
        match action:
            case MakeAuthority():
                made = authority.new_authority(AUTHORITY_SECRET, lifetimes.authority, now)
                await self._write_authority({**_pair("tls", made), "ca.crt": made.certificate})
            case MakeComingAuthority():
                made = authority.new_authority(AUTHORITY_SECRET, lifetimes.authority, now)
                bundle = own["ca.crt"] + made.certificate
                await self._write_authority({**own, **_pair("next", made), "ca.crt": bundle})
            case Promote():
                promoted = {"tls.crt": own["next.crt"], "tls.key": own["next.key"]}
                kept = {"ca.crt": own["ca.crt"]}
                await self._write_authority({**kept, **promoted}, told=now)
            case Trust(ids):
                await self._write_authority({**own, "ca.crt": _bundle(own, ids)})
            case Told():
                await self._write_authority(own, told=now)
            case Distribute(leaf):
                data = {**self._data(leaf.secret), "ca.crt": own["ca.crt"]}
                await self._write(leaf.secret, data)
            case Issue(leaf, _):
                signer = KeyPair(own["tls.crt"], own["tls.key"])
                made = authority.issue(signer, leaf.user, leaf.hosts, lifetimes.leaf, now)
                await self._write(leaf.secret, {**_pair("tls", made), "ca.crt": own["ca.crt"]})
            case Inject(kind):
                await self._inject(kind, own["ca.crt"])
            case Roll(deployment, newest):
                await self._roll(deployment, newest)

    async def _get(
        self, api_version: str, kind: str, name: str, *, namespaced: bool = True
    ) -> Json | None:
        namespace = self._settings.namespace if namespaced else ""
        try:
            return await self._api.get(path_of(api_version, kind, namespace=namespace, name=name))
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def _data(self, name: str) -> Data:
        try:
            encoded = (self._secrets.get(name) or {}).get("data") or {}
            return {key: b64decode(value, validate=True) for key, value in encoded.items()}
        except NotBase64:
            return {}

    def _leaf(self, name: str) -> HeldLeaf:
        data = self._data(name)
        bundle = authority.read_bundle(data.get("ca.crt", b""))
        trusted = frozenset(facts.id for facts, _ in bundle)
        return HeldLeaf(certificate=_certificate(data, "tls"), trusted=trusted)

    async def _write_authority(self, data: Data, told: datetime | None = None) -> None:
        notes = {} if told is None else {TOLD: told.isoformat()}
        await self._write(AUTHORITY_SECRET, data, notes)

    async def _write(self, name: str, data: Data, notes: dict[str, str] | None = None) -> None:
        found = self._secrets.get(name)
        metadata: Json = {
            "name": name,
            "namespace": self._settings.namespace,
            "annotations": notes or {},
            "labels": {
                "app.kubernetes.io/name": "fairstow",
                "app.kubernetes.io/part-of": "fairstow",
                "app.kubernetes.io/managed-by": MANAGER,
            },
            "ownerReferences": await self._owners(),
        }
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "kubernetes.io/tls",
            "metadata": metadata,
            "data": {key: b64encode(value).decode() for key, value in data.items()},
        }
        path = path_of("v1", "Secret", namespace=self._settings.namespace)
        if found is None:
            self._secrets[name] = await self._api.create(path, secret)
        else:
            metadata["resourceVersion"] = found["metadata"]["resourceVersion"]
            self._secrets[name] = await self._api.replace(f"{path}/{name}", secret)

    async def _owners(self) -> list[Json]:
        """Return whose end is the Secrets' end: the operator's Deployment, where there is one."""
        deployment = await self._get("apps/v1", "Deployment", OPERATOR)
        if deployment is None:
            return []
        uid = deployment["metadata"]["uid"]
        return [{"apiVersion": "apps/v1", "kind": "Deployment", "name": OPERATOR, "uid": uid}]

    async def _inject(self, kind: str, bundle: bytes) -> None:
        encoded = b64encode(bundle).decode()
        mine = {
            "apiVersion": _ADMISSION,
            "kind": kind,
            "metadata": {"name": WEBHOOKS},
            "webhooks": [
                {"name": webhook["name"], "clientConfig": {"caBundle": encoded}}
                for webhook in self._webhooks[kind].get("webhooks") or ()
            ],
        }
        await self._api.apply(mine, MANAGER)

    async def _roll(self, deployment: str, newest: str) -> None:
        path = path_of("apps/v1", "Deployment", namespace=self._settings.namespace, name=deployment)
        note = {"metadata": {"annotations": {TRUSTS: newest}}}
        await self._api.patch(path, {"spec": {"template": note}})


def _certificate(data: Data, stem: str) -> Certificate | None:
    return authority.read(data.get(f"{stem}.crt", b""), data.get(f"{stem}.key", b""))


def _pair(stem: str, pair: KeyPair) -> Data:
    return {f"{stem}.crt": pair.certificate, f"{stem}.key": pair.key}


def _bundle(own: Data, ids: frozenset[str]) -> bytes:
    """Return the certificates of these authorities, of all that the Secret holds."""
    parts = (own.get(key, b"") for key in ("ca.crt", "tls.crt", "next.crt"))
    known = {facts.id: pem for part in parts for facts, pem in authority.read_bundle(part)}
    return b"".join(known[each] for each in known if each in ids)


def _bundled(configuration: Json) -> frozenset[str]:
    """Return whom all webhooks of a configuration trust; none if they differ."""
    found = {
        webhook["clientConfig"].get("caBundle") or ""
        for webhook in configuration.get("webhooks") or ()
    }
    if len(found) != 1:
        return frozenset()
    return frozenset(facts.id for facts, _ in authority.read_bundle(b64decode(found.pop())))


def _told(secret: Json | None) -> datetime | None:
    text = ((secret or {}).get("metadata", {}).get("annotations") or {}).get(TOLD)
    try:
        return None if text is None else datetime.fromisoformat(text)
    except ValueError:
        return None


def _template_note(deployment: Json) -> str:
    template = deployment["spec"]["template"].get("metadata") or {}
    return str((template.get("annotations") or {}).get(TRUSTS, ""))
