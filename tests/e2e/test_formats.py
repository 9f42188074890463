"""Tool calls and reasoning as models of other families write them: the demo model under other templates. What it would not
write by itself it is held to, so that every format is written by one side and read by the other, to the end."""

import json
import shutil

import openai
import pytest
from engine import Engine
from stack import ROOT
from test_resume import assert_goes_on

DEMO = ROOT / "engine/models/demo"
TEMPLATE = """{% if tools %}<|im_start|>system
{% for t in tools %}{{ t | tojson }}
{% endfor %}<|im_end|>
{% endif %}{% for m in messages %}<|im_start|>{{ m.role }}
THOUGHTS{{ m.content or '' }}CALLS<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
OPEN{% endif %}"""
EACH = "{% for c in m.tool_calls or [] %}CALL{% endfor %}"
CALLS = {
    "mistral": EACH.replace("CALL", "[TOOL_CALLS]{{ c.function.name }}[ARGS]{{ c.function.arguments | tojson }}"),
    "mistral-list": EACH.replace("CALL", "{{ '[TOOL_CALLS][' if loop.first else ', ' }}{{ c.function | tojson }}"
                                         "{{ ']' if loop.last else '' }}"),
    "llama": EACH.replace("CALL", '{"name": "{{ c.function.name }}", "parameters": {{ c.function.arguments | tojson }}}'),
    "hermes": EACH.replace("CALL", '<tool_call>\n{"name": "{{ c.function.name }}", "arguments": '
                                   '{{ c.function.arguments | tojson }}}\n</tool_call>'),
}
# The model decides whether it reasons, or an empty reasoning stands before the answer.
OPENING = "{% if enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}"
THOUGHTS = "{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}"
ASK = {"model": "m", "messages": [{"role": "user", "content": "Say the colours, please."}], "max_tokens": 400, "temperature": 0}
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {
    "type": "object", "properties": {"city": {"enum": ["Oslo", "Rome"]}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
    "required": ["city", "days"], "additionalProperties": False}}}
CLOCK = {"type": "function", "function": {"name": "clock", "parameters": {
    "type": "object", "properties": {"zone": {"enum": ["é🌍", "[ARGS]"]}}, "required": ["zone"], "additionalProperties": False}}}
TOOLS = {**ASK, "tools": [WEATHER, CLOCK], "tool_choice": "required", "temperature": 1, "max_tokens": 1500}
HM = "First: what\nis asked?"
REASONED = {"grammar": f'start: {json.dumps(f"<think>{chr(10)}{HM}{chr(10)}</think>{chr(10)}{chr(10)}Yes: ")} /[a-z]{{3,9}}/'}


def engine(tmp_path_factory, calls, thoughts="", opening=""):
    """One with the demo model, which is told calls and thoughts so, and whose answers the prompt begins so."""
    folder = tmp_path_factory.mktemp("checkpoint")
    shutil.copytree(DEMO, folder, dirs_exist_ok=True)
    template = TEMPLATE.replace("CALLS", calls).replace("THOUGHTS", thoughts).replace("OPEN", opening)
    (folder / "chat_template.jinja").write_text(template)
    return Engine(tmp_path_factory.mktemp("engine"), "--model-name", "m", model=str(folder))


def client(engine):
    return openai.OpenAI(base_url=f"{engine.url}/v1", api_key="none", max_retries=0, timeout=120)


@pytest.fixture(scope="module", params=CALLS)
def caller(request, tmp_path_factory):
    with engine(tmp_path_factory, CALLS[request.param]) as started:
        yield started


@pytest.fixture(scope="module")
def thinker(tmp_path_factory):
    with engine(tmp_path_factory, CALLS["hermes"], THOUGHTS, OPENING) as started:
        yield started


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_a_call_that_is_wanted_is_made_in_the_models_format(caller, streamed):
    for seed in range(3):
        ask = {**TOOLS, "seed": seed}
        if streamed:
            with client(caller).chat.completions.stream(**ask) as stream:
                choice = stream.get_final_completion().choices[0]
        else:
            choice = client(caller).chat.completions.create(**ask).choices[0]
        assert choice.finish_reason == "tool_calls" and not choice.message.content
        assert len({call.id for call in choice.message.tool_calls}) == len(choice.message.tool_calls)
        for call in choice.message.tool_calls:
            keys = {"weather": ["city", "days"], "clock": ["zone"]}[call.function.name]
            assert list(json.loads(call.function.arguments)) == keys


