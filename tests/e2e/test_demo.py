"""The demo as a user runs it, its figures recomputed from the engines' own logs."""

import json
import re
import subprocess

from stack import BIN, ROOT, wait_for


def lps(*arguments):
    """Runs the tool; fails with what it said when it does not exit 0."""
    done = subprocess.run([BIN / "lps", *arguments], capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def logged_service(stack, program):
    """Executor time by call, from the lines that the engines log when a call ends."""
    service = {}
    for log in (stack.folder / "state" / "engines").glob("*.log"):
        for line in log.read_text().splitlines():
            fields = dict(re.findall(r"(\w+)=(\S+)", line))
            if "call ended" in line and fields.get("program") == program:
                service[fields["call"].rsplit("~", 1)[0]] = int(fields["executor_us"])
    return service


def demo_row(stack):
    """The row of a demo whose three steps became ready together. When one of them starts before the next is there, the
    scalar estimator rightly counts what had run by then, and the row's path is not the longest chain any more."""
    for _ in range(5):
        row = json.loads(lps("demo", "--url", stack.url, "--json"))
        if len({call["p_us"] for call in row["calls"] if call["parents"] == ["plan"]}) == 1:
            return row
    raise AssertionError(f"the steps never became ready together: {row}")


def test_the_row_is_what_the_engines_logged(demo):
    row = demo_row(demo)
    calls = {call["id"]: call for call in row["calls"]}
    # A log line is on its way to the file when the answer is already there.
    wait_for("the last log line", lambda: logged_service(demo, row["id"]).keys() == calls.keys(), 20)
    service = logged_service(demo, row["id"])
    assert row["service_total_us"] == sum(service.values())

    longest = {}
    for name, call in calls.items():  # in order of arrival: parents first
        parents = [longest[parent] for parent in call["parents"]]
        longest[name] = max(parents, default=0) + service[name]
    assert row["critical_path_us"] == max(longest.values())

    join = calls["join"]
    assert len(join["parents"]) == 3
    assert join["p_us"] == max(longest[parent] for parent in join["parents"])
    assert join["p_us"] < sum(service[name] for name in ["plan", *join["parents"]])


def test_it_starts_a_stack_of_its_own_and_leaves_nothing(tmp_path):
    said = lps("demo")
    assert "equals the longest chain of calls" in said
    assert "stack ended" in said
    pids = subprocess.run(["pgrep", "-f", f"{BIN}/lps-engine .*--engine-id quickstart-[0-9]+ .*lps-demo"],
                          capture_output=True, text=True, check=False).stdout
    assert not pids


def test_one_shot_chat(demo):
    assert "prefix cache" in lps("chat", "--url", demo.url, "What is a prefix cache?")


def test_tables_and_json(demo):
    lps("demo", "--url", demo.url)
    listed = json.loads(lps("programs", "--url", demo.url, "--json"))["data"]
    name = listed[0]["id"]
    assert name in lps("programs", "--url", demo.url)
    assert name in lps("programs", name, "--url", demo.url)
    assert "demo-0" in lps("engines", "--url", demo.url)


def test_without_a_router_the_error_says_what_to_do():
    done = subprocess.run([BIN / "lps", "engines", "--url", "http://127.0.0.1:9"], capture_output=True, text=True,
                          timeout=30, check=False)
    assert done.returncode == 1
    assert "lps up" in done.stderr
