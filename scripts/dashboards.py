#!/usr/bin/env python3
"""Writes the Grafana dashboards of charts/lps/dashboards from the tables below; with --check it only compares.

A panel is a title, a unit as Grafana names it, and queries with what each line is called. Queries name metrics of
docs/metrics.md only: tests/cluster/test_chart.py compares.
"""
import json
import pathlib
import sys

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "charts" / "lps" / "dashboards"
MODEL = 'model=~"$model"'
WIDTH, HEIGHT, COLUMNS = 8, 8, 3


def rate(metric, by, where=MODEL):
    return f"sum by ({by}) (rate({metric}{{{where}}}[$__rate_interval]))"


def quantiles(metric, where=MODEL, by="model"):
    """The median, the 95th and the 99th percentile."""
    return [
        (f"histogram_quantile({share}, sum by ({by}, le) (rate({metric}_bucket{{{where}}}[$__rate_interval])))", f"{{{{{by}}}}} {name}")
        for share, name in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))
    ]


def mean(metric, by="model", where=MODEL):
    return f"{rate(f'{metric}_sum', by, where)} / {rate(f'{metric}_count', by, where)}"


PODS = 'pod=~"$pod"'
PROGRAMS = [
    ("Completion of a program", "s", quantiles("lps_router_program_completion_seconds")),
    ("Where a program's time goes, mean", "s", [
        (mean("lps_router_program_completion_seconds"), "{{model}} completion"),
        (mean("lps_router_program_critical_path_seconds"), "{{model}} critical path"),
        (mean("lps_router_program_service_seconds"), "{{model}} service")]),
    ("Slowdown: completion over critical path", "none", [
        (f"{rate('lps_router_program_completion_seconds_sum', 'model')} / {rate('lps_router_program_critical_path_seconds_sum', 'model')}",
         "{{model}}")]),
    ("Programs that ended", "cps", [(rate("lps_router_program_completion_seconds_count", "model"), "{{model}}")]),
    ("Calls waiting and running", "none", [
        (f"max by (model) (lps_router_waiting_calls{{{MODEL}}})", "{{model}} waiting"),
        (f"max by (model) (lps_router_running_calls{{{MODEL}}})", "{{model}} running")]),
    ("Calls that ended", "cps", [(rate("lps_router_calls_total", "model, outcome"), "{{model}} {{outcome}}")]),
    ("A call's wait for an engine", "s", quantiles("lps_router_queue_wait_seconds")),
    ("Why calls wait, calls at a time", "none", [(rate("lps_router_wait_seconds_sum", "reason"), "{{reason}}")]),
    ("Demoted, promoted, preempted", "cps", [(rate("lps_router_queue_moves_total", "kind"), "{{kind}}")]),
    ("Tokens", "none", [(rate("lps_router_tokens_total", "kind"), "{{kind}} a second")]),
    ("Who says which program a call is of", "cps", [(rate("lps_router_identity_total", "source", ""), "{{source}}")]),
    ("Refused", "cps", [(rate("lps_router_refused_total", "reason", ""), "{{reason}}")]),
    ("The router's own time for a call", "s", quantiles("lps_router_overhead_seconds")),
    ("Service of a call", "s", quantiles("lps_router_call_service_seconds")),
    ("Attempts lost, streams gone on with elsewhere", "cps", [
        (rate("lps_router_failed_attempts_total", "cause"), "{{cause}}"),
        (rate("lps_router_resumed_total", "model"), "{{model}} gone on with")]),
]
ENGINES = [
    ("Sequences in the batch", "none", [(f"vllm:num_requests_running{{{PODS}}}", "{{pod}}")]),
    ("Calls that wait for a slot", "none", [(f"vllm:num_requests_waiting{{{PODS}}}", "{{pod}}")]),
    ("KV pages in use", "percentunit", [(f"vllm:kv_cache_usage_perc{{{PODS}}}", "{{pod}}")]),
    ("KV pages that are free or cached", "none", [
        (f"lps_engine_kv_blocks_free{{{PODS}}}", "{{pod}} free"), (f"lps_engine_kv_blocks_cached{{{PODS}}}", "{{pod}} cached")]),
    ("A step", "s", quantiles("lps_engine_step_seconds", PODS, "pod")),
    ("Tokens of a step, mean", "none", [(mean("lps_engine_step_tokens", "pod", PODS), "{{pod}}")]),
    ("Steps", "cps", [(rate("lps_engine_steps_total", "pod", PODS), "{{pod}}")]),
    ("Tokens of ended calls a second", "none", [
        (rate("vllm:prompt_tokens_total", "pod", PODS), "{{pod}} prompt"),
        (rate("vllm:generation_tokens_total", "pod", PODS), "{{pod}} output")]),
    ("Preemptions", "cps", [(rate("lps_engine_preemptions_total", "pod", PODS), "{{pod}}")]),
    ("Calls that ended", "cps", [
        (rate("lps_engine_calls_total", "pod", PODS), "{{pod}} by themselves"),
        (rate("lps_engine_calls_cancelled_total", "pod", PODS), "{{pod}} cancelled")]),
    ("Calls that failed", "cps", [
        (rate("lps_engine_numeric_errors_total", "pod", PODS), "{{pod}} numbers that are none"),
        (rate("lps_engine_grammar_errors_total", "pod", PODS), "{{pod}} grammar")]),
]
AUTOSCALING = [
    ("Engines", "none", [
        (f"max by (model) (lps_router_engines{{{MODEL}}})", "{{model}} answer"),
        (f"max by (model) (lps_router_scaling_capacity{{{MODEL}}})", "{{model}} with those that start"),
        (f"max by (model) (lps_router_scaling_desired{{{MODEL}}})", "{{model}} asked for"),
        (f"max by (model) (lps_router_scaling_recommended{{{MODEL}}})", "{{model}} the load calls for")]),
    ("Decisions", "none", [(f"sum by (model, direction, reason) (increase(lps_router_scaling_decisions_total{{{MODEL}}}[$__rate_interval]))",
                            "{{model}} {{direction}}: {{reason}}")]),
    ("Calls waiting", "none", [(f"max by (model) (lps_router_waiting_calls{{{MODEL}}})", "{{model}}")]),
    ("A call's wait for an engine", "s", quantiles("lps_router_queue_wait_seconds")),
    ("Programs that are remembered", "none", [(f"max by (model) (lps_router_learned_programs{{{MODEL}}})", "{{model}}")]),
    ("What the operator did", "none", [("sum by (action) (increase(lps_operator_actions_total[$__rate_interval]))", "{{action}}")]),
    ("The operator's rounds", "cps", [(rate("lps_operator_rounds_total", "result", ""), "{{result}}")]),
    ("A round", "s", [
        ("histogram_quantile(0.95, sum by (le) (rate(lps_operator_round_seconds_bucket[$__rate_interval])))", "p95")]),
    ("Operators that work", "none", [("sum(lps_operator_leader)", "working")]),
]
DASHBOARDS = {
    "programs": ("LLM programs", PROGRAMS, ("model", "label_values(lps_router_engines, model)")),
    "engines": ("LLM engines", ENGINES, ("pod", "label_values(vllm:num_requests_running, pod)")),
    "autoscaling": ("LLM engines: how many", AUTOSCALING, ("model", "label_values(lps_router_engines, model)")),
}


