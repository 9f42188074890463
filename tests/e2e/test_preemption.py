"""An urgent call takes the slot within one step; what it displaced ends with the same text."""

import concurrent.futures
import hashlib
import json

import pytest
from stack import Stack, manifest, wait_for

# Queue 1 ends after 0.05 units of service, so a long call is soon in a worse queue than any new program.
SCHEDULING = {"policy": "plas", "unit": "tokens:0,10000", "bounds": ["0.5"], "quanta": ["0.5", "none"],
              "beta": "none", "oldestEvery": "none", "oversubscription": 2}


def ask(stack, name, tokens):
    status, answer = stack.post(
        "/v1/chat/completions",
        {"model": "demo", "messages": [{"role": "user", "content": "Count from 1 to 900."}], "temperature": 1.0,
         "seed": 5, "ignore_eos": True, "max_tokens": tokens, "return_token_ids": True},
        {"x-program-id": name, "x-call-id": name},
    )
    assert status == 200, answer
    return hashlib.sha256(json.dumps(answer["choices"][0]["token_ids"]).encode()).hexdigest()


@pytest.mark.parametrize("mode", ["keep", "recompute"])
def test_the_urgent_call_runs_next_and_the_text_is_the_same(tmp_path, mode):
    step_log = tmp_path / "steps.jsonl"
    resource = manifest(slots=1, scheduling=SCHEDULING,
                        extraArgs=["--step-log", str(step_log), "--preemption", mode, "--no-prefix-cache"])
    with Stack(tmp_path, resource) as stack, concurrent.futures.ThreadPoolExecutor(1) as pool:
        alone = ask(stack, "alone", 1500)
        victim = pool.submit(ask, stack, "victim", 1500)

        def demoted():
            calls = [c for p in stack.get("/v1/programs")["data"] if p["id"] == "victim"
                     for c in stack.program("victim")["calls"]]
            return calls and calls[0]["queue"] > 1
        wait_for("the victim to be demoted", demoted)
        ask(stack, "urgent", 8)
        assert victim.result(120) == alone

    steps = [json.loads(line) for line in step_log.read_text().splitlines()[1:]]
    names = [{s["call"].split("~")[0] for s in step["sequences"]} for step in steps]
    first = next(i for i, step in enumerate(names) if "urgent" in step)
    assert names[first - 1] == {"victim"}
    assert names[first] == {"urgent"}
    back = next(i for i in range(first, len(names)) if "victim" in names[i])
    again = next(s for s in steps[back]["sequences"])
    if mode == "keep":
        assert again["len"] == 1
    else:
        assert again["computed"] == 0 and again["len"] > 1
