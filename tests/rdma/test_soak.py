#!/usr/bin/env python3
"""Many calls over one lease, 16 in flight: tests/rdma/soak.c. Runs in a guest: see run-suite.

200000 by default, or on a slow machine what it does in 200 s, and never fewer than go once round the sequence numbers. A million:

	tests/rdma/run-suite BUILD soak 3000 1000000
"""

import os
import subprocess
import sys
import time

from harness import BUILD, Node, run, wait_for

INFLIGHT = 16
CALLS, PATIENCE_S, ENOUGH = 200_000, 200, 70_000
if sys.argv[1:] and sys.argv[1].isdigit():
    CALLS = ENOUGH = int(sys.argv.pop(1))
CLIENT_ADDRESS = "10.77.0.1"


def resident_kib(pids):
    """Of all of them together."""
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/smaps_rollup") as f:
                total += next(int(line.split()[1]) for line in f if line.startswith("Pss:"))
        except OSError:
            pass
    return total


def soak(node, calls, enough):
    """A process of its own with a lease; its words come out as they come."""
    before = node.status()["verbs"]["counters"]
    begun = time.monotonic()
    command = [os.path.join(BUILD, "tests", "rdma", "soak"), f"{node.host}?from={CLIENT_ADDRESS}", calls, INFLIGHT, PATIENCE_S, enough]
    with subprocess.Popen(map(str, command), stdout=subprocess.PIPE, text=True) as client:
        said = {}
        for line in client.stdout:
            if line.startswith("#"):
                print(line, end="", flush=True)
            else:
                said = dict(word.split("=") for word in line.split())
    assert client.returncode == 0, f"soak ended with {client.returncode}"
    took = time.monotonic() - begun
    after = node.status()["verbs"]["counters"]
    made = int(said["calls"])
    print(f"# {made} calls, {INFLIGHT} in flight, in {took:.1f} s: {made / took:.0f} each second")
    assert enough <= made <= calls and said["failures"] == said["deaths"] == "0", said
    assert int(said["last_id"], 16) == 2**32 - 1000 + made, said
    # An entry each way for each call, at least.
    assert after["requests"] >= before["requests"] + made and after["immediates"] >= before["immediates"] + made, (before, after)
    wait_for("the lease to end", lambda: not node.request("GET", "/v1/leases")[1]["leases"])


def many_calls_over_one_lease():
    with Node() as node:
        node.deployed("echo")
        soak(node, 2000, 2000)
        before = resident_kib(node.processes())
        soak(node, CALLS, ENOUGH)
        after = resident_kib(node.processes())
        print(f"# the node and its sandboxes: {before} KiB before, {after} KiB after")
        assert after < before + 4096, "the node keeps something of each call"


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    run([many_calls_over_one_lease])
