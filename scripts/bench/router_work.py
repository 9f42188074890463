"""What the arms of `make bench-router` are asked for. Knows no arm."""
import dataclasses
import json

MODEL = "bench"
SIZES = {"1k": 1_000, "42k": 42_000, "436k": 436_000}
CONNECTIONS = [1, 32, 200]


@dataclasses.dataclass(frozen=True)
class Workload:
    name: str
    # How the engine answers: whole, or by a stream whose pieces come at once or one after another.
    way: str
    body_bytes: int
    connections: int
    title: str
    # So many programs of one call each, instead of a time.
    programs: int | None = None
    # Whether clients say which program their calls belong to.
    named: bool = True

    def body(self):
        return body(self.body_bytes, stream=self.way in ("burst", "paced"))


def workloads():
    told = {1: "1 connection"} | {count: f"{count} connections" for count in CONNECTIONS[1:]}
    # First, so that a router's memory holds these programs and nothing else.
    yield Workload("programs_10000", "whole", SIZES["1k"], 32, "10,000 programs of one call", programs=10_000)
    for way, what in [("whole", "whole"), ("burst", "stream of 8 at once")]:
        for size, count in SIZES.items():
            for connections in CONNECTIONS:
                title = f"{what}, {count // 1000} KB, {told[connections]}"
                yield Workload(f"{way}_{size}_c{connections}", way, count, connections, title)
    for size, connections in [("1k", 32), ("42k", 32), ("436k", 1)]:
        title = f"whole, no program named, {SIZES[size] // 1000} KB, {told[connections]}"
        yield Workload(f"unnamed_{size}_c{connections}", "whole", SIZES[size], connections, title, named=False)
    for connections in CONNECTIONS[1:]:
        yield Workload(f"paced_1k_c{connections}", "paced", SIZES["1k"], connections,
                       f"{connections} streams of 40 pieces a second, 1 KB")


WORKLOADS = list(workloads())
QUICK = ["programs_10000", "whole_1k_c1", "whole_1k_c32", "whole_436k_c1", "whole_436k_c32", "burst_1k_c1", "unnamed_1k_c32",
         "unnamed_436k_c1", "paced_1k_c200"]


def body(length, stream):
    """A chat of so many bytes, as an agent sends it: what it was told, what it did, and what came of that."""
    messages = [{"role": "system", "content": "You repair programs, step by step."}]
    request = {"model": MODEL, "messages": messages, "stream": stream, "max_tokens": 64}
    measure = lambda: len(json.dumps(request).encode())
    messages.append({"role": "user", "content": ""})
    while (left := length - measure()) > 0:
        text = "".join(f'def step_{len(messages)}_{line}(state):\n    return state["{line}"]\n' for line in range(20))
        last = messages[-1]
        if left > 2 * len(text):
            last["content"] = text
            messages.append({"role": "assistant" if last["role"] == "user" else "user", "content": ""})
        else:
            last["content"] += "x" * left
    return json.dumps(request).encode()
