"""The Python client: what it says of its calls, seen in the router's rows."""

import asyncio
import concurrent.futures
import subprocess
import threading

import httpx2
import lps_client
import openai
import pytest
from stack import BIN, free_port, wait_for

LONG = {"max_tokens": 1500, "stream": True, "extra_body": {"ignore_eos": True}}


@pytest.fixture()
def client(demo):
    return lps_client.OpenAI(base_url=f"{demo.url}/v1", max_retries=0, timeout=120)


@pytest.fixture()
def asynchronous(demo):
    return lps_client.AsyncOpenAI(base_url=f"{demo.url}/v1", max_retries=0, timeout=120)


def question(content="What is a block?", **more):
    messages = [{"role": "user", "content": content}]
    return {"model": "demo", "messages": messages, "temperature": 0, "max_tokens": 8, **more}


def ask(client, call=None, **more):
    """Makes a call of a given name, so that a test can speak of it."""
    headers = {"x-call-id": call} if call else {}
    return client.chat.completions.create(**question(extra_headers=headers, **more))


def parents(stats):
    """The parents of each call, in a fixed order."""
    return {call.id: sorted(call.parents) for call in stats.calls}


def test_a_program_is_one_row_with_its_forks_and_joins(demo, client):
    with client.program("report") as program:
        ask(client, "plan")
        with lps_client.ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda part: ask(client, part), ["a", "b", "c"]))
        ask(client, "join")
        ask(client, "end")
    stats = program.stats()
    assert parents(stats) == {
        "plan": [], "a": ["plan"], "b": ["plan"], "c": ["plan"], "join": ["a", "b", "c"], "end": ["join"]
    }
    threads = {call.id: call.thread for call in stats.calls}
    assert {threads[name] for name in ("plan", "join", "end")} == {"main"}
    assert len({threads[name] for name in ("a", "b", "c")}) == 3
    assert stats.state == "ended"
    assert demo.program(program.id)["class"] == "report"
    shown = subprocess.run([BIN / "lps", "programs", program.id, "--url", demo.url], capture_output=True, text=True,
                           timeout=30, check=True).stdout
    assert program.id in shown and ",".join(stats.calls[4].parents) in shown


def test_statistics_are_the_routers(demo, client):
    with client.program("plain", id="team/run:7", ttl_s=60) as program:
        answers = [ask(client) for _ in range(2)]
        stats = program.stats()
    assert stats.state == "in_tool"
    assert stats.service_total_us == sum(answer.lps["executor_us"] for answer in answers)
    assert stats.critical_path_us == stats.service_total_us, "a chain is its own longest path"
    assert stats.output_tokens == sum(answer.usage.completion_tokens for answer in answers)
    assert stats.to_dict().keys() == demo.program("team%2Frun%3A7").keys()


def test_tasks_fork_and_join_and_so_do_theirs(asynchronous):
    async def step(name):
        await ask(asynchronous, name)
        await asyncio.gather(*(ask(asynchronous, f"{name}-{part}") for part in "xy"))

    async def run():
        async with asynchronous.program("async") as program:
            await ask(asynchronous, "first")
            await asyncio.gather(step("left"), step("right"))
            await ask(asynchronous, "last")
        return await program.stats()

    assert parents(asyncio.run(run())) == {
        "first": [], "left": ["first"], "right": ["first"],
        "left-x": ["left"], "left-y": ["left"], "right-x": ["right"], "right-y": ["right"],
        "last": ["left-x", "left-y", "right-x", "right-y"],
    }


def test_parallel_calls_after_parallel_calls_depend_on_them_once_joined(asynchronous):
    async def run():
        async with asynchronous.program() as program:
            await asyncio.gather(ask(asynchronous, "map-1"), ask(asynchronous, "map-2"))
            lps_client.join()
            await asyncio.gather(ask(asynchronous, "reduce-1"), ask(asynchronous, "reduce-2"))
        return await program.stats()

    assert parents(asyncio.run(run())) == {
        "map-1": [], "map-2": [], "reduce-1": ["map-1", "map-2"], "reduce-2": ["map-1", "map-2"]
    }


