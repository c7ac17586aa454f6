"""`hold` and `resume` of a Spark queue or application. Called by `verbs`.

A queue is held by its spec.hold; an application by an annotation of the user's own object, so that
whoever may change that may hold it.
"""

from __future__ import annotations

from collections.abc import Sequence

from fairstow.cli import terminal
from fairstow.cli.layout import wrapped
from fairstow.cli.live import Live
from fairstow.cli.objects import Objects, objects
from fairstow.cli.spark_queues import JOB_WORDS, QUEUES, Admission, job
from fairstow.cluster.errors import InputError
from fairstow.spark.names import HOLD, OPERATOR_GROUP

QUEUE_WORDS = ("queue", "queues", "sparkqueue", "sparkqueues", "sparkq")


def is_spark(what: Sequence[str]) -> bool:
    """Whether the argument names a queue or an application."""
    return "/".join(what).split("/")[0].lower() in (*QUEUE_WORDS, *JOB_WORDS)


def hold(
    what: Sequence[str], live: Live, namespace: str | None, *, on: bool, dry_run: bool
) -> None:
    """Hold a queue or an application, or end that."""
    parts = "/".join(what).split("/")
    if not is_spark(what) or len(parts) < 2:
        raise InputError(
            " ".join(what) or "arguments", "names no queue or job", "Write queue/NAME or job/NAME."
        )
    with objects(live) as api:
        if parts[0].lower() in QUEUE_WORDS:
            api.patch(QUEUES, parts[1], {"spec": {"hold": on}}, dry_run=dry_run)
            said, more = f"queue/{parts[1]}", "nothing more of it is let go; what runs goes on"
        else:
            found = job(api, what, namespace)
            _annotate(api, found, on=on, dry_run=dry_run)
            said, more = f"job/{found.spec.name}", "others go before it; resumed, it is queued anew"
    if dry_run:
        word = "held" if on else "resumed"
        terminal.write(f"{said} would be {word} (dry run: nothing was changed)")
        return
    text = f"{said} is held: {more}." if on else f"{said} resumed."
    terminal.write(wrapped(text, terminal.look().width))


def _annotate(api: Objects, found: Admission, *, on: bool, dry_run: bool) -> None:
    if found.spec.kind == "Pod":
        root, plural = "/api/v1", "pods"
    else:
        root, plural = f"/apis/{OPERATOR_GROUP}/v1beta2", "sparkapplications"
    path = f"{root}/namespaces/{found.metadata.namespace}/{plural}/{found.spec.name}"
    change = {"metadata": {"annotations": {HOLD: "true" if on else None}}}
    api.patch_path(path, f"{plural}/{found.spec.name}", change, dry_run=dry_run)
