"""Programs: many at once, their rows, their joins, their cancels."""

import concurrent.futures
import threading

import openai
from stack import wait_for


def chat(client, program, call, *, parents=None, thread="main", content="What is a block?", max_tokens=24, **more):
    headers = {"x-program-id": program, "x-call-id": call, "x-thread-id": thread}
    if parents is not None:
        headers["x-parent-call-ids"] = ",".join(parents)
    return client.chat.completions.create(
        model="demo", messages=[{"role": "user", "content": content}], temperature=0, max_tokens=max_tokens,
        extra_headers=headers, **more,
    )


def test_a_join_weighs_the_path_and_not_the_sum(demo, client):
    used = {"plan": chat(client, "join", "plan", parents=[])}
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        parts = {
            name: pool.submit(chat, client, "join", name, parents=["plan"], thread=name, max_tokens=8 * (i + 1))
            for i, name in enumerate(["a", "b", "c", "d"])
        }
        used |= {name: part.result() for name, part in parts.items()}
    used["join"] = chat(client, "join", "join", parents=["a", "b", "c", "d"])
    service = {name: answer.lps["executor_us"] for name, answer in used.items()}

    row = demo.program("join")
    calls = {call["id"]: call for call in row["calls"]}
    assert row["service_total_us"] == sum(service.values())
    longest = max(service[name] for name in "abcd")
    assert service["plan"] + longest <= calls["join"]["p_us"] < service["plan"] + sum(service[n] for n in "abcd")
    assert row["critical_path_us"] == calls["join"]["p_us"] + service["join"]


def test_sixty_four_calls_of_eight_programs(demo, client):
    alone = chat(client, "warm", "alone").choices[0].message.content

    def one(index):
        chunks = chat(client, f"wide-{index % 8}", f"call-{index}", thread=f"t{index}", stream=True)
        return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)

    with concurrent.futures.ThreadPoolExecutor(64) as pool:
        texts = list(pool.map(one, range(64)))
    assert set(texts) == {alone}
    for index in range(8):
        states = [call["state"] for call in demo.program(f"wide-{index}")["calls"]]
        assert states == ["completed"] * 8


def test_a_client_that_leaves_frees_its_slot(demo, client):
    stream = chat(client, "leaver", "long", content="Count from 1 to 900.", max_tokens=1500, stream=True,
                  extra_body={"ignore_eos": True})
    next(iter(stream))
    stream.close()
    wait_for("the call to be cancelled", lambda: demo.program("leaver")["calls"][0]["state"] == "cancelled")
    wait_for("the engines to be idle", lambda: all(e["load"]["running"] == 0 for e in demo.engines()))


def test_a_programs_cancel_ends_all_its_calls(demo, client):
    started = threading.Barrier(5)

    def one(index):
        stream = chat(client, "doomed", f"c{index}", thread=f"t{index}", max_tokens=1500, stream=True,
                      extra_body={"ignore_eos": True})
        iterator = iter(stream)
        next(iterator)
        started.wait(60)
        try:
            return sum(1 for _ in iterator)
        except openai.APIError:
            return None

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        running = [pool.submit(one, index) for index in range(4)]
        started.wait(60)
        status, _ = demo.post("/v1/programs/doomed/cancel", {})
        assert status == 200
        for call in running:
            call.result(60)
    # A cancelled call stays open until its engine has said what ran.
    wait_for("the calls to be cancelled", lambda: {c["state"] for c in demo.program("doomed")["calls"]} == {"cancelled"}, 20)
