"""Running requests that move between engines, over real sockets and OpenAI's own client.

Covered: a drain with its memory copied, proposed moves, the last token, stop strings and
characters across a move, engines killed with -9, both killed and come again, clients that leave in
the middle, no room anywhere. The engines' text is a function of all ids before it, so that a token
lost, doubled or altered changes all that follows. Not covered: stock engines (e2e/engines).
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from fairstow.serving.wire import Outcome, Phase, State
from tests.gateway.gateways import (
    MODEL,
    Site,
    chat,
    expected,
    free_ports,
    heard_until,
    process,
    run,
    streamed,
)


def test_a_drained_engine_hands_over_all_it_has() -> None:
    async def test(site: Site) -> None:
        await site.serve("ab", speed=6)
        client = site.client()
        asked = [(f"prompt {number} " * 20, 250) for number in range(12)]
        answers = [asyncio.create_task(streamed(client, *each)) for each in asked]
        await site.until(lambda now: sum(r.generated > 5 for r in now.requests) == len(asked))
        await site.drain("a")
        await site.moved_out("a")
        assert await asyncio.gather(*answers) == [expected(*each) for each in asked]
        ledger = await site.ledger()
        assert ledger.requests == []
        (a,) = [each for each in ledger.instances if each.name == "a"]
        assert (a.state, a.recomputed) == (State.DRAINING, 0)
        assert a.moved > 0

    run(test)


def test_a_hundred_streams_through_a_drain_and_a_kill() -> None:
    """None of them ends before it is told to, so that it doesn't matter how fast anything is."""

    async def test(site: Site) -> None:
        ports = free_ports(3)
        programs = dict(zip("abc", ports, strict=True))
        slowly = ("--profile", "h100-7b", "--speed", "0.4")  # room for a thousand tokens each
        running = {
            name: await site.stack.enter_async_context(process(port, *slowly))
            for name, port in programs.items()
        }
        await site.gateway({name: f"http://127.0.0.1:{port}" for name, port in programs.items()})
        await site.ready(*programs)
        enough = asyncio.Event()
        prompts = [f"{number} times" for number in range(100)]
        answers = [asyncio.create_task(heard_until(site, each, enough)) for each in prompts]
        await site.until(lambda now: sum(each.generated > 3 for each in now.requests) == 100)
        await site.drain("a")
        await site.until(lambda now: any(each.moved for each in now.instances))
        running["b"].kill()
        before = {each.id: each.generated for each in (await site.ledger()).requests}
        await site.until(
            lambda now: all(
                each.instance == "c" and each.generated > before[each.id] + 3
                for each in now.requests
            )
        )
        enough.set()
        for prompt, text in zip(prompts, await asyncio.gather(*answers), strict=True):
            assert len(text) > 3
            assert expected(prompt, 4 * len(text)).startswith(text)
        await site.until(lambda now: not now.requests)

    run(test)


def test_both_die_and_come_again() -> None:
    async def test(site: Site) -> None:
        ports = free_ports(2)
        engines = {name: f"http://127.0.0.1:{port}" for name, port in zip("ab", ports, strict=True)}
        async with AsyncExitStack() as first:
            programs = [await first.enter_async_context(process(port)) for port in ports]
            await site.gateway(engines)
            await site.ready(*engines)
            asked = [(f"long {number}", 60) for number in range(4)]
            client = site.client()
            answers = [asyncio.create_task(streamed(client, *each)) for each in asked]
            await site.until(lambda now: sum(r.generated > 10 for r in now.requests) == 4)
            for program in programs:
                program.kill()
            parked = await site.until(
                lambda now: all(r.phase is Phase.PARKED for r in now.requests)
            )
            assert len(parked.requests) == 4
        await site.stack.enter_async_context(process(ports[1], "--speed", "10"))
        assert await asyncio.gather(*answers) == [expected(*each) for each in asked]
        hops = (await site.ledger()).hops
        assert {hop.request for hop in hops if hop.reason == "EngineLost"} == {
            request.id for request in parked.requests
        }
        assert {hop.outcome for hop in hops} == {Outcome.RECOMPUTED}

    run(test)


