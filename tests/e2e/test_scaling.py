"""Engines come and go with calls and programs, from none to none."""

import concurrent.futures
import contextlib
import urllib.request

from stack import Stack, manifest, wait_for


def scaled(slots, **scaling):
    """A manifest of the simulated model, 200 tokens a second, with this `scaling` section."""
    resource = manifest(builtin="sim", slots=slots, extraArgs=["--sim-step-us", "5000"])
    resource["spec"]["scaling"] = {"min": 0, **scaling}
    return resource


def call(stack, program=None, tokens=1):
    headers = {"x-program-id": program} if program else {}
    body = {"model": "demo", "prompt": "x", "max_tokens": tokens, "ignore_eos": True}
    status, answer = stack.post("/v1/completions", body, headers)
    assert status == 200, answer


def cancel_until_done(stack, call_id, running):
    """Cancels a call and waits for its end; one still on its way is not there to cancel yet, so it asks again."""
    def is_done():
        stack.post(f"/v1/calls/{call_id}/cancel", {})
        return running.done()

    wait_for(f"the end of {call_id}", is_done)


@contextlib.contextmanager
def calls(stack, count):
    """So many calls at a time, each of a program of its own, for as long as they are needed; then they are cancelled."""
    def one(number):
        body = {"model": "demo", "prompt": "x", "max_tokens": 30_000, "ignore_eos": True}
        return stack.post("/v1/completions", body, {"x-call-id": f"held-{number}"})[0]

    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        running = [pool.submit(one, number) for number in range(count)]
        try:
            yield
        finally:
            for number, call in enumerate(running):
                cancel_until_done(stack, f"held-{number}", call)
        assert [call.result() for call in running] == [409] * count


def metrics(stack):
    with urllib.request.urlopen(f"http://127.0.0.1:{stack.admin_port}/metrics", timeout=30) as answer:
        return answer.read().decode()


def test_the_last_engine_stays_with_the_last_live_program(tmp_path):
    resource = scaled(4, max=2, targetCallsPerEngine=2, scaleDownDelay="1s", idleAfter="1s")
    with Stack(tmp_path, resource) as stack:
        assert stack.engine_pids() == []
        call(stack, program="agent")
        assert len(stack.engine_pids()) == 1
        with calls(stack, 8):
            wait_for("a second engine", lambda: len(stack.engines()) == 2)
        # One more than needed goes when the router is a minute old; the program keeps the other.
        wait_for("one engine", lambda: len(stack.engine_pids()) == 1, 180)
        call(stack, program="agent")
        stack.post("/v1/programs/agent/end", {})
        wait_for("no engine", lambda: not stack.engine_pids())
        shown = metrics(stack)
        for change in ['direction="up",model="demo",reason="FromZero"', 'direction="down",model="demo",reason="Idle"']:
            assert f"lps_router_scaling_decisions_total{{{change}}} 1" in shown, shown
        assert 'lps_router_scaling_desired{model="demo"} 0' in shown


def test_the_plain_rule_follows_the_queue(tmp_path):
    resource = scaled(1, rule="Queue", max=3, targetCallsPerEngine=2, scaleDownDelay="1s", idleAfter="2s")
    with Stack(tmp_path, resource, environment={"LPS_ROUTER_SCALE_PERIOD": "500ms"}) as stack:
        assert stack.engine_pids() == []
        with calls(stack, 8):
            wait_for("three engines", lambda: len(stack.engines()) == 3)
        wait_for("no engine", lambda: not stack.engine_pids())
        call(stack)


def test_a_dry_run_only_tells(tmp_path):
    resource = scaled(4, dryRun=True, min=1, max=3, targetCallsPerEngine=1)
    with Stack(tmp_path, resource) as stack:
        with calls(stack, 4):
            wait_for("the decision", lambda: "lps_router_scaling_decisions_total" in metrics(stack))
        assert len(stack.engine_pids()) == 1
        assert 'lps_router_scaling_desired{model="demo"} 1' in metrics(stack)
