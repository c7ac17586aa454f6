"""The plan as text: what a person reads, on a terminal and piped.

Covers wording by golden text on a cluster with one useful plan, the special cases, width, colour
and characters. Leaves out JSON, YAML and diff (test_formats) and errors (test_bad_input).
"""

import re
from pathlib import Path

import pytest

from benchmarks.paper_grid.instances import Cell, as_objects, instance
from tests.cli.program import Json, environment, run, run_on_terminal, stuck, write_dump
from tests.packing import engine_objects, test_engines
from tests.packing.checker_clusters import budget, node, pod

STUCK = """\
1 pod is pending on 3 nodes; 4 of 24 nvidia.com/gpu are free.
This plan places it by moving 2 running pods (checked: 3 steps, every one feasible).

PRIORITY   PENDING  PLACED NOW  WITH PLAN  STILL PENDING  PROOF
prod 1000        1           0          1              0  optimal
(1 other priority with nothing pending)

optimal: no plan under these rules places more pods of that priority, given what those above it get.
It is proved that no plan with these placements disturbs less (cost 2).
Rules: moves only, no eviction for good. Order: place first: every priority's placements, highest \
first, then the least disturbance.
Nothing has been changed. A pod that moves is evicted and started anew by its owner; what it \
hasn't saved is lost.

Placements (1)
  team-b/StatefulSet/big  1 pod  →  middle

Moves (2)
  team-a/small-0  (ReplicaSet/small)  middle  → left
  team-a/small-1  (ReplicaSet/small)  middle  → right

Next: see the nodes before and after.
  fairstow plan --report plan.html -f DUMP
"""


def in_order(text: str) -> str:
    """Moves by name: their order of execution is the planner's choice."""
    lines = text.split("\n")
    at = [i for i, line in enumerate(lines) if line.startswith("  team-a/small-")]
    for i, line in zip(at, sorted(lines[i] for i in at), strict=True):
        lines[i] = line
    return "\n".join(lines)


def test_volcano_3948_as_a_person_reads_it(dump: Path) -> None:
    done = run("plan", "-f", str(dump))
    assert (done.returncode, done.stderr) == (0, "")
    assert in_order(done.stdout) == STUCK.replace("DUMP", str(dump))


def test_wide_adds_every_priority_and_the_steps(dump: Path) -> None:
    text = run("plan", "-f", str(dump), "-o", "wide").stdout
    assert re.search(r"^0 +0 +5 +5 +0 +optimal$", text, re.MULTILINE)
    assert "\nSteps (3)\n" in text
    assert "  3. bind team-b/big-0 on middle\n" in text
    assert re.search(r"^  [12]\. move team-a/small-0 to left$", text, re.MULTILINE)


def test_a_namespace_shows_only_its_own_pods(dump: Path) -> None:
    text = run("plan", "-f", str(dump), "-n", "team-b").stdout
    assert "Placements (1)" in text
    assert "Moves" not in text
    assert "moving 2 running pods" in text, "the plan itself stays that of the whole cluster"
    assert "Placements" not in run("plan", "-f", str(dump), "-n", "team-a").stdout


def test_nothing_pending_says_so_and_ends_well(tmp_path: Path) -> None:
    path = write_dump(tmp_path / "calm.json", [node("a"), pod("web", "a")])
    done = run("plan", "-f", str(path))
    assert done.returncode == 0
    assert done.stdout.startswith(
        "No pod is pending on 1 node; 7 of 8 nvidia.com/gpu are free. Nothing to plan.\n"
    )


def test_nothing_to_improve_gives_the_proof_and_the_reason(tmp_path: Path) -> None:
    path = write_dump(tmp_path / "full.json", [node("a"), pod("web", "a"), pod("big-0", gpu=8)])
    done = run("plan", "-f", str(path))
    assert done.returncode == 0
    assert "Nothing to improve: no plan under these rules places any of them." in done.stdout
    assert "largest hole is 7 of the 8 it asks for" in done.stdout
    assert done.stdout.endswith(f"  fairstow explain pod/team-a/big-0 -f {path}\n")


def test_evictions_for_good_only_when_allowed_and_named_as_such(tmp_path: Path) -> None:
    objects = [node("a", gpu=4), pod("low", "a", gpu=4), pod("high", gpu=4, priority=9)]
    path = str(write_dump(tmp_path / "full.json", objects))
    assert "Evictions" not in run("plan", "-f", path).stdout
    text = run("plan", "-f", path, "--max-evictions", "1").stdout
    assert "evicting 1 pod of lower priority for good" in text
    assert "Evictions for good (1)\n  team-a/low  (ReplicaSet/web)  off a\n" in text
    assert "at most 1 eviction for good" in text


def test_unknown_budgets_come_first_with_the_ways_to_know_them(tmp_path: Path) -> None:
    path = write_dump(tmp_path / "part.json", stuck(), unknown=["PodDisruptionBudget"])
    lines = run("plan", "-f", str(path)).stdout.splitlines()
    assert lines[0].startswith("Warning: PodDisruptionBudgets are unknown, so this plan can't be")
    assert "`fairstow snapshot -o cluster.json.gz`" in lines[0]
    raw = "kubectl get --raw /apis/policy/v1/poddisruptionbudgets > budgets.json"
    assert lines[1] == f"  {raw}"


