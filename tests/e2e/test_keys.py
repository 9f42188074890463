"""API keys, with the official clients and the user's tool: who is let in, and keys that change while a stream runs."""

import json

import anthropic
import openai
import pytest
from keyfile import Keys, lps
from stack import Stack, manifest, wait_for

ASK = {"messages": [{"role": "user", "content": "What is a block?"}], "max_tokens": 16}
SLOW = ["--sim-step-us", "20000", "--sim-output-tokens", "0"]


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    keys = Keys(tmp_path_factory.mktemp("keys") / "keys.yaml")
    keys.make("ops", "ops", "admin")
    keys.make("agent", "alice", "infer,cancel")
    keys.make("successor", "alice", "infer")
    keys.make("bob", "bob", "infer")
    keys.make("scraper", "ops", "metrics")
    keys.make("past", "alice", "infer", "--expires", "2020-01-01T00:00:00Z")
    keys.write("ops", "agent", "bob", "scraper", "past")
    return keys


@pytest.fixture(scope="module")
def guarded(tmp_path_factory, keys):
    resources = [manifest(), manifest("slow", builtin="sim", extraArgs=SLOW)]
    folder = tmp_path_factory.mktemp("guarded")
    with Stack(folder, *resources, arguments=["--keys", keys.path], key=keys.secret["ops"]) as stack:
        yield stack
        log = stack.output()
        assert not [name for name, secret in keys.secret.items() if secret in log], "a key stands in the log"


def clients(stack, key):
    """The official clients, unchanged."""
    options = {"api_key": key, "max_retries": 0, "timeout": 120}
    return openai.OpenAI(base_url=f"{stack.url}/v1", **options), anthropic.Anthropic(base_url=stack.url, **options)


def test_who_has_a_key_is_answered(guarded, keys):
    ours, theirs = clients(guarded, keys.secret["agent"])
    assert ours.chat.completions.create(model="demo", **ASK).choices[0].message.content
    with theirs.messages.stream(model="demo", **ASK) as stream:
        assert stream.get_final_message().content[0].text
    bearer = anthropic.Anthropic(base_url=guarded.url, auth_token=keys.secret["agent"], api_key=None, max_retries=0)
    assert bearer.messages.create(model="demo", **ASK).content[0].text


@pytest.mark.parametrize("name", ["nobody's", "past"])
def test_who_has_none_is_told_so_in_the_words_of_each_client(guarded, keys, name):
    ours, theirs = clients(guarded, keys.secret.get(name, "sk-unknown"))
    with pytest.raises(openai.AuthenticationError) as told:
        ours.chat.completions.create(model="demo", **ASK)
    assert told.value.code == "invalid_api_key"
    with pytest.raises(anthropic.AuthenticationError) as told:
        theirs.messages.create(model="demo", **ASK)
    assert told.value.body["error"]["type"] == "authentication_error"


def test_a_key_without_the_role_may_not(guarded, keys):
    ours, theirs = clients(guarded, keys.secret["scraper"])
    with pytest.raises(openai.PermissionDeniedError, match="the role infer"):
        ours.models.list()
    with pytest.raises(anthropic.PermissionDeniedError, match="the role infer"):
        theirs.messages.create(model="demo", **ASK)


def test_a_program_is_its_tenants(guarded, keys):
    ours, _ = clients(guarded, keys.secret["agent"])
    ours.chat.completions.create(model="demo", **ASK, extra_headers={"x-program-id": "mine", "x-call-id": "only"})
    for program, key, code in [("mine", "agent", 0), ("mine", "ops", 1), ("mine", None, 1)]:
        found, told = lps("programs", program, "--url", guarded.url, key=key and keys.secret[key])
        assert found == code, told
    for key, sees in [("agent", ["alice"]), ("ops", ["alice"]), ("bob", [])]:
        code, told = lps("programs", "--json", "--url", guarded.url, key=keys.secret[key])
        assert code == 0 and [row["tenant"] for row in json.loads(told)["data"] if row["id"] == "mine"] == sees
    found, told = lps("programs", "mine", "--tenant", "alice", "--url", guarded.url, key=keys.secret["ops"])
    assert found == 0, told
    found, told = lps("programs", "--tenant", "ops", "--url", guarded.url, key=keys.secret["agent"])
    assert found == 1 and "tenant" in told, told
    other = {"x-api-key": keys.secret["agent"], "x-tenant-id": "ops"}
    assert guarded.post("/v1/programs/mine/cancel", {}, other)[0] == 403


def test_the_tool_speaks_with_a_key(guarded, keys):
    code, told = lps("chat", "Hello", "--url", guarded.url, key=keys.secret["agent"])
    assert code == 0, told
    code, told = lps("engines", "--url", guarded.url, key=keys.secret["scraper"])
    assert code == 0 and "demo" in told, told
    code, told = lps("engines", "--url", guarded.url)
    assert code == 1 and "an API key is needed" in told, told


def cached(stack, key, **more):
    """Tokens of a long prompt that an engine had already."""
    ours, _ = clients(stack, key)
    answer = ours.completions.create(model="slow", prompt="What one tenant sent. " * 16, max_tokens=1, **more)
    return answer.usage.prompt_tokens_details.cached_tokens


def test_tenants_share_no_prefix(guarded, keys):
    mine, other = keys.secret["agent"], keys.secret["ops"]
    salt = {"extra_body": {"cache_salt": "mine"}}
    assert cached(guarded, mine) == 0
    assert cached(guarded, mine) > 0
    assert cached(guarded, other) == 0
    # A salt of one's own leads neither out of the tenant nor to whoever has the same.
    assert cached(guarded, mine, **salt) == 0
    assert cached(guarded, mine, **salt) > 0
    assert cached(guarded, other, **salt) == 0


def test_tenants_share_prefixes_where_that_is_asked_for(tmp_path, keys):
    arguments = ["--keys", keys.path, "--share-prefix-cache"]
    with Stack(tmp_path, manifest("slow", builtin="sim"), arguments=arguments, key=keys.secret["ops"]) as stack:
        assert cached(stack, keys.secret["agent"]) == 0
        assert cached(stack, keys.secret["ops"]) > 0


def test_keys_change_while_a_stream_runs(guarded, keys):
    old, _ = clients(guarded, keys.secret["agent"])
    new, _ = clients(guarded, keys.secret["successor"])
    headers = {"x-program-id": "long", "x-call-id": "stream"}
    stream = old.completions.create(
        model="slow", prompt="x", max_tokens=400, stream=True, extra_headers=headers, extra_body={"ignore_eos": True}
    )
    parts = iter(stream)
    next(parts)
    keys.write("ops", "successor", "scraper", "past")

    def refused():
        try:
            old.models.list()
        except openai.AuthenticationError:
            return True

    wait_for("the old key to be refused", refused)
    assert [model.id for model in new.models.list()] == ["demo", "slow"]
    code, told = lps("calls", "stream", "--json", "--url", guarded.url, key=keys.secret["successor"])
    assert code == 0 and json.loads(told)["state"] == "running", told
    last = list(parts)[-1]
    assert last.choices[0].finish_reason == "length"

    # What makes no sense changes nothing.
    keys.path.write_text("keys: nonsense")
    wait_for("the router to say so", lambda: "the keys of before stay in use" in guarded.output())
    assert guarded.metric("lps_router_keys_file_valid") == 0
    assert new.models.list()
    keys.write("ops", "agent", "bob", "scraper", "past")
    wait_for("the first key to be taken again", lambda: not refused())
    assert guarded.metric("lps_router_keys_file_valid") == 1
