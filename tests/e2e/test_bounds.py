"""What bounds programs: a tenant's number of them, an engine's KV pool, and the row that a blocking child shares."""

import concurrent.futures
import json

from stack import Stack, manifest, wait_for

POOL_TOKENS = 1024
SLOT_BYTES = 8  # of the simulated model


def complete(stack, program, prompt, *, tokens=4, headers=None):
    """(status, headers, JSON) of a call with a prompt of token ids, or of a text."""
    body = {"model": "demo", "prompt": prompt, "max_tokens": tokens, "ignore_eos": True}
    return stack.post_whole("/v1/completions", body, {"x-program-id": program, **(headers or {})})


def test_a_blocking_child_is_charged_to_its_parent(demo):
    for opening in ({"id": "boss"}, {"id": "helper", "parent": "boss", "blocking": True}):
        status, answer = demo.post("/v1/programs", opening)
        assert status == 201, answer
    used = {}
    for program, call in [("boss", "plan"), ("helper", "work"), ("boss", "sum")]:
        status, _, answer = complete(demo, program, "What is a block?", tokens=16, headers={"x-call-id": call})
        assert status == 200, answer
        used[call] = answer["lps"]["executor_us"]
    row = demo.program("boss")
    assert row["service_total_us"] == sum(used.values())
    calls = {call["id"]: call for call in row["calls"]}
    assert calls.keys() == used.keys()
    assert calls["work"]["thread"] == "helper/main"
    # The child's call stands behind what its parent had used, as one of the parent's own would.
    assert calls["work"]["p_us"] >= used["plan"]
    assert calls["sum"]["p_us"] >= calls["work"]["p_us"]
    listed = {program["id"] for program in demo.get("/v1/programs")["data"]}
    assert "boss" in listed and "helper" not in listed

    # Ended, the name is free for a program of its own.
    assert demo.post("/v1/programs/helper/end", {})[0] == 200
    status, _, answer = complete(demo, "helper", "What is a block?")
    assert status == 200, answer
    assert demo.program("helper")["service_total_us"] == answer["lps"]["executor_us"]
    assert demo.program("boss")["service_total_us"] == sum(used.values())


def test_a_blocking_child_needs_a_live_parent(demo):
    status, answer = demo.post("/v1/programs", {"id": "orphan-child", "parent": "nobody", "blocking": True})
    assert (status, answer["error"]["param"]) == (400, "parent"), answer


def test_a_parents_cancel_ends_its_blocking_childs_calls(demo):
    for opening in ({"id": "doomed-boss"}, {"id": "doomed-helper", "parent": "doomed-boss", "blocking": True}):
        assert demo.post("/v1/programs", opening)[0] == 201
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        call = pool.submit(complete, demo, "doomed-helper", "Count from 1 to 900.", tokens=1500)
        wait_for("the call to run", lambda: any(
            call["state"] == "running" for call in demo.program("doomed-boss")["calls"]))
        assert demo.post("/v1/programs/doomed-boss/cancel", {})[0] == 200
        call.result(60)
    wait_for("the call to be cancelled", lambda: [
        call["state"] for call in demo.program("doomed-boss")["calls"]] == ["cancelled"], 20)


def test_a_tenant_has_so_many_live_programs_and_no_more(tmp_path):
    arguments = ["--live-limit-per-tenant", "2", "--drain-grace", "0s"]
    with Stack(tmp_path, manifest(builtin="sim"), arguments=arguments) as stack:
        for name in ("one", "two"):
            assert complete(stack, name, "x")[0] == 200
        for status, headers, answer in (
            complete(stack, "three", "x"),
            stack.post_whole("/v1/programs", {"id": "three"}),
        ):
            assert (status, answer["error"]["code"]) == (429, "too_many_calls"), answer
            assert "2 programs of this tenant have not ended" in answer["error"]["message"]
            assert int(headers["retry-after"]) >= 1
        # Those that live go on, and another tenant begins.
        assert complete(stack, "two", "x")[0] == 200
        assert complete(stack, "three", "x", headers={"x-tenant-id": "other"})[0] == 200
        assert stack.post("/v1/programs/one/end", {})[0] == 200
        assert complete(stack, "three", "x")[0] == 200
        assert complete(stack, "four", "x")[0] == 429


def small_pool(*arguments):
    """An engine whose KV pool holds one longest context."""
    size = POOL_TOKENS * SLOT_BYTES
    resource = manifest(builtin="sim", slots=8, kvCache={"size": str(size)}, extraArgs=list(arguments))
    resource["spec"]["model"]["maxModelLen"] = POOL_TOKENS
    return resource


def prompt(program, tokens):
    """Token ids that no other program's prompt begins with."""
    return [10 + program] * tokens


def test_a_call_beyond_the_kv_pool_is_refused_in_words(tmp_path):
    with Stack(tmp_path, small_pool()) as stack:
        [engine] = stack.engines()
        assert engine["kv"]["tokens_total"] == POOL_TOKENS
        for given in (prompt(0, POOL_TOKENS + 1), "word " * 40 * POOL_TOKENS):
            status, _, answer = complete(stack, "huge", given)
            assert (status, answer["error"]["code"]) == (400, "context_length_exceeded"), answer
            assert "long" in answer["error"]["message"], answer
        # Nothing of it is left, and what fits is served.
        assert complete(stack, "fits", prompt(1, POOL_TOKENS - 8))[0] == 200
        wait_for("the engine to be idle", lambda: stack.engines()[0]["load"]["running"] == 0)


def test_programs_that_fit_the_pool_but_not_the_watermark_run_one_at_a_time(tmp_path):
    step_log = tmp_path / "steps.jsonl"
    resource = small_pool("--step-log", str(step_log), "--sim-step-us", "100000")
    # Two fit into the pool, so the engine would run them side by side; nine tenths of it are too few for them.
    names = [f"wide-{number}" for number in range(4)]
    with Stack(tmp_path, resource) as stack, concurrent.futures.ThreadPoolExecutor(len(names)) as pool:
        calls = [pool.submit(complete, stack, name, prompt(number, 440), tokens=40, headers={"x-call-id": f"{name}-1"})
                 for number, name in enumerate(names)]
        waits = lambda: sum(  # noqa: E731
            (call["explain"] or {}).get("reason") == "working_set"
            for program in stack.get("/v1/programs")["data"] if program["id"] in names
            for call in stack.program(program["id"])["calls"])
        wait_for("the others to wait for room", lambda: waits() == len(names) - 1, 20)
        for call in calls:
            status, _, answer = call.result(120)
            assert status == 200 and answer["usage"]["completion_tokens"] == 40, answer
        # A second call of each needs the room again.
        for number, name in enumerate(names):
            status, _, answer = complete(stack, name, prompt(number, 460), tokens=8, headers={"x-call-id": f"{name}-2"})
            assert status == 200, answer
    steps = [json.loads(line) for line in step_log.read_text().splitlines()[1:]]
    assert max(len(step["sequences"]) for step in steps) == 1
    served = {sequence["call"].split("~")[0] for step in steps for sequence in step["sequences"]}
    assert served - {"warm-up"} == {f"{name}-{turn}" for name in names for turn in (1, 2)}
