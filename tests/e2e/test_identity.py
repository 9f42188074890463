"""Programs of clients that say nothing: OpenAI's own client, unchanged, and what known clients send by themselves."""

import concurrent.futures
import json
import signal
import urllib.request

import openai
import pytest
from stack import Stack, manifest, wait_for

CALCULATOR = {"type": "function", "function": {
    "name": "calculator", "description": "Computes an arithmetic expression",
    "parameters": {"type": "object", "properties": {"expression": {"type": "string"}}, "required": ["expression"]}}}
TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def stack(tmp_path):
    with Stack(tmp_path, manifest(engines=2, slots=8)) as stack:
        yield stack


def client_of(stack):
    return openai.OpenAI(base_url=f"{stack.url}/v1", api_key="none", max_retries=0)


def ask(client, messages, **options):
    """One call; its name, its program, and its message, which joins the conversation."""
    raw = client.chat.completions.with_raw_response.create(
        model="demo", messages=messages, tools=[CALCULATOR], temperature=0, **options)
    message = raw.parse().choices[0].message
    messages.append(message)
    return raw.headers["x-call-id"], raw.headers["x-program-id"], message


def answer(messages):
    """The results of all tools that the last message asks for."""
    for call in messages[-1].tool_calls:
        left, right = json.loads(call.function.arguments)["expression"].split("*")
        messages.append({"role": "tool", "tool_call_id": call.id, "content": str(int(left) * int(right))})


def get_as(stack, tenant, path):
    """What a tenant sees."""
    request = urllib.request.Request(stack.url + path, headers={"x-tenant-id": tenant})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


def question(left, right):
    return [{"role": "user", "content": f"What is {left} * {right}?"}]


def agent(stack, left, right):
    """An agent's loop until it has its answer: its programs and calls, in order."""
    client, messages, calls = client_of(stack), question(left, right), []
    while True:
        call, program, message = ask(client, messages)
        calls.append((program, call))
        if not message.tool_calls:
            assert str(left * right) in message.content
            return calls
        answer(messages)


def test_an_agents_loop_is_one_program_with_its_calls_in_a_row(stack):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        agents = list(pool.map(lambda number: agent(stack, 11 + number, 23), range(8)))
    programs = {calls[0][0] for calls in agents}
    assert len(programs) == len(agents), "agents side by side are programs of their own"
    assert {row["id"] for row in stack.get("/v1/programs")["data"]} == programs
    for calls in agents:
        assert len(calls) >= 2 and {program for program, _ in calls} == {calls[0][0]}
        row = stack.program(calls[0][0])
        parents = {call["id"]: call["parents"] for call in row["calls"]}
        for (_, before), (_, after) in zip(calls, calls[1:], strict=False):
            assert parents[after] == [before]
        assert (row["state"], row["source"]) == ("in_tool", "tools")
    assert stack.metric("lps_router_identity_total") == sum(map(len, agents))


def chat(client, messages, **options):
    """One call without tools; its name and its program. The answer joins the conversation."""
    raw = client.chat.completions.with_raw_response.create(
        model="demo", messages=messages, temperature=0, max_tokens=8, **options)
    messages.append({"role": "assistant", "content": raw.parse().choices[0].message.content})
    return raw.headers["x-call-id"], raw.headers["x-program-id"]


def test_plain_chats_side_by_side_are_programs_of_their_own(stack):
    client, chats, calls = client_of(stack), [[], []], [[], []]
    for turn in range(4):
        for number, messages in enumerate(chats):
            system = [] if messages else [{"role": "system", "content": "Be brief."}]
            messages += [*system, {"role": "user", "content": f"Question {turn if turn else number}?"}]
            calls[number].append(chat(client, messages))
    programs = [one[0][1] for one in calls]
    assert programs[0] != programs[1]
    for one, program in zip(calls, programs, strict=True):
        assert {of for _, of in one} == {program}
        row = stack.program(program)
        assert (row["source"], row["generation"], row["call_counts"]["completed"]) == ("prefix", 1, 4)
        assert [thread["id"] for thread in row["threads"]] == ["main"]
        parents = {call["id"]: call["parents"] for call in row["calls"]}
        names = [name for name, _ in one]
        assert [parents[name] for name in names[1:]] == [[name] for name in names[:-1]]
    assert stack.metric('lps_router_identity_total{source="prefix"}') == 6


def test_another_way_on_is_a_thread_of_its_own(stack):
    client, begun = client_of(stack), [{"role": "user", "content": "Hello."}]
    first, program = chat(client, begun)
    for question in ("And now?", "Or so?", "And now?"):
        asked = [*begun, {"role": "user", "content": question}]
        name, of = chat(client, asked)
        assert of == program
    row = stack.program(program)
    threads = {call["id"]: (call["thread"], call["parents"]) for call in row["calls"]}
    assert sorted({thread for thread, _ in threads.values()} - {"main"}) == [row["calls"][2]["id"]]
    assert all(parents == [first] for call, (_, parents) in threads.items() if call != first)


