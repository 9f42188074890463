"""What is wrong is refused with a status and the field's name; nothing else is disturbed."""

import pytest

GOOD = {"model": "demo", "messages": [{"role": "user", "content": "hi"}]}

CASES = [
    ("malformed JSON", b'{"model": "demo", ', 400, None),
    ("not an object", [1, 2], 400, None),
    ("no model", {"messages": GOOD["messages"]}, 400, "model"),
    ("model of a wrong type", {**GOOD, "model": 7}, 400, "model"),
    ("unknown model", {**GOOD, "model": "nope"}, 404, "model"),
    ("no messages", {"model": "demo"}, 400, "messages"),
    ("messages of a wrong type", {**GOOD, "messages": "hi"}, 400, "messages"),
    ("empty messages", {**GOOD, "messages": []}, 400, "messages"),
    ("negative max_tokens", {**GOOD, "max_tokens": -1}, 400, "max_tokens"),
    ("zero max_tokens", {**GOOD, "max_tokens": 0}, 400, "max_tokens"),
    ("absurd n", {**GOOD, "n": 100000}, 400, "n"),
    ("temperature below 0", {**GOOD, "temperature": -0.5}, 400, "temperature"),
    ("temperature of a wrong type", {**GOOD, "temperature": "hot"}, 400, "temperature"),
    ("top_p above 1", {**GOOD, "top_p": 1.5}, 400, "top_p"),
    ("10,000 messages", {**GOOD, "messages": GOOD["messages"] * 10_000}, 400, "messages"),
    ("a list as deep as it is long", b'{"model": "demo", "messages": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400, None),
    ("no UTF-8", b'{"model": "demo", "messages": [{"role": "user", "content": "\xff"}]}', 400, None),
    ("unknown role", {**GOOD, "messages": [{"role": "king", "content": "hi"}]}, 400, "messages"),
    ("no content", {**GOOD, "messages": [{"role": "user"}]}, 400, "messages"),
    ("prompt longer than the context", {**GOOD, "messages": [{"role": "user", "content": "word " * 4000}]}, 400, "messages"),
]


@pytest.mark.parametrize("name,body,status,param", CASES, ids=[case[0] for case in CASES])
def test_bad_requests_are_refused(demo, name, body, status, param):
    got, answer = demo.post("/v1/chat/completions", body)
    assert got == status, answer
    assert answer["error"]["message"]
    if param:
        assert answer["error"]["param"] == param, answer


def test_a_body_over_the_limit_is_refused(demo):
    body = b'{"model": "demo", "messages": [{"role": "user", "content": "' + b"x" * (33 << 20) + b'"}]}'
    status, answer = demo.post("/v1/chat/completions", body)
    assert status == 413, answer


def test_an_unknown_parent_is_accepted(demo):
    headers = {"x-program-id": "orphan", "x-call-id": "child", "x-parent-call-ids": "never-seen"}
    status, _ = demo.post("/v1/chat/completions", {**GOOD, "max_tokens": 2}, headers)
    assert status == 200
    assert demo.program("orphan")["calls"]


def test_another_tenants_program_is_not_visible(demo):
    status, _ = demo.post(
        "/v1/chat/completions", {**GOOD, "max_tokens": 2}, {"x-program-id": "private", "x-tenant-id": "alice"}
    )
    assert status == 200
    status, answer = demo.post("/v1/programs/private/cancel", {}, {"x-tenant-id": "bob"})
    assert status == 404, answer


@pytest.mark.parametrize("header", ["x-program-id", "x-call-id", "x-thread-id", "x-tenant-id"])
def test_an_id_that_is_no_id_is_refused(demo, header):
    status, answer = demo.post("/v1/chat/completions", GOOD, {header: "a b\tc"})
    assert status == 400, answer
    assert header in answer["error"]["message"]
