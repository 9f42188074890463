"""An answer that another engine goes on with is the answer, wherever it was cut."""

import json
import urllib.error
import urllib.request

import pytest
from engine import Engine

CHECKPOINT = b": lps "
CALCULATOR = {"type": "function", "function": {
    "name": "calculator", "parameters": {"type": "object", "properties": {"expression": {"type": "string"}}}}}
COUNT = {"messages": [{"role": "user", "content": "Count from 1 to 900."}]}
STORY = {"messages": [{"role": "user", "content": "Say the colours, please."}]}
LONG = {"max_tokens": 48, "ignore_eos": True}
CASES = {
    "the likeliest token": ("chat/completions", {**COUNT, **LONG, "temperature": 0}),
    "a seed": ("chat/completions", {**STORY, **LONG, "temperature": 1.2, "seed": 7, "top_p": 0.95}),
    "no seed": ("chat/completions", {**STORY, **LONG, "temperature": 1.2}),
    "penalties": ("chat/completions", {**COUNT, **LONG, "temperature": 0.8, "seed": 3, "frequency_penalty": 0.7,
                                       "repetition_penalty": 1.2, "min_tokens": 9}),
    "log-probabilities": ("chat/completions", {**STORY, **LONG, "temperature": 0, "logprobs": True, "top_logprobs": 2}),
    "a plain prompt": ("completions", {"prompt": "Count from 1", **LONG, "temperature": 0, "logprobs": 1,
                                       "return_token_ids": True}),
    "a stop text": ("chat/completions", {**COUNT, "max_tokens": 64, "temperature": 0, "stop": ["5, 6, 7, 8"],
                                         "stream_options": {"include_usage": True}}),
    "an end of its own": ("chat/completions", {**STORY, "temperature": 0}),
    "a schema": ("chat/completions", {**STORY, "max_tokens": 200, "temperature": 1.1, "seed": 5, "response_format": {
        "type": "json_schema", "json_schema": {"name": "x", "schema": {
            "type": "object", "required": ["colour", "count", "parts"], "additionalProperties": False, "properties": {
                "colour": {"enum": ["dark red", "green"]}, "count": {"type": "integer", "minimum": 0, "maximum": 99999},
                "parts": {"type": "array", "items": {"enum": ["head", "tail", "é🌍"]}, "minItems": 3, "maxItems": 9}}}}}}),
    "a call that is wanted": ("chat/completions", {**STORY, "max_tokens": 200, "temperature": 0, "tools": [CALCULATOR],
                                                   "tool_choice": "required", "parallel_tool_calls": False}),
    "a tool call": ("chat/completions", {"messages": [{"role": "user", "content": "What is 17 * 23?"}], "temperature": 0,
                                         "tools": [CALCULATOR]}),
}


@pytest.fixture(scope="module")
def engines(tmp_path_factory):
    with Engine(tmp_path_factory.mktemp("a")) as first, Engine(tmp_path_factory.mktemp("b")) as second:
        yield first, second


def ask(engine, path, body):
    """The events of a stream as a router gets them: of each its checkpoint and its data."""
    request = urllib.request.Request(f"{engine.url}/v1/{path}", json.dumps({"stream": True, **body}).encode(), {
        "content-type": "application/json", "x-lps-protocol": "1", "x-call-id": "call-1"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        blocks = answer.read().split(b"\n\n")
    assert blocks.pop() == b""
    events = []
    for block in blocks:
        checkpoint = None
        if block.startswith(CHECKPOINT):
            comment, block = block.split(b"\n", 1)
            checkpoint = json.loads(comment.removeprefix(CHECKPOINT))
        events.append((checkpoint, block))
    return events


def shown(events):
    """What a client sees, but for figures that belong to the engine that answers: what it had cached, how long it took, and
    what it had drawn by the time that a stop text was seen."""
    data = [block.removeprefix(b"data: ") for _, block in events]
    chunks = [json.loads(one) if one != b"[DONE]" else one for one in data]
    for chunk in chunks:
        if isinstance(chunk, dict):
            for figure in ("prompt_tokens_details", "completion_tokens", "total_tokens"):
                (chunk.get("usage") or {}).pop(figure, None)
            for figure in ("cached_tokens", "executor_us", "output_tokens"):
                (chunk.get("lps") or {}).pop(figure, None)
    return chunks


def assert_goes_on(first, second, path, body):
    """Wherever the first engine's answer is cut, the second one says the rest."""
    whole = ask(first, path, body)
    told = [checkpoint for checkpoint, _ in whole if checkpoint]
    assert told[0]["beginning"] and not any("beginning" in checkpoint for checkpoint in told[1:])
    closing = next(at for at, (checkpoint, _) in enumerate(whole) if checkpoint and checkpoint.get("closes"))
    assert all(checkpoint for checkpoint, _ in whole[:closing])
    for cut in range(1, closing + 1):
        tokens = [token for checkpoint, _ in whole[:cut] for token in checkpoint["tokens"]]
        rest = ask(second, path, {**body, "lps_resume": {"beginning": told[0]["beginning"], "tokens": tokens}})
        assert shown(rest) == shown(whole[cut:]), f"cut after {cut} events, {len(tokens)} tokens"


@pytest.mark.parametrize("name", CASES)
def test_wherever_it_is_cut_the_rest_is_the_same(engines, name):
    assert_goes_on(*engines, *CASES[name])


def test_a_stream_of_several_choices_has_no_checkpoints(engines):
    body = {**STORY, "n": 2, "max_tokens": 8}
    assert not any(checkpoint for checkpoint, _ in ask(engines[0], "chat/completions", body))


@pytest.mark.parametrize("wrong", [{"n": 2}, {"stream": False}, {"lps_resume": {"tokens": [1]}}, {"tokens": [1 << 30]}])
def test_what_cannot_be_gone_on_with_is_refused(engines, wrong):
    resume = {"beginning": {"created": 1, "seed": 1}, "tokens": wrong.pop("tokens", [5])}
    with pytest.raises(urllib.error.HTTPError) as caught:
        ask(engines[0], "chat/completions", {**STORY, "lps_resume": resume, **wrong})
    with caught.value as error:
        refusal = json.loads(error.read())["error"]
    assert (error.code, refusal["param"]) == (400, "lps_resume"), refusal
