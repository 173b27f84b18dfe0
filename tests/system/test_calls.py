#!/usr/bin/env python3
"""Calls against a real node: payloads, many in flight, and every way in which a function can go wrong."""

import os
import random
import signal
import subprocess
import time

from harness import BUILD, VERBS, WAIT_S, Node, Skip, run, wait_for
from libadverb import HOT_ALWAYS, HOT_AUTO, AdverbError, Client


def status_of(lease, function, data=b"", **more):
    return lease.invoke(function, data, **more)[0]


def payloads_of_every_size():
    rng = random.Random(2)
    with Node() as node, Client(node.socket) as client:
        node.deployed("echo")
        with client.lease("echo", in_capacity=1 << 20, out_capacity=1 << 20) as lease:
            for size in (0, 1, 8, 31, 32, 33, 63, 64, 65, 1000, 4096, 65536, 1 << 20):
                data = rng.randbytes(size)
                assert lease.invoke("echo", data) == ("ok", data), size


def too_large_is_a_status():
    with Node() as node, Client(node.socket) as client:
        node.deployed("echo")
        with client.lease("echo", in_capacity=4096, out_capacity=4096) as lease:
            assert status_of(lease, "echo", b"x" * 4097) == "too_large"
            assert lease.invoke("echo", b"y" * 4096) == ("ok", b"y" * 4096)


def hot_warm_and_always():
    with Node() as node, Client(node.socket) as client:
        node.deployed("echo")
        for hot in (0, 50, 1000, HOT_ALWAYS, HOT_AUTO):
            with client.lease("echo", hot_us=hot) as lease:
                for i in range(200):
                    data = str(i).encode()
                    assert lease.invoke("echo", data) == ("ok", data)


def a_window_that_is_learned():
    """Long gaps: it sleeps at once. One call after the other: it spins. And says so of itself."""
    with Node() as node, Client(node.socket) as client:
        node.deployed("echo")
        with client.lease("echo", hot_us=HOT_AUTO) as lease:
            if "hot_us" in node.get("/v1/leases")[1]["leases"][0]:
                assert node.get("/v1/leases")[1]["leases"][0]["hot_us"] == "auto"
            for i in range(120):
                assert lease.invoke("echo", b"x") == ("ok", b"x")
                time.sleep(0.01)
            before = node.status()["usage"][-1]["polled_us"]
            for i in range(50):
                assert lease.invoke("echo", b"x") == ("ok", b"x")
                time.sleep(0.01)
            wait_for("its use to be counted", lambda: node.status()["usage"][-1]["calls"] >= 170)
            polled = node.status()["usage"][-1]["polled_us"] - before
            print(f"# polled {polled} us in 50 gaps of 10 ms")
            # By the rule it were 1 ms in each; a neighbour may have held up some of what was learned from.
            assert polled < 50 * 1000, polled
            for i in range(5000):
                assert lease.invoke("echo", b"x") == ("ok", b"x")


def many_in_flight_over_workers():
    with Node() as node, Client(node.socket) as client:
        node.deployed("echo")
        with client.lease("echo", workers=3, slots=16) as lease:
            expected = {}
            done = {}
            for i in range(3000):
                if len(expected) - len(done) == 48:
                    done.update(lease.take(1))
                data = (b"%d-" % i) * (1 + i % 40)
                expected[lease.submit("echo", data)] = data
            while len(done) < len(expected):
                got = lease.take(len(expected) - len(done))
                assert got, "calls are missing"
                done.update(got)
            for tag, data in expected.items():
                assert done[tag][:2] == ("ok", data)


def hot_calls_are_quiet():
    """They allocate nothing and ask nothing of the kernel: tests/quiet counts."""
    if VERBS:
        raise Skip("over verbs a call rings a doorbell")
    with Node() as node:
        node.deployed("echo")
        program = os.path.join(BUILD, "tests", "quiet", "quiet_client")
        done = subprocess.run([program, "echo", "echo"], capture_output=True, timeout=WAIT_S, check=False,
                              env=dict(os.environ, ADVERB_HOST=node.host))
        assert done.returncode == 0, done


def unknown_names():
    with Node() as node, Client(node.socket) as client:
        node.deployed("echo")
        with client.lease("echo") as lease:
            try:
                lease.find("nothing")
                raise AssertionError("an unknown function was found")
            except AdverbError as e:
                assert e.status == "no_function" and "nothing" in e.text
        try:
            client.lease("nothing")
            raise AssertionError("an unknown module was leased")
        except AdverbError as e:
            assert e.status == "no_module" and "nothing" in e.text


def goes_wrong(function, expected, detail=None, data=b"", **lease_options):
    """The call ends with its status, the lease goes on, and another lease never notices."""
    with Node() as node, Client(node.socket) as client:
        node.deployed("echo")
        node.deployed("acts")
        with client.lease("echo") as other, client.lease("acts", **lease_options) as lease:
            for attempt in range(3):
                assert other.invoke("echo", b"before") == ("ok", b"before")
                tag = lease.submit(function, data, timeout_us=30_000_000)
                done = lease.take(1, timeout_us=60_000_000)
                assert tag in done, f"attempt {attempt}: no end within a minute"
                assert done[tag][0] == expected, (attempt, done[tag])
                if detail is not None:
                    assert done[tag][2] == detail, done[tag]
                assert other.invoke("echo", b"after") == ("ok", b"after")
            assert lease.state() == "ok"


