"""The clients as their users get them: Python's installed from its folder and typed, both in their examples."""

import os
import subprocess
import sys

import pytest
from stack import BIN, ROOT, free_port

CLIENT = ROOT / "clients" / "python"
EXAMPLES = ROOT / "examples"
# Typed and run where LangChain is: tests/langchain.
ELSEWHERE = EXAMPLES / "langchain_agent.py"


@pytest.fixture(scope="session")
def python(tmp_path_factory):
    """The Python of an environment that has what the wheel of the client asks for, and nothing else of ours; and what an
    example without it asks for."""
    folder = tmp_path_factory.mktemp("client")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    run(*pip, "wheel", "--no-deps", "--wheel-dir", folder, CLIENT)
    run(sys.executable, "-m", "venv", folder / "venv")
    python = folder / "venv" / "bin" / "python"
    run(python, "-m", *pip[2:], "install", "--constraint", ROOT / "tests" / "e2e" / "requirements.txt",
        "openai-agents", *folder.glob("*.whl"))
    return python


def run(*command, **environment):
    """What a command prints; fails with it where the command does."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False,
                          env={**os.environ, "PYTHONPATH": "", **environment}, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_an_agent_of_openais_own_client(python, demo):
    printed = run(python, EXAMPLES / "agent.py", OPENAI_BASE_URL=f"{demo.url}/v1", OPENAI_API_KEY="none")
    assert "calculator" in printed
    assert printed.endswith("317 * 24 + 9 is 7617.\n")


def test_an_agent_of_openais_agents_sdk_is_one_program(python, demo):
    before = {row["id"] for row in demo.get("/v1/programs")["data"]}
    printed = run(python, EXAMPLES / "agents_sdk.py", OPENAI_BASE_URL=f"{demo.url}/v1", OPENAI_API_KEY="none")
    *calls, said = printed.splitlines()
    assert sorted(calls) == [
        "  calls get_weather with Oslo: snowy, -3 degrees", "  calls get_weather with Paris: sunny, 21 degrees"]
    assert "sunny" in said and "snowy" in said
    new = [row for row in demo.get("/v1/programs")["data"] if row["id"] not in before]
    assert [(row["source"], row["call_counts"]["completed"] > 1) for row in new] == [("tools", True)]


def test_map_and_reduce(python, demo):
    printed = run(python, EXAMPLES / "map_reduce.py", LPS_URL=demo.url)
    assert printed.startswith("A hiking trip is ready: ")
    plan, *steps, summary = [line.split(" depends on ") for line in printed.splitlines() if " depends on " in line]
    assert plan[1] == "nothing"
    assert [parent for _, parent in steps] == [plan[0]] * 3
    assert sorted(summary[1].split(", ")) == sorted(name for name, _ in steps)


def test_a_search(python, demo):
    assert "the last call depends on 4 others" in run(python, EXAMPLES / "best_of_n.py", LPS_URL=demo.url)


def test_types_hold_for_the_client_and_for_who_uses_it(python):
    mypy = [sys.executable, "-m", "mypy", "--strict", "--no-incremental", "--cache-dir", os.devnull]
    run(*mypy, "--python-executable", python, CLIENT / "src", *sorted({*EXAMPLES.glob("*.py")} - {ELSEWHERE}))


def test_files_are_small():
    for file in (CLIENT / "src").rglob("*.py"):
        assert len(file.read_text().splitlines()) <= 300, file
    for file in EXAMPLES.glob("*.py"):
        assert len(file.read_text().splitlines()) <= 60, file


def test_the_rust_client(demo):
    printed = run(BIN / "examples" / "map_reduce", demo.url)
    summary, said = printed.splitlines()
    assert summary.startswith("A hiking trip is ready: ")
    row = demo.program(said.split()[0])
    plan, *steps, join = row["calls"]
    assert (row["state"], row["class"], row["critical_path_us"] > 0) == ("ended", "map-reduce", True)
    assert [call["parents"] for call in (plan, *steps)] == [[], *[[plan["id"]]] * 3]
    assert sorted(join["parents"]) == sorted(call["id"] for call in steps)
    assert (plan["thread"], join["thread"], len({call["thread"] for call in steps})) == ("main", "main", 3)


def test_the_rust_client_says_what_helps(no_router):
    for url, words in [(f"http://127.0.0.1:{free_port()}", "lps up FILE"), (no_router, "is this a router of lps?")]:
        done = subprocess.run([BIN / "examples" / "map_reduce", url], capture_output=True, text=True, timeout=60,
                              check=False)
        assert done.returncode == 1
        assert words in done.stderr
