"""Which cluster, and as whom: the choice kubectl would make, and what is wrong with it in words.

Used by both connections, `client` and `aio`; reading the file is the official client's part.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fairstow.cluster.errors import InputError, printable
from fairstow.kube.problems import short

_NO_CLUSTER = (
    "See `kubectl config get-contexts`, or work from a dump: -f cluster.json, fetched where\n"
    "kubectl works."
)


@dataclass(frozen=True)
class Source:
    """Where settings come from.

    Attributes:
        files: kubeconfigs as in $KUBECONFIG; None in a pod, whose ServiceAccount is used.
        where: how an error names it.
    """

    files: str | None
    where: str


def choose(kubeconfig: str | None = None, context: str | None = None) -> Source:
    """Choose as kubectl does: arguments, $KUBECONFIG, ~/.kube/config, the pod's ServiceAccount.

    Raises:
        InputError: there is nothing to choose.
    """
    files = kubeconfig or os.environ.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")
    found = [f for f in files.split(os.pathsep) if f and Path(f).expanduser().is_file()]
    if found:
        return Source(files, f"{files}, context {context}" if context else files)
    if kubeconfig is None and context is None and "KUBERNETES_SERVICE_HOST" in os.environ:
        return Source(None, "this pod")
    raise InputError(files, "no such kubeconfig", _NO_CLUSTER)


@contextmanager
def explained(source: Source, logger: logging.Logger) -> Iterator[None]:
    """Turn what goes wrong while settings are read into an `InputError`.

    The client logs a credential plugin's failure to `logger`, and goes on without credentials.
    """
    try:
        with _logged(logger) as said:
            yield
    except Exception as error:  # a kubeconfig is a stranger's YAML: any lookup may fail
        problem = f"isn't a kubeconfig ({type(error).__name__}: {short(error)})"
        if type(error).__name__ == "ConfigException":
            problem = _configuration_problem(str(error))
        raise InputError(source.where, problem, _NO_CLUSTER) from error
    if said:
        raise InputError(
            source.where,
            f"the credential plugin failed: {printable('; '.join(said), 400)}",
            "Install or fix the command under users[].user.exec of the kubeconfig, or log in.",
        )


@contextmanager
def _logged(logger: logging.Logger) -> Iterator[list[str]]:
    """Collect what is logged as an error meanwhile instead of printing it."""
    said: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno >= logging.ERROR:
                said.append(record.getMessage())

    before, passed_on = logger.handlers[:], logger.propagate
    logger.handlers[:], logger.propagate = [Collect()], False
    try:
        yield said
    finally:
        logger.handlers[:], logger.propagate = before, passed_on


def _configuration_problem(said: str) -> str:
    if match := re.search(r"Expected object with name (\S+) in .*contexts", said):
        return f"has no context {match[1]}"
    if "current-context" in said:
        return "names no current context; choose one with --context"
    return f"isn't a usable kubeconfig ({short(said)})"
