"""What a collector of OpenTelemetry gets of programs: one trace each, with the calls as spans and joins as links."""

import http.server
import threading

import pytest
from openai import OpenAI
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from stack import Stack, manifest, wait_for

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Collector:
    """Takes spans by OTLP over HTTP, unless it is away; a context manager."""

    def __enter__(self):
        self.spans, self.services, self.is_away = [], set(), False
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                assert self.path == "/v1/traces"
                body = self.rfile.read(int(self.headers["content-length"]))
                self.send_response(503 if collector.is_away else 200)
                self.send_header("content-length", "0")
                self.end_headers()
                if not collector.is_away:
                    collector.take(ExportTraceServiceRequest.FromString(body))

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def take(self, request):
        for resource in request.resource_spans:
            self.services |= {it.value.string_value for it in resource.resource.attributes if it.key == "service.name"}
            self.spans += [span for scope in resource.scope_spans for span in scope.spans]

    def of(self, program, count):
        """The spans of one program, once there are so many."""
        def found():
            return [span for span in list(self.spans) if said(span, "gen_ai.conversation.id") == program]
        wait_for(f"{count} spans of {program}", lambda: len(found()) >= count)
        assert len(found()) == count
        return found()


def said(span, name):
    """What a span says of itself by this name."""
    value = next((it.value for it in span.attributes if it.key == name), None)
    return value and getattr(value, value.WhichOneof("value"))


@pytest.fixture(scope="module")
def collector():
    with Collector() as collector:
        yield collector


@pytest.fixture(scope="module")
def traced(tmp_path_factory, collector):
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
    with Stack(tmp_path_factory.mktemp("traced"), manifest(), environment=environment) as stack:
        yield stack


def ask(stack, program, call, parents="", **headers):
    client = OpenAI(base_url=stack.url + "/v1", api_key="none")
    names = {"x-program-id": program, "x-call-id": call, "x-parent-call-ids": parents, **headers}
    return client.chat.completions.create(
        model="demo", messages=[{"role": "user", "content": "Hello"}], max_tokens=4, extra_headers=names)


def test_a_program_is_one_trace(traced, collector):
    ask(traced, "job", "a")
    answer = ask(traced, "job", "b")
    ask(traced, "job", "c", parents="a,b")
    traced.post("/v1/programs/job/end", {})
    spans = {said(span, "lps.call.id") or "program": span for span in collector.of("job", 4)}
    assert len({span.trace_id for span in spans.values()}) == 1
    program, join = spans["program"], spans["c"]
    assert {spans[call].parent_span_id for call in "abc"} == {program.span_id}
    assert [link.span_id for link in join.links] == [spans["a"].span_id, spans["b"].span_id]
    assert said(spans["b"], "gen_ai.usage.output_tokens") == answer.usage.completion_tokens
    assert (join.name, said(join, "gen_ai.request.model"), said(join, "lps.state")) == ("chat demo", "demo", "completed")
    assert all(span.start_time_unix_nano <= span.end_time_unix_nano for span in spans.values())
    assert program.start_time_unix_nano <= spans["a"].start_time_unix_nano
    assert collector.services == {"lps-router"}


def test_the_calls_of_a_child_are_in_the_trace_of_the_parent_that_waits(traced, collector):
    traced.post("/v1/programs", {"id": "parent"})
    traced.post("/v1/programs", {"id": "child", "parent": "parent", "blocking": True})
    ask(traced, "child", "child-1")
    traced.post("/v1/programs/child/end", {})
    traced.post("/v1/programs/parent/end", {})
    program, call = sorted(collector.of("parent", 2), key=lambda span: said(span, "lps.call.id") or "")
    assert (call.trace_id, call.parent_span_id) == (program.trace_id, program.span_id)


def test_a_client_that_traces_finds_its_calls_in_its_trace(traced, collector):
    ask(traced, "theirs", "theirs-1", traceparent=f"00-{TRACE}-{SPAN}-01")
    (span,) = collector.of("theirs", 1)
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, SPAN)
    ask(traced, "silent", "silent-1", traceparent=f"00-{TRACE}-{SPAN}-00")
    ask(traced, "after", "after-1")
    collector.of("after", 1)
    assert collector.of("silent", 0) == [], "its client does not record it"


def test_a_collector_that_is_away_costs_spans_and_no_calls(traced, collector):
    def failed():
        return traced.metric('lps_router_spans_total{outcome="failed"}')

    before = failed()
    collector.is_away = True
    assert ask(traced, "away", "away-1").choices
    wait_for("spans to be lost", lambda: failed() > before)
    collector.is_away = False
    ask(traced, "back", "back-1")
    collector.of("back", 1)
    assert "traces cannot be sent" in traced.output()
    wait_for("the router to say so", lambda: "traces are sent again" in traced.output())


def test_what_waits_is_sent_when_the_router_ends(tmp_path, collector):
    with Stack(tmp_path, manifest(), environment={"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}) as stack:
        ask(stack, "last", "last-1")
        stack.post("/v1/programs/last/end", {})
        assert stack.end() == 0
    assert len([span for span in collector.spans if said(span, "gen_ai.conversation.id") == "last"]) == 2
