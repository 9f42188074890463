"""Agents in LangChain, unchanged: each is one program, and its calls stand in a row."""

import os
import re
import subprocess
import sys

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from stack import ROOT

EXAMPLE = ROOT / "examples" / "langchain_agent.py"


@tool
def get_weather(city: str) -> str:
    """Weather in a city"""
    return "sunny, 21 degrees"


async def invoke(model, messages):
    return model.invoke(messages)


async def stream(model, messages):
    first, *others = model.stream(messages)
    return sum(others, first)


async def ainvoke(model, messages):
    return await model.ainvoke(messages)


async def astream(model, messages):
    first, *others = [chunk async for chunk in model.astream(messages)]
    return sum(others, first)


def rows(demo):
    """All programs by id."""
    return {row["id"]: row for row in demo.get("/v1/programs")["data"]}


def chain(demo, before):
    """The calls of the one program that is new, in order; each depends on the one before it and nothing else, and of the first
    nobody has said on what."""
    [program] = rows(demo).keys() - before.keys()
    row = demo.program(program)
    assert row["source"] == "tools"
    ids = [call["id"] for call in row["calls"]]
    assert [call["parents"] for call in row["calls"]] == [None, *([name] for name in ids[:-1])]
    assert {call["state"] for call in row["calls"]} == {"completed"}
    return ids


@pytest.mark.parametrize("ask", [invoke, stream, ainvoke, astream])
async def test_an_agents_loop_is_one_program(demo, ask):
    before = rows(demo)
    model = ChatOpenAI(model="demo", temperature=0, base_url=f"{demo.url}/v1", api_key="none").bind_tools([get_weather])
    messages = [HumanMessage("What is the weather in Paris and Oslo?")]
    while (answer := await ask(model, messages)).tool_calls:
        messages += [answer, *(get_weather.invoke(call) for call in answer.tool_calls)]
    assert [call["args"] for call in messages[1].tool_calls] == [{"city": "Paris"}, {"city": "Oslo"}]
    assert answer.text == "In Paris it is sunny with 21 degrees. In Oslo it is sunny with 21 degrees."
    assert len(chain(demo, before)) == 2


def test_the_example(demo):
    before = rows(demo)
    done = subprocess.run(
        [sys.executable, EXAMPLE], capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "OPENAI_BASE_URL": f"{demo.url}/v1", "OPENAI_API_KEY": "none"})
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.findall(r"calls (\w+) with (\w+)", done.stdout) == [("get_weather", "Paris"), ("get_weather", "Oslo")]
    assert done.stdout.endswith("In Paris it is sunny with 21 degrees. In Oslo it is snowy with -3 degrees.\n")
    assert len(chain(demo, before)) == 2


def test_types_hold_in_the_example():
    done = subprocess.run([sys.executable, "-m", "mypy", "--strict", "--no-incremental", "--cache-dir", os.devnull, EXAMPLE],
                          capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
