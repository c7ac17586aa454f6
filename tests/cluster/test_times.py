"""Times as Kubernetes writes them: what is one, what it says, and that both readers agree.

The checker reads times with code of its own; a text that only one of the two took for a time
would make a legal plan look wrong. Not covered: what times are used for.
"""

from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fairstow.cluster.times import seconds, written
from fairstow.packing.checker.moments import moment
from tests.cluster.objects import node, pod, snapshot


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_time_written_and_read_is_itself(at: datetime) -> None:
    at = at.replace(microsecond=0)
    text = written(int(at.timestamp()))
    assert text == at.isoformat().replace("+00:00", "Z")
    assert seconds(text) == moment(text) == int(at.timestamp())


@given(
    st.from_regex(
        r"\A[0-9]{3}[0-9]-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9](\.[0-9]{1,12})?"
        r"(Z|[+-][0-2][0-9]:[0-9][0-9])\Z"
    )
    | st.text()
)
@example("0001-01-01T00:00:00+00:01")
@example("9999-12-31T23:59:59-00:01")
@example("2026-03-01T12:00:00z")
@example("2026-03-01 12:00:00Z")
@example("2026-03-01T12:00:00Z\n")
@example("\u0662026-03-01T12:00:00Z")
def test_both_readers_agree_on_what_is_a_time(text: str) -> None:
    assert seconds(text) == moment(text)
    if (found := seconds(text)) is not None:
        assert seconds(written(found)) == found


@pytest.mark.parametrize(
    ("text", "as_utc"),
    [
        ("2026-03-01T12:00:00.999999999Z", "2026-03-01T12:00:00Z"),
        ("2026-03-01T12:00:00+05:30", "2026-03-01T06:30:00Z"),
        ("2026-03-01T12:00:00-08:00", "2026-03-01T20:00:00Z"),
        ("2026-02-29T12:00:00Z", None),
        ("2026-03-01", None),
    ],
)
def test_fractions_are_cut_off_and_offsets_taken_off(text: str, as_utc: str | None) -> None:
    assert seconds(text) == (seconds(as_utc) if as_utc else None)


def test_the_newest_time_of_a_cluster_is_its_moment() -> None:
    beating = node()
    beating["status"]["conditions"][0]["lastHeartbeatTime"] = "2026-03-01T12:00:00Z"
    running = pod(nodeName="node-0", status={"startTime": "2026-03-01T11:00:00Z"})
    assert snapshot(beating, running).taken_at == seconds("2026-03-01T12:00:00Z")
    assert snapshot(node(), running).taken_at == seconds("2026-03-01T11:00:00Z")
    assert snapshot(node(), pod()).taken_at is None


def test_a_pod_runs_since_it_started_or_else_since_it_was_made() -> None:
    made = {"creationTimestamp": "2026-03-01T10:00:00Z"}
    running = pod(nodeName="node-0", metadata=made)
    assert snapshot(node(), running).pods[0].started == seconds(made["creationTimestamp"])
    running["status"]["startTime"] = "2026-03-01T11:00:00Z"
    assert snapshot(node(), running).pods[0].started == seconds("2026-03-01T11:00:00Z")
    assert snapshot(node(), pod(metadata=made)).pods[0].started is None
