"""The benchmark of growth: what it says of its measurements.

Covered: bounds are judged at the size they name, table and curve show every size. Not covered: the
measurements themselves.
"""

from typing import Any
from xml.etree import ElementTree

from benchmarks.scale import judge
from benchmarks.scale_report import curve, table


def size(nodes: int, **other: Any) -> dict[str, Any]:
    usual: dict[str, Any] = {
        "nodes": nodes,
        "pods": 10 * nodes,
        "pending": nodes // 5,
        "placed": nodes // 10,
        "boundPods": nodes // 5,
        "moves": 7,
        "formulateSeconds": 0.5,
        "seconds": 8.0,
        "peakMegabytes": 400,
    }
    return usual | other


def test_bounds_hold_at_the_size_they_name() -> None:
    assert judge([size(500, seconds=11.0), size(5000)]) == []
    late = judge([size(500), size(5000, seconds=11.0, peakMegabytes=2000)])
    assert [b["bound"] for b in late] == ["seconds", "peakMegabytes"]


def test_every_size_is_shown() -> None:
    sizes = [size(500), size(5000, boundPods=0)]
    assert table(sizes).splitlines()[2].startswith("| 500 | 5,000 | 100 | 50 | 100 | 50 |")
    points = ElementTree.fromstring(curve(sizes)).iter("{http://www.w3.org/2000/svg}circle")
    assert len(list(points)) == 2 * 3
