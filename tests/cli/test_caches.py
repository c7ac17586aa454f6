"""`cache stats`, `explain`, `purge`: tables, the picture, what is refused before anything is asked.

Golden text; objects and answers as an API server and a sidecar have them. Not covered: real ones
(e2e/test_chart.py).
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fairstow.cli.cache_pods import explained, request_of
from fairstow.cli.cache_stats import Cache, drawn, flat, lines
from fairstow.cli.objects import read
from fairstow.cluster.errors import InputError
from fairstow.report.caches import Bar, drawing
from tests.cli.program import run

STATUS: dict[str, Any] = {
    "pods": 3, "injected": 2, "missed": 1, "answering": 2, "requests": 4_000, "hitRate": "31.0%",
    "loadPermille": 700, "loadSource": "Gateway",
    "categories": [
        {"name": "docs", "mode": "Enforce", "semantic": "On", "lookups": 1_900, "entries": 120,
         "quotaEntries": 1_000, "fullestTenant": 80, "hitPermille": 412, "breakEvenPermille": 34,
         "thresholdPermille": 880, "labels": 200, "wrong": 1,
         "message": "On: hit rate 41.2 % over break-even 3.4 %"},
        {"name": "code", "mode": "Shadow", "semantic": "Off",
         "message": "Off: hit rate 1.2 % under break-even 3.4 %"},
    ],
    "conditions": [
        {"type": "Ready", "status": "True", "reason": "CacheReady", "message": "fine"},
        {"type": "Injected", "status": "False", "reason": "PodsMissed",
         "message": "1 of 3 pods run without it"},
    ],
}  # fmt: skip
TABLE = """\
CACHE         CATEGORY  MODE     TIER  LOOKUPS    HITS  BREAK-EVEN  THRESHOLD  ENTRIES  \
QUOTA USED     WRONG
shop/answers  docs      Enforce  On      1,900  41.2 %       3.4 %      0.880      120         \
8 %  1 of 200
shop/answers  code      Shadow   Off         0       -           -          -        0         \
0 %         -

shop/answers: 2 of 3 pods have the sidecar, 2 answer; 4,000 requests, 31.0% from memory
  upstream's load: 70.0 %, by its gateway's word
  Injected: 1 of 3 pods run without it
  code: Off: hit rate 1.2 % under break-even 3.4 %"""


def cache(**status: Any) -> Cache:
    raw = {"metadata": {"name": "answers", "namespace": "shop"}, "status": STATUS | status}
    return read(msgspec.Raw(msgspec.json.encode(raw)), Cache)


def test_categories_as_a_table() -> None:
    assert "\n".join(lines([cache()], None)) == TABLE


def test_a_cache_that_nobody_has_looked_at_yet() -> None:
    fresh = Cache(metadata=cache().metadata)
    assert lines([fresh], None)[-1].startswith("shop/answers: 0 of 0 pods")


def test_categories_as_json() -> None:
    said = flat(cache())
    assert (said["namespace"], said["cache"]) == ("shop", "answers")
    assert said["categories"][0]["hitPermille"] == 412


def test_categories_as_a_picture() -> None:
    root = ET.fromstring(drawn([cache()]))
    text = "".join(root.itertext())
    assert "answers/docs: On: hit rate 41.2 % over break-even 3.4 %" in text
    assert "1 of 200" in text
    assert "80 of 1,000" in text


def test_nothing_in_a_picture_is_markup() -> None:
    ET.fromstring(drawing([Bar("<b>", "On", "&", hit_rate=2.0, break_even=9.0)], "<"))


VERDICT = {
    "outcome": "miss", "category": "docs", "entry": None, "shadow": False, "similarity": 0.8712,
    "threshold": 0.9, "age": None,
    "reasons": [{"rule": "threshold", "detail": "similarity 0.871 is under 0.900",
                 "entry": "0123456789abcdef"}],
}  # fmt: skip
EXPLAINED = """\
Outcome:    miss
Category:   docs (by keyword)
Similarity: 0.871 (threshold 0.900)
Sidecar:    web-0

Reasons:
  threshold: similarity 0.871 is under 0.900 [0123456789ab]"""


def test_an_explanation_says_who_said_no() -> None:
    assert "\n".join(explained({"verdict": VERDICT, "by": "keyword"}, "web-0", None)) == EXPLAINED


def test_a_shadow_hit_is_told_as_such() -> None:
    hit = VERDICT | {"shadow": True, "entry": "e1", "age": 61.2}
    said = explained({"verdict": hit, "by": "default"}, "web-0", None)
    assert said[0] == "Outcome:    miss, in Enforce a hit"
    assert "Age:        61 s" in said


def test_what_is_explained(tmp_path: Path) -> None:
    body = tmp_path / "body.json"
    body.write_text('{"model": "m", "messages": []}')
    assert request_of(None, str(body), ["X-Topic: docs"]) == {
        "path": "/v1/chat/completions",
        "body": {"model": "m", "messages": []},
        "headers": {"X-Topic": "docs"},
    }
    question = request_of("Why?", None, [])["body"]
    assert question["messages"] == [{"role": "user", "content": "Why?"}]
    body.write_text("[]")
    for file, header in ((str(body), "a: b"), ("/nowhere", "a: b"), (None, "none")):
        with pytest.raises(InputError):
            request_of(None if file else "Why?", file, [header])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("explain", "answers"), "needs a question"),
        (("purge", "answers"), "needs --entry"),
        (("purge", "answers", "--all", "--category", "docs"), "needs --entry"),
        (("stats", "-n", "shop", "-A"), "contradict each other"),
    ],
)
def test_flags_that_mean_nothing_ask_nobody(words: tuple[str, ...], said: str) -> None:
    done = run("cache", *words, "--kubeconfig", "/nowhere")
    assert done.returncode == 2
    assert said in done.stderr
