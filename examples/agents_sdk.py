"""An agent with a tool, on OpenAI's Agents SDK, which asks /v1/responses: nothing in it knows of lps.

Run it beside `make run`, after pip install openai-agents:
OPENAI_BASE_URL=http://127.0.0.1:8080/v1 OPENAI_API_KEY=none python examples/agents_sdk.py
"""

from agents import Agent, ModelSettings, Runner, function_tool, set_tracing_disabled

WEATHER = {"Paris": "sunny, 21 degrees", "Oslo": "snowy, -3 degrees"}


# Async: tools that are plain functions run in threads, where the lines of two that print at once run into each other.
@function_tool
async def get_weather(city: str) -> str:
    """Weather in a city"""
    result = WEATHER.get(city, "unknown")
    print(f"  calls get_weather with {city}: {result}")
    return result


# Traces would go to OpenAI.
set_tracing_disabled(True)
agent = Agent(name="Forecaster", model="demo", model_settings=ModelSettings(temperature=0), tools=[get_weather])
print(Runner.run_sync(agent, "What is the weather in Paris and Oslo?").final_output)
