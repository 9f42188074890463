"""`lps top` on a terminal: what is under way is seen, chosen and explained; a router that goes is waited for."""

import concurrent.futures
import contextlib
import json
import os
import signal
import subprocess

import pytest
from stack import BIN, Stack, manifest, wait_for
from terminal import Terminal

# One slot, 200 tokens a second: what is asked for does not end before it is cancelled.
RESOURCE = manifest(builtin="sim", slots=1, extraArgs=["--sim-step-us", "5000"])
PROGRAMS = {"report": 3, "review": 1}


def ask(stack, program, call, tokens=30_000):
    body = {"model": "demo", "prompt": "x", "max_tokens": tokens, "ignore_eos": True}
    headers = {"x-program-id": program, "x-call-id": call, "x-thread-id": call}
    return stack.post("/v1/completions", body, headers)[0]


@contextlib.contextmanager
def load(stack):
    """Calls of two programs, of which one runs, for as long as they are needed."""
    def calls():
        return stack.get("/v1/models")["data"][0]["calls"]

    # A cancelled call has its name until its engine confirms.
    wait_for("those of before to be gone", lambda: calls()["running"] == calls()["waiting"] == 0)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        running = [pool.submit(ask, stack, program, f"{program}-{number}")
                   for program, calls in PROGRAMS.items() for number in range(calls)]
        try:
            wait_for("the calls", lambda: calls()["waiting"] == len(running) - 1)
            yield
        finally:
            for program in PROGRAMS:
                stack.post(f"/v1/programs/{program}/cancel", {})
        assert {call.result(60) for call in running} == {409}


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with Stack(tmp_path_factory.mktemp("top"), RESOURCE) as stack:
        yield stack


def top(stack, *arguments):
    return [BIN / "lps", "top", "--url", stack.url, "--interval", "100ms", *arguments]


def test_a_program_is_chosen_and_its_wait_explained(stack):
    with load(stack), Terminal(*top(stack)) as terminal:
        seen = terminal.wait_for("report", "review", "demo-0", "1/1")
        assert "2 programs, most wait first" in seen
        terminal.press(b"\r")
        terminal.wait_for("CALL ", "This call waits, for ", "report-", "Esc back")
        reasons = {call["explain"]["reason"] for call in stack.program("report")["calls"] if call["explain"]}
        assert any(f" as {reason}: " in " ".join(terminal.lines()) for reason in reasons), terminal.lines()
        terminal.press(b"\x1b")
        terminal.wait_for("Enter calls")
        terminal.press(b"j\r")
        terminal.wait_for("review-0")
        terminal.press(b"q")
        assert terminal.end() == 0


def test_it_follows_the_terminals_size(stack):
    with load(stack), Terminal(*top(stack)) as terminal:
        terminal.wait_for("CRITICAL PATH")
        terminal.resize((60, 15))
        wait_for("a narrow frame", lambda: terminal.lines()[14].startswith("↑↓ choose"), 30)
        assert "CRITICAL PATH" not in "\n".join(terminal.lines())
        terminal.resize((140, 40))
        wait_for("a wide frame", lambda: terminal.lines()[39].startswith("↑↓ choose"), 30)
        terminal.press(b"q")
        assert terminal.end() == 0


@pytest.mark.parametrize("key", [b"\x1b", b"\x03", signal.SIGTERM])
def test_it_gives_the_terminal_back(stack, key):
    with Terminal(*top(stack)) as terminal:
        terminal.wait_for("most wait first")
        if isinstance(key, bytes):
            terminal.press(key)
        else:
            os.kill(terminal.pids()[0], key)
        assert terminal.end() == 0


def test_a_router_that_was_killed_is_seen_again(tmp_path):
    with Stack(tmp_path, RESOURCE) as stack, Terminal(*top(stack)) as terminal:
        assert ask(stack, "before", "b1", 1) == 200
        terminal.wait_for("before", "demo-0")
        stack.end(signal.SIGKILL)
        terminal.wait_for("the router does not answer", "before", "make run")
        stack.launch()
        seen = terminal.wait_for("0 programs", "demo-0")
        assert "does not answer" not in seen
        assert ask(stack, "after", "a1", 1) == 200
        assert "before" not in terminal.wait_for("after")
        terminal.press(b"q")
        assert terminal.end() == 0


def test_without_a_terminal_it_is_tables_or_json(stack):
    def said(*arguments):
        done = subprocess.run(top(stack, *arguments), capture_output=True, text=True, timeout=60, check=True)
        assert "\x1b" not in done.stdout
        return done.stdout

    with load(stack):
        for text in [said(), said("--once")]:
            assert all(word in text for word in ["demo-0", "report", "review", "OLDEST"]), text
        snapshot = json.loads(said("--once", "--json"))
        assert {program["id"] for program in snapshot["programs"]} == set(PROGRAMS)
        assert snapshot["models"][0]["calls"]["running"] == 1
        assert snapshot["engines"][0]["slots"] == 1
        with subprocess.Popen(top(stack, "--json"), stdout=subprocess.PIPE, text=True) as lines:
            shots = [json.loads(lines.stdout.readline()) for _ in range(2)]
            lines.terminate()
        ages = [{program["id"]: program["age_us"] for program in shot["programs"]} for shot in shots]
        assert ages[0]["report"] < ages[1]["report"]


def test_once_without_a_router_says_what_to_do():
    done = subprocess.run([BIN / "lps", "top", "--once", "--url", "http://127.0.0.1:9"], capture_output=True, text=True,
                          timeout=30, check=False)
    assert done.returncode == 1
    assert "lps up" in done.stderr
