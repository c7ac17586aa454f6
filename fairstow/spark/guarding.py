"""Keeps users to their queue: no forged identity, no foreign queue, no letting oneself go.

Called by the webhook on objects as they will be stored, if they carry the annotations that
`queueing` sets. `question` says what the API server's authorizer has to be asked, `judge` decides
on its answer.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fairstow.cluster.review import Json, Reply, Request, User
from fairstow.spark.executing import is_executor, refusal
from fairstow.spark.names import (
    ADMITTED,
    APPLICATION,
    FIXED,
    OWN_SUSPEND,
    QUEUE,
    ROLE,
    SUBMITTER,
    USER,
)
from fairstow.spark.submitted import Submitted, submitted

USE, SUBMIT_AS, RELEASE = "use", "submit-as", "release"
QUEUES = "sparkqueues"


@dataclass(frozen=True, kw_only=True)
class Question:
    """What a SubjectAccessReview asks: may the user do this with the queue?"""

    user: User
    verb: str
    queue: str


def question(request: Request) -> Question | None:
    """Return what must be asked before `judge`, None if nothing."""
    new = submitted(request, request.object)
    if request.operation == "UPDATE":
        verb = RELEASE if _lets_go(request, new) or _runs_anew(request, new) else ""
    elif not _annotation(new, USER):
        verb = ""  # an executor
    else:
        verb = SUBMIT_AS if _annotation(new, SUBMITTER) else USE
    if not verb:
        return None
    return Question(user=request.user_info, verb=verb, queue=_annotation(new, QUEUE))


def judge(
    request: Request,
    asked: Question | None,
    *,
    allowed: bool,
    said: str = "",
    driver: Json | None = None,
) -> Reply:
    """Refuse what the user may not do. `allowed` and `said` are the answer to what was `asked`.

    Args:
        request: the review.
        asked: what the authorizer was asked.
        allowed: its answer.
        said: its words.
        driver: the pod that a new executor claims for its driver.

    Raises:
        MalformedError: the review isn't what an API server sends.
    """
    new = submitted(request, request.object)
    user = request.user_info.username
    if request.operation == "UPDATE":
        old = submitted(request, request.old_object)
        if changed := tuple(_changes(old, new)):
            fixed = f"{', '.join(changed)} is recorded when an application is queued, never changed"
            return Reply(denied=f"{fixed}: make a new one")
    elif is_executor(new) and (denied := refusal(request, driver)):
        return Reply(denied=denied)
    elif _annotation(new, USER) and user not in (
        _annotation(new, USER),
        _annotation(new, SUBMITTER),
    ):
        forged = f"{USER} is {_annotation(new, USER)!r}, but the request was made by {user!r}: "
        return Reply(denied=forged + "leave the annotation out, it is filled in")
    if asked is not None and not allowed:
        denied = _missing(asked, request, new)
        return Reply(denied=denied + (f" ({said})" if said else ""))
    return Reply()


def _lets_go(request: Request, new: Submitted) -> bool:
    """Whether the change lets an application go that waits, or has it pass for one that doesn't."""
    old = submitted(request, request.old_object)
    marks = _annotation(old, OWN_SUSPEND), _annotation(new, OWN_SUSPEND)
    resumes = marks == ("true", "false") and new.waits
    suspends = marks == ("false", "true") and new.waits and not old.waits
    marked = marks[0] != marks[1] and not resumes and not suspends
    # Since then room is kept for its pods.
    admitted = _annotation(old, ADMITTED) != _annotation(new, ADMITTED)
    return (old.waits and not new.waits) or marked or admitted


def _runs_anew(request: Request, new: Submitted) -> bool:
    """Whether the Spark operator would run an application again that was let go, as another."""
    old = submitted(request, request.old_object)
    if new.kind != APPLICATION or old.waits or new.waits:
        return False
    before, after = (
        {key: value for key, value in ((obj or {}).get("spec") or {}).items() if key != "suspend"}
        for obj in (request.old_object, request.object)
    )
    return before != after


def _changes(old: Submitted, new: Submitted) -> Iterable[str]:
    for key in FIXED:
        if _annotation(old, key) != _annotation(new, key):
            yield key
    if new.kind == "Pod" and old.metadata.labels.get(ROLE) != new.metadata.labels.get(ROLE):
        yield f"the label {ROLE}"


def _annotation(obj: Submitted, key: str) -> str:
    return obj.metadata.annotations.get(key, "")


def _missing(question: Question, request: Request, new: Submitted) -> str:
    user, queue = question.user.username, question.queue
    act = {
        USE: f"have applications in SparkQueue {queue}",
        SUBMIT_AS: f"submit applications to SparkQueue {queue} for {_annotation(new, USER)!r}",
        RELEASE: f"let an application go that waits in SparkQueue {queue}: it starts by itself "
        "when it is its turn"
        + (" (leave spec.suspend to Fairstow)" if new.kind == APPLICATION else ""),
    }[question.verb]
    if question.verb == RELEASE and _runs_anew(request, new):
        act = (
            "change the spec of an application that was let go, since it would run again without "
            "its turn: set spec.suspend to true, change it, and resume it"
        )
    return f"{user!r} may not {act}; that needs the verb {question.verb!r} on {QUEUES}.fairstow.dev"
