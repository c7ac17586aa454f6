"""The paper's grid as a benchmark: its instances, its figures, and runs that go on.

Covered: instances are the authors' own (their records of four seeds), the figures in published.csv
average to those of the paper, an interrupted run goes on and results of two programs never mix,
bounds are judged. Not covered: default placement (e2e/test_default_placement.py), the figures.
"""

import json
from pathlib import Path

import pytest

from benchmarks.paper_grid.instances import Cell, instance
from benchmarks.paper_grid.outcome import (
    BETTER,
    BETTER_OPTIMAL,
    CATEGORIES,
    DEFAULT_OPTIMAL,
    FAILURE,
    Outcome,
)
from benchmarks.paper_grid.published import published
from benchmarks.paper_grid.report import judge, missed, paper, table
from benchmarks.paper_grid.run import Part, calling, cells, full, missing
from benchmarks.paper_grid.statistics import wilson
from benchmarks.paper_grid.work import MixedError, WorkFile

ABOUT = {"commit": "abc", "cores": 2, "python": "3.11", "ortools": "9.15"}
SMALL = Cell(4, 4, 4, 100)


def outcome(cell: Cell, seed: int, category: str, window: float = 1.0) -> Outcome:
    return Outcome(cell, window, seed, 2, category, 0.5, {"place 1": (3, 4)})


def test_instances_are_the_authors_own() -> None:
    case = instance(Cell(4, 4, 4, 95), 484806185843093489)
    assert (case.cpu, case.memory) == (1926, 2103397777)
    found = [(s.replicas, s.cpu, s.memory, s.priority) for s in case.sets]
    assert found[:3] == [
        (4, 427, 343966759, 3),
        (2, 391, 390597870, 2),
        (2, 828, 613089629, 2),
    ]
    assert [s[0] for s in found] == [4, 2, 2, 4, 1, 3]
    larger = instance(Cell(8, 4, 4, 105), 484806185843093489)
    assert (larger.cpu, larger.memory) == (1757, 2032724853)


@pytest.mark.parametrize(
    ("nodes", "pods", "window", "shares"),
    [
        (4, 4, 1, (3.6, 30.9, 11.2, 47.8)),
        (16, 8, 1, (48.9, 3.8, 30.2, 5.0)),
        (8, 8, 10, (2.3, 6.0, 38.5, 37.5)),
        (32, 4, 10, (11.1, 0.3, 74.3, 14.2)),
    ],
)
def test_published_cells_average_to_the_papers_figures(
    nodes: int, pods: int, window: int, shares: tuple[float, ...]
) -> None:
    found = [published(cell, window) for cell in cells((nodes,), (pods,))]
    for category, share in zip(CATEGORIES, shares, strict=True):
        mean = sum(counts[category] for counts in found if counts) / len(found)
        assert round(mean, 1) == share


def test_wilson_interval() -> None:
    assert [round(x, 1) for x in wilson(0, 20)] == [0.0, 16.1]
    assert [round(x, 1) for x in wilson(10, 20)] == [29.9, 70.1]
    assert wilson(0, 0) == (0.0, 100.0)


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    part = Part("test", 1.0, (SMALL,), 3)
    seeds, tried = calling(SMALL, 3)
    assert (len(seeds), tried >= 3) == (3, True)
    work = WorkFile(tmp_path / "work.jsonl", ABOUT)
    work.add(outcome(SMALL, seeds[0], BETTER))
    with work.path.open("a") as file:
        file.write('{"cell": {"nodes": 4')  # cut off in the middle of a line
    again = WorkFile(work.path, ABOUT)
    assert again.outcomes == work.outcomes
    assert [seed for _, seed in missing(part, again)] == list(seeds[1:])
    again.add(outcome(SMALL, seeds[1], BETTER))
    assert [seed for _, seed in missing(part, WorkFile(work.path, ABOUT))] == [seeds[2]]


def test_results_of_two_programs_never_mix(tmp_path: Path) -> None:
    WorkFile(tmp_path / "work.jsonl", ABOUT)
    with pytest.raises(MixedError, match="commit abc, not def"):
        WorkFile(tmp_path / "work.jsonl", ABOUT | {"commit": "def"})


def test_every_part_fits_into_three_quarters_of_an_hour() -> None:
    for part in full():
        assert len(part.cells) * part.seeds * part.window <= 45 * 60
    assert len({cell for part in full() for cell in part.cells}) == 120


def test_paper_is_weighed_as_our_instances_are() -> None:
    low, high = Cell(4, 4, 1, 95), Cell(4, 4, 4, 95)
    told = [published(c, 10) for c in (low, high)]
    assert [c[BETTER_OPTIMAL] for c in told if c] == [68, 39]
    own = [outcome(low, s, BETTER, 10) for s in range(3)] + [outcome(high, 0, BETTER, 10)]
    share = paper(own, lambda c: c[BETTER_OPTIMAL])
    assert share == pytest.approx((3 * 100 * 68 / 98 + 100 * 39 / 98) / 4)


def test_bounds_are_judged() -> None:
    good = [outcome(SMALL, s, DEFAULT_OPTIMAL) for s in range(9)]
    assert missed(judge(good)) == []
    assert len(missed(judge([*good, outcome(SMALL, 9, FAILURE)]))) == 2
    late = [outcome(SMALL, s, BETTER, 10.0) for s in range(9)]
    assert missed(judge(late)) == ["ten_seconds_proved_ahead: -98.99, at least 0.0"]


def test_table_and_work_file_are_readable(tmp_path: Path) -> None:
    work = WorkFile(tmp_path / "work.jsonl", ABOUT)
    work.add(outcome(SMALL, 1, BETTER))
    line = json.loads(work.path.read_text().splitlines()[1])
    assert line["gaps"] == {"place 1": [3, 4]}
    assert "| 4 × 4 | 1 | 0 | 0 | 1 | 0 | 100.0 (21–100) |" in table(work.outcomes.values(), 1.0, 4)
