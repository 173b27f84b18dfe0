#!/usr/bin/env python3
"""Where clock_gettime() is a system call: workers, pollers and clients ask it all the time. Runs in a guest started with --slow-clock: see run-suite."""

import time

from harness import Node, run, wait_for
from libadverb import Client

CLOCK = "/sys/devices/system/clocksource/clocksource0/current_clocksource"


def the_clock_is_a_system_call():
    with open(CLOCK) as f:
        clock = f.read().strip()
    print(f"# the clock is {clock}")
    assert clock not in ("tsc", "kvm-clock", "hyperv_clocksource_tsc_page"), clock


def first_run(lease, name):
    status, _ = lease.invoke(name, timeout_us=60_000_000)
    return None if status == "not_run" else status


def calls_and_deadlines():
    with Node() as node:
        node.deployed("echo")
        node.deployed("acts")
        before = node.status()["verbs"]["counters"]
        with Client(node.socket) as client:
            for options in ({}, {"hot_us": 0}, {"hot_us": 2**64 - 1}, {"spin_us": 0}):
                begun = time.monotonic()
                with client.lease("echo", **options) as lease:
                    for size in (0, 8, 3000):
                        for _ in range(10):
                            data = b"\x5a" * size
                            assert lease.invoke("echo", data, timeout_us=60_000_000) == ("ok", data)
                print(f"# 30 calls with {options} in {time.monotonic() - begun:.2f} s")
            with client.lease("acts") as lease:
                assert lease.invoke("loops", timeout_us=300_000)[0] == "timeout"
                # The worker was killed for it; until another is there, calls may not be run.
                got = wait_for("another worker", lambda: first_run(lease, "segv"))
                assert got == "crashed", got
        after = node.status()["verbs"]["counters"]
        assert after["requests"] > before["requests"] and after["immediates"] > before["immediates"], (before, after)
        assert "SIGSYS" not in node.log(), node.log()


if __name__ == "__main__":
    run([the_clock_is_a_system_call, calls_and_deadlines])
