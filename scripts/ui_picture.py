#!/usr/bin/env python3
"""The picture of docs/operations.md of the page `/ui`: two engines under load, and the calls of one program.

    LPS_TEST_BIN=FOLDER "$(scripts/venv.sh venv-tests tests/e2e/requirements.txt)"/bin/python scripts/ui_picture.py OUT.png
"""
import concurrent.futures
import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests/e2e"))

from browser import Browser  # noqa: E402
from stack import Stack, manifest, wait_for  # noqa: E402

# Programs with their last calls, which wait or run in the picture; those before them have ended.
PROGRAMS = {"report-7": 5, "triage-12": 4, "agents/search-3": 6, "chat-41": 1, "best-of-8": 8}
BEFORE = [("plan", "main", ""), ("find", "find", "plan"), ("read", "read", "plan"), ("check", "read", "read"), ("join", "main", "find,check")]
CHOSEN = "agents/search-3"
SLOTS, TOKENS = 8, 30_000


def ask(stack, program, name, thread, parents, tokens):
    """A call; its name has its program's first letters, since open calls of a tenant have different ones."""
    prefix = program.split("/")[-1][:2]
    named = ",".join(f"{prefix}.{parent}" for parent in parents.split(",") if parent)
    headers = {"x-program-id": program, "x-call-id": f"{prefix}.{name}", "x-thread-id": thread, "x-parent-call-ids": named}
    return stack.post("/v1/completions", {"model": "demo", "prompt": "x", "max_tokens": tokens, "ignore_eos": True}, headers)


def main(out):
    resource = manifest(builtin="sim", engines=2, slots=SLOTS // 2, extraArgs=["--sim-step-us", "5000"])
    with (tempfile.TemporaryDirectory() as folder, Stack(folder, resource) as stack,
          concurrent.futures.ThreadPoolExecutor(32) as pool, Browser(size=(1440, 900)) as browser):
        for program in PROGRAMS:
            for number, (name, thread, parents) in enumerate(BEFORE):
                ask(stack, program, name, thread, parents, 40 + 20 * number)
        for program, calls in PROGRAMS.items():
            for call in range(calls):
                pool.submit(ask, stack, program, f"step-{call}", f"step-{call}", "join", TOKENS)
        waiting = sum(PROGRAMS.values()) - SLOTS
        wait_for("the calls", lambda: stack.get("/v1/models")["data"][0]["calls"]["waiting"] == waiting)
        browser.open(f"http://127.0.0.1:{stack.admin_port}/ui")
        browser.wait_for("the program", f"document.querySelector('#programs button[title=\"{CHOSEN}\"]') !== null")
        browser.click(f'#programs button[title="{CHOSEN}"]')
        browser.wait_for("its calls", "document.querySelectorAll('.node').length > 0")
        browser.wait_for("a wait of seconds", "/ [2-9]\\.\\d\\d s/.test(document.querySelector('#models').innerText)")
        browser.picture(out)
        for program in PROGRAMS:
            stack.post(f"/v1/programs/{program.replace('/', '%2F')}/cancel", {})


main(*sys.argv[1:])