def test_a_proposed_move_is_done_or_declined() -> None:
    async def test(site: Site) -> None:
        await site.serve("ab", speed=5)
        answer = asyncio.create_task(streamed(site.client(), "hello", 120))
        for _ in range(3):  # there and back and there
            ledger = await site.until(
                lambda now: (
                    now.requests
                    and now.requests[0].phase is Phase.RUNNING
                    and not now.requests[0].moving
                )
            )
            (request,) = ledger.requests
            other = "b" if request.instance == "a" else "a"
            assert (await site.move(request, request.instance)).declined
            assert (await site.move(request, "nobody")).declined
            assert (await site.move(request, other)).taken == [request.id]
            while (await site.ledger()).requests[0].instance != other:
                await asyncio.sleep(0.01)
        assert await answer == expected("hello", 120)
        hops = (await site.ledger()).hops
        assert [(hop.outcome, hop.reason) for hop in hops] == [(Outcome.COPIED, "asked")] * 3
        assert [hop.destination for hop in hops] == [hops[1].source, hops[0].source, hops[1].source]
        assert all(hop.tokens > 0 and hop.pause is not None and hop.pause < 5 for hop in hops)

    run(test)


def test_at_any_token_of_an_answer() -> None:
    """Also before the first and at the last one, and inside characters of several bytes."""

    async def test(site: Site) -> None:
        await site.serve("ab", speed=4)
        client = site.client()
        for at in (0, 1, 20, 38, 39):
            answer = asyncio.create_task(streamed(client, f"at {at}", 40))
            while True:  # the ledger is passed on at once; a pause would miss the last token
                ledger = await site.ledger()
                found = [each for each in ledger.requests if each.generated >= at]
                if found or answer.done():
                    break
            if found:
                await site.drain(found[0].instance or "a")
            assert await answer == expected(f"at {at}", 40)
            await site.drain()

    run(test)


def test_a_stop_string_across_a_move() -> None:
    async def test(site: Site) -> None:
        await site.serve("ab", speed=6)
        whole = expected("stop", 100)
        stop = whole[40:46]
        assert whole.index(stop) == 40
        asked = asyncio.create_task(
            site.client().chat.completions.create(
                model=MODEL, messages=chat("stop"), max_tokens=100, stop=[stop, "never"]
            )
        )
        ledger = await site.until(lambda now: now.requests and now.requests[0].generated > 35)
        await site.drain(ledger.requests[0].instance)
        answer = await asked
        assert answer.choices[0].message.content == whole[:40]
        assert answer.choices[0].finish_reason == "stop"
        await site.until(lambda now: not now.requests)

    run(test)


def test_a_client_that_leaves_while_it_moves_leaves_nothing_behind() -> None:
    async def test(site: Site) -> None:
        await site.serve("ab", speed=6)
        for pause in (0.0, 0.005, 0.02, 0.05):
            answer = asyncio.create_task(streamed(site.client(), "bye" * 100, 500))
            ledger = await site.until(lambda now: now.requests and now.requests[0].generated > 3)
            assert (await site.move(ledger.requests[0], _other(ledger.requests[0].instance))).taken
            await asyncio.sleep(pause)
            answer.cancel()
            await asyncio.wait({answer})
            await site.until(lambda now: not now.requests)
            for server in site.servers.values():
                while server.runner.engine.batch or server.runner.engine.waiting:
                    await asyncio.sleep(0.01)

    run(test)


def test_with_no_room_anywhere_it_stays_until_there_is() -> None:
    """A drain waits for the other engine; then everything goes there."""

    async def test(site: Site) -> None:
        await site.engine("a", speed=5)
        await site.gateway()
        await site.ready()
        answer = asyncio.create_task(streamed(site.client(), "alone", 150))
        await site.until(lambda now: now.requests and now.requests[0].generated > 5)
        await site.drain("a")
        assert await answer == expected("alone", 150)
        late = asyncio.create_task(streamed(site.client(), "late", 20))
        await asyncio.sleep(0.1)
        assert not late.done()  # nothing new goes to an engine that drains
        await site.drain()
        assert await late == expected("late", 20)

    run(test)


def _other(name: str) -> str:
    return "b" if name == "a" else "a"
