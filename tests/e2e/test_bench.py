"""`lps bench run` against a stack with the simulated engine: its tables say what the router's own rows say."""

import csv
import json
import os
import signal
import subprocess

import pytest

from stack import BIN, Stack, manifest, wait_for

SLOW = ["--sim-step-us", "2000", "--sim-prefill-token-us", "10"]


@pytest.fixture(scope="module")
def sim(tmp_path_factory):
    """Two simulated engines of four slots each, with a context of 512 tokens."""
    resource = manifest(builtin="sim", engines=2, slots=4, extraArgs=SLOW)
    resource["spec"]["model"]["maxModelLen"] = 512
    with Stack(tmp_path_factory.mktemp("bench"), resource) as stack:
        yield stack


def lps(*words, code=0):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LPS_")}
    done = subprocess.run([BIN / "lps", *map(str, words)], capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == code, done.stderr + done.stdout
    return done


def table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def rows_of(stack, programs):
    """The router's rows of the last run: by the workload's name, which the bench prefixes."""
    whole = [p["id"] for p in stack.get("/v1/programs")["data"]]
    found = {}
    for name in programs:
        ids = [one for one in whole if one.startswith("bench-") and one.split("-", 2)[2] == name]
        assert len(ids) == 1, (name, ids)
        found[name] = stack.program(ids[0])
    return found


def test_the_tables_say_what_the_router_says(sim, tmp_path):
    workload = "mixed,programs=8,scale=0.05,gap-max=0.1,calls-max=12,context=2000,arrivals=at-once"
    lps("workload", workload, "--seed", 3, "--out", tmp_path / "w.jsonl")
    lps("bench", "run", tmp_path / "w.jsonl", "--url", sim.url, "--out", tmp_path / "out", "--label", "atlas")
    specs = {p["program"]: p for p in map(json.loads, open(tmp_path / "w.jsonl"))}
    programs, calls = table(tmp_path / "out/programs.csv"), table(tmp_path / "out/calls.csv")
    summary = json.load(open(tmp_path / "out/summary.json"))
    assert [p["program"] for p in programs] == list(specs)
    assert summary["programs"]["completed"] == 8 and not summary["errors"], summary
    rows = rows_of(sim, specs)
    for program in programs:
        row, spec = rows[program["program"]], specs[program["program"]]
        assert row["class"] == spec["class"]
        assert int(program["calls_completed"]) == len(spec["calls"]) == row["call_counts"]["completed"]
        for column in ["prompt_tokens", "cached_tokens", "output_tokens"]:
            assert int(program[column]) == row[column], column
        for column, field in [("service_s", "service_total_us"), ("critical_path_s", "critical_path_us"),
                              ("wait_s", "wait_total_us")]:
            assert round(float(program[column]) * 1e6) == row[field], column
        # What the answers said is what the router charged.
        assert round(float(program["executor_s"]) * 1e6) == row["service_total_us"]
        assert float(program["completion_s"]) * 1e6 >= row["critical_path_us"]
    for call in calls:
        spec = next(c for c in specs[call["program"]]["calls"] if c["call"] == call["call"])
        row = next(c for c in rows[call["program"]]["calls"] if c["id"].endswith(f"{call['program']}.{call['call']}"))
        assert int(call["prompt_tokens"]) == spec["prompt_tokens"]
        assert int(call["output_tokens"]) == spec["output_tokens"]
        assert [p.rsplit(".", 1)[1] for p in row["parents"]] == spec["parents"]
        assert call["engine"] == row["engine"]
        assert float(call["ready_s"]) <= float(call["first_token_s"]) <= float(call["end_s"])
        # A call is sent after its parents and its gap.
        ends = [float(c["end_s"]) for c in calls if c["program"] == call["program"] and c["call"] in spec["parents"]]
        assert float(call["sent_s"]) >= max(ends, default=0.0) + spec["gap_s"] - 2e-6
    # Turns of a thread go on from each other, so that a prefix cache can help.
    assert sum(int(p["cached_tokens"]) for p in programs) > 0
    assert sum(summary["waits_s"].values()) == pytest.approx(sum(float(c["wait_s"]) for c in calls), abs=1e-4)


def test_a_prompt_over_the_context_is_reported_for_its_program(sim, tmp_path):
    lines = [
        {"program": "fits", "calls": [{"call": "a", "prompt_tokens": 40, "output_tokens": 4}]},
        {"program": "grows", "calls": [
            {"call": "a", "prompt_tokens": 400, "output_tokens": 4},
            {"call": "b", "prompt_tokens": 900, "output_tokens": 4},
            {"call": "c", "prompt_tokens": 950, "output_tokens": 4}]},
    ]
    (tmp_path / "w.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = lps("bench", "run", tmp_path / "w.jsonl", "--url", sim.url, "--out", tmp_path / "out")
    assert "1 completed, 0 unfinished, 1 refused" in done.stdout
    assert "the prompt has N tokens" in done.stdout
    programs = {p["program"]: p for p in table(tmp_path / "out/programs.csv")}
    assert programs["fits"]["state"] == "completed"
    assert programs["grows"]["state"] == "refused" and "900 tokens" in programs["grows"]["error"]
    states = [c["state"] for c in table(tmp_path / "out/calls.csv") if c["program"] == "grows"]
    assert states == ["completed", "refused", "not_reached"]


def test_a_plain_server_gets_text_and_no_headers(sim, tmp_path):
    """In a closed loop; the engine itself stands for a server that knows nothing of programs."""
    engine = sim.engines()[0]["url"].rstrip("/")
    before = len(sim.get("/v1/programs")["data"])
    lps("bench", "run", "react,programs=6,scale=0.2,calls-max=4,gap=0", "--url", engine, "--plain", "--ignore-eos",
        "--closed", 2, "--out", tmp_path / "out")
    assert len(sim.get("/v1/programs")["data"]) == before
    programs = table(tmp_path / "out/programs.csv")
    assert {p["state"] for p in programs} == {"completed"}
    wanted = [(int(c["prompt_tokens_wanted"]), int(c["prompt_tokens"])) for c in table(tmp_path / "out/calls.csv")]
    assert all(abs(got - asked) <= max(16, asked / 3) for asked, got in wanted), wanted
    # Two at once: no more than two programs overlap at any begin.
    spans = [(float(p["arrival_s"]), float(p["end_s"])) for p in programs]
    assert all(sum(a <= begin < b for a, b in spans) <= 2 for begin, _ in spans), spans


def test_ctrl_c_leaves_what_there_is(sim, tmp_path):
    lines = [{"program": name, "calls": [
        {"call": "a", "prompt_tokens": 8, "output_tokens": 4},
        {"call": "b", "prompt_tokens": 16, "output_tokens": 4, "gap_s": gap}]} for name, gap in [("short", 0), ("long", 999)]]
    (tmp_path / "w.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    before = {p["id"] for p in sim.get("/v1/programs")["data"]}
    process = subprocess.Popen([BIN / "lps", "bench", "run", tmp_path / "w.jsonl", "--url", sim.url,
                                "--out", tmp_path / "out"], stdout=subprocess.PIPE)

    def fresh():
        return {p["id"].split("-", 2)[2]: p for p in sim.get("/v1/programs")["data"] if p["id"] not in before}
    wait_for("both programs to wait or end", lambda: fresh().get("short", {}).get("state") == "ended"
             and fresh().get("long", {}).get("call_counts", {}).get("completed") == 1)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 0 and b"1 completed, 1 unfinished" in out
    states = {p["program"]: p["state"] for p in table(tmp_path / "out/programs.csv")}
    assert states == {"short": "completed", "long": "unfinished"}
    wait_for("the cut program to be ended at the router", lambda: fresh()["long"]["state"] == "ended")


@pytest.mark.parametrize("words, error", [
    (["chat,programs=0"], "its range is 1..="),
    (["nothing"], "no workload"),
    (["FILE"], "w.jsonl:1: field calls[0].gap_s: -1"),
    (["chat", "--time-scale", "-1"], "its range is 0..=10000"),
    (["chat", "--warm-up", "nan"], "its range is 0..=1000000 seconds"),
    (["chat", "--closed", "0"], "1..=100000"),
    (["chat", "--url", "http://127.0.0.1:1"], "cannot reach"),
])
def test_what_cannot_be_run_is_said(tmp_path, words, error):
    file = tmp_path / "w.jsonl"
    file.write_text('{"program":"x","calls":[{"call":"a","gap_s":-1}]}\n')
    words = [str(file) if word == "FILE" else word for word in words]
    done = subprocess.run([BIN / "lps", "bench", "run", *words], capture_output=True, text=True, timeout=60)
    assert done.returncode != 0 and error in done.stderr, done.stderr


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    """The same study on one engine a mode of batching."""
    out = tmp_path_factory.mktemp("batch")
    for mode in ["continuous", "static", "timeout:30"]:
        label = mode.split(":")[0]
        resource = manifest(builtin="sim", slots=4, extraArgs=["--batching", mode, *SLOW])
        with Stack(tmp_path_factory.mktemp(label), resource) as stack:
            lps("bench", "batch", "--runs", 2, "--prompts", 12, "--concurrency", "4,8", "--prompt-tokens", 32,
                "--output-tokens", 60, "--vary", "--url", stack.url, "--label", label, "--out", out / label)
    return out


def test_a_batch_study_has_its_columns_and_shows_what_continuous_batching_gains(studies):
    speeds = {}
    for mode in ["continuous", "static", "timeout"]:
        rows = table(studies / mode / "batch.csv")
        assert list(rows[0]) == ["run_num", "seq", "status", "batch_num", "input_tokens", "output_tokens",
                                 "total_tokens", "latency", "ttft", "tokens_per_sec", "prompt", "output_prompt", "error"]
        assert len(rows) == 2 * 12 * 2 and {row["status"] for row in rows} == {"ok"}
        assert {row["input_tokens"] for row in rows} == {"32"}
        assert {int(row["output_tokens"]) for row in rows} == {1 + i * 59 // 11 for i in range(12)}
        for row in rows:
            assert int(row["total_tokens"]) == 32 + int(row["output_tokens"])
            assert 0 < float(row["ttft"]) <= float(row["latency"])
        levels = json.load(open(studies / mode / "summary.json"))["levels"]
        assert [level["concurrency"] for level in levels] == [4, 8]
        speeds[mode] = levels[1]["output_tokens_per_s"]["mean"]
    # A static batch lasts as long as its longest answer; the steps are the engine's, whatever the machine does.
    assert speeds["continuous"] > speeds["static"], speeds


def test_a_batch_that_never_fills_is_told_and_not_waited_for(tmp_path):
    with Stack(tmp_path, manifest(builtin="sim", slots=4, extraArgs=["--batching", "static", *SLOW])) as stack:
        done = lps("bench", "batch", "--runs", 1, "--prompts", 2, "--concurrency", 2, "--timeout", 1,
                   "--url", stack.url, "--out", tmp_path / "out", code=1)
    assert "no complete answer within 1 s (--timeout)" in done.stderr
    assert [row["status"] for row in table(tmp_path / "out/batch.csv")] == ["error", "error"]


def test_one_page_shows_replays_and_batch_studies(sim, studies, tmp_path):
    for label in ["fcfs", "atlas"]:
        lps("bench", "run", "react,programs=6,scale=0.2,calls-max=4,gap-max=0.1,rate=20", "--url", sim.url,
            "--label", label, "--out", tmp_path / "runs" / label)
    out = tmp_path / "report.html"
    done = lps("bench", "report", tmp_path / "runs", studies, "--out", out)
    assert "2 runs, 3 batch studies" in done.stdout
    page = out.read_text()
    assert page.count("<svg") >= 6 and page.count("</svg>") == page.count("<svg")
    for words in ["How long programs take as load rises", "What the engines did", "Batches", "timeout", "atlas"]:
        assert words in page, words
    assert "NaN" not in page
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "no study in it" in lps("bench", "report", empty, "--out", out, code=1).stderr
