"""How often each router attempts one call when its only engine fails. Knows the engine's ways, not the routers.

Each count is of one call through a router that was just started, so that nothing is remembered of failures before.
"""
import time
from pathlib import Path

import arms
import child
import router_arms
import router_servers
import router_work

# The engine's way, and what clients know it as.
FAILURES = {
    "error": "status 500",
    "busy": "429 with Retry-After: 1, for a second",
    "refused": "connections refused",
    "reset": "connection reset before a byte",
    "hang": "no answer",
}
FIELDS = ["arm", "failure", "attempts", "gap_s", "status", "seconds", "version", "note"]
LIMIT_S = 15.0


def count(name, failure, place, hang_s):
    """The row of one router and one failure."""
    row = {"arm": name, "failure": failure}
    try:
        with router_servers.Engine(place.programs / "examples" / "bench_router") as engine, \
                router_arms.running(name, place, engine) as router:
            engine.turn(failure)
            if failure == "refused":
                router_servers.wait_until("the engine to refuse", engine.refuses, engine)
            before, begun = refused_connections(), time.monotonic()
            status = router_servers.call(router.address, router_work.body(1_000, stream=False),
                                         hang_s if failure == "hang" else LIMIT_S)
            row |= {"status": status or "none", "seconds": f"{time.monotonic() - begun:.2f}", "version": router.version}
            arrivals = engine.arrivals()
            # An engine does not see who is refused.
            row["attempts"] = refused_connections() - before if failure == "refused" else len(arrivals)
            gaps = [later - earlier for earlier, later in zip(arrivals, arrivals[1:])]
            if gaps:
                row["gap_s"] = f"{min(gaps):.3f}"
    except (arms.Unavailable, child.Failed) as error:
        row["note"] = str(error)
    return row


def refused_connections():
    """Connections that were not taken, by the kernel's count, whoever on this machine wanted them."""
    names, values = (line.split() for line in Path("/proc/net/snmp").read_text().splitlines() if line.startswith("Tcp:"))
    return int(values[names.index("AttemptFails")])
