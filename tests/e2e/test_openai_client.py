"""The official OpenAI client, unchanged, against real libtorch engines; and ours, which can stand in its place."""

import json

import lps_client
import openai
import pytest

PROMPT = [{"role": "user", "content": "What is a block?"}]


@pytest.fixture(params=[openai.OpenAI, lps_client.OpenAI], ids=["openai", "lps_client"])
def client(demo, request):
    return request.param(base_url=f"{demo.url}/v1", api_key="none", max_retries=0, timeout=120)


def test_models_are_listed(client):
    assert [model.id for model in client.models.list()] == ["demo"]
    assert client.models.retrieve("demo").id == "demo"


def test_a_stream_says_what_a_plain_answer_says(client):
    plain = client.chat.completions.create(model="demo", messages=PROMPT, temperature=0, max_tokens=48)
    chunks = list(
        client.chat.completions.create(
            model="demo", messages=PROMPT, temperature=0, max_tokens=48, stream=True,
            stream_options={"include_usage": True},
        )
    )
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == plain.choices[0].message.content
    assert len(text) > 20
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    finishes = [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason]
    assert finishes == [plain.choices[0].finish_reason]
    assert chunks[-1].usage.completion_tokens == plain.usage.completion_tokens
    assert chunks[-1].usage.prompt_tokens == plain.usage.prompt_tokens


def test_a_seed_fixes_the_text(client):
    def ask(seed):
        answer = client.completions.create(model="demo", prompt="A program is", temperature=1.5, seed=seed, max_tokens=24)
        return answer.choices[0].text

    assert ask(7) == ask(7)
    assert len({ask(seed) for seed in range(6)}) > 1


def test_several_choices_differ_and_count(client):
    answer = client.chat.completions.create(
        model="demo", messages=PROMPT, n=3, temperature=1.5, seed=1, max_tokens=16, logprobs=True, top_logprobs=2
    )
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert len({choice.message.content for choice in answer.choices}) > 1
    for choice in answer.choices:
        for token in choice.logprobs.content:
            assert token.logprob <= 0
            assert len(token.top_logprobs) == 2


def test_a_stop_string_never_shows(client):
    whole = client.chat.completions.create(model="demo", messages=PROMPT, temperature=0, max_tokens=48)
    text = whole.choices[0].message.content
    stop = text[len(text) // 2 :][:5]
    for stream in (False, True):
        answer = client.chat.completions.create(
            model="demo", messages=PROMPT, temperature=0, max_tokens=48, stop=[stop], stream=stream
        )
        if stream:
            got = "".join(c.choices[0].delta.content or "" for c in answer if c.choices)
        else:
            got = answer.choices[0].message.content
            assert answer.choices[0].finish_reason == "stop"
        assert got == text[: text.index(stop)]


CALCULATOR = {
    "type": "function",
    "function": {
        "name": "calculator",
        "description": "Computes an arithmetic expression",
        "parameters": {"type": "object", "properties": {"expression": {"type": "string"}}, "required": ["expression"]},
    },
}


def test_the_demo_model_calls_a_tool(client):
    messages = [{"role": "user", "content": "What is 17 * 23?"}]
    answer = client.chat.completions.create(model="demo", messages=messages, tools=[CALCULATOR], temperature=0)
    choice = answer.choices[0]
    assert choice.finish_reason == "tool_calls"
    call = choice.message.tool_calls[0]
    assert call.function.name == "calculator"
    assert "17" in json.loads(call.function.arguments)["expression"]
    messages += [choice.message, {"role": "tool", "tool_call_id": call.id, "content": "391"}]
    final = client.chat.completions.create(model="demo", messages=messages, tools=[CALCULATOR], temperature=0)
    assert "391" in final.choices[0].message.content


def test_a_calls_arguments_come_as_they_are_written(client):
    ask = {"model": "demo", "messages": [{"role": "user", "content": "What is 17 * 23?"}], "tools": [CALCULATOR], "temperature": 0}
    whole = client.chat.completions.create(**ask).choices[0].message.tool_calls[0]
    deltas = [
        delta for chunk in client.chat.completions.create(**ask, stream=True) for choice in chunk.choices
        for delta in choice.delta.tool_calls or []
    ]
    first, *rest = deltas
    assert (first.index, first.type, first.function.name, first.function.arguments) == (0, "function", "calculator", "")
    assert first.id and all((delta.index, delta.id, delta.function.name) == (0, None, None) for delta in rest)
    pieces = [delta.function.arguments for delta in rest]
    assert len(pieces) >= 2 and "".join(pieces) == whole.function.arguments
    assert "17" in json.loads("".join(pieces))["expression"]
    with client.chat.completions.stream(**ask) as stream:
        events = [event for event in stream if event.type == "tool_calls.function.arguments.delta"]
        assert len(events) >= 2
        call = stream.get_final_completion().choices[0].message.tool_calls[0]
    assert (call.function.name, call.function.arguments) == ("calculator", whole.function.arguments)


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_a_call_that_is_cut_is_told_as_far_as_it_came(client, streamed):
    ask = {"model": "demo", "messages": [{"role": "user", "content": "What is 17 * 23?"}], "tools": [CALCULATOR], "temperature": 0}
    answer = client.chat.completions.create(**ask)
    whole, tokens = answer.choices[0].message.tool_calls[0].function.arguments, answer.usage.completion_tokens
    finishes = []
    for limit in range(1, tokens):
        if streamed:
            chunks = list(client.chat.completions.create(**ask, max_tokens=limit, stream=True))
            calls = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or []]
            finish = chunks[-1].choices[0].finish_reason
        else:
            choice = client.chat.completions.create(**ask, max_tokens=limit).choices[0]
            calls, finish = choice.message.tool_calls or [], choice.finish_reason
        arguments = "".join(call.function.arguments for call in calls)
        assert whole.startswith(arguments), limit
        finishes.append((bool(calls), 0 < len(arguments) < len(whole), finish))
    assert (True, True, "length") in finishes
    assert all(finish == "length" for _, _, finish in finishes)


@pytest.mark.parametrize("model", ["nope", "demo2"])
def test_an_unknown_model_is_not_found(client, model):
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model=model, messages=PROMPT)
    assert "demo" in str(caught.value)
