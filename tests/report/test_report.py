"""The report: well-formed, complete, escaped, self-contained, legible.

Covered: every placement, move and step appears, hostile names and labels stay text, the picture
is XML, colours keep their contrast, large clusters are cut with a count. Not covered: how it looks
(a browser's business), and whether the plan is right.
"""

import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import pytest

from fairstow.cluster.model import Pod
from fairstow.cluster.snapshot import Snapshot
from fairstow.packing.explain import explain
from fairstow.packing.model import Decision, Eviction, Move, Placement, Request, Step, Tier
from fairstow.packing.plan import to_plan
from fairstow.report import page, picture
from fairstow.report.picture import MOST_CHANGED, MOST_UNCHANGED
from fairstow.report.scene import Mark, letters, scene
from fairstow.report.style import DARK, LIGHT
from tests.cluster.objects import GPU, Object, node, pod, priority_class, snapshot

HOSTILE = "<script>alert(1)</script>&\"'\x07"
PRODUCT = "nvidia.com/gpu.product"
VOID = {"meta", "br"}


def find(found: Snapshot, name: str) -> Pod:
    (match,) = [p for p in found.pods if p.name == name]
    return match


def held(name: str, on: str, count: int, **more: Any) -> Object:
    return pod(name, nodeName=on, requests={"cpu": "1", GPU: str(count)}, **more)


def decided(*more: Object) -> Decision:
    """A plan with one of everything: a placement, a move, an eviction, a CPU node, a shut one."""
    found = snapshot(
        node("gpu-a", labels={PRODUCT: "A100"}),
        node("gpu-b", labels={PRODUCT: "A100"}),
        node("cpu-a", allocatable={"cpu": "8", "memory": "32Gi", "pods": "9"}),
        node("shut", spec={"unschedulable": True}),
        held("stays", "gpu-a", 1),
        held("moved", "gpu-a", 2),
        held("lost", "gpu-b", 1),
        pod("small", nodeName="cpu-a"),
        pod("placed", priority=1000, requests={"cpu": "2", GPU: "3"}),
        pod("waits", priority=1000, requests={"cpu": "2", GPU: "3"}),
        priority_class("prod", 1000),
        *more,
    )
    placed, moved, lost = (find(found, n) for n in ("placed", "moved", "lost"))
    return Decision(
        request=Request(found, max_evictions=1),
        placements=(Placement(placed, "gpu-a"),),
        moves=(Move(moved, "gpu-a", "gpu-b"),),
        evictions=(Eviction(lost, "gpu-b"),),
        steps=(Step((moved, lost), ((moved, "gpu-b"),)), Step((), ((placed, "gpu-a"),))),
        tiers=(Tier(1000, 0, 1, 1, 1), Tier(0, 4, 3, 1, 4)),
        cost=101,
        proved_least_cost=True,
        not_considered=("1 pod with a rule not modelled",),
        budgets_known=True,
    )


def html(decision: Decision, title: str = "Report") -> str:
    found = decision.request.snapshot
    told = [explain(found, p, decision, source="-f x.json") for p in found.pending]
    return page(decision, to_plan(decision), told, title=title, source="-f x.json")


