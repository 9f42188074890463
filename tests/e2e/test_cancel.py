"""From a client's leaving, or a cancel, until the slot in the engine is free again, while others stream beside it.

The engine's event stream tells of a call that has left the batch when the step is over that follows; so what is printed is
at most that much too long. No time is asserted. `-m long` makes a thousand calls instead of fifty.
"""

import concurrent.futures
import contextlib
import json
import queue
import socket
import statistics
import threading
import time
import urllib.request

import pytest
from engine import Engine
from router import Router
from stack import wait_for

SLOTS, WORKERS, TALKERS = 8, 4, 4
# Longer than any client stays.
ENDLESS = {"model": "demo", "messages": [{"role": "user", "content": "Count from 1 to 900."}], "max_tokens": 1900,
           "ignore_eos": True}


class Watch:
    """When the engine said what of which call, on the clock of this process."""

    def __init__(self, engine):
        self.engine, self.told = engine, {}
        threading.Thread(target=self._follow, daemon=True).start()

    def expect(self, call):
        """From now on what is said of a call is kept."""
        self.told[call] = queue.SimpleQueue()

    def _follow(self):
        with urllib.request.urlopen(f"{self.engine.url}/internal/v1/events") as stream:
            for line in stream:
                now, event = time.perf_counter(), json.loads(line)
                for progress in event.get("calls", []):
                    name = progress["call"].rsplit("~", 1)[0]
                    if name in self.told:
                        self.told[name].put((progress["state"], now))

    def await_state(self, call, wanted):
        """When it was said; fails where the call ends otherwise."""
        while True:
            state, now = self.told[call].get(timeout=120)
            if state == wanted:
                return now
            assert state in ("waiting", "running", "preempted"), (call, state)


def ask(router, call, stream):
    """A connection on which a call has been asked for; its program has its name."""
    body = json.dumps({**ENDLESS, "stream": stream}).encode()
    head = (f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            f"connection: close\r\nx-program-id: {call}\r\nx-call-id: {call}\r\ncontent-length: {len(body)}\r\n\r\n")
    connection = socket.create_connection(("127.0.0.1", router.port), timeout=120)
    connection.sendall(head.encode() + body)
    return connection


def leave(router, connection, call):
    connection.close()


def cancel_call(router, connection, call):
    assert router.post(f"/v1/calls/{call}/cancel", {})[0] == 200


def cancel_program(router, connection, call):
    assert router.post(f"/v1/programs/{call}/cancel", {})[0] == 200


WAYS = [
    ("a stream's client leaves", True, leave),
    ("an answer's client leaves", False, leave),
    ("a stream's call is cancelled", True, cancel_call),
    ("an answer's call is cancelled", False, cancel_call),
    ("a stream's program is cancelled", True, cancel_program),
]


def time_to_free(router, watch, number):
    """How long it took, in ms."""
    _, stream, end = WAYS[number % len(WAYS)]
    call = f"call-{number}"
    watch.expect(call)
    with ask(router, call, stream) as connection:
        watch.await_state(call, "running")
        if stream:
            assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200")
        began = time.perf_counter()
        end(router, connection, call)
        return 1000 * (watch.await_state(call, "cancelled") - began)


@contextlib.contextmanager
def talking(router):
    """Clients that read their streams all the while, and begin another at its end."""
    over = threading.Event()

    def talk(number):
        for turn in range(1_000_000):
            with ask(router, f"talker-{number}-{turn}", True) as connection:
                while not over.is_set() and connection.recv(1 << 16):
                    pass
            if over.is_set():
                return

    with concurrent.futures.ThreadPoolExecutor(TALKERS) as pool:
        running = [pool.submit(talk, number) for number in range(TALKERS)]
        try:
            yield
        finally:
            over.set()
        for one in running:
            one.result(120)


@pytest.mark.parametrize("calls", [50, pytest.param(1000, marks=pytest.mark.long)])
def test_who_leaves_or_cancels_frees_a_slot(tmp_path, capsys, calls):
    with Engine(tmp_path / "engine", "--max-num-seqs", str(SLOTS)) as engine, Router(tmp_path, [engine]) as router:
        watch = Watch(engine)
        with talking(router), concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
            times = list(pool.map(lambda number: time_to_free(router, watch, number), range(calls)))
        wait_for("an idle engine", lambda: engine.metric("vllm:num_requests_running") == 0)
        step = engine.metric("lps_engine_step_seconds_sum") / engine.metric("lps_engine_step_seconds_count")
    rows = [(way, times[index::len(WAYS)]) for index, (way, _, _) in enumerate(WAYS)] + [("all", times)]
    with capsys.disabled():
        print(f"\n\nfrom then until its slot is free, ms; a step takes {1000 * step:.1f} ms\n\n| | calls | p50 | p99 | most |\n"
              "|---|---|---|---|---|")
        for way, taken in rows:
            cuts = statistics.quantiles(taken, n=100, method="inclusive")
            print(f"| {way} | {len(taken)} | {cuts[49]:.1f} | {cuts[98]:.1f} | {max(taken):.1f} |")