def a_crash():
    goes_wrong("segv", "crashed", signal.SIGSEGV)


def an_abort():
    goes_wrong("aborts", "crashed", signal.SIGABRT)


def a_division_by_zero():
    goes_wrong("divide", "crashed", signal.SIGFPE)


def a_stack_overflow():
    goes_wrong("overflows", "crashed", signal.SIGSEGV)


def an_exit():
    goes_wrong("leaves", "exited")


def a_denied_system_call():
    goes_wrong("calls", "denied", data=(41).to_bytes(8, "little"))  # socket(2)


def a_fork():
    goes_wrong("forks", "denied")


def no_more_memory():
    goes_wrong("eats", "out_of_memory", memory_bytes=64 << 20)


def no_more_memory_by_default():
    goes_wrong("eats", "out_of_memory")


def a_wrong_size():
    goes_wrong("says_too_much", "bad_size")


def beyond_the_output():
    goes_wrong("writes_past", "crashed", signal.SIGSEGV, data=(65536).to_bytes(4, "little"))


def an_endless_loop():
    with Node() as node, Client(node.socket) as client:
        node.deployed("echo")
        node.deployed("acts")
        with client.lease("echo") as other, client.lease("acts") as lease:
            timeouts = deaths = 0
            # Not each time-out kills: a call may wait behind one that loops, or for the next worker, until its time is up.
            for _ in range(1000):
                tag = lease.submit("loops", timeout_us=50_000)
                done = lease.take(1, timeout_us=60_000_000)
                # Queued behind the one that still loops: not run when its worker is killed, and safe to repeat.
                assert done[tag][0] in ("timeout", "not_run"), done
                timeouts += done[tag][0] == "timeout"
                assert other.invoke("echo", b"x") == ("ok", b"x")
                deaths = sum(x["deaths"] for x in node.get("/v1/leases")[1]["leases"])
                if timeouts >= 3 and deaths >= 2:
                    return
            raise AssertionError(f"1000 endless calls: {timeouts} timed out, {deaths} workers replaced")


def queued_calls_behind_a_crash_are_not_run():
    with Node() as node, Client(node.socket) as client:
        node.deployed("mixed_one")
        with client.lease("mixed_one", slots=8) as lease:
            tags = [lease.submit("count")]
            tags.append(lease.submit("crash"))
            for _ in range(4):
                try:
                    tags.append(lease.submit("count"))
                except AdverbError as e:
                    assert e.status == "busy", e  # the death is known: what is outstanding is to be taken first
            done = {}
            while len(done) < len(tags):
                got = lease.take(len(tags) - len(done))
                assert got
                done.update(got)
            assert done[tags[0]][0] == "ok"
            assert done[tags[1]][0] == "crashed"
            # Submitted before the death was seen: not run. After it: the new worker's.
            for tag in tags[2:]:
                assert done[tag][0] in ("not_run", "ok"), done[tag]
            ran = [done[t][1] for t in tags[2:] if done[t][0] == "ok"]
            assert ran == [str(i + 1).encode() for i in range(len(ran))], \
                "a fresh worker counts from one: a dropped call was run"


def both_abis_and_descriptions():
    with Node() as node, Client(node.socket) as client:
        classic = node.deployed("echo")
        assert not classic["functions"][0]["described"]
        described = node.deployed("described")
        assert all(f["described"] and f["description"] for f in described["functions"])
        with client.lease("described") as lease:
            assert lease.invoke("echo", b"abc") == ("ok", b"abc")
            status, text = lease.invoke("refuse", b"12345")
            assert status == "function_failed" and text == b"does not like 5 bytes", (status, text)
            assert lease.invoke("speak", b"world")[0] == "ok"
        wait_for("the function's log line in the node's log", lambda: "heard world" in node.log())


def what_libraries_really_do_passes():
    with Node() as node, Client(node.socket) as client:
        for name in ("ordinary", "exceptions"):
            module = node.deployed(name)
            with client.lease(name) as lease:
                for f in module["functions"]:
                    expected = {"bad_alloc_escapes": "out_of_memory", "throws": "crashed"}.get(f["name"], "ok")
                    assert lease.invoke(f["name"], b"some input")[0] == expected, f["name"]


if __name__ == "__main__":
    run([payloads_of_every_size, too_large_is_a_status, hot_warm_and_always, a_window_that_is_learned, many_in_flight_over_workers,
         hot_calls_are_quiet, unknown_names, a_crash, an_abort, a_division_by_zero,
         a_stack_overflow, an_exit, a_denied_system_call, a_fork, no_more_memory, no_more_memory_by_default, a_wrong_size,
         beyond_the_output, an_endless_loop, queued_calls_behind_a_crash_are_not_run,
         both_abis_and_descriptions, what_libraries_really_do_passes])
