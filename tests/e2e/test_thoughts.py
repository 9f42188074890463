"""What a model thinks, as Anthropic's messages and OpenAI's responses tell it to their own clients, and as these give it back.
What the demo model would not think by itself it is held to."""

import asyncio

import anthropic
import openai
import pytest
from agents import Agent, ModelSettings, OpenAIResponsesModel, Runner, set_tracing_disabled
from router import Router
from test_formats import CALLS, HM, OPENING, REASONED, THOUGHTS, engine

set_tracing_disabled(True)
QUESTION = {"role": "user", "content": "Say the colours, please."}
AGAIN = {"role": "user", "content": "And again?"}
HELD = {"temperature": 0, "structured_outputs": REASONED}
ASK = {"model": "m", "max_tokens": 400, "messages": [QUESTION], "extra_body": HELD}
ASK_THOUGHTS = {**ASK, "thinking": {"type": "adaptive"}}
ASK_RESPONSE = {"model": "m", "max_output_tokens": 400, "input": [QUESTION], "extra_body": HELD}


@pytest.fixture(scope="module")
def thinker(tmp_path_factory):
    """An engine whose model thinks."""
    with engine(tmp_path_factory, CALLS["hermes"], THOUGHTS, OPENING) as started:
        yield started


@pytest.fixture(scope="module")
def router(thinker, tmp_path_factory):
    with Router(tmp_path_factory.mktemp("router"), [thinker], model="m") as started:
        yield started


@pytest.fixture()
def claude(router):
    return anthropic.Anthropic(base_url=router.url, api_key="none", max_retries=0, timeout=120)


@pytest.fixture()
def client(router):
    return openai.OpenAI(base_url=f"{router.url}/v1", api_key="none", max_retries=0, timeout=120)


def tokens(thinker, answer, **more):
    """How many tokens the engine itself counts when the model is asked again after its thoughts and this answer."""
    said = {"role": "assistant", "reasoning_content": HM, "content": answer}
    return thinker.post("/tokenize", {"messages": [QUESTION, said, AGAIN], **more})["count"]


def test_a_message_begins_with_thoughts_streamed_or_not(claude):
    message = claude.messages.create(**ASK_THOUGHTS)
    thoughts, text = message.content
    assert (thoughts.type, thoughts.thinking, thoughts.signature) == ("thinking", HM, "unsigned")
    assert text.type == "text" and text.text.startswith("Yes: ")
    with claude.messages.stream(**ASK_THOUGHTS) as stream:
        events = list(stream)
        final = stream.get_final_message()
    assert (final.content[0], final.content[1].text) == (thoughts, text.text)
    assert final.usage.output_tokens == message.usage.output_tokens
    assert "".join(event.thinking for event in events if event.type == "thinking") == HM
    blocks = [(event.type, event.index) for event in events if event.type.startswith("content_block_st")]
    assert blocks == [("content_block_start", 0), ("content_block_stop", 0), ("content_block_start", 1), ("content_block_stop", 1)]


def test_thoughts_that_come_back_are_told_the_model(thinker, claude):
    message = claude.messages.create(**ASK_THOUGHTS)
    redacted = {"type": "redacted_thinking", "data": "x"}
    messages = [QUESTION, {"role": "assistant", "content": [redacted, *message.content]}, AGAIN]
    counted = claude.messages.count_tokens(model="m", messages=messages).input_tokens
    assert counted == tokens(thinker, message.content[1].text)
    second = claude.messages.create(**{**ASK_THOUGHTS, "messages": messages})
    assert second.usage.input_tokens + second.usage.cache_read_input_tokens == counted
    assert second.content[0].thinking == HM


def test_a_client_that_does_not_ask_for_thoughts_finds_its_text_first(claude):
    asked = claude.messages.create(**ASK_THOUGHTS)
    message = claude.messages.create(**ASK)
    assert [block.type for block in message.content] == ["text"]
    assert message.content[0].text == asked.content[1].text
    assert message.usage.output_tokens == asked.usage.output_tokens
    with claude.messages.stream(**ASK) as stream:
        assert "".join(stream.text_stream) == message.content[0].text
        assert [block.type for block in stream.get_final_message().content] == ["text"]


