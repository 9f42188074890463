"""The official Anthropic client, unchanged, against real libtorch engines."""

import json

import anthropic
import pytest
from stack import wait_for

GREEDY = {"temperature": 0}
ASK = {"model": "demo", "max_tokens": 48, "messages": [{"role": "user", "content": "What is a block?"}],
       "extra_body": GREEDY}
CALCULATOR = {
    "name": "calculator",
    "description": "Computes an arithmetic expression",
    "input_schema": {"type": "object", "properties": {"expression": {"type": "string"}}, "required": ["expression"]},
}


@pytest.fixture()
def client(demo):
    return anthropic.Anthropic(base_url=demo.url, api_key="none", max_retries=0, timeout=120)


def prompt_tokens(usage):
    """All tokens of the prompt, as Anthropic counts them."""
    return usage.input_tokens + usage.cache_creation_input_tokens + usage.cache_read_input_tokens


def test_a_message_is_answered(demo, client):
    raw = client.messages.with_raw_response.create(**ASK, extra_headers={"x-program-id": "message", "x-call-id": "m1"})
    message = raw.parse()
    assert (message.id, message.model, message.role) == ("msg_m1", "demo", "assistant")
    assert [block.type for block in message.content] == ["text"]
    assert len(message.content[0].text) > 20
    assert message.stop_reason == "end_turn"
    assert raw.headers["x-program-id"] == "message"
    assert message._request_id == raw.headers["x-request-id"]
    call = demo.program("message")["calls"][0]
    assert (call["id"], call["state"], call["service_us"]) == ("m1", "completed", message.lps["executor_us"])


def test_a_stream_says_what_a_plain_message_says(client):
    plain = client.messages.create(**ASK)
    with client.messages.stream(**ASK) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == final.content[0].text == plain.content[0].text
    assert final.stop_reason == plain.stop_reason
    assert final.usage.output_tokens == plain.usage.output_tokens
    assert prompt_tokens(final.usage) == prompt_tokens(plain.usage) > 0


def test_the_limit_and_stop_sequences_are_told(client):
    text = client.messages.create(**ASK).content[0].text
    short = client.messages.create(**{**ASK, "max_tokens": 2})
    assert (short.stop_reason, short.usage.output_tokens) == ("max_tokens", 2)
    stop = text[len(text) // 2 :][:5]
    stopped = client.messages.create(**ASK, stop_sequences=["never said", stop])
    with client.messages.stream(**ASK, stop_sequences=["never said", stop]) as stream:
        streamed = stream.get_final_message()
    for message in (stopped, streamed):
        assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", stop)
        assert message.content[0].text == text[: text.index(stop)]


def test_an_answer_that_was_begun_is_continued(client):
    text = client.messages.create(**ASK).content[0].text
    begun = text[: text.index(" ", 10)]
    messages = [*ASK["messages"], {"role": "assistant", "content": begun}]
    assert begun + client.messages.create(**{**ASK, "messages": messages}).content[0].text == text


@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])
def test_a_loop_of_tools_is_one_program(demo, client, streamed):
    program = f"anthropic-loop-{streamed}"
    client = client.with_options(default_headers={"x-program-id": program})
    messages = [{"role": "user", "content": "What is 17 * 23?"}]
    ask = {**ASK, "tools": [CALCULATOR], "messages": messages}
    used = []
    for _ in range(4):
        if streamed:
            with client.messages.stream(**ask) as stream:
                message = stream.get_final_message()
        else:
            message = client.messages.create(**ask)
        messages.append({"role": "assistant", "content": message.content})
        calls = [block for block in message.content if block.type == "tool_use"]
        if message.stop_reason != "tool_use":
            break
        used += [(call.name, call.input) for call in calls]
        results = [{"type": "tool_result", "tool_use_id": call.id, "content": "391"} for call in calls]
        messages.append({"role": "user", "content": results})
    assert "391" in message.content[0].text
    assert [name for name, _ in used] == ["calculator"]
    assert "17" in used[0][1]["expression"]
    assert [call["state"] for call in demo.program(program)["calls"]] == ["completed", "completed"]


