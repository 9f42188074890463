"""Programs that ended, as lines in a file; and that neither lines nor spans wait when the router ends."""

import json
import subprocess

from stack import BIN, Stack, manifest, wait_for


def lines(path):
    """The programs that stand in a file by now."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def ask(stack, program, call, parents=""):
    headers = {"x-program-id": program, "x-call-id": call, "x-parent-call-ids": parents}
    body = {"model": "demo", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}
    assert stack.post("/v1/chat/completions", body, headers)[0] == 200


def test_a_program_that_ended_is_a_line_with_its_calls(tmp_path):
    path = tmp_path / "programs.jsonl"
    with Stack(tmp_path, manifest(), arguments=["--programs-log", path]) as stack:
        ask(stack, "job", "a")
        ask(stack, "job", "b", parents="a")
        stack.post("/v1/programs/job/end", {})
        wait_for("the line", lambda: path.exists() and lines(path))
        (job,) = lines(path)
        shown = stack.program("job")
        assert {name: job[name] for name in ("id", "state", "service_total_us", "calls")} == {
            name: shown[name] for name in ("id", "state", "service_total_us", "calls")}
        assert [call["parents"] for call in job["calls"]] == [[], ["a"]]
        # As logrotate does it. What ends just before the router does is written still.
        path.rename(tmp_path / "programs.jsonl.1")
        ask(stack, "last", "c")
        stack.post("/v1/programs/last/end", {})
        assert stack.end() == 0
    assert [program["id"] for program in lines(path)] == ["last"]


def test_a_file_that_cannot_be_had_ends_the_start(tmp_path):
    file = tmp_path / "manifest.json"
    file.write_text(json.dumps(manifest()))
    done = subprocess.run(
        [BIN / "lps", "up", file, "--port", "0", "--admin-port", "0", "--state-dir", tmp_path / "state",
         "--programs-log", tmp_path / "none" / "programs.jsonl"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert f"--programs-log {tmp_path}/none/programs.jsonl: No such file or directory" in done.stderr
