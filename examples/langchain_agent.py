"""An agent with a tool, in LangChain: nothing in it knows of lps.

Run it beside `make run`, after pip install langchain-openai:
OPENAI_BASE_URL=http://127.0.0.1:8080/v1 OPENAI_API_KEY=none python examples/langchain_agent.py
"""

from langchain_core.messages import BaseMessage, HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

WEATHER = {"Paris": "sunny, 21 degrees", "Oslo": "snowy, -3 degrees"}
ROUNDS_MAX = 8


@tool
def get_weather(city: str) -> str:
    """Weather in a city"""
    return WEATHER.get(city, "unknown")


model = ChatOpenAI(model="demo", temperature=0).bind_tools([get_weather])


def run(question: str) -> str:
    """Asks, does what the model asks for, and asks again until it answers in words."""
    messages: list[BaseMessage] = [HumanMessage(question)]
    for _ in range(ROUNDS_MAX):
        answer = model.invoke(messages)
        if not answer.tool_calls:
            return answer.text
        messages.append(answer)
        for call in answer.tool_calls:
            result = get_weather.invoke(call)
            print(f"  calls {call['name']} with {call['args']['city']}: {result.content}")
            messages.append(result)
    raise SystemExit(f"the model still calls tools after {ROUNDS_MAX} rounds")


print(run("What is the weather in Paris and Oslo?"))