def test_an_empty_list_of_budgets_makes_them_known(tmp_path: Path) -> None:
    """What `kubectl get --raw` writes where there are none; `kubectl get` wouldn't say so."""
    path = write_dump(tmp_path / "cluster.json", stuck(), unknown=["PodDisruptionBudget"])
    budgets = tmp_path / "budgets.json"
    budgets.write_text(
        '{"kind":"PodDisruptionBudgetList","apiVersion":"policy/v1",'
        '"metadata":{"resourceVersion":"7"},"items":[]}\n'
    )
    done = run("plan", "-f", str(path), "-f", str(budgets), "-o", "json")
    assert (done.returncode, done.stderr) == (0, "")
    assert '"budgets": "Known"' in done.stdout
    assert '"budgets": "Unknown"' in run("plan", "-f", str(path), "-o", "json").stdout


def test_the_order_is_named_and_obeyed(dump: Path) -> None:
    text = run("plan", "-f", str(dump), "--order", "tier-by-tier", "--max-moves", "1").stdout
    assert "Order: tier by tier" in text
    assert "at most 1 move." in text
    assert "Moves (" not in text, "one move isn't enough, so none is made"


def test_what_is_not_considered_is_told_apart_from_what_is_proved(tmp_path: Path) -> None:
    port = {"name": "main", "ports": [{"hostPort": 80, "containerPort": 80}]}
    claim = {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}
    edge, stateful = pod("edge", containers=[port]), pod("db", volumes=[claim])
    path = write_dump(tmp_path / "x.json", [node("a"), pod("web"), edge, stateful])
    text = run("plan", "-f", str(path)).stdout
    assert "optimal; 1 not considered" in text
    assert "This plan places 2 of them without disturbing any running pod" in text
    assert "Not considered (1)\n  - 1 pending pod with claims, of which the input tells no" in text


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ([], "No plan can be made: these pods aren't considered, for reasons given below.\n"),
        (
            [pod("big", gpu=9)],
            "no plan under these rules places any of them (1 of them not considered).\n",
        ),
    ],
    ids=["all", "some"],
)
def test_nothing_is_proved_of_pods_that_are_not_considered(
    others: list[Json], said: str, tmp_path: Path
) -> None:
    claim = {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}
    objects = [node("a"), pod("db", volumes=[claim]), *others]
    assert said in run("plan", "-f", str(write_dump(tmp_path / "x.json", objects))).stdout


def test_narrow_terminal_keeps_lines_short_and_names_whole(tmp_path: Path) -> None:
    long = "a-very-long-name-of-a-workload-that-nobody-can-read-in-one-go"
    objects = [node("node-with-a-long-name-0001"), pod(long, owner=f"ReplicaSet/{long[:-4]}")]
    path = write_dump(tmp_path / "x.json", objects)
    code, text = run_on_terminal("plan", "-f", str(path), columns=60, NO_COLOR="1")
    text = text.rpartition("\x1b[2K")[2]  # what the progress line left
    assert code == 0
    assert f"team-a/ReplicaSet/{long[:-4]}" in text
    words = [line for line in text.splitlines() if len(line) > 60]
    assert all(long[:-4] in line or str(path) in line for line in words), words


def test_piped_text_is_neither_wrapped_nor_coloured(tmp_path: Path) -> None:
    budgets = [budget("guard", {"app": "x"}, 1)]
    path = write_dump(tmp_path / "x.json", [*stuck(), *budgets])
    text = run("plan", "-f", str(path), env=environment(COLUMNS="40", FORCE_COLOR="1")).stdout
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) > 100


def coloured(dump: Path, **env: str) -> str:
    return run_on_terminal("pools", "-f", str(dump), columns=100, **env)[1]


def test_colour_on_a_terminal_unless_it_is_refused(dump: Path) -> None:
    assert "\x1b[1m" in coloured(dump)
    assert "\x1b" not in coloured(dump, NO_COLOR="1")
    assert "\x1b" not in coloured(dump, TERM="dumb")


def test_colour_changes_no_word(dump: Path) -> None:
    assert re.sub(r"\x1b\[[\d;]*m", "", coloured(dump)) == coloured(dump, NO_COLOR="1")


def test_ascii_where_the_encoding_knows_no_more(dump: Path) -> None:
    done = run("plan", "-f", str(dump), env=environment(PYTHONIOENCODING="ascii"))
    assert done.returncode == 0
    assert done.stdout.isascii()
    assert "->  middle" in done.stdout


@pytest.mark.parametrize("program", ["fairstow", "kubectl-fairstow"])
def test_the_next_command_is_written_as_the_user_called_it(
    program: str, dump: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.cli import program as module

    monkeypatch.setattr(module, "FAIRSTOW", str(Path(module.FAIRSTOW).with_name(program)))
    assert f"\n  {program.replace('-', ' ')} plan {'-f'} " in run("pools", "-f", str(dump)).stdout


def test_what_the_search_was_given_is_told(tmp_path: Path) -> None:
    hard = list(as_objects(instance(Cell(16, 8, 4, 105), 0)))
    text = run("plan", "-f", str(write_dump(tmp_path / "x.json", hard)), "--effort", "1").stdout
    assert "isn't ruled out within an effort of 1." in text


def test_llm_engines_are_said_to_be_drained_first(tmp_path: Path) -> None:
    objects = test_engines.stuck(engine_objects.pool())
    text = run("plan", "-f", str(write_dump(tmp_path / "dump.json", objects))).stdout
    assert re.search(r"team-a/e\d .*→ [ab] \(drained first\)$", text, re.MULTILINE), text
