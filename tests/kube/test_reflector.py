"""List-watch through everything that can go wrong: nothing is lost, nothing asked for in a hurry.

What a healthy API server does, and one that is killed, is in e2e/test_watch.py.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from pathlib import Path

import pytest

from fairstow.cluster.kinds import Kind
from fairstow.kube.aio import connection
from fairstow.kube.aio import reflector as reflector_module
from fairstow.kube.aio.api import Api
from fairstow.kube.aio.reflector import Reflector, Store, behind
from tests.kube.scripted import (
    Listed,
    Nonsense,
    Refused,
    Reply,
    Script,
    Watched,
    bookmark,
    error,
    event,
    following,
)
from tests.kube.server import kubeconfig

THING = Kind("Thing", "example.com/v1", "things")
NEEDED = replace(THING, needed=True)
EXTENSION = replace(THING, extension=True)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(reflector_module, "_FIRST_WAIT", 0.01)
    monkeypatch.setattr(reflector_module, "_SHORT_WATCH", 0.0)
    monkeypatch.setattr(reflector_module, "SLOW_SECONDS", 0.01)


class Seen(Store):
    """A store that notes whether its kind was taken for unknown."""

    def __init__(self) -> None:
        super().__init__()
        self.was_unknown = 0

    def unknown(self, kind: Kind) -> None:
        super().unknown(kind)
        self.was_unknown += 1

    @property
    def names(self) -> set[str]:
        return {name for objects in self.objects.values() for name in objects}


def follow(folder: Path, *replies: Reply, kind: Kind = THING) -> tuple[Seen, Reflector, Script]:
    """Run a reflector through a script to its end."""

    async def scenario() -> tuple[Seen, Reflector, Script]:
        script, sink = Script(*replies), Seen()
        async with following(script, folder) as api:
            reflector = Reflector(api, kind, sink)
            task = asyncio.create_task(reflector.run())
            async with asyncio.timeout(20):
                await script.over.wait()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            return sink, reflector, script

    return asyncio.run(scenario())


def test_pages_make_one_list_and_the_watch_goes_on_from_it(tmp_path: Path) -> None:
    sink, reflector, script = follow(
        tmp_path,
        Listed(["a", "b"], "7", following="more"),
        Listed(["c"], "7"),
        Watched([event("ADDED", "d", "8"), event("DELETED", "a", "9"), bookmark("12")]),
        Watched([event("MODIFIED", "b", "13")]),
    )
    assert sink.names == {"team/b", "team/c", "team/d"}
    assert script.asked[1]["continue"] == "more"
    assert script.versions() == ["7", "12", "13"]
    assert reflector.synced.is_set()
    assert (reflector.lists, reflector.problem) == (1, "")


@pytest.mark.parametrize("gone", [Refused(410), Watched([error(410)])])
def test_a_version_that_is_too_old_leads_to_a_new_list_which_forgets_what_went(
    tmp_path: Path, gone: Reply
) -> None:
    sink, reflector, script = follow(
        tmp_path, Listed(["a", "b"], "7"), gone, Listed(["b", "c"], "20")
    )
    assert sink.names == {"team/b", "team/c"}
    assert script.versions() == ["7", "20"]
    assert reflector.lists == 2


def test_a_list_that_expires_between_pages_is_begun_again_and_loses_nothing(
    tmp_path: Path,
) -> None:
    sink, reflector, _ = follow(
        tmp_path,
        Listed(["a", "b"], "7"),
        Refused(410),
        Listed(["b"], "20", following="more"),
        Refused(410),
        Listed(["b"], "30", following="more"),
        Listed(["c"], "30"),
    )
    assert sink.names == {"team/b", "team/c"}
    assert reflector.lists == 2


@pytest.mark.parametrize("then", ["end", "break"])
def test_a_watch_that_ends_is_taken_up_where_it_was(tmp_path: Path, then: str) -> None:
    sink, reflector, script = follow(
        tmp_path,
        Listed([], "7"),
        Watched([event("ADDED", "a", "8"), b'{"type": "ADDED", "obj'], then=then),
        Watched([event("ADDED", "b", "9")]),
    )
    assert sink.names == {"team/a", "team/b"}
    assert script.versions() == ["7", "8", "9"]
    assert reflector.lists == 1


def test_a_silent_watch_is_given_up_and_taken_up_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "SILENCE_SECONDS", 0.3)
    _, _, script = follow(tmp_path, Listed([], "7"), Watched([bookmark("8")], then="silence"))
    assert script.versions()[:2] == ["7", "8"]


@pytest.mark.parametrize(("kind", "synced"), [(THING, True), (NEEDED, False), (EXTENSION, True)])
def test_a_kind_that_may_not_be_listed_is_unknown_and_asked_for_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: Kind, *, synced: bool
) -> None:
    """The last reply stays silent: what is noted before it is that of the refusals."""
    no = Refused(403, "things is forbidden: User u cannot list")
    with caplog.at_level(logging.WARNING):
        sink, reflector, _ = follow(tmp_path, no, no, no, kind=kind)
    assert sink.was_unknown == 3
    assert reflector.synced.is_set() == synced
    assert "check: kubectl auth can-i list things.example.com -A" in reflector.problem
    assert len(caplog.records) == 1
    sink, reflector, _ = follow(tmp_path, no, Listed(["a"], "1"), kind=kind)
    assert reflector.synced.is_set()
    assert (sink.names, reflector.problem) == ({"team/a"}, "")


def test_a_kind_whose_rights_are_taken_away_is_unknown_once_that_lasts(tmp_path: Path) -> None:
    no = [Refused(403)] * 7
    sink, _, _ = follow(tmp_path, Listed(["a"], "1"), *no)
    assert (sink.names, sink.was_unknown) == (set(), 2)
    _, reflector, _ = follow(tmp_path, Listed(["a"], "1"), *no, kind=NEEDED)
    assert not reflector.synced.is_set()
    assert behind([reflector], 60.0) == "things.example.com haven't been listed yet"


@pytest.mark.parametrize("status", [403, 404])
def test_an_api_server_that_has_just_started_makes_nobody_forget(
    tmp_path: Path, status: int
) -> None:
    """For seconds it knows neither roles nor custom resources."""
    no = [Refused(status)] * 5
    sink, reflector, _ = follow(tmp_path, Listed(["a"], "1"), *no, kind=EXTENSION)
    assert (sink.names, sink.was_unknown, reflector.lists) == ({"team/a"}, 0, 1)
    sink, _, _ = follow(tmp_path, Listed(["a"], "1"), *no, Refused(404), kind=EXTENSION)
    assert sink.names == set()


def test_an_extension_that_is_not_there_is_empty_until_it_is(tmp_path: Path) -> None:
    sink, reflector, _ = follow(tmp_path, Refused(404), Refused(404), kind=EXTENSION)
    assert (sink.was_unknown, sink.objects[EXTENSION]) == (0, {})
    assert reflector.synced.is_set()
    assert reflector.problem == ""
    sink, _, _ = follow(tmp_path, Refused(404), Listed(["a"], "1"), kind=EXTENSION)
    assert sink.names == {"team/a"}


def test_a_busy_server_is_asked_again_when_it_says(tmp_path: Path) -> None:
    busy = Refused(429, headers={"Retry-After": "0"})
    sink, reflector, _ = follow(tmp_path, busy, busy, Listed(["a"], "7"), busy)
    assert sink.names == {"team/a"}
    assert reflector.lists == 1


@pytest.mark.parametrize(
    "bad",
    [
        Nonsense(b"<html>"),
        Nonsense(b'{"items": 3}'),
        Refused(500, "etcdserver: request timed out"),
        Refused(401, "who?"),
    ],
)
def test_trouble_with_a_list_is_said_once_and_forgotten(
    tmp_path: Path, bad: Reply, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        sink, reflector, _ = follow(tmp_path, bad, bad, bad, bad, Listed(["a"], "1"))
    assert sink.names == {"team/a"}
    assert reflector.problem == ""
    assert len(caplog.records) == 1


@pytest.mark.parametrize("bad", [b"<html>\n", b'{"type": 3}\n', b'{"type":"ADDED","object":3}\n'])
def test_nonsense_in_a_watch_is_trouble_and_no_crash(tmp_path: Path, bad: bytes) -> None:
    sink, _, script = follow(
        tmp_path, Listed(["a"], "7"), Watched([bad]), Watched([event("ADDED", "b", "9")])
    )
    assert sink.names == {"team/a", "team/b"}
    assert script.versions() == ["7", "7", "9"]


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (Refused(401), "401 Unauthorized"),
        (Watched([b"<html>\n"]), "no Kubernetes object"),
        (Watched([b"{"], then="break"), "no answer from"),
    ],
)
def test_trouble_with_a_watch_is_told_as_what_it_is(
    tmp_path: Path, bad: Reply, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        follow(tmp_path, Listed(["a"], "7"), bad, bad, bad)
    assert [said in record.message for record in caplog.records] == [True]


@pytest.mark.parametrize("bad", [Refused(500, "no watches today"), Refused(410)])
def test_who_can_only_list_does_so_less_and_less_often(
    tmp_path: Path, bad: Reply, caplog: pytest.LogCaptureFixture
) -> None:
    listed = Listed(["a"], "7")
    with caplog.at_level(logging.WARNING):
        sink, reflector, _ = follow(tmp_path, listed, bad, listed, bad, listed, bad, listed)
    assert (reflector._failures, reflector.lists) == (3, 4)
    assert sink.names == {"team/a"}
    assert len(caplog.records) <= 1


def test_watches_that_end_at_once_are_not_opened_in_a_hurry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reflector_module, "_SHORT_WATCH", 60.0)
    said: list[str] = []
    monkeypatch.setattr(Reflector, "_say", lambda _, problem: said.append(problem))
    follow(tmp_path, Listed([], "7"), Watched([]), Watched([]), Watched([]))
    assert len(said) == 2
    assert said[0].startswith("watching things.example.com:")
    assert said[0].endswith("ends watches of them at once")


@pytest.mark.parametrize(("gone", "longest"), [(True, 4.0), (False, 30.0)])
def test_who_returns_is_found_soon_and_who_is_in_trouble_is_spared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: bool, longest: float
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(reflector_module, "_FIRST_WAIT", 0.5)

    def noted(wait: float) -> float:
        waits.append(wait)
        return 0.001

    monkeypatch.setattr(reflector_module, "jittered", noted)

    async def scenario() -> None:
        path = tmp_path / "gone"
        path.write_text(kubeconfig("http://127.0.0.1:1"))
        async with (
            following(Script(*[Refused(400)] * 12), tmp_path) as troubled,
            Api.connect(str(path)) as away,
            asyncio.timeout(20),
        ):
            task = asyncio.create_task(Reflector(away if gone else troubled, THING, Store()).run())
            while len(waits) < 12:
                await asyncio.sleep(0.001)
            task.cancel()

    asyncio.run(scenario())
    assert waits[0] == 0.5
    assert max(waits) == longest


def test_age_is_the_time_since_the_server_was_heard(tmp_path: Path) -> None:
    async def scenario() -> None:
        now = 100.0
        script = Script(Listed(["a"], "7"))
        async with following(script, tmp_path) as api:
            reflector = Reflector(api, THING, Store(), clock=lambda: now)
            now = 130.0
            assert reflector.age() == 30.0
            task = asyncio.create_task(reflector.run())
            await reflector.synced.wait()
            assert reflector.age() == 0.0
            now = 175.0
            assert reflector.age() == 45.0
            task.cancel()

    asyncio.run(scenario())


def test_selectors_are_asked_for_and_namespaces_too(tmp_path: Path) -> None:
    async def scenario() -> Script:
        script = Script(Listed(["a"], "7"))
        async with following(script, tmp_path) as api:
            query = {"labelSelector": "app in (web,db)"}
            reflector = Reflector(api, THING, Store(), query=query, namespace="team")
            task = asyncio.create_task(reflector.run())
            await script.over.wait()
            task.cancel()
        return script

    script = asyncio.run(scenario())
    assert {a["labelSelector"] for a in script.asked} == {"app in (web,db)"}
    assert THING.path_in("team") == "/apis/example.com/v1/namespaces/team/things"