def test_a_task_that_is_not_waited_for_is_no_parent(asynchronous):
    async def run():
        async with asynchronous.program() as program:
            await ask(asynchronous, "first")
            slow = asyncio.create_task(ask(asynchronous, "slow", max_tokens=400, extra_body={"ignore_eos": True}))
            await ask(asynchronous, "second")
            await slow
            await ask(asynchronous, "both")
        return await program.stats()

    assert parents(asyncio.run(run())) == {
        "first": [], "slow": ["first"], "second": ["first"], "both": ["second", "slow"]
    }


def test_branches_say_what_the_order_of_calls_does_not(client):
    with client.program() as program:
        ask(client, "plan")
        with lps_client.branch("left") as left:
            ask(client, "left-1")
            ask(client, "left-2")
        with lps_client.branch("right"):
            ask(client, "right-1")
        with lps_client.branch(after=[left, "plan"]):
            ask(client, "of-left")
        with lps_client.branch(after=[]):
            ask(client, "alone")
        ask(client, "join")
    stats = program.stats()
    assert parents(stats) == {
        "plan": [], "left-1": ["plan"], "left-2": ["left-1"], "right-1": ["plan"], "of-left": ["left-2", "plan"],
        "alone": [], "join": ["alone", "left-2", "of-left", "right-1"],
    }
    assert [call.thread for call in stats.calls[1:4]] == ["left", "left", "right"]


def test_a_program_inside_another_is_a_part_of_it(demo, client):
    with client.program("outer") as outer:
        ask(client, "before")
        with client.program("inner") as inner:
            ask(client, "inside")
        ask(client, "after")
        with client.program("aside", blocking=False) as aside:
            ask(client, "apart")
    assert parents(outer.stats()) == {"before": [], "inside": ["before"], "after": ["inside"]}
    assert parents(aside.stats()) == {"apart": []}
    with pytest.raises(openai.NotFoundError):
        inner.stats()


def test_outside_of_programs_each_thread_is_one(demo, client):
    def two_calls():
        return [ask(client).id.removeprefix("chatcmpl-").split("~")[0] for _ in range(2)]

    calls = [threading_result(two_calls) for _ in range(2)]
    rows = [[demo.get(f"/v1/calls/{call}") for call in pair] for pair in calls]
    for first, second in rows:
        assert first["program"] == second["program"]
        assert (first["parents"], second["parents"]) == ([], [first["id"]])
    assert rows[0][0]["program"] != rows[1][0]["program"]