class Reader(HTMLParser):
    """Collects text, and fails on tags that don't nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data + "\n"


def test_the_page_nests_and_has_the_sections_in_order() -> None:
    text = html(decided())
    read = Reader(text)
    assert re.findall(r"<h2>(.*?)</h2>", text) == [
        "The cluster now",
        "What the plan achieves",
        "Nodes before and after",
        "Steps, in order",
        "What waits, and why",
        "Not considered",
        "What to do",
    ]
    assert read.tags.count("table") == read.tags.count("caption") == 3
    assert ("lang", "en") in read.attributes


def test_every_placement_move_and_eviction_appears_in_steps_and_picture() -> None:
    decision = decided()
    read = Reader(html(decision))
    for said in (
        "team/moved from gpu-a",
        "team/moved on gpu-b",
        "team/lost from gpu-b",
        "team/placed on gpu-a",
        "moves to gpu-b (move A)",
        "comes from gpu-a (move A)",
        "team/lost is evicted for good",
        "waited and gets this node (placement 1)",
    ):
        assert said in read.text
    assert "moves to gpu-b (move A)" in picture(decision)


def test_the_page_says_what_is_proved_what_waits_and_what_to_run() -> None:
    text = Reader(html(decided())).text
    assert (
        "1 of 2 waiting pods gets a node by moving 1 running pod and evicting 1 for good." in text
    )
    assert "It isn't proved to be the best: up to 1 more pod may be possible." in text
    assert "team/waits" in text
    assert "fairstow plan -f x.json --check plan-" in text
    assert "1 pod with a rule not modelled" in text
    assert "A100\n" in text
    assert "no product label" in text
    assert "Disruption budgets are unknown" not in text
    assert "Disruption budgets are unknown" in html(replace(decided(), budgets_known=False))


def test_pods_that_are_not_considered_are_counted_apart_from_the_proof() -> None:
    left_out = replace(decided().tiers[0], left_out=1)
    text = Reader(html(replace(decided(), tiers=(left_out,)))).text
    assert "1 not considered" in text
    assert "Pods that are not considered count as waiting, and not in the bounds." in text
    assert "not in the bounds" not in Reader(html(decided())).text


def test_pods_alike_are_told_once_and_others_are_named() -> None:
    twins = [pod(f"twin-{i}", requests={"cpu": "9"}) for i in range(3)]
    decision = decided(*twins)
    found = decision.request.snapshot
    told = [explain(found, find(found, "twin-0"), decision)]
    text = Reader(page(decision, to_plan(decided()), told, title="Report")).text
    assert "The same holds for team/twin-1, team/twin-2." in text
    assert "Not explained here: team/waits" in text


def test_a_cluster_with_nothing_to_do_is_a_page_too() -> None:
    found = snapshot(node("a", allocatable={"cpu": "8", "pods": "9"}))
    nothing = Decision(Request(found), (), (), (), (), (), 0, True, (), budgets_known=True)
    text = Reader(html(nothing)).text
    assert "No pod waits for a node" in text
    assert "No node offers an accelerator" in text
    ElementTree.fromstring(picture(nothing))


@pytest.mark.parametrize("drawn", [html, picture])
def test_what_strangers_write_stays_text(drawn: Any) -> None:
    hostile = {PRODUCT: HOSTILE, "pool": HOSTILE}
    decision = decided(
        node("evil", labels=hostile, taints=[{"key": HOSTILE, "effect": "NoSchedule"}]),
        pod(
            "marked",
            labels=hostile,
            nodeSelector=hostile,
            requests={"cpu": "1", GPU: "1"},
            status={
                "conditions": [
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "reason": "Unschedulable",
                        "message": HOSTILE,
                    }
                ]
            },
        ),
    )
    decision = replace(decision, not_considered=(HOSTILE,))
    text = drawn(decision)
    assert "&lt;script&gt;alert(1)" in text
    assert "<script" not in text
    assert "\x07" not in text
    if drawn is html:
        assert "<script>alert(1)</script>" in Reader(text).text.replace("\n", "")


def test_names_are_escaped_in_titles_and_labels() -> None:
    decision = decided()
    evil = decision.moves[0].pod.__class__(
        **{f: getattr(decision.moves[0].pod, f) for f in decision.moves[0].pod.__struct_fields__}
        | {"name": HOSTILE}
    )
    step = replace(decision.steps[0], evict=(evil,), bind=((evil, HOSTILE),))
    decision = replace(decision, moves=(Move(evil, "gpu-a", "gpu-b"),), steps=(step,))
    for text in (page(decision, to_plan(decided()), (), title=HOSTILE), picture(decision)):
        assert "<script" not in text
        assert "onload" not in text
    Reader(page(decision, to_plan(decided()), (), title=HOSTILE, source=HOSTILE))


def test_the_page_loads_nothing_and_runs_nothing() -> None:
    read = Reader(html(decided()))
    assert not {"script", "link", "img", "iframe", "object"} & set(read.tags)
    names = {name for name, _ in read.attributes}
    assert not {"src", "href"} & names
    assert not [n for n in names if n.startswith("on")]
    assert re.findall(r"url\((?!#)|@import|https?:", html(decided())) == []


def test_the_picture_is_xml_with_both_colour_schemes() -> None:
    text = picture(decided())
    root = ElementTree.fromstring(text)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "prefers-color-scheme:dark" in text
    assert set(re.findall(r"url\(#([\w-]+)\)", text)) <= set(re.findall(r'id="([\w-]+)"', text))


def test_a_node_shows_its_pods_before_and_after_in_the_same_order() -> None:
    drawn = scene(decided())
    assert [p.node.name for p in drawn.changed] == ["gpu-a", "gpu-b"]
    first, second = drawn.changed
    told = [(b.pod.name, b.mark, b.tag) for b in (*first.before, *first.after)]
    assert told == [
        ("stays", Mark.STAYS, ""),
        ("moved", Mark.LEAVES, "A"),
        ("stays", Mark.STAYS, ""),
        ("placed", Mark.PLACED, "1"),
    ]
    assert (first.free(first.before), first.free(first.after)) == (1, 0)
    assert (second.free(second.before), second.free(second.after)) == (3, 2)


def test_more_tiers_than_colours_share_neighbouring_ones_in_order() -> None:
    many = [pod(f"p{i}", priority=i) for i in range(20)]
    drawn = scene(decided(*many))
    by_priority = [drawn.colours[p] for p in sorted(drawn.colours, reverse=True)]
    assert by_priority == sorted(by_priority)
    assert set(by_priority) == set(range(6))
    assert [c for c, _ in drawn.legend] == sorted(set(by_priority))


def test_moves_are_lettered_like_columns() -> None:
    assert [letters(n) for n in (0, 25, 26, 27, 701, 702)] == ["A", "Z", "AA", "AB", "ZZ", "AAA"]


def test_large_clusters_are_cut_with_a_count_and_stay_small() -> None:
    extra = [node(f"n{i:04}") for i in range(MOST_UNCHANGED + 30)]
    decision = decided(*extra)
    unchanged = len(scene(decision).unchanged)
    for text in (html(decision), picture(decision)):
        assert f"and {unchanged - MOST_UNCHANGED} more unchanged nodes" in text
        assert len(text) < 1_000_000


def test_many_changed_nodes_are_cut_with_a_count() -> None:
    count = MOST_CHANGED + 5
    nodes = [node(f"n{i:04}") for i in range(count)]
    waiting = [pod(f"w{i:04}", requests={GPU: "1"}) for i in range(count)]
    decision = decided(*nodes, *waiting)
    found = decision.request.snapshot
    placements = tuple(Placement(find(found, f"w{i:04}"), f"n{i:04}") for i in range(count))
    steps = (Step((), tuple((p.pod, p.node) for p in placements)),)
    decision = replace(decision, placements=placements, moves=(), evictions=(), steps=steps)
    for text in (html(decision), picture(decision)):
        assert "and 5 more changed nodes" in text


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_text_and_shapes_stand_out(colours: dict[str, str]) -> None:
    for ground in ("bg", "card"):
        for text in ("fg", "muted", "accent", "good", "warn"):
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
        for shape in ("edge", "t0", "t1", "t2", "t3", "t4", "t5"):
            assert contrast(colours[shape], colours[ground]) >= 3, (shape, ground)


def contrast(one: str, other: str) -> float:
    """WCAG 2's contrast ratio of two colours."""
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
