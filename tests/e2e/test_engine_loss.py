"""An engine that dies takes its own streams with it and nothing else."""

import concurrent.futures
import json
import os
import signal
import threading
import urllib.request

import pytest
from stack import Stack, manifest, wait_for

STREAMS = 64
TOKENS = 400


def stream(url, index, first_token):
    """(engine, text, errors, done) of one raw stream; raw, because the contract is about the bytes."""
    body = {"model": "demo", "messages": [{"role": "user", "content": f"Count from {index} to 900."}], "temperature": 0,
            "max_tokens": TOKENS, "ignore_eos": True, "stream": True}
    request = urllib.request.Request(f"{url}/v1/chat/completions", json.dumps(body).encode(),
                                     {"content-type": "application/json", "x-program-id": f"p{index}"})
    text, errors, done = "", 0, False
    with urllib.request.urlopen(request, timeout=120) as answer:
        engine = answer.headers["x-engine"]
        for line in answer:
            if not line.startswith(b"data: "):
                continue
            data = line[6:].strip()
            if data == b"[DONE]":
                done = True
                continue
            chunk = json.loads(data)
            if "error" in chunk:
                errors += 1
            elif chunk["choices"]:
                text += chunk["choices"][0]["delta"].get("content") or ""
                first_token.release()
    return engine, text, errors, done


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with Stack(tmp_path_factory.mktemp("loss"), manifest(engines=2, slots=32)) as stack:
        yield stack


def run(stack, meanwhile=None):
    tokens = threading.Semaphore(0)
    with concurrent.futures.ThreadPoolExecutor(STREAMS) as pool:
        running = [pool.submit(stream, stack.url, index, tokens) for index in range(STREAMS)]
        if meanwhile:
            for _ in range(STREAMS):
                assert tokens.acquire(timeout=120)
            meanwhile()
        return [one.result(180) for one in running]


def test_the_survivors_streams_are_whole(stack):
    undisturbed = run(stack)
    assert all(done and errors == 0 for _, _, errors, done in undisturbed)
    before = {engine["id"] for engine in stack.engines()}

    victim = stack.engine_pids()[0]
    disturbed = run(stack, lambda: os.kill(victim, signal.SIGKILL))
    by_engine = {}
    for engine, *_ in disturbed:
        by_engine[engine] = by_engine.get(engine, 0) + 1
    cut = {engine for engine, _, errors, _ in disturbed if errors}
    assert len(cut) == 1, by_engine
    for (engine, text, errors, done), (_, whole, _, _) in zip(disturbed, undisturbed, strict=True):
        if engine in cut and errors:
            assert (errors, done) == (1, False)
            assert whole.startswith(text)
        else:
            assert done and text == whole

    wait_for("the engine to be replaced", lambda: len(stack.engines()) == 2 and stack.engine_pids() != [victim])
    assert len(stack.engine_pids()) == 2
    wait_for("an idle table", lambda: all(
        call["state"] in ("completed", "failed")
        for index in range(STREAMS) for call in stack.program(f"p{index}")["calls"]))
    assert before