def threading_result(function):
    """What a function returns in a thread that knows nothing of this one."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result(120)


def test_a_failed_call_is_no_parent(client):
    with client.program() as program:
        ask(client, "first")
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(**question() | {"model": "nope"})
        ask(client, "second")
    assert parents(program.stats()) == {"first": [], "second": ["first"]}


def test_what_is_said_by_hand_stands(demo, client):
    headers = {"X-Program-Id": "by-hand", "x-call-id": "mine"}
    with client.program() as program:
        client.chat.completions.create(**question(extra_headers=headers))
    assert program.stats().calls == []
    assert demo.program("by-hand")["calls"][0]["parents"] is None


def test_streams_belong_and_leaving_one_cancels_it(demo, client):
    with client.program() as program:
        text = "".join(chunk.choices[0].delta.content or "" for chunk in ask(client, "whole", stream=True))
        assert text == ask(client, "plain").choices[0].message.content
        stream = ask(client, "left", content="Count from 1 to 900.", **LONG)
        next(iter(stream))
        stream.close()
        wait_for("the call to be cancelled", lambda: program.stats().calls[2].state == "cancelled")
    assert parents(program.stats()) == {"whole": [], "plain": ["whole"], "left": ["plain"]}


def test_a_block_that_raises_cancels_what_is_open(client):
    class Enough(Exception):
        pass

    def leave(stream):
        with pytest.raises(openai.APIError):
            list(stream)

    with pytest.raises(Enough), client.program() as program:
        streams = [ask(client, content="Count from 1 to 900.", **LONG) for _ in range(2)]
        readers = [threading.Thread(target=leave, args=[stream]) for stream in streams]
        for reader in readers:
            reader.start()
        raise Enough
    for reader in readers:
        reader.join(60)
    wait_for("the calls to be cancelled", lambda: [c.state for c in program.stats().calls] == ["cancelled"] * 2)
    assert program.stats().state == "ended"


def test_a_program_can_be_cancelled(client):
    with client.program() as program:
        stream = ask(client, content="Count from 1 to 900.", **LONG)
        next(iter(stream))
        program.cancel()
        with pytest.raises(openai.APIError):
            list(stream)
    wait_for("the call to be cancelled", lambda: program.stats().calls[0].state == "cancelled")


def test_another_try_is_the_same_call(demo):
    class LosesTheFirstAnswer(httpx2.HTTPTransport):
        def __init__(self):
            super().__init__()
            self.tried = []

        def handle_request(self, request):
            answer = super().handle_request(request)
            if not request.url.path.endswith("/completions"):
                return answer
            self.tried.append(request.headers)
            if len(self.tried) == 1:
                answer.read()
                raise httpx2.ReadError("lost", request=request)
            return answer

    transport = LosesTheFirstAnswer()
    client = lps_client.OpenAI(base_url=f"{demo.url}/v1", http_client=httpx2.Client(transport=transport))
    with client.program() as program:
        ask(client)
        ask(client, "next")
    first, second = transport.tried[:2]
    names = ["x-program-id", "x-thread-id", "x-call-id", "x-parent-call-ids", "idempotency-key"]
    assert [first[name] for name in names] == [second[name] for name in names]
    assert (first["x-stainless-retry-count"], second["x-stainless-retry-count"]) == ("0", "1")
    assert parents(program.stats())["next"] == [first["x-call-id"]]


def test_no_router_is_said_with_the_way_out(monkeypatch):
    monkeypatch.setenv("LPS_URL", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(openai.APIConnectionError, match=r"lps up FILE.*LPS_URL"):
        ask(lps_client.OpenAI(max_retries=0))
    with pytest.raises(openai.APIConnectionError, match=r"lps up FILE.*LPS_URL"), lps_client.program():
        pass


def test_a_server_without_programs_is_said_to_have_none(no_router):
    client = lps_client.OpenAI(base_url=f"{no_router}/v1", max_retries=0)
    with pytest.raises(openai.NotFoundError, match=r"is this a router of lps\?"), client.program():
        pass


def test_a_router_that_is_gone_at_the_end_spoils_nothing(demo, client, caplog):
    with client.program() as program:
        client.base_url = f"http://127.0.0.1:{free_port()}/v1"
    assert f"program {program.id}" in caplog.text


def test_the_router_is_where_the_environment_says(demo, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    for url in (demo.url, f"{demo.url}/", f"{demo.url}/v1"):
        monkeypatch.setenv("LPS_URL", url)
        assert [model.id for model in lps_client.OpenAI().models.list()] == ["demo"]
    monkeypatch.delenv("LPS_URL")
    assert str(lps_client.OpenAI().base_url) == "http://127.0.0.1:8080/v1/"
    assert lps_client.OpenAI(base_url=demo.url, api_key="k").with_options(timeout=3).api_key == "k"


def test_joins_name_what_answered_last_and_no_more_than_a_router_takes(demo, client):
    async def one(number):
        with lps_client.branch():
            lps_client.lineage.begin()
            lps_client.lineage.answered(f"c{number}")

    async def many():
        await asyncio.gather(*(one(number) for number in range(1000)))

    with client.program() as program:
        asyncio.run(many())
        ask(client, "join")
    assert parents(program.stats())["join"] == sorted(f"c{number}" for number in range(744, 1000))
