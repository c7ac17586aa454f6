"""Label and node selectors by operator, as apimachinery's labels package decides them.

Not covered here: which selectors a pod or a budget brings (test_project, test_movable).
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairstow.cluster.model import NodeTerm, Requirement, Selector
from fairstow.cluster.selectors import integer, node_terms_match, requirement_holds, selects

LABELS = {"app": "web", "size": "8", "empty": ""}


@pytest.mark.parametrize(
    ("key", "operator", "values", "holds"),
    [
        ("app", "In", ("web", "db"), True),
        ("app", "In", ("db",), False),
        ("tier", "In", ("web",), False),
        ("empty", "In", ("",), True),
        ("tier", "In", ("",), False),
        ("app", "NotIn", ("db",), True),
        ("app", "NotIn", ("web",), False),
        ("tier", "NotIn", ("web",), True),  # an absent key is in no set
        ("app", "Exists", (), True),
        ("empty", "Exists", (), True),
        ("tier", "Exists", (), False),
        ("app", "DoesNotExist", (), False),
        ("tier", "DoesNotExist", (), True),
        ("size", "Gt", ("7",), True),
        ("size", "Gt", ("8",), False),
        ("size", "Lt", ("9",), True),
        ("size", "Lt", ("8",), False),
        ("size", "Gt", ("-1",), True),
        ("size", "Gt", ("many",), False),
        ("app", "Gt", ("1",), False),
        ("tier", "Gt", ("-5",), False),
        ("tier", "Lt", ("5",), False),
        ("size", "Gt", (), False),
        ("size", "Gt", ("1", "2"), False),
    ],
)
def test_operators(key: str, operator: str, values: tuple[str, ...], holds: bool) -> None:
    assert requirement_holds(Requirement(key, operator, values), LABELS) is holds


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7),
        ("+7", 7),
        ("-7", -7),
        ("007", 7),
        ("9223372036854775807", 2**63 - 1),
        ("9223372036854775808", None),
        ("", None),
        (" 7", None),
        ("7 ", None),
        ("1_000", None),
        ("7.0", None),
        ("0x7", None),
        ("٧", None),
        ("9" * 5000, None),
    ],
)
def test_integers_are_what_go_reads(text: str, value: int | None) -> None:
    assert integer(text) == value


def test_no_selector_selects_nothing_and_an_empty_one_everything() -> None:
    assert not selects(None, LABELS)
    assert selects(Selector(), LABELS)
    assert selects(Selector(), {})


def test_all_requirements_must_hold() -> None:
    web, large = Requirement("app", "In", ("web",)), Requirement("size", "In", ("9",))
    assert selects(Selector((web,)), LABELS)
    assert not selects(Selector((web, large)), LABELS)


def test_one_node_term_is_enough_but_all_of_it_must_match() -> None:
    web = Requirement("app", "In", ("web",))
    db = Requirement("app", "In", ("db",))
    here = Requirement("metadata.name", "In", ("node-0",))
    elsewhere = Requirement("metadata.name", "NotIn", ("node-0",))
    assert node_terms_match((NodeTerm((db,)), NodeTerm((web,))), "node-0", LABELS)
    assert node_terms_match((NodeTerm((web,), (here,)),), "node-0", LABELS)
    assert not node_terms_match((NodeTerm((web, db)),), "node-0", LABELS)
    assert not node_terms_match((NodeTerm((web,), (elsewhere,)),), "node-0", LABELS)


def test_empty_terms_match_no_node() -> None:
    assert not node_terms_match((), "node-0", LABELS)
    assert not node_terms_match((NodeTerm(),), "node-0", LABELS)


@given(st.dictionaries(st.text(max_size=3), st.text(max_size=3)), st.text(max_size=3))
def test_in_and_not_in_are_opposites_and_so_are_the_existence_operators(
    labels: dict[str, str], key: str
) -> None:
    for value in ("", "a", labels.get(key, "b")):
        inside = requirement_holds(Requirement(key, "In", (value,)), labels)
        assert requirement_holds(Requirement(key, "NotIn", (value,)), labels) is not inside
    exists = requirement_holds(Requirement(key, "Exists"), labels)
    assert requirement_holds(Requirement(key, "DoesNotExist"), labels) is not exists
