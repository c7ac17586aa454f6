"""A cluster's objects made safe to post: structure and what decides stays, every name goes.

Who calls it: `fairstow snapshot --anonymize`. An allow-list of fields (`kinds`), never a deny-list:
what isn't known to be needed is dropped. Names become consistent pseudonyms (`pseudonyms`), but
for what everybody's cluster has (`vocabulary`). Objects are gone through twice, first to `collect`
what has to be renamed, then to be `written`.
"""

from typing import Any

import msgspec

from fairstow.cluster.anonymize.kinds import KINDS
from fairstow.cluster.anonymize.pseudonyms import Pseudonyms
from fairstow.cluster.errors import InputError
from fairstow.cluster.items import Item, sentence

__all__ = ["Pseudonyms", "collect", "written"]


def collect(item: Item, names: Pseudonyms) -> None:
    """Note what an object holds that has to be renamed.

    Raises:
        InputError: it can't be read.
    """
    _gone_through(item, names)


def written(item: Item, names: Pseudonyms) -> dict[str, Any] | None:
    """Return an object in pseudonyms, None for one of a kind that isn't needed.

    Raises:
        InputError: it can't be read.
    """
    return _gone_through(item, names)


def _gone_through(item: Item, names: Pseudonyms) -> dict[str, Any] | None:
    kind = item.kind.removesuffix("List")
    if kind not in KINDS:
        return None
    head = {"apiVersion": names.api_version(item.api_version), "kind": item.kind}
    if kind != item.kind:
        return head | {"items": []}
    try:
        content = item.decode(dict[str, Any])
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise InputError(item.where, sentence(error)) from error
    form: dict[str, Any] = KINDS[kind](names, content)
    return head | form