def panel(index, title, unit, queries):
    source = {"type": "prometheus", "uid": "${datasource}"}
    targets = [
        {"datasource": source, "editorMode": "code", "expr": query, "legendFormat": legend, "range": True, "refId": chr(ord("A") + number)}
        for number, (query, legend) in enumerate(queries)
    ]
    column, row = index % COLUMNS, index // COLUMNS
    return {
        "id": index + 1, "type": "timeseries", "title": title, "datasource": source,
        "gridPos": {"x": column * WIDTH, "y": row * HEIGHT, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0, "custom": {"fillOpacity": 8, "showPoints": "never"}}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}},
        "targets": targets,
    }


def dashboard(name):
    title, panels, (variable, values) = DASHBOARDS[name]
    return {
        "uid": f"lps-{name}", "title": title, "tags": ["lps"], "editable": True, "schemaVersion": 41, "refresh": "15s",
        "time": {"from": "now-1h", "to": "now"}, "graphTooltip": 1,
        "templating": {"list": [
            {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"},
            {"name": variable, "type": "query", "datasource": {"type": "prometheus", "uid": "${datasource}"},
             "query": {"query": values, "refId": variable}, "multi": True, "includeAll": True, "allValue": ".*",
             "current": {"text": "All", "value": "$__all"}, "refresh": 2, "sort": 1},
        ]},
        "panels": [panel(index, *entry) for index, entry in enumerate(panels)],
    }


def main():
    stale = []
    for name in DASHBOARDS:
        file, text = FOLDER / f"{name}.json", json.dumps(dashboard(name), indent=1, ensure_ascii=False) + "\n"
        if "--check" in sys.argv[1:]:
            if not file.exists() or file.read_text() != text:
                stale.append(file.name)
        else:
            FOLDER.mkdir(exist_ok=True)
            file.write_text(text)
    if stale:
        sys.exit(f"{', '.join(stale)}: out of date; run `make generate`")


main()
