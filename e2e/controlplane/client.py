"""A running cluster as tests see it, wherever it came from: kubectl and a kubeconfig.

Handed out by the `cluster` fixture. It starts kubectl for each call (0.1–0.2 s): tests say what
a user would type, and their errors are the ones a user would see.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from e2e.controlplane.tls import write_kubeconfig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

T = TypeVar("T")
# kubectl holds itself to 50 requests a second; thousands of objects need several of it.
_BATCH = 50
_SIDE_BY_SIDE = 6


class KubectlError(Exception):
    """kubectl or helm ended with an error; the message holds the command and what it said."""


class WaitTimeoutError(Exception):
    """What a test waited for did not happen in time."""


@dataclass(frozen=True)
class Cluster:
    """A cluster that is up, and the rights of one kubeconfig on it."""

    kubeconfig: Path
    kubectl_command: tuple[str, ...]

    def kubectl(self, *args: str, stdin: str | None = None, timeout: float = 60) -> str:
        """Run kubectl and return its output. Raises KubectlError."""
        return self.run("kubectl", self.kubectl_command, args, stdin=stdin, timeout=timeout)

    def run(
        self,
        name: str,
        program: Sequence[str],
        args: Sequence[str],
        *,
        stdin: str | None = None,
        timeout: float,
    ) -> str:
        """Run a program that finds the cluster by KUBECONFIG. Raises KubectlError."""
        try:
            reply = subprocess.run(
                [*program, *args],
                input=stdin,
                env=self.environ(),
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise KubectlError(f"{name} {' '.join(args)}: no end after {timeout} s") from error
        if reply.returncode:
            raise KubectlError(f"{name} {' '.join(args)}: {reply.stderr.strip()}")
        return reply.stdout

    def environ(self) -> Mapping[str, str]:
        """Return an environment in which kubectl sees this cluster and no user's settings."""
        cache = str(self.kubeconfig.parent / "kubectl-cache")
        own = {"KUBECONFIG": str(self.kubeconfig), "KUBECACHEDIR": cache, "KUBERC": "off"}
        return os.environ | own

    def apply(self, objects: Iterable[Mapping[str, Any]], *, timeout: float = 300) -> None:
        """Server-side apply `objects`: kind after kind, those of one kind side by side."""
        with ThreadPoolExecutor(max_workers=_SIDE_BY_SIDE) as pool:
            for _, same_kind in groupby(objects, key=lambda each: each["kind"]):
                batches = batched(list(same_kind), _BATCH)
                # list() waits for all of them, and raises the first error.
                list(pool.map(lambda batch: self._apply(batch, timeout), batches))

    def _apply(self, objects: list[Mapping[str, Any]], timeout: float) -> None:
        listing = {"apiVersion": "v1", "kind": "List", "items": objects}
        # --validate=false spares the download of the OpenAPI; the API server checks anyway.
        self.kubectl(
            *("apply", "--server-side", "--force-conflicts", "--validate=false", "-f", "-"),
            stdin=json.dumps(listing),
            timeout=timeout,
        )

    def get(self, *args: str, timeout: float = 60) -> Any:
        """Return the JSON of `kubectl get ARGS`: an object, or a list with `items`."""
        return json.loads(self.kubectl("get", *args, "-o", "json", timeout=timeout))

    def items(self, *args: str) -> list[Any]:
        """Return the items of `kubectl get ARGS`."""
        found: list[Any] = self.get(*args)["items"]
        return found

    def wait(self, predicate: Callable[[], T | None], what: str, timeout: float = 60) -> T:
        """Call `predicate` until it returns something true, and return that.

        A KubectlError counts as "not yet", since what is waited for may not exist yet.
        Raises WaitTimeoutError, naming `what` and the last reply or error.
        """
        deadline = time.monotonic() + timeout
        while True:
            last: object
            try:
                if result := predicate():
                    return result
                last = result
            except KubectlError as error:
                last = error
            if time.monotonic() >= deadline:
                raise WaitTimeoutError(f"{what}: not within {timeout:g} s; last: {last}")
            time.sleep(0.2)

    def as_service_account(self, namespace: str, name: str, path: Path) -> Cluster:
        """Return the cluster as this ServiceAccount sees it, its kubeconfig written to `path`."""
        token = self.kubectl("-n", namespace, "create", "token", name, "--duration=4h").strip()
        raw = self.kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json")
        server = json.loads(raw)["clusters"][0]["cluster"]
        kubeconfig = write_kubeconfig(path, server, {"token": token})
        return Cluster(kubeconfig, self.kubectl_command)


def batched(items: list[T], size: int) -> Iterator[list[T]]:
    """Cut `items` into lists of at most `size`, in order."""
    return (items[start : start + size] for start in range(0, len(items), size))
