"""Answers that have the form that was asked for, by the official OpenAI client against a real model."""

import concurrent.futures
import json
import re
from typing import Literal

import openai
import pydantic
import pytest


class Step(pydantic.BaseModel):
    tool: Literal["search", "calculator"]
    cost: int = pydantic.Field(ge=0, le=999)


class Plan(pydantic.BaseModel):
    """Refers to another model."""

    title: str = pydantic.Field(max_length=40)
    steps: list[Step] = pydantic.Field(min_length=1, max_length=3)
    fallback: Step | None


ASK = {"model": "demo", "messages": [{"role": "user", "content": "What is 17 * 23?"}], "max_tokens": 600, "temperature": 0}
CALCULATOR = {"type": "function", "function": {"name": "calculator", "strict": True, "parameters": {
    "type": "object", "properties": {"expression": {"type": "string"}}, "required": ["expression"], "additionalProperties": False}}}
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {
    "type": "object", "properties": {"city": {"$ref": "#/$defs/City"}}, "required": ["city"], "additionalProperties": False,
    "$defs": {"City": {"enum": ["Oslo", "Rome"]}}}}}


@pytest.fixture
def client(demo):
    return openai.OpenAI(base_url=f"{demo.url}/v1", api_key="none", max_retries=0, timeout=120)


def test_a_pydantic_model_comes_back(client):
    for seed in range(6):
        ask = {**ASK, "temperature": 1, "seed": seed, "max_tokens": 1500}
        choice = client.chat.completions.parse(**ask, response_format=Plan).choices[0]
        assert isinstance(choice.message.parsed, Plan) and choice.finish_reason == "stop"


def test_a_stream_has_it_too_and_says_the_same(client):
    whole = client.chat.completions.parse(**ASK, response_format=Step).choices[0].message
    with client.chat.completions.stream(**ASK, response_format=Step) as stream:
        final = stream.get_final_completion().choices[0].message
    assert (final.parsed, final.content) == (whole.parsed, whole.content)


def test_any_json_object_comes_back(client):
    answer = client.chat.completions.create(**{**ASK, "max_tokens": 1500}, response_format={"type": "json_object"}).choices[0]
    assert answer.message.content.startswith("{")
    if answer.finish_reason == "stop":
        assert isinstance(json.loads(answer.message.content), dict)


@pytest.mark.parametrize("choice,name", [
    ("required", None), ({"type": "function", "function": {"name": "weather"}}, "weather")], ids=["required", "named"])
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_a_call_that_is_wanted_is_made(client, choice, name, streamed):
    asked = {**ASK, "messages": [{"role": "user", "content": "Say the colours, please."}]}
    ask = {**asked, "tools": [CALCULATOR, WEATHER], "tool_choice": choice, "parallel_tool_calls": False}
    if streamed:
        with client.chat.completions.stream(**ask) as stream:
            message = stream.get_final_completion().choices[0].message
    else:
        message = client.chat.completions.create(**ask).choices[0].message
    [call] = message.tool_calls
    arguments = json.loads(call.function.arguments)
    assert call.function.name in ([name] if name else ["calculator", "weather"])
    assert list(arguments) == {"calculator": ["expression"], "weather": ["city"]}[call.function.name]


def test_vllms_fields_say_it_too(client):
    def text(fields):
        return client.chat.completions.create(**ASK, extra_body={"structured_outputs": fields}).choices[0].message.content

    assert text({"choice": ["red", "green"]}) in ("red", "green")
    assert re.fullmatch("[0-9]{3}-[ab]+", text({"regex": "[0-9]{3}-[ab]{1,5}"}))


def test_many_at_once_do_not_mix(client):
    """Forms of all kinds in one batch, beside calls that have none and calls whose client leaves."""
    forms = [{"choice": [f"answer {index}"]} for index in range(8)] + [{"regex": f"{index}[0-9]{{4}}"} for index in range(8)]

    def ask(index):
        if index % 3 == 2:
            with client.chat.completions.create(**ASK, stream=True, response_format={"type": "json_object"}) as stream:
                next(iter(stream))
            return None
        form = forms[index % 16]
        answer = client.chat.completions.create(**{**ASK, "temperature": 1, "seed": index}, extra_body={"structured_outputs": form})
        return form, answer.choices[0].message.content

    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        answers = [answer for answer in pool.map(ask, range(48)) if answer]
    for form, text in answers:
        assert text in form["choice"] if "choice" in form else re.fullmatch(form["regex"], text), (form, text)


def test_a_form_that_cannot_be_is_refused_by_its_name(client):
    bad = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object", "properties": {"a": {"$ref": "#/$defs/no"}}}}}
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(**ASK, response_format=bad)
    assert refused.value.param == "response_format"