def test_the_clients_own_loop_runs_to_its_end(client):
    asked = []

    @anthropic.beta_tool(description=CALCULATOR["description"], input_schema=CALCULATOR["input_schema"])
    def calculator(expression: str) -> str:
        asked.append(expression)
        return "391"

    ask = {**ASK, "messages": [{"role": "user", "content": "What is 17 * 23?"}]}
    final = client.beta.messages.tool_runner(tools=[calculator], **ask).until_done()
    assert (len(asked), final.stop_reason) == (1, "end_turn")
    assert "391" in final.content[0].text


def test_no_tool_is_called_where_none_may_be(client):
    ask = {**ASK, "messages": [{"role": "user", "content": "What is 17 * 23?"}], "tools": [CALCULATOR]}
    message = client.messages.create(**ask, tool_choice={"type": "none"})
    assert [block.type for block in message.content] == ["text"]


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "calculator"}], ids=["any", "named"])
def test_a_tool_is_called_where_one_must_be(client, choice):
    message = client.messages.create(**ASK, tools=[CALCULATOR], tool_choice=choice)
    assert (message.stop_reason, [block.name for block in message.content]) == ("tool_use", ["calculator"])
    assert isinstance(message.content[0].input["expression"], str)


def test_an_answer_has_the_schema_that_was_asked_for(client):
    schema = {"type": "object", "properties": {"size": {"enum": ["small", "large"]}}, "required": ["size"],
              "additionalProperties": False}
    wanted = {**ASK["extra_body"], "output_config": {"format": {"type": "json_schema", "schema": schema}}}
    message = client.messages.create(**{**ASK, "extra_body": wanted})
    assert json.loads(message.content[0].text)["size"] in ("small", "large")


@pytest.mark.parametrize("more", [{}, {"system": "Be brief."}, {"tools": [CALCULATOR]}], ids=["plain", "system", "tools"])
def test_what_is_counted_is_what_is_used(client, more):
    counted = client.messages.count_tokens(model="demo", messages=ASK["messages"], **more)
    assert counted.input_tokens == prompt_tokens(client.messages.create(**ASK, **more).usage)


IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}}
REFUSED = [
    ({"messages": [{"role": "user", "content": [IMAGE]}]}, "messages[0].content[0]"),
    ({"extra_body": {"temperature": -1}}, "temperature"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"messages": [{"role": "user", "content": "word " * 4000}]}, "prompt is too long"),
]


@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("more,said", REFUSED, ids=[said for _, said in REFUSED])
def test_what_cannot_be_had_is_refused_by_its_name(client, more, said, streamed):
    with pytest.raises(anthropic.BadRequestError) as caught:
        client.messages.create(**{**ASK, **more}, stream=streamed)
    assert caught.value.type == "invalid_request_error"
    assert said in caught.value.api_message


@pytest.mark.parametrize("ask", ["create", "count_tokens"])
def test_an_unknown_model_is_not_found(client, ask):
    more = {"max_tokens": 8} if ask == "create" else {}
    with pytest.raises(anthropic.NotFoundError) as caught:
        getattr(client.messages, ask)(model="nope", messages=ASK["messages"], **more)
    assert caught.value.type == "not_found_error"
    assert "demo" in caught.value.api_message


def long_stream(client, program):
    """A stream that goes on until somebody ends it."""
    return client.messages.create(
        model="demo", max_tokens=1500, messages=[{"role": "user", "content": "Count from 1 to 900."}], stream=True,
        extra_body={"ignore_eos": True}, extra_headers={"x-program-id": program, "x-call-id": f"{program}-call"},
    )


def test_a_client_that_leaves_a_stream_frees_its_slot(demo, client):
    stream = long_stream(client, "anthropic-leaver")
    assert next(iter(stream)).type == "message_start"
    stream.close()
    wait_for("the call to be cancelled", lambda: demo.program("anthropic-leaver")["calls"][0]["state"] == "cancelled")
    wait_for("the engines to be idle", lambda: all(e["load"]["running"] == 0 for e in demo.engines()))


def test_a_stream_that_is_cancelled_ends_with_an_error(demo, client):
    events = iter(long_stream(client, "anthropic-doomed"))
    assert next(events).type == "message_start"
    assert demo.post("/v1/calls/anthropic-doomed-call/cancel", {})[0] == 200
    with pytest.raises(anthropic.APIStatusError) as caught:
        for event in events:
            assert event.type != "message_stop"
    assert "cancelled" in caught.value.api_message
