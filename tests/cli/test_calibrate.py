"""`cache calibrate`: what it prints and refuses.

Covered: JSON and table, standard input, bad lines, sets that lack a kind of pairs. Not covered: the
figures (tests/semantic_cache, benchmarks.cache_safety).
"""

import json
from pathlib import Path

from tests.cli.program import run

PAIRS = [
    ("cards", "How do I lock my card?", "How can I lock my card?", True),
    ("cards", "How do I lock my card?", "How do I unlock my card?", False),
    ("visas", "How do I get a visa for Peru?", "What's the way to get a visa for Peru?", True),
    ("visas", "How do I get a visa for Peru?", "How do I get a visa for Chile?", False),
]


def lines() -> bytes:
    return b"".join(
        json.dumps({"id": 1, "category": c, "a": a, "b": b, "same_answer": same}).encode() + b"\n"
        for c, a, b, same in PAIRS
    )


def test_as_json() -> None:
    done = run("cache", "calibrate", "--pairs", "-", "-o", "json", stdin=lines())
    found = json.loads(done.stdout)
    assert found["pairs"] == 4
    assert found["operatingPoint"]["served"] == 1
    assert found["operatingPoint"]["wrong"] == 0
    assert 500 <= found["operatingPoint"]["thresholdPermille"] <= 1000
    assert found["assured"] is False
    assert set(found["byCategory"]) == {"cards", "visas"}
    for at in found["curve"]:
        assert {"thresholdPermille", "served", "wrong", "wrongPerHit"} <= set(at)


def test_as_a_table(tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_bytes(lines())
    out = run("cache", "calibrate", "--pairs", str(file)).stdout
    assert "4 pairs: 2 with the same answer, 2 traps." in out
    assert "that isn't assured" in out


def test_odd_sets_of_pairs_get_an_answer_that_says_what_is_not_known() -> None:
    same = b'{"a": "Is it open?", "b": "is it open", "same_answer": true}\n'
    trap = b'{"a": "Is it open?", "b": "Is it closed?", "same_answer": false}\n'
    other = '{"a": "Wie alt wird ein Esel?", "b": "Wie alt werden Esel?", "same_answer": true}\n'
    for content, says in (
        (same, "there is no trap"),
        (trap, "serves any: leave the cache off"),
        (other.encode() + same, "1 are in no language"),
        (same.replace(b"true", b"false") * 3, "serves any: leave the cache off"),
        (b"\xef\xbb\xbf" + same.replace(b"\n", b"\r\n") + trap, "2 pairs"),
        (same.replace(b"Is it open?", b"").replace(b"is it open", b"\\u0000") + same, "2 pairs"),
    ):
        done = run("cache", "calibrate", "--pairs", "-", stdin=content)
        assert says in " ".join(done.stdout.split()), done.stderr


def test_bad_lines_are_named(tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    for content, says in (
        (b"", "holds no pair"),
        (b'{"a": "x", "b": "y", "same_answer": 1}\n', "line 1"),
        (lines() + b"{\n", "line 5"),
        (b'\xff\xfe{"a"', "line 1"),
    ):
        file.write_bytes(content)
        done = run("cache", "calibrate", "--pairs", str(file))
        assert done.returncode == 2
        assert says in done.stderr
    assert run("cache", "calibrate", "--pairs", str(tmp_path)).returncode == 2
