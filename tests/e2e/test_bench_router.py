"""`make bench-router` in its smallest form: our router and none, no peers. Its columns, and how often a call is tried."""

import csv
import subprocess
import sys

import pytest

from stack import BIN, ROOT

WORKLOADS = ["whole_1k_c1", "whole_436k_c1", "unnamed_1k_c32", "unnamed_436k_c1", "burst_1k_c32"]


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """Its folder after a run."""
    folder = tmp_path_factory.mktemp("bench-router")
    command = [sys.executable, ROOT / "scripts/bench/router.py", "--bin", BIN, "--out", folder, "--arms", "direct,lps-router",
               "--workloads", ",".join(WORKLOADS), "--rounds", "1", "--seconds", "0.1", "--hang", "1"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
    assert done.returncode == 0, done.stdout
    return folder


def table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_every_arm_has_its_figures(out):
    rows = table(out / "runs.csv")
    assert list(rows[0]) == [
        "arm", "round", "workload", "body_bytes", "connections", "seconds", "requests", "errors", "req_s", "p50_ms", "p99_ms",
        "cpu_us_request", "chunks", "chunk_p50_ms", "chunk_p99_ms", "cpu_us_chunk", "rss_idle_mb", "rss_mb", "version", "note"]
    assert {(row["arm"], row["workload"]) for row in rows} == {(arm, each) for arm in ["direct", "lps-router"] for each in WORKLOADS}
    for row in rows:
        assert int(row["requests"]) > 0 and row["errors"] == "0" and row["note"] == "", row
        assert 0 < float(row["p50_ms"]) <= float(row["p99_ms"]), row
        assert float(row["rss_mb"]) > 0, row
        if row["workload"].startswith("burst"):
            # No piece is lost, joined with another or told twice.
            assert int(row["chunks"]) == 8 * int(row["requests"]), row


def test_a_call_is_tried_as_often_as_is_promised(out):
    tried = {row["failure"]: row for row in table(out / "attempts.csv")}
    assert {row["note"] for row in tried.values()} == {""}, tried
    assert {row["arm"] for row in tried.values()} == {"lps-router"}
    told = {failure: (row["attempts"], row["status"]) for failure, row in tried.items()}
    # Work that was done is not done again, nor beside work that may still be done.
    assert told["error"] == ("1", "500")
    assert told["hang"] == ("1", "none")
    # Whoever asks for a pause is given it, and the client does not see it.
    assert told["busy"] == ("2", "200") and float(tried["busy"]["gap_s"]) >= 1.0
    assert told["reset"] == ("2", "502")
    # Others' refused connections are counted too, so the count is not asserted here.
    assert told["refused"][1] == "502"


def test_targets_and_attempts_are_in_the_tables(out):
    text = (out / "tables.md").read_text()
    for line in ["| added p50, 436 KB, ms | ≤ 0.5 |", "| CPU a request, 436 KB, no program named, µs | ≤ 450 |",
                 "| status 500 | 1; 500 after ", "## Processors' time"]:
        assert line in text, text
    assert (out / "speed.svg").read_text().startswith("<svg ")
