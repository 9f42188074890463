"""The official OpenAI client's Responses API, unchanged, against real libtorch engines."""

import json
import subprocess

import openai
import pytest
from stack import BIN, wait_for

ASK = {"model": "demo", "input": "What is a block?", "max_output_tokens": 48, "temperature": 0}
QUESTION = {"role": "user", "content": "What is 17 * 23?"}
CALCULATOR = {
    "type": "function",
    "name": "calculator",
    "description": "Computes an arithmetic expression",
    "parameters": {"type": "object", "properties": {"expression": {"type": "string"}}, "required": ["expression"]},
}


def said(response):
    """What a response says, without what each one has for itself."""
    items = [item.model_dump(exclude={"id", "call_id"}) for item in response.output]
    return items, response.status, response.usage.output_tokens, response.usage.input_tokens, response.incomplete_details


def headers(tenant):
    return {"extra_headers": {"x-tenant-id": tenant}}


def test_a_response_is_answered(demo, client):
    raw = client.responses.with_raw_response.create(
        **ASK, instructions="Be brief.", metadata={"a": "b"}, extra_headers={"x-program-id": "response", "x-call-id": "r1"})
    response = raw.parse()
    assert response.id.startswith("resp_r1~")
    assert (response.model, response.status, response.object) == ("demo", "completed", "response")
    assert [item.type for item in response.output] == ["message"]
    assert len(response.output_text) > 20
    assert (response.instructions, response.metadata, response.error) == ("Be brief.", {"a": "b"}, None)
    assert raw.headers["x-program-id"] == "response"
    call = demo.program("response")["calls"][0]
    assert (call["id"], call["state"], call["service_us"]) == ("r1", "completed", response.lps["executor_us"])


@pytest.mark.parametrize("more", [{}, {"max_output_tokens": 2}, {"input": [QUESTION], "tools": [CALCULATOR]}],
                         ids=["text", "limit", "call"])
