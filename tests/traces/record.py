"""Records what unchanged clients send, for `lps bench identity --trace`.

    LPS_TEST_BIN=DIR python tests/traces/record.py NAME

runs one client (`RECORDED` has the names) against a stack of its own, behind a proxy that writes each request's body and where it truly belongs. The
truth is in the address that each client is given, and never in what the router sees:
/PROGRAM/THREAD/AFTER/v1, where a thread's first call goes on from the last one of the thread AFTER, if there is one; `first` is
the program's first call.
"""

import http.server
import json
import pathlib
import sys
import tempfile
import threading
import urllib.error
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "e2e"))

from stack import Stack, manifest  # noqa: E402

CALCULATOR = {"type": "function", "function": {
    "name": "calculator", "description": "Computes an arithmetic expression",
    "parameters": {"type": "object", "properties": {"expression": {"type": "string"}}, "required": ["expression"]}}}


class Recorder(http.server.ThreadingHTTPServer):
    """Passes requests on without their headers, and writes them down."""

    def __init__(self, router):
        super().__init__(("127.0.0.1", 0), Handler)
        self.router, self.lines, self.last, self.lock = router, [], {}, threading.Lock()

    def url(self, program, thread="main", after="-"):
        return f"http://127.0.0.1:{self.server_port}/{program}/{thread}/{after}/v1"

    def record(self, path, program, thread, after, call, body):
        with self.lock:
            parent = self.last.get((program, thread)) or self.last.get((program, after))
            self.last[program, thread] = call
            self.last.setdefault((program, "first"), call)
            line = {"program": program, "thread": thread, "call": call, "parents": [parent] if parent else []}
            if path != "/v1/chat/completions":
                line["path"] = path
            self.lines.append({**line, "body": body})


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        _, program, thread, after, path = self.path.split("/", 4)
        body = self.rfile.read(int(self.headers["content-length"]))
        request = urllib.request.Request(
            f"{self.server.router}/{path}", data=body, headers={"content-type": "application/json"})
        try:
            answer = urllib.request.urlopen(request, timeout=120)
        except urllib.error.HTTPError as refused:
            answer = refused
        with answer:
            told, kind, call = answer.read(), answer.headers["content-type"], answer.headers["x-call-id"]
        if answer.status == 200:
            self.server.record(f"/{path.partition('?')[0]}", program, thread, after, call, json.loads(body))
        self.send_response(answer.status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)

    def log_message(self, *_):
        pass


def product(expression):
    left, right = expression.split("*")
    return str(int(left) * int(right))


def openai(recorder):
    """Loops around OpenAI's client: two chats turn by turn, a fork, the same question twice, two agents."""
    from openai import OpenAI

    def ask(messages, program, *where, **more):
        client = OpenAI(base_url=recorder.url(program, *where), api_key="none", max_retries=0)
        answer = client.chat.completions.create(model="demo", messages=messages, temperature=0, max_tokens=64, **more)
        messages.append(answer.choices[0].message)
        return answer.choices[0].message

    chats = {f"chat-{name}": [{"role": "system", "content": "Be brief."}] for name in "ab"}
    for turn in range(3):
        for program, messages in chats.items():
            messages.append({"role": "user", "content": f"{program if turn == 0 else 'Go on'}, please."})
            ask(messages, program)
    fork = [*chats["chat-a"][:3], {"role": "user", "content": "Say it another way."}]
    ask(fork, "chat-a", "fork", "first")
    same = [[{"role": "user", "content": "Say hello."}] for _ in range(2)]
    for turn in ("Say hello.", "Again."):
        for number, messages in enumerate(same):
            if turn != "Say hello.":
                messages.append({"role": "user", "content": turn})
            ask(messages, f"same-{number}")
    agents = {f"agent-{left}": [{"role": "user", "content": f"What is {left} * 23?"}] for left in (17, 18)}
    while agents:
        for program, messages in list(agents.items()):
            said = ask(messages, program, tools=[CALCULATOR])
            if not said.tool_calls:
                del agents[program]
            for call in said.tool_calls or []:
                expression = json.loads(call.function.arguments)["expression"]
                messages.append({"role": "tool", "tool_call_id": call.id, "content": product(expression)})


def rounds():
    """Two agents turn by turn, then a person's next question to each. Who takes a program and its messages adds the answer,
    and the results of the calls in it; without such it was the agent's last to that question."""
    agents = {left: [] for left in (17, 18)}
    for question in ("What is {} * 23?", "Say hello."):
        for left, messages in agents.items():
            messages.append({"role": "user", "content": question.format(left)})
        asking = dict(agents)
        while asking:
            for left, messages in list(asking.items()):
                yield f"agent-{left}", messages
                if messages[-1]["role"] == "assistant":
                    del asking[left]


def own_ids(recorder):
    """Two agents around OpenAI's client that count tool calls themselves, so no id of ours comes back; then a person's next
    question."""
    from openai import OpenAI

    for program, messages in rounds():
        client = OpenAI(base_url=recorder.url(program), api_key="none", max_retries=0)
        said = client.chat.completions.create(model="demo", messages=messages, temperature=0, max_tokens=64,
                                              tools=[CALCULATOR]).choices[0].message
        calls = [{"id": f"tool-{len(messages)}-{number}", "type": "function",
                  "function": {"name": call.function.name, "arguments": call.function.arguments}}
                 for number, call in enumerate(said.tool_calls or [])]
        asked = {"tool_calls": calls} if calls else {}
        messages.append({"role": "assistant", "content": said.content, **asked})
        messages += [{"role": "tool", "tool_call_id": call["id"],
                      "content": product(json.loads(call["function"]["arguments"])["expression"])} for call in calls]