def test_thinking_is_turned_off_or_not_shown(thinker, claude):
    off, omitted = {"type": "disabled"}, {"type": "enabled", "budget_tokens": 1024, "display": "omitted"}
    for thinking in (off, omitted):
        message = claude.messages.create(**ASK, thinking=thinking)
        assert [block.type for block in message.content] == ["text"]
    shown = claude.messages.create(**ASK, thinking={"type": "enabled", "budget_tokens": 1024})
    assert shown.content[0].thinking == HM
    counted = claude.messages.count_tokens(model="m", messages=[QUESTION], thinking=off).input_tokens
    variables = {"chat_template_kwargs": {"enable_thinking": False}}
    assert counted == thinker.post("/tokenize", {"messages": [QUESTION], **variables})["count"]
    assert counted > claude.messages.count_tokens(model="m", messages=[QUESTION]).input_tokens


def test_a_response_begins_with_thoughts_streamed_or_not(client):
    response = client.responses.create(**ASK_RESPONSE)
    thoughts, message = response.output
    assert (thoughts.type, [part.text for part in thoughts.content], thoughts.summary) == ("reasoning", [HM], [])
    assert response.output_text == message.content[0].text and response.output_text.startswith("Yes: ")
    assert 0 < response.usage.output_tokens_details.reasoning_tokens < response.usage.output_tokens
    events = list(client.responses.create(**ASK_RESPONSE, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    deltas = [event for event in events if event.type == "response.reasoning_text.delta"]
    assert "".join(event.delta for event in deltas) == HM
    assert {(event.output_index, event.content_index) for event in deltas} == {(0, 0)}
    with client.responses.stream(**ASK_RESPONSE) as stream:
        told = [event.type for event in stream]
        final = stream.get_final_response()
    assert told == [event.type for event in events]
    for streamed in (events[-1].response, final):
        assert (streamed.output[0].content, streamed.output_text) == (thoughts.content, response.output_text)
        assert streamed.usage.output_tokens_details == response.usage.output_tokens_details


@pytest.mark.parametrize("kept", [False, True], ids=["all items again", "previous_response_id"])
def test_thoughts_of_a_response_that_come_back_are_told_the_model(thinker, client, kept):
    first = client.responses.create(**ASK_RESPONSE)
    more = {"input": [AGAIN], "previous_response_id": first.id} if kept else {"input": [QUESTION, *first.output, AGAIN]}
    second = client.responses.create(**{**ASK_RESPONSE, **more})
    assert second.usage.input_tokens == tokens(thinker, first.output_text)
    assert second.output[0].content[0].text == HM
    items = list(client.responses.input_items.list(second.id, order="asc"))
    assert [item.type for item in items] == ["message", "reasoning", "message", "message"]
    assert (items[1].id, items[1].content) == (first.output[0].id, first.output[0].content)


def test_a_response_without_effort_has_no_thoughts(thinker, client):
    ask = {**ASK_RESPONSE, "extra_body": {"temperature": 0}, "max_output_tokens": 8}
    response = client.responses.create(**ask, reasoning={"effort": "none"})
    told = thinker.post("/tokenize", {"messages": [QUESTION], "reasoning_effort": "none"})
    assert response.usage.input_tokens == told["count"]
    assert response.usage.output_tokens_details.reasoning_tokens == 0


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_an_agent_gives_its_thoughts_back(thinker, router, streamed):
    async def run(asked):
        openai_client = openai.AsyncOpenAI(base_url=f"{router.url}/v1", api_key="none", max_retries=0, timeout=120)
        settings = ModelSettings(max_tokens=400, extra_body=HELD)
        agent = Agent(name="Painter", model=OpenAIResponsesModel("m", openai_client), model_settings=settings)
        if not streamed:
            return await Runner.run(agent, asked)
        running = Runner.run_streamed(agent, asked)
        async for _ in running.stream_events():
            pass
        return running

    first = asyncio.run(run([QUESTION]))
    second = asyncio.run(run([*first.to_input_list(), AGAIN]))
    for done in (first, second):
        assert [item.type for item in done.new_items] == ["reasoning_item", "message_output_item"]
        assert done.final_output.startswith("Yes: ")
    assert second.raw_responses[0].usage.input_tokens == tokens(thinker, first.final_output)
