"""The loop: read what is held, decide, act; again each minute.

Called by the operator's runtime: `await keep(api, Settings(namespace="fairstow-system"))` runs
until it is cancelled.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Never

import structlog

from controllers import metrics
from controllers.certs.secrets import Secrets, Settings
from fairstow.cluster.errors import InputError
from fairstow.kube.aio.api import Api
from fairstow.kube.certificates import Held, decide
from fairstow.kube.permissions import AUTHORITY_SECRET
from fairstow.kube.problems import ApiError

EVERY_SECONDS = 60.0
MOST_ROUNDS = 20
"""Rounds until nothing is left to do; a change of authority takes eight."""

Clock = Callable[[], datetime]
log = structlog.get_logger(__name__)


def utc_now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


async def keep(
    api: Api,
    settings: Settings,
    *,
    every: float = EVERY_SECONDS,
    clock: Clock = utc_now,
    turned: Callable[[], None] = lambda: None,
) -> Never:
    """Keep the certificates until cancelled; a failure is said and tried again."""
    while True:
        turned()
        try:
            await reconcile(api, settings, clock())
        except (ApiError, InputError) as error:
            log.error("certificates not kept, will try again", error=str(error))
        await asyncio.sleep(every)


async def reconcile(api: Api, settings: Settings, now: datetime) -> None:
    """Do what is to be done now; whoever is interrupted is carried on from what is stored.

    Raises:
        ApiError: the API server refused.
        InputError: it can't be reached.
    """
    secrets = Secrets(api, settings)
    for _ in range(MOST_ROUNDS):
        # 1. What there is, read anew each round.
        held = await secrets.read()

        # 2. What to do about it.
        actions = decide(held, settings.wanted, settings.lifetimes, now)
        if not actions:
            _measure(held)
            return

        # 3. Do it. Where somebody else wrote meanwhile, the next round sees what.
        try:
            for action in actions:
                await secrets.act(action, now)
                log.info("certificates", action=repr(action))
        except ApiError as error:
            if error.status != 409:
                raise
    log.error("certificates keep changing: does something else write the same Secrets?")


def _measure(held: Held) -> None:
    certificates = {name: leaf.certificate for name, leaf in held.leaves.items()}
    for name, certificate in {**certificates, AUTHORITY_SECRET: held.authority}.items():
        if certificate is not None:
            expires = certificate.expires.timestamp()
            metrics.CERTIFICATE_EXPIRES.labels(name).set(expires)
