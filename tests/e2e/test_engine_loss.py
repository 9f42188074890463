"""An engine that dies costs its streams a pause and nothing else: another goes on with each of them."""

import concurrent.futures
import json
import os
import signal
import threading
import urllib.request

import pytest
from stack import Stack, manifest, wait_for

SCHEDULING = {"policy": "program-fcfs"}
TOKENS = 300
CALCULATOR = {"type": "function", "function": {
    "name": "calculator", "parameters": {"type": "object", "properties": {"expression": {"type": "string"}}}}}
# As long as the others' answers.
BOUND = {"type": "json_schema", "json_schema": {"name": "walk", "schema": {
    "type": "array", "items": {"enum": ["north", "east", "south", "west", "é🌍"]}, "minItems": 70, "maxItems": 90}}}
TALKERS, CALLERS = 76, 48


def body_of(index):
    """(path, body) of a stream: greedy, seeded, plain, bound to a schema, and the callers of a tool."""
    if index >= TALKERS:
        question = {"role": "user", "content": f"What is {index} * {index + 3}?"}
        return "chat/completions", {"messages": [question], "tools": [CALCULATOR], "temperature": 0}
    long = {"max_tokens": TOKENS, "ignore_eos": True}
    messages = [{"role": "user", "content": f"Count from {index} to 900."}]
    if index % 4 == 0:
        return "chat/completions", {"messages": messages, "temperature": 0, **long}
    if index % 4 == 1:
        return "chat/completions", {"messages": messages, "temperature": 1.1, "seed": index, **long}
    if index % 4 == 2:
        return "chat/completions", {"messages": messages, "temperature": 1, "seed": index, "response_format": BOUND}
    return "completions", {"prompt": f"Count from {index}", "temperature": 0.7, "seed": index, "logprobs": 1, **long}


class Client:
    """One raw stream; raw, because the contract is about the bytes."""

    def __init__(self, url, index):
        self.url, self.index = url, index
        self.engine, self.chunks, self.errors, self.done = None, [], [], False
        self.begun = threading.Event()

    def run(self):
        path, body = body_of(self.index)
        request = urllib.request.Request(
            f"{self.url}/v1/{path}", json.dumps({"model": "demo", "stream": True, **body}).encode(),
            {"content-type": "application/json", "x-program-id": f"p{self.index}", "x-call-id": f"c{self.index}"})
        with urllib.request.urlopen(request, timeout=300) as answer:
            self.engine = answer.headers["x-engine"]
            for line in answer:
                assert line == b"\n" or line.startswith((b"data: ", b": ")) and not line.startswith(b": lps"), line
                data = line.removeprefix(b"data: ").strip()
                if data == b"[DONE]":
                    self.done = True
                elif line.startswith(b"data: "):
                    self.take(json.loads(data))
        return self

    def take(self, chunk):
        if "error" in chunk:
            self.errors.append(chunk["error"])
            return
        chunk.pop("lps", None)
        self.chunks.append(chunk)
        self.begun.set()

    def is_said(self):
        """Whether no more of the answer comes but its figures."""
        return any(choice["finish_reason"] for chunk in self.chunks for choice in chunk["choices"])

    def arguments(self):
        """What came of a tool call's arguments so far."""
        deltas = [choice.get("delta", {}) for chunk in list(self.chunks) for choice in chunk["choices"]]
        calls = [call["function"] for delta in deltas for call in delta.get("tool_calls", [])]
        return "".join(call.get("arguments", "") for call in calls)

    def said(self):
        """What the answer says: choices as they came, without the ids of tool calls, which differ from run to run."""
        for chunk in self.chunks:
            for choice in chunk["choices"]:
                for call in choice.get("delta", {}).get("tool_calls", []):
                    assert call.pop("id", f"call_c{self.index}~").startswith(f"call_c{self.index}~")
        return [chunk["choices"] for chunk in self.chunks]


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    resource = manifest(engines=2, slots=64, scheduling=SCHEDULING)
    with Stack(tmp_path_factory.mktemp("loss"), resource) as stack:
        yield stack


def run(stack, disturb=None):
    """All clients, when they have their answers. `disturb` is called while all talk, with the callers and how to begin one."""
    talkers = [Client(stack.url, index) for index in range(TALKERS)]
    callers = [Client(stack.url, index) for index in range(TALKERS, TALKERS + CALLERS)]
    with concurrent.futures.ThreadPoolExecutor(TALKERS + CALLERS) as pool:
        running = [pool.submit(client.run) for client in talkers]
        for client in talkers:
            assert client.begun.wait(120)
        begin = lambda client: running.append(pool.submit(client.run))
        if disturb:
            disturb(callers, begin)
        else:
            for client in callers:
                begin(client)
        return sorted((one.result(300) for one in running), key=lambda client: client.index)


def test_every_stream_is_whole(stack, capsys):
    undisturbed = run(stack)
    assert all(client.done and not client.errors for client in undisturbed)
    victim = stack.engine_pids()[0]
    inside = {}

    def are_inside(callers):
        """How far each caller's arguments have come whose call has some and is not at its end."""
        far = {client.index: len(client.arguments()) for client in callers if not client.is_said()}
        return {index: count for index, count in far.items() if count}

    def kill(callers, begin):
        for client in callers:
            begin(client)
        wait_for("tool calls to be under way", lambda: len(are_inside(callers)) >= 20)
        inside.update(are_inside(callers))
        os.kill(victim, signal.SIGKILL)

    disturbed = run(stack, kill)
    for client, whole in zip(disturbed, undisturbed, strict=True):
        assert (client.errors, client.done) == ([], True), client.index
        assert client.said() == whole.said(), client.index
        # One answer has one id and one time, whoever gave it.
        assert len({(chunk["id"], chunk["created"]) for chunk in client.chunks}) == 1, client.index
    resumed, failed = stack.metric("lps_router_resumed_total"), stack.metric("lps_router_failed_attempts_total")
    with capsys.disabled():
        print(f"\nan engine killed: {len(disturbed)} streams whole, {resumed:.0f} gone on with, {failed:.0f} attempts lost, "
              f"{len(inside)} tool calls inside their arguments, of which so many characters had come: {sorted(inside.values())}")
    assert resumed >= 20
    wait_for("the engine to be replaced", lambda: len(stack.engines()) == 2 and victim not in stack.engine_pids())
    wait_for("an idle table", lambda: all(
        call["state"] in ("completed", "failed")
        for index in range(TALKERS + CALLERS) for call in stack.program(f"p{index}")["calls"]))


def test_what_cannot_be_gone_on_with_ends_with_one_error(stack):
    body = {"model": "demo", "messages": [{"role": "user", "content": "Count from 1 to 900."}], "n": 2, "stream": True,
            "max_tokens": 2000, "ignore_eos": True}
    request = urllib.request.Request(f"{stack.url}/v1/chat/completions", json.dumps(body).encode(),
                                     {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        lines = [answer.readline()]
        for pid in stack.engine_pids():
            os.kill(pid, signal.SIGKILL)
        lines += answer.readlines()
    data = [line.removeprefix(b"data: ").strip() for line in lines if line.startswith(b"data: ")]
    assert b"[DONE]" not in data
    assert [json.loads(one)["error"]["code"] for one in data if b'"error"' in one] == ["engine_lost"]
    assert b'"error"' in data[-1]
