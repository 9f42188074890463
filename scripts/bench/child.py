"""Runs one arm as a child process on given cores and reads its lines; leaves no process behind, however it ends."""
import contextlib
import json
import os
import select
import signal
import subprocess
import tempfile
import time


class Failed(Exception):
    """Why an arm gave nothing (more): one line for the table."""


def run(command, environment, cores, job, limit_s):
    """Yields (seconds since the start, line) for each line of the arm."""
    with tempfile.TemporaryFile("w+") as log:
        start = time.perf_counter()
        child = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, start_new_session=True,
            preexec_fn=lambda: os.sched_setaffinity(0, cores))
        try:
            with contextlib.suppress(BrokenPipeError):
                child.stdin.write(json.dumps(job).encode() + b"\n")
                child.stdin.close()
            for line in lines(child.stdout.fileno(), start + limit_s):
                yield time.perf_counter() - start, line
            if child.wait(timeout=60) != 0:
                raise Failed(last_words(log, child.returncode))
        except subprocess.TimeoutExpired:
            raise Failed("does not end") from None
        finally:
            end(child)


def lines(descriptor, deadline):
    """JSON lines until the stream ends; `readline` alone would wait without limit."""
    buffer = b""
    while True:
        left = deadline - time.perf_counter()
        if left <= 0 or not select.select([descriptor], [], [], left)[0]:
            raise Failed("ran into the time limit")
        read = os.read(descriptor, 1 << 16)
        if not read:
            return
        buffer += read
        *whole, buffer = buffer.split(b"\n")
        yield from (json.loads(line) for line in whole)


def end(child):
    """Ends the child's whole session: vLLM has processes of its own. A second Ctrl-C does not stop that."""
    former = signal.signal(signal.SIGINT, signal.SIG_IGN)
    for sent in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, sent)
        until = time.monotonic() + 10
        while group_lives(child) and time.monotonic() < until:
            time.sleep(0.05)
    if child.stdout:
        child.stdout.close()
    signal.signal(signal.SIGINT, former)


def group_lives(child):
    child.poll()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, 0)
        return True
    return False


def last_words(log, code):
    """The line of its log that says most."""
    log.seek(0)
    text = [line.strip() for line in log.read().splitlines() if line.strip()]
    errors = [line for line in text if "Error: " in line or line.startswith("ERROR")]
    return (errors or text or [f"ended with {code}"])[-1][:300]