def anthropic(recorder):
    """Anthropic's client: two agents turn by turn, whose mark for the cache moves along, then a person's next question; its
    own loop of tools; a chat that streams."""
    from anthropic import Anthropic, beta_tool

    def client(program):
        return Anthropic(base_url=recorder.url(program).removesuffix("/v1"), api_key="none", max_retries=0)

    def marked(messages):
        """The last block is where the cache is to end, as long conversations have it."""
        *before, last = messages
        blocks = last["content"] if isinstance(last["content"], list) else [{"type": "text", "text": last["content"]}]
        blocks = [*blocks[:-1], {**blocks[-1], "cache_control": {"type": "ephemeral"}}]
        return [*before, {**last, "content": blocks}]

    ask = {"model": "demo", "max_tokens": 64, "system": "Be brief.", "extra_body": {"temperature": 0}}
    tool = {"name": "calculator", "description": "Computes an arithmetic expression",
            "input_schema": CALCULATOR["function"]["parameters"]}
    for program, messages in rounds():
        said = client(program).messages.create(**ask, messages=marked(messages), tools=[tool])
        messages.append({"role": "assistant", "content": said.content})
        calls = [block for block in said.content if block.type == "tool_use"]
        if calls:
            messages.append({"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": call.id, "content": product(call.input["expression"])}
                for call in calls]})

    @beta_tool
    def calculator(expression: str) -> str:
        """Computes an arithmetic expression

        Args:
            expression: What to compute.
        """
        return product(expression)

    asked = [{"role": "user", "content": "What is 19 * 23?"}]
    client("runner").beta.messages.tool_runner(**ask, tools=[calculator], messages=asked).until_done()

    chats = {f"chat-{name}": [] for name in "ab"}
    for turn in range(3):
        for program, messages in chats.items():
            messages.append({"role": "user", "content": f"{program if turn == 0 else 'Go on'}, please."})
            with client(program).messages.stream(**ask, messages=messages) as stream:
                messages.append({"role": "assistant", "content": stream.get_final_message().content})


def agents_sdk(recorder):
    """OpenAI's Agents SDK on chat completions."""
    from agents import OpenAIChatCompletionsModel

    forecasters(recorder, OpenAIChatCompletionsModel)


def agents_sdk_responses(recorder):
    """OpenAI's Agents SDK on responses, as it is by default."""
    from agents import OpenAIResponsesModel

    forecasters(recorder, OpenAIResponsesModel)


def forecasters(recorder, kind):
    """An agent of the Agents SDK with a tool, then a person's next question; two at once."""
    from agents import Agent, ModelSettings, Runner, function_tool, set_tracing_disabled
    from openai import AsyncOpenAI

    @function_tool
    def get_weather(city: str) -> str:
        """Weather in a city"""
        return f"sunny in {city}"

    set_tracing_disabled(True)
    inputs = {city: [{"role": "user", "content": f"What is the weather in {city}?"}] for city in ("Paris", "Oslo")}
    for question in (None, "Say hello."):
        for city, asked in inputs.items():
            client = AsyncOpenAI(base_url=recorder.url(f"agent-{city}"), api_key="none", max_retries=0)
            model = kind(model="demo", openai_client=client)
            agent = Agent(name="Forecaster", instructions="Be brief.", model=model, tools=[get_weather],
                          model_settings=ModelSettings(temperature=0))
            if question:
                asked.append({"role": "user", "content": question})
            inputs[city] = Runner.run_sync(agent, asked).to_input_list()


def langchain(recorder):
    """LangChain: two chats turn by turn, an agent with tools that streams."""
    from langchain_core.messages import HumanMessage, SystemMessage
    from langchain_core.tools import tool
    from langchain_openai import ChatOpenAI

    def model(program):
        return ChatOpenAI(model="demo", temperature=0, max_tokens=64, base_url=recorder.url(program), api_key="none")

    chats = {f"chat-{name}": [SystemMessage("Be brief.")] for name in "ab"}
    for turn in range(3):
        for program, messages in chats.items():
            messages.append(HumanMessage(f"{program if turn == 0 else 'Go on'}, please."))
            messages.append(model(program).invoke(messages))

    @tool
    def get_weather(city: str) -> str:
        """Weather in a city"""
        return f"sunny in {city}"

    messages = [HumanMessage("What is the weather in Paris and Oslo?")]
    while True:
        pieces = list(model("agent").bind_tools([get_weather]).stream(messages))
        said = pieces[0]
        for piece in pieces[1:]:
            said += piece
        messages.append(said)
        if not said.tool_calls:
            return
        messages += [get_weather.invoke(call) for call in said.tool_calls]


RECORDED = {way.__name__: way for way in (openai, own_ids, agents_sdk, agents_sdk_responses, anthropic, langchain)}


def main():
    name = sys.argv[1]
    with tempfile.TemporaryDirectory() as folder, Stack(folder, manifest()) as stack, Recorder(stack.url) as recorder:
        threading.Thread(target=recorder.serve_forever, daemon=True).start()
        RECORDED[name](recorder)
        recorder.shutdown()
    lines = [json.dumps(line, ensure_ascii=False, separators=(",", ":")) for line in recorder.lines]
    (HERE / f"{name}.jsonl").write_text("\n".join(lines) + "\n")


main()
