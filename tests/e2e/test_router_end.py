"""A router ends, by SIGTERM and by SIGKILL, while 200 clients read their streams: what each of them sees, what the engines
notice, and what the next router on the same engines knows."""

import collections
import concurrent.futures
import contextlib
import http.client
import json
import signal
import threading

import pytest
from engine import Engine
from router import Router
from stack import wait_for

STREAMS, LATE = 200, 20
CALCULATOR = {"type": "function", "function": {
    "name": "calculator", "description": "Computes an arithmetic expression",
    "parameters": {"type": "object", "properties": {"expression": {"type": "string"}}, "required": ["expression"]}}}


class Stream:
    """One client; raw, because the contract is about how the connection ends."""

    def __init__(self, router, tokens):
        self.port, self.tokens = router.port, tokens
        self.begun, self.events = threading.Event(), []

    def run(self):
        """How the stream ended."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        body = {"model": "demo", "messages": [{"role": "user", "content": "Count from 1 to 900."}], "stream": True,
                "max_tokens": self.tokens, "ignore_eos": True, "stream_options": {"include_usage": True}}
        with contextlib.closing(connection):
            try:
                connection.request("POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"})
                answer = connection.getresponse()
            except ConnectionRefusedError:
                return "not reached"
            if answer.status != 200:
                return f"refused: {json.loads(answer.read())['error']['code']}"
            try:
                self.read(answer)
            except (ConnectionError, http.client.IncompleteRead):
                return "cut" if self.last() != "[DONE]" else "cut after its end"
        if self.last() == "[DONE]":
            return "complete"
        return "error event" if "error" in json.loads(self.last()) else "ended short"

    def read(self, answer):
        """All events until the body's end."""
        rest = b""
        while piece := answer.read1(1 << 16):
            *lines, rest = (rest + piece).split(b"\n")
            self.events += [line.removeprefix(b"data: ").decode() for line in lines if line.startswith(b"data: ")]
            self.begun.set()

    def last(self):
        return self.events[-1] if self.events else None

    def is_whole(self):
        """Whether every token came, and was counted, before the end was said."""
        usage = json.loads(self.events[-2])["usage"]
        return usage["completion_tokens"] == self.tokens


class Agent:
    """A conversation with a tool, which goes on whichever router serves."""

    def __init__(self):
        self.messages, self.programs = [{"role": "user", "content": "What is 17 * 23?"}], []

    def ask(self, router):
        status, told, body = router.post_whole(
            "/v1/chat/completions", {"model": "demo", "messages": self.messages, "tools": [CALCULATOR], "temperature": 0})
        assert status == 200, body
        message = body["choices"][0]["message"]
        results = [{"role": "tool", "tool_call_id": call["id"], "content": "391"} for call in message.get("tool_calls") or []]
        self.messages += [message, *(results or [{"role": "user", "content": "Say: hello"}])]
        self.programs.append(told["x-program-id"])


@pytest.fixture(scope="module")
def engines(tmp_path_factory):
    folder = tmp_path_factory.mktemp("engines")
    slots = ("--max-num-seqs", "128")
    with Engine(folder / "a", *slots) as first, Engine(folder / "b", *slots) as second:
        yield [first, second]


@contextlib.contextmanager
def reading(router, tokens):
    """So many clients, once each of them has read something; at the end, how their streams ended."""
    streams, ends = [Stream(router, tokens) for _ in range(STREAMS)], collections.Counter()
    with concurrent.futures.ThreadPoolExecutor(STREAMS) as pool:
        running = [pool.submit(stream.run) for stream in streams]
        for stream in streams:
            assert stream.begun.wait(120)
        yield streams, ends
        ends.update(one.result(300) for one in running)


def late(router):
    """How streams end that are begun now."""
    return collections.Counter(Stream(router, 4).run() for _ in range(LATE))


def counted(engines, name):
    return sum(engine.metric(name) for engine in engines)


def assert_idle(engines):
    """All of them run, and hold nothing."""
    assert all(engine.process.poll() is None for engine in engines)
    wait_for("the engines to be idle", lambda: counted(engines, "vllm:num_requests_running") == 0)


def next_router(router, agent):
    """Starts a router where one ended; it serves, and the agent's program goes on under its name."""
    router.launch()
    agent.ask(router)
    assert len(set(agent.programs)) == 1
    assert router.program(agent.programs[0])["source"] == "lineage"
    assert late(router) == {"complete": LATE}


def test_sigterm_lets_every_stream_finish(engines, tmp_path, capsys):
    agent, tokens = Agent(), 160
    # As long as the test needs: the drain ends by itself when nothing is live.
    with Router(tmp_path, engines, "--drain-grace", "10m") as router:
        agent.ask(router)
        with reading(router, tokens) as (streams, ends):
            router.process.send_signal(signal.SIGTERM)
            wait_for("the router to drain", lambda: not router.is_ready())
            open_at_drain = sum(stream.last() != "[DONE]" for stream in streams)
            refused = late(router)
            agent.ask(router)
        assert open_at_drain > 0, "all streams ended before the signal, so nothing was tried"
        assert refused == {"refused: draining": LATE}
        assert ends == {"complete": STREAMS} and all(stream.is_whole() for stream in streams)
        assert router.post(f"/v1/programs/{agent.programs[0]}/end", {})[0] == 200
        assert router.process.wait(60) == 0
        gone = late(router)
        assert gone == {"not reached": LATE}
        assert_idle(engines)
        next_router(router, agent)
    with capsys.disabled():
        print(f"\nSIGTERM under {STREAMS} streams, {open_at_drain} of them open when it drained: {dict(ends)}; "
              f"begun in the drain: {dict(refused)}, after it: {dict(gone)}")


def test_sigkill_cuts_streams_and_no_engine(engines, tmp_path, capsys):
    agent, cancelled = Agent(), counted(engines, "lps_engine_calls_cancelled_total")
    with Router(tmp_path, engines) as router:
        agent.ask(router)
        with reading(router, 1900) as (_, ends):
            router.process.kill()
            router.process.wait()
            gone = late(router)
        assert ends == {"cut": STREAMS}
        assert gone == {"not reached": LATE}
        assert_idle(engines)
        assert counted(engines, "lps_engine_calls_cancelled_total") - cancelled == STREAMS
        next_router(router, agent)
        agent.ask(router)
    with capsys.disabled():
        print(f"\nSIGKILL under {STREAMS} streams: {dict(ends)}; begun after it: {dict(gone)}; "
              f"the engines took {STREAMS} calls back, and serve the next router")
