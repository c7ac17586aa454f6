"""The sidecar's command line: which upstream it asks.

Not covered: the flags of the store (test_redis.py).
"""

from __future__ import annotations

from pathlib import Path

import pytest

from fairstow.cache_sidecar.__main__ import _parser, _settings
from fairstow.cluster.errors import InputError


def upstream(tmp_path: Path, *more: str) -> str:
    (tmp_path / "cache.yaml").write_text("{}")
    words = ["--upstream=http://a/v1", f"--config={tmp_path / 'cache.yaml'}", *more]
    return _settings(_parser().parse_args(words)).upstream


def test_the_last_variable_that_is_set_names_the_upstream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--upstream-variable=ONE", "--upstream-variable=TWO")
    for name in ("ONE", "TWO"):
        monkeypatch.delenv(name, raising=False)
    assert upstream(tmp_path, *words) == "http://a/v1"
    monkeypatch.setenv("TWO", "http://c/v1")
    assert upstream(tmp_path, *words) == "http://c/v1"
    assert upstream(tmp_path, *reversed(words)) == "http://c/v1"
    monkeypatch.setenv("ONE", "http://b/v1")
    assert upstream(tmp_path, *words) == "http://c/v1"
    assert upstream(tmp_path) == "http://a/v1"
    monkeypatch.setenv("TWO", "ftp://c")
    with pytest.raises(InputError, match="ftp"):
        upstream(tmp_path, *words)