def test_calls_and_their_results_are_told_the_model_again(caller):
    first = client(caller).chat.completions.create(**TOOLS, parallel_tool_calls=False).choices[0].message
    results = [{"role": "tool", "tool_call_id": call.id, "content": "sunny"} for call in first.tool_calls]
    messages = [*ASK["messages"], first.model_dump(exclude_none=True), *results]
    assert client(caller).chat.completions.create(**{**ASK, "messages": messages, "max_tokens": 8}).choices


def test_a_call_goes_on_at_another_engine(caller):
    assert_goes_on(caller, caller, "chat/completions", {**TOOLS, "seed": 5})


def test_reasoning_is_no_part_of_the_answer(thinker):
    answer = client(thinker).chat.completions.create(**ASK, extra_body={"structured_outputs": REASONED})
    message = answer.choices[0].message
    assert message.reasoning_content == HM and message.content.startswith("Yes: ")
    assert 0 < answer.usage.completion_tokens_details.reasoning_tokens < answer.usage.completion_tokens
    chunks = list(client(thinker).chat.completions.create(**ASK, stream=True, extra_body={"structured_outputs": REASONED}))
    deltas = [chunk.choices[0].delta for chunk in chunks]
    assert "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas) == HM
    assert "".join(delta.content or "" for delta in deltas) == message.content
    hidden = {"structured_outputs": REASONED, "include_reasoning": False}
    silent = client(thinker).chat.completions.create(**ASK, extra_body=hidden)
    assert not hasattr(silent.choices[0].message, "reasoning_content") and silent.choices[0].message.content == message.content
    assert silent.usage.completion_tokens_details == answer.usage.completion_tokens_details


def test_reasoning_goes_on_at_another_engine(thinker):
    assert_goes_on(thinker, thinker, "chat/completions", {**ASK, "structured_outputs": REASONED,
                                                          "stream_options": {"include_usage": True}})


@pytest.mark.parametrize("off", [{"reasoning_effort": "none"}, {"chat_template_kwargs": {"enable_thinking": False}}],
                         ids=["effort", "variable"])
def test_reasoning_can_be_left_out(thinker, off):
    schema = {"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"], "additionalProperties": False}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    answer = client(thinker).chat.completions.create(**ASK, response_format=form, extra_body=off)
    assert json.loads(answer.choices[0].message.content)["n"] in (1, 2)
    assert answer.usage.completion_tokens_details.reasoning_tokens == 0
    told = thinker.post("/tokenize", {"messages": ASK["messages"], **off})
    assert thinker.post("/detokenize", {"tokens": told["tokens"]})["prompt"].endswith("<think>\n\n</think>\n\n")


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_earlier_reasoning_is_given_to_the_template(thinker, name):
    messages = [*ASK["messages"], {"role": "assistant", "content": "Red.", name: "Hm."}, *ASK["messages"]]
    told = thinker.post("/tokenize", {"messages": messages})
    assert "<think>Hm.</think>Red." in thinker.post("/detokenize", {"tokens": told["tokens"]})["prompt"]


def test_a_prompt_may_begin_the_reasoning(tmp_path_factory):
    with engine(tmp_path_factory, CALLS["hermes"], THOUGHTS, "<think>\n") as started:
        ask = {**ASK, "max_tokens": 24, "extra_body": {"min_tokens": 24}}
        message = client(started).chat.completions.create(**ask).choices[0].message
        assert message.reasoning_content and message.content is None
        grammar = {"grammar": "start: \"a\""}
        with pytest.raises(openai.BadRequestError, match="excludes reasoning"):
            client(started).chat.completions.create(**ASK, extra_body={"structured_outputs": grammar})
