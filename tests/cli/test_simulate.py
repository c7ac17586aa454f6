"""`simulate serving`: what it prints, draws and refuses.

Covered: both traces and drawn requests, JSON and table, the drawing, bad input. Not covered: the
figures themselves (tests/serving, benchmarks.serving_simulator).
"""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.cli.program import run

AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:17:03.9799600,4808,10
2023-11-16 18:17:04.0319600,3180,8
2023-11-16 18:17:05.0000000,100,300
2023-11-16 18:17:05.5000000,20000,5
"""
MOONCAKE = """{"timestamp": 0, "input_length": 1100, "output_length": 50, "hash_ids": [0, 1, 2]}
{"timestamp": 4000, "input_length": 1500, "output_length": 50, "hash_ids": [0, 1, 3]}
"""


def simulate(*arguments: str) -> tuple[int, str, str]:
    done = run("simulate", "serving", *arguments)
    return done.returncode, done.stdout, done.stderr


def test_drawn_requests_as_json() -> None:
    code, out, _ = simulate("--rate", "2", "--requests", "200", "--high", "0.2", "-o", "json")
    found = json.loads(out)
    assert code == 0
    assert found["requests"] == 200
    for part in ("request", "prefill", "decode"):
        assert 0 < found[part]["p50_s"] <= found[part]["p99_s"]
    assert set(found["byPriority"]) == {"-1", "0"}
    assert found["instanceSeconds"] > 0
    assert {"preemptions", "migrations", "leftOut"} <= set(found)


def test_an_azure_trace_as_a_table(tmp_path: Path) -> None:
    trace = tmp_path / "azure.csv"
    trace.write_text(AZURE)
    code, out, err = simulate("--trace", str(trace), "--instances", "2", "--policy", "llumnix")
    assert code == 0
    assert "1 requests are longer than 13488 tokens and were left out" in err
    assert out.splitlines()[3].split()[:2] == ["all", "3"]


def test_a_mooncake_trace_whose_prefixes_are_found_again(tmp_path: Path) -> None:
    trace = tmp_path / "mooncake.jsonl"
    trace.write_text(MOONCAKE)
    ask = ("--trace", str(trace), "--instances", "1", "-o", "json")
    both = json.loads(simulate(*ask)[1])
    trace.write_text(MOONCAKE.replace("[0, 1, 3]", "[7, 8, 9]"))
    apart = json.loads(simulate(*ask)[1])
    assert both["prefill"]["mean_s"] < 0.7 * apart["prefill"]["mean_s"]


def test_the_rate_stretches_a_trace(tmp_path: Path) -> None:
    trace = tmp_path / "mooncake.jsonl"
    trace.write_text(MOONCAKE)
    ask = ("--trace", str(trace), "--instances", "1", "-o", "json")
    slow = json.loads(simulate(*ask, "--rate", "0.01")[1])
    assert slow["instanceSeconds"] > 200


def test_the_drawing_is_an_svg_with_a_row_for_each_instance(tmp_path: Path) -> None:
    svg = tmp_path / "out.svg"
    code, *_ = simulate("--rate", "1", "--requests", "50", "--instances", "3", "--svg", str(svg))
    assert code == 0
    texts = [element.text for element in ElementTree.fromstring(svg.read_text()).iter()]
    assert [t for t in texts if t and t.startswith("instance-")] == [
        "instance-0",
        "instance-1",
        "instance-2",
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "--rate: is needed where requests are drawn"),
        (("--rate", "1", "--policy", "best"), "Known are virtual-usage, llumnix"),
        (("--rate", "1", "--profile", "b200"), "Known are a10-7b, h100-7b"),
        (("--rate", "1", "--lengths", "XL-S"), "'XL' is no length; known are S, M, L"),
        (("--rate", "1", "--lengths", "S"), "two lengths such as M-M"),
        (("--trace", "nowhere.csv"), "no such file"),
        (("--rate", "1", "--svg", "/nowhere/x.svg"), "there is no folder"),
    ],
)
def test_what_cannot_be_simulated_is_refused(arguments: tuple[str, ...], said: str) -> None:
    code, out, err = simulate(*arguments)
    assert (code, out) == (2, "")
    assert said in err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("a,b,c\n1,2,3\n", "neither a known header nor JSON"),
        (AZURE + "soon,1,2\n", "azure:6: 'soon,1,2' isn't a time and two numbers"),
        (AZURE + "2023-11-16 18:17:04.03,1,-2\n", "azure:6: a number of tokens is below zero"),
        ('{"timestamp": 0}\n', "azure:1: isn't a request"),
        (MOONCAKE + "{\n", "azure:3: isn't a request"),
        (AZURE.splitlines()[0], "has no request with a prompt and an output"),
        (MOONCAKE.replace("1100", "99999").replace("1500", "99999"), "no request fits 13488"),
    ],
)
def test_a_bad_trace_is_refused_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    trace = tmp_path / "azure"
    trace.write_text(text)
    code, out, err = simulate("--trace", str(trace))
    assert (code, out) == (2, "")
    assert said in err
