"""What schemathesis is told about this API: how a call is kept short, and that no tenant sees another's.

Owns: the hooks that its command loads (`SCHEMATHESIS_HOOKS`). It is told by the environment which model of
which router is asked (`FUZZ_MODEL`, `FUZZ_URL`), and where there are keys, another tenant's (`FUZZ_OTHER_KEY`).
"""

import os
import urllib.parse

import requests
import schemathesis

URL = os.environ["FUZZ_URL"]
MODEL = os.environ["FUZZ_MODEL"]
OTHER_KEY = os.environ.get("FUZZ_OTHER_KEY")
TOKENS_MAX = 4
CHOICES_MAX = 2
TIMEOUT_S = 30
# The field that says when an answer ends.
LIMITS = {
    "/v1/chat/completions": "max_completion_tokens",
    "/v1/completions": "max_tokens",
    "/v1/messages": "max_tokens",
    "/v1/responses": "max_output_tokens",
}
# What the answer to these says of an id: it is asked for by the other tenant.
ROWS = {"program": "/v1/programs/", "call": "/v1/calls/", "response": "/v1/responses/"}
asked_for = set()


def is_count(value):
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


@schemathesis.hook
def before_call(context, case, kwargs):
    """Most names are no model's, and most limits are long: without this hardly a call would reach an engine, or end."""
    body = case.body
    if isinstance(body, dict):
        if isinstance(body.get("model"), str):
            body["model"] = MODEL
        limit = LIMITS.get(case.operation.path)
        if limit and case.operation.path != "/v1/messages":  # There it has to be.
            body.setdefault(limit, TOKENS_MAX)
        for field, most in [(limit, TOKENS_MAX), ("n", CHOICES_MAX)]:
            if is_count(body.get(field)):
                body[field] = min(body[field], most)
    if OTHER_KEY and case.headers:
        # With keys it is the key's tenant, or refused.
        case.headers.pop("x-tenant-id", None)


@schemathesis.check
def another_tenant_sees_nothing(ctx, response, case):
    """What an answer names is not there for another tenant."""
    if not OTHER_KEY or response.status_code >= 300:
        return
    names = {("program", response.headers.get("x-program-id", [None])[0]), ("call", response.headers.get("x-call-id", [None])[0])}
    if "application/json" in response.headers.get("content-type", [""])[0]:
        told = response.json()
        if isinstance(told, dict) and told.get("object") in ROWS:
            names.add((told["object"], told.get("id")))
    for kind, name in sorted((kind, name) for kind, name in names if name):
        path = ROWS[kind] + urllib.parse.quote(name, safe="")
        if path in asked_for:
            continue
        asked_for.add(path)
        answer = requests.get(URL + path, headers={"x-api-key": OTHER_KEY}, timeout=TIMEOUT_S)
        assert answer.status_code == 404, f"another tenant asks for {path}: {answer.status_code} {answer.text}"
