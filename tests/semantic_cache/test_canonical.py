"""Keys, fingerprints and namespaces: what may share an answer, and what never does.

Covered: every field of the API has a role; every field that changes the answer splits key and
fingerprint; delivery doesn't; an unknown field is for the exact tier; two callers never share a
namespace; each reason for a lower tier; `Cache-Control`. Not covered: stores and streams.
"""

import json
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fairstow.semantic_cache.canonical import Role, canonical, role
from fairstow.semantic_cache.eligibility import Limits, Tier, control, eligibility
from fairstow.semantic_cache.identity import Key, Reviewed, Workload, namespace
from fairstow.serving.requests import FIELDS, Endpoint

CHAT: dict[str, Any] = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is rain?"},
    ],
}
NAMES = [(endpoint, name) for endpoint, table in FIELDS.items() for name in table]


@pytest.mark.parametrize(("endpoint", "name"), NAMES)
def test_every_field_has_a_role_and_those_that_change_the_answer_split(
    endpoint: Endpoint, name: str
) -> None:
    of = role(endpoint, name)
    assert of is not None, f"say in canonical.py what {name} does to an answer"
    fields = {"model": "m", "messages": CHAT["messages"], "prompt": "p", "input": "i"}
    wanted = (Role.ANSWER, Role.QUESTION)
    base = {key: each for key, each in fields.items() if role(endpoint, key) in wanted}
    base["store"] = False
    one, other = (canonical(endpoint, base | {name: value}) for value in ("x", "y"))
    splits = of in (Role.ANSWER, Role.QUESTION, Role.FORBIDDEN)
    assert (one.key != other.key) is splits
    if of in (Role.ANSWER, Role.FORBIDDEN):
        assert one.fingerprint != other.fingerprint
    assert bool(one.forbidden) is (of is Role.FORBIDDEN or name == "store")


def test_an_unknown_field_is_in_the_key_and_exact_only() -> None:
    one, other = (canonical(Endpoint.CHAT, CHAT | {"new": value}) for value in (1, 2))
    assert one.key != other.key
    assert one.unknown == ("new",)
    assert tier(CHAT | {"new": 1}) is Tier.EXACT


def test_only_the_question_may_differ_within_a_fingerprint() -> None:
    def asked(text: str, **changes: Any) -> str:
        messages = [CHAT["messages"][0], {"role": "user", "content": text}]
        return canonical(Endpoint.CHAT, {"model": "m", "messages": messages} | changes).fingerprint

    assert asked("What is rain?") == asked("What is snow?") != asked("What is rain?", model="n")
    long = {**CHAT, "messages": [*CHAT["messages"], {"role": "assistant", "content": "Water."}]}
    assert canonical(Endpoint.CHAT, long).question is None
    history = [{"role": "user", "content": "rain"}, {"role": "user", "content": "?"}]
    assert asked("?") != canonical(Endpoint.CHAT, CHAT | {"messages": history}).fingerprint


def test_writing_does_not_matter() -> None:
    one = json.loads('{"model": "m", "temperature": 1.0, "messages": [], "stop": null}')
    other = json.loads('{"messages": [], "temperature": 1, "model": "m", "stream": true}')
    assert canonical(Endpoint.CHAT, one) == canonical(Endpoint.CHAT, other)


def test_parts_of_one_text_are_a_question_and_pictures_are_not() -> None:
    text = {"type": "text", "text": "What is rain?"}
    picture = {"type": "image_url", "image_url": {"url": "x"}}
    for parts, question in (([text], "What is rain?"), ([text, picture], None), ([picture], None)):
        body = {"model": "m", "messages": [{"role": "user", "content": parts}]}
        assert canonical(Endpoint.CHAT, body).question == question


TEXT = st.text(max_size=8)
CALLERS = st.one_of(
    st.builds(Workload, TEXT, TEXT, TEXT),
    st.builds(Reviewed, TEXT, TEXT),
    st.builds(Key.of, TEXT, st.binary(min_size=1, max_size=3)),
)
BODIES = st.fixed_dictionaries({}, optional={"user": TEXT, "safety_identifier": TEXT})


@given(CALLERS, BODIES, CALLERS, BODIES)
def test_two_identities_never_share_a_namespace(one: Any, a: Any, other: Any, b: Any) -> None:
    assume((one, a) != (other, b))
    here, there = namespace(one, a), namespace(other, b)
    assert here is None or here != there


def test_who_is_not_known_has_no_namespace() -> None:
    assert namespace(None, {}) is None
    assert namespace(Workload("c", "", "sa"), {}) is None
    assert namespace(Reviewed("i", "s"), {"user": ["x"]}) is None
    assert namespace(Reviewed("i", "s"), {"user": "x" * 513}) is None


def tier(body: dict[str, Any], header: str | None = None, since: float | None = None) -> Tier:
    request = canonical(Endpoint.CHAT, body)
    return eligibility(
        request, body, control(header), Limits(), seconds_since_same=since
    ).tier  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, Tier.SEMANTIC),
        ({"temperature": 0.2}, Tier.SEMANTIC),
        ({"temperature": 0.9}, Tier.EXACT),
        ({"temperature": "warm"}, Tier.EXACT),
        ({"tools": [{"type": "function"}]}, Tier.EXACT),
        ({"messages": CHAT["messages"][:1] * 9 + CHAT["messages"][1:]}, Tier.EXACT),
        ({"messages": [{"role": "user", "content": "x" * 2_001}]}, Tier.EXACT),
        ({"response_format": {"type": "json_object"}}, Tier.EXACT),
        ({"n": 2}, Tier.BYPASS),
        ({"store": True}, Tier.BYPASS),
        ({"cache_salt": "x"}, Tier.BYPASS),
    ],
)
def test_what_is_asked_bounds_the_tier(changes: dict[str, Any], expected: Tier) -> None:
    assert tier(CHAT | changes) is expected


def test_asking_again_at_once_is_a_regeneration_only_where_answers_vary() -> None:
    assert tier(CHAT | {"temperature": 0.2}, since=3) is Tier.BYPASS
    assert tier(CHAT | {"temperature": 0.2}, since=11) is Tier.SEMANTIC
    assert tier(CHAT | {"temperature": 0}, since=3) is Tier.SEMANTIC


def test_cache_control_only_tightens() -> None:
    assert control(None) == control("public, banana") == control("")
    assert not control("No-Store").store
    assert control("no-cache").store
    assert control("max-age=60, max-age=5").max_age == 5
    assert control("max-age=soon").max_age == 0
    assert control("only-if-cached").only_if_cached
    assert tier(CHAT, "no-cache") is Tier.BYPASS
