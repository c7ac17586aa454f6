"""Which tests several workers keep together: `pytest e2e -n 2 --dist loadscope`.

A module is one worker's, since its fixtures are dear; so is all that needs the real node, of which
a machine has one, and everything where the cluster is given. Used by e2e/conftest.py.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from xdist.scheduler import LoadScopeScheduling

from e2e.controlplane.provider import KUBECONFIG_VARIABLE

if TYPE_CHECKING:
    import pytest
    from xdist.remote import Producer

_NEEDS_IT = "pytest.mark.real_node"


class ByModule(LoadScopeScheduling):  # type: ignore[misc]
    """See the module."""

    def __init__(self, config: pytest.Config, log: Producer) -> None:
        super().__init__(config, log)
        self._root = config.rootpath

    def _split_scope(self, nodeid: str) -> str:
        return scope(nodeid, self._root)


def scope(nodeid: str, root: Path) -> str:
    """Return which group a test belongs to."""
    if KUBECONFIG_VARIABLE in os.environ:
        return "the given cluster"
    module = nodeid.partition("::")[0]
    return "the real node" if _NEEDS_IT in (root / module).read_text() else module