def test_the_same_question_asked_again_is_another_program(stack):
    client = client_of(stack)
    several = [[{"role": "user", "content": "Best of three?"}] for _ in range(3)]
    programs = [chat(client, messages)[1] for messages in several]
    assert len(set(programs)) == 3
    for messages in several:
        messages.append({"role": "user", "content": "Sure?"})
    assert [chat(client, messages)[1] for messages in several] == programs


def test_a_refused_call_is_nothing_to_go_on_from(stack):
    client, messages = client_of(stack), [{"role": "user", "content": "Hello?"}]
    with pytest.raises(openai.BadRequestError):
        chat(client, list(messages), extra_body={"max_completion_tokens": 1 << 23})
    _, program = chat(client, messages)
    messages.append({"role": "user", "content": "And?"})
    assert chat(client, messages)[1] == program
    assert stack.program(program)["call_counts"]["completed"] == 2


def test_results_of_two_calls_are_a_join_and_a_later_question_goes_on(stack):
    client, told = client_of(stack), {"x-program-id": "joined"}
    sides = [question(12, 12), question(13, 13)]
    names = [ask(client, messages, extra_headers=told)[0] for messages in sides]
    asked = [call.model_dump() for messages in sides for call in messages[-1].tool_calls]
    joined = question(12, 12) + [{"role": "assistant", "content": "", "tool_calls": asked}]
    joined += [{"role": "tool", "tool_call_id": call["id"], "content": "144"} for call in asked]
    name, program, _ = ask(client, joined)
    assert program == "joined"
    parents = {call["id"]: call["parents"] for call in stack.program(program)["calls"]}
    assert sorted(parents[name]) == sorted(names)
    joined.append({"role": "user", "content": "Say hello."})
    assert ask(client, joined)[1] == "joined"


def test_researchers_who_go_on_from_one_plan_are_threads_of_its_program(stack):
    client, plan = client_of(stack), question(12, 12)
    first, program, _ = ask(client, plan)
    answer(plan)
    sides = [[*plan[:-1], {**plan[-1], "content": f"{144 + side}"}] for side in range(3)]
    names = [ask(client, messages)[0] for messages in sides]
    row = stack.program(program)
    calls = {call["id"]: (call["thread"], call["parents"]) for call in row["calls"]}
    assert [calls[name] for name in names] == [
        (thread, [first]) for thread in ("main", names[1], names[2])]


@pytest.mark.parametrize("headers, program, thread, source", [
    ({"x-claude-code-session-id": "s1", "x-claude-code-agent-id": "a1"}, "s1", "a1", "client"),
    ({"session-id": "s2", "thread-id": "t2"}, "s2", "t2", "client"),
    ({"x-session-id": "s3", "x-parent-session-id": "p3"}, "p3", "s3", "client"),
    ({"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}, f"trace-{TRACE}", "main", "trace"),
    ({"traceparent": "nonsense", "x-session-id": "not an id"}, None, "main", "single"),
    ({"x-program-id": "mine", "x-session-id": "s4"}, "mine", "main", "headers"),
])
def test_what_known_clients_send_by_themselves(stack, headers, program, thread, source):
    body = {"model": "demo", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}
    status, told, _ = stack.post_whole("/v1/chat/completions", body, headers)
    assert status == 200 and (program is None or told["x-program-id"] == program)
    row = stack.program(told["x-program-id"])
    assert (row["source"], [one["id"] for one in row["threads"]]) == (source, [thread])


def test_nobody_follows_another_tenants_calls(stack):
    body = {"model": "demo", "messages": question(14, 14), "tools": [CALCULATOR], "temperature": 0}
    _, told, answer_a = stack.post_whole("/v1/chat/completions", body, {"x-tenant-id": "a"})
    asked = answer_a["choices"][0]["message"]
    body["messages"] += [asked, {"role": "tool", "tool_call_id": asked["tool_calls"][0]["id"], "content": "196"}]
    _, followed, _ = stack.post_whole("/v1/chat/completions", body, {"x-tenant-id": "b"})
    _, mine, _ = stack.post_whole("/v1/chat/completions", body, {"x-tenant-id": "a"})
    assert mine["x-program-id"] == told["x-program-id"]
    seen = [call["id"] for call in get_as(stack, "a", f"/v1/programs/{mine['x-program-id']}")["calls"]]
    assert seen == [told["x-call-id"], mine["x-call-id"]]
    # What the router forgot, or never told this tenant, is a name like any other: its own program of that name.
    seen = [call["id"] for call in get_as(stack, "b", f"/v1/programs/{followed['x-program-id']}")["calls"]]
    assert seen == [followed["x-call-id"]]


def test_after_a_new_start_of_the_router_an_agent_stays_one_program(tmp_path):
    stack = Stack(tmp_path, manifest())
    with stack:
        messages = question(15, 15)
        _, program, _ = ask(client_of(stack), messages)
        answer(messages)
        stack.end(signal.SIGTERM)
        stack.launch()
        wait_for("the stack to be ready again", stack._ready)
        for _ in range(2):
            _, again, _ = ask(client_of(stack), list(messages))
            assert again == program
        row = stack.program(program)
        assert (row["source"], len(row["calls"])) == ("lineage", 2)
