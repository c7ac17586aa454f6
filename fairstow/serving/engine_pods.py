"""What a new pod of an engine is given so that nothing that deletes it cuts a stream.

Called by the webhook for new pods of namespaces that opted in. An eviction can be refused until an
engine has handed its requests over; `kubectl delete`, a rollout, the scheduler's preemption and a
NoExecute taint only delete. Gateways see that at once and hand over, if the pod lives long enough:

- A container beside the engine answers GET `DRAINED` when the engine has no request any more, or
  the pool's drainDeadline is over. It asks the engine alone, so that it needs no rights, no
  gateway and no operator.
- The engine's preStop asks it. An httpGet to the pod itself works with any engine's image, takes
  the way that probes take, and the kubelet waits for the answer before it stops the engine. The
  container's own preStop asks, too, so that it outlives the engine.
- The pod's grace period grows by the deadline, since Kubernetes counts the wait into it.

The token keeps others from waiting there in number; whoever may read the pod reads it, and could
only wait with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from fairstow.api import ServingPool
from fairstow.api.fields import duration_milliseconds
from fairstow.api.serving_pool import SecretKey
from fairstow.cluster.restricted import RESTRICTED
from fairstow.cluster.review import Json, Reply, Request, read_part
from fairstow.cluster.selectors import selector, selects

HELPER = "fairstow-drain"
"""The container's name."""
PORT = 8447
DRAINED = "/drained"
TOKEN = "FAIRSTOW_DRAIN_TOKEN"  # noqa: S105 - the variable's name
ENGINE_KEY = "FAIRSTOW_ENGINE_KEY"
ADAPTERS: Mapping[str, str] = {"VLLM": "vllm", "LlamaCpp": "llama.cpp", "OpenAI": "openai"}
"""What adapters of gateways are called, by a ServingPool's `engines.type`."""

_SIZE = {"cpu": "50m", "memory": "128Mi"}
"""Request and limit alike: a pod that has CPUs of its own keeps them."""
_SPEAKING = frozenset({"VLLM", "LlamaCpp"})


class _Metadata(msgspec.Struct, frozen=True):
    labels: Mapping[str, str] = {}


class Port(msgspec.Struct, frozen=True, rename="camel"):
    """A container's port."""

    container_port: int = 0
    name: str = ""


class Container(msgspec.Struct, frozen=True, rename="camel"):
    """What tells an engine's container from others."""

    name: str = ""
    ports: tuple[Port, ...] = ()


class _Container(Container, frozen=True):
    lifecycle: Json = {}


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    containers: tuple[_Container, ...] = ()
    host_network: bool = False
    restart_policy: str = "Always"
    termination_grace_period_seconds: int = 30  # as the API server's default


def admit(request: Request, pools: Iterable[ServingPool], image: str, token: str) -> Reply:
    """Return the reply to the creation of a pod; it is never refused.

    Args:
        request: the review.
        pools: all serving pools that are known.
        image: of the container beside the engine.
        token: new for each pod.

    Raises:
        MalformedError: the review isn't what an API server sends.
    """
    labels = read_part(request.object, "metadata", _Metadata).labels
    spec = read_part(request.object, "spec", _Spec)
    pool = pool_of(pools, request.namespace, labels)
    if pool is None or not spec.containers:
        return Reply()
    if any(each.name == HELPER for each in spec.containers):
        return Reply()
    number = engine_of(spec.containers, pool.spec.engines.port)
    if why := _unfit(pool, spec, spec.containers[number]):
        said = f"fairstow: requests aren't handed over when this pod is deleted: {why}"
        return Reply(warnings=(said,))
    return Reply(patch=_patch(pool, spec, number, image, token))


def pool_of(
    pools: Iterable[ServingPool], namespace: str, labels: Mapping[str, str]
) -> ServingPool | None:
    """Return a pod's pool, the first by name of those that select it; None: it is in none."""
    there = (each for each in pools if each.metadata.namespace == namespace)
    wanted = (each for each in there if selects(selector(each.spec.engines.selector), labels))
    return min(wanted, key=lambda each: each.metadata.name, default=None)


def engine_of(containers: Iterable[Container], port: int) -> int:
    """Return which container is the engine: the one with its port, else the first."""
    for number, each in enumerate(containers):
        if any(found.container_port == port for found in each.ports):
            return number
    return 0


def _unfit(pool: ServingPool, spec: _Spec, engine: _Container) -> str:
    if pool.spec.engines.type not in _SPEAKING:
        return f"engines of type {pool.spec.engines.type} don't say whether they are busy"
    if engine.lifecycle.get("preStop"):
        return f"container {engine.name} has a preStop of its own"
    if spec.host_network:
        return f"with hostNetwork, port {PORT} would be its node's"
    if spec.restart_policy != "Always":
        return f"its restartPolicy is {spec.restart_policy}, and the container beside it stays"
    return ""


def _patch(pool: ServingPool, spec: _Spec, number: int, image: str, token: str) -> tuple[Json, ...]:
    bound = -(-duration_milliseconds(pool.spec.drain_deadline) // 1000)
    ask = {
        "httpGet": {
            "path": DRAINED,
            "port": PORT,
            "httpHeaders": [{"name": "Authorization", "value": f"Bearer {token}"}],
        }
    }
    at = f"/spec/containers/{number}/lifecycle"
    lifecycle = spec.containers[number].lifecycle | {"preStop": ask}
    grace = bound + spec.termination_grace_period_seconds
    helper = _helper(pool, bound, image, token) | {"lifecycle": {"preStop": ask}}
    return (
        {"op": "add", "path": at, "value": lifecycle},
        {"op": "add", "path": "/spec/containers/-", "value": helper},
        {"op": "add", "path": "/spec/terminationGracePeriodSeconds", "value": grace},
    )


def key_of(secret: SecretKey, *, optional: bool) -> Json:
    """Return the variable with the engines' key. Args: optional: what reads it can do without."""
    key = {"name": secret.name, "key": secret.key, "optional": optional}
    return {"name": ENGINE_KEY, "valueFrom": {"secretKeyRef": key}}


def _helper(pool: ServingPool, bound: int, image: str, token: str) -> Json:
    engines = pool.spec.engines
    env: list[Json] = [{"name": TOKEN, "value": token}]
    if engines.api_key is not None:
        env.append(key_of(engines.api_key, optional=True))
    return {
        "name": HELPER,
        "image": image,
        "command": ["python", "-m", "fairstow.gateway.pod_helper"],
        "args": [
            f"--engine=http://127.0.0.1:{engines.port}",
            f"--adapter={ADAPTERS[engines.type]}",
            f"--port={PORT}",
            f"--bound={bound}",
        ],
        "env": env,
        "ports": [{"name": "drained", "containerPort": PORT}],
        "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 2},
        "resources": {"requests": _SIZE, "limits": _SIZE},
        "securityContext": RESTRICTED,
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