def test_a_stream_says_what_a_plain_response_says(client, more):
    plain = client.responses.create(**{**ASK, **more})
    events = list(client.responses.create(**{**ASK, **more}, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type for event in events[:3]] == [
        "response.created", "response.in_progress", "response.output_item.added"]
    assert events[-1].type == f"response.{plain.status}"
    assert said(events[-1].response) == said(plain)
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == plain.output_text


def test_the_clients_own_helper_gathers_a_stream(client):
    plain = client.responses.create(**ASK)
    with client.responses.stream(**ASK) as stream:
        deltas = [event for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert deltas[-1].snapshot == final.output_text == plain.output_text
    items = [item.model_dump(exclude={"id": True, "content": {"__all__": {"parsed"}}}) for item in final.output]
    assert items == said(plain)[0]


@pytest.mark.parametrize("kept", [False, True], ids=["all items again", "previous_response_id"])
def test_a_loop_of_tools_is_one_program(demo, client, kept):
    items, previous, used, calls = [QUESTION], None, [], []
    for _ in range(4):
        raw = client.responses.with_raw_response.create(
            model="demo", input=items, tools=[CALCULATOR], temperature=0, store=kept, previous_response_id=previous)
        response, program = raw.parse(), raw.headers["x-program-id"]
        calls.append(raw.headers["x-call-id"])
        asked = [item for item in response.output if item.type == "function_call"]
        if not asked:
            break
        used += [(call.name, json.loads(call.arguments)) for call in asked]
        results = [{"type": "function_call_output", "call_id": call.call_id, "output": "391"} for call in asked]
        previous = response.id if kept else None
        items = results if kept else [*items, *response.output, *results]
    assert "391" in response.output_text
    assert [name for name, _ in used] == ["calculator"] and "17" in used[0][1]["expression"]
    row = demo.program(program)
    assert {call["id"]: call["parents"] for call in row["calls"]} == {calls[0]: None, calls[1]: [calls[0]]}
    shown = subprocess.run([BIN / "lps", "programs", "--url", demo.url, "--json"], capture_output=True, text=True,
                           timeout=60, check=True)
    rows = [row for row in json.loads(shown.stdout)["data"] if row["id"] == program]
    assert [(row["source"], row["call_counts"]["completed"]) for row in rows] == [("tools", 2)], rows


def test_a_conversation_of_words_is_one_program(demo, client):
    first = client.responses.with_raw_response.create(**ASK)
    kept = {**ASK, "input": "And what is a call?"}
    second = client.responses.with_raw_response.create(**kept, previous_response_id=first.parse().id)
    echoed = [{"role": "user", "content": ASK["input"]}, *first.parse().output, {"role": "user", "content": kept["input"]}]
    third = client.responses.with_raw_response.create(**{**ASK, "input": echoed})
    assert said(second.parse())[0] == said(third.parse())[0]
    programs = {raw.headers["x-program-id"] for raw in (first, second, third)}
    assert len(programs) == 1
    parents = {call["id"]: call["parents"] for call in demo.program(programs.pop())["calls"]}
    assert parents[second.headers["x-call-id"]] == parents[third.headers["x-call-id"]] == [first.headers["x-call-id"]]


def test_instructions_do_not_stay_and_a_prompt_grows_by_what_was_said(client):
    first = client.responses.create(**ASK, instructions="Be brief.")
    second = client.responses.create(**ASK, previous_response_id=first.id)
    again = [{"role": "user", "content": ASK["input"]}, *first.output, {"role": "user", "content": ASK["input"]}]
    whole = client.responses.create(**{**ASK, "input": again})
    assert second.usage.input_tokens == whole.usage.input_tokens > first.usage.input_tokens
    assert second.previous_response_id == first.id


def test_the_items_of_a_response_are_listed(client):
    first = client.responses.create(**ASK)
    second = client.responses.create(**ASK, previous_response_id=first.id)
    listed = list(client.responses.input_items.list(second.id, order="asc", limit=2))
    assert [(item.role, item.content[0].text) for item in listed] == [
        ("user", ASK["input"]), ("assistant", first.output_text), ("user", ASK["input"])]


def test_a_response_is_kept_until_it_is_deleted(client):
    response = client.responses.create(**ASK)
    assert client.responses.retrieve(response.id) == response
    client.responses.delete(response.id)
    for ask in (client.responses.retrieve, client.responses.delete, client.responses.cancel):
        with pytest.raises(openai.NotFoundError) as caught:
            ask(response.id)
        assert caught.value.code == "response_not_found"


def test_a_response_is_found_by_its_own_tenant_if_it_is_kept(client):
    unkept = client.responses.create(**ASK, store=False)
    kept = client.responses.create(**ASK, **headers("a"))
    assert client.responses.retrieve(kept.id, **headers("a")).id == kept.id
    for response, tenant in [(unkept, "anonymous"), (kept, "b")]:
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(response.id, **headers(tenant))
        with pytest.raises(openai.NotFoundError) as caught:
            client.responses.create(**ASK, previous_response_id=response.id, **headers(tenant))
        assert caught.value.param == "previous_response_id"


IMAGE = {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "auto"}
REFUSED = [
    ({"background": True}, "background"),
    ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
    ({"input": [{"role": "user", "content": [IMAGE]}]}, "input[0]"),
    ({"include": ["message.output_text.logprobs"]}, "include"),
    ({"conversation": "conv_1"}, "conversation"),
    ({"temperature": -1}, "temperature"),
    ({"max_output_tokens": 0}, "max_output_tokens"),
]


@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("more,param", REFUSED, ids=[param for _, param in REFUSED])
def test_what_cannot_be_had_is_refused_by_its_name(client, more, param, streamed):
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(**{**ASK, **more}, stream=streamed)
    assert (caught.value.param, caught.value.type) == (param, "invalid_request_error")


def test_what_does_not_fit_is_told_so(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(**{**ASK, "input": "word " * 4000}, truncation="auto")
    assert caught.value.code == "context_length_exceeded"


def test_an_unknown_model_is_not_found(client):
    with pytest.raises(openai.NotFoundError) as caught:
        client.responses.create(**{**ASK, "model": "nope"})
    assert caught.value.code == "model_not_found"


def long_stream(client, program):
    """A stream that goes on until somebody ends it, and its response."""
    events = client.responses.create(
        model="demo", max_output_tokens=1500, input="Count from 1 to 900.", stream=True, extra_body={"ignore_eos": True},
        extra_headers={"x-program-id": program})
    return events, next(iter(events)).response


def test_a_client_that_leaves_a_stream_frees_its_slot(demo, client):
    events, response = long_stream(client, "response-leaver")
    assert client.responses.retrieve(response.id).status == "in_progress"
    events.close()
    wait_for("the call to be cancelled", lambda: demo.program("response-leaver")["calls"][0]["state"] == "cancelled")
    wait_for("the response to be", lambda: client.responses.retrieve(response.id).status == "cancelled")
    wait_for("the engines to be idle", lambda: all(e["load"]["running"] == 0 for e in demo.engines()))


def test_a_response_that_runs_is_cancelled(demo, client):
    events, response = long_stream(client, "response-doomed")
    assert client.responses.cancel(response.id).status == "cancelled"
    last = list(events)[-1]
    assert (last.type, last.response.status) == ("response.failed", "cancelled")
    assert client.responses.retrieve(response.id).status == "cancelled"
    wait_for("the engines to be idle", lambda: all(e["load"]["running"] == 0 for e in demo.engines()))
