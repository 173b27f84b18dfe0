#!/usr/bin/env python3
"""More leases than cores: refused unless the configuration says otherwise; then one call at a time on a core, or turns."""

from harness import Node, run, wait_for, without_calls
from libadverb import AdverbError, Client, lib

ONE = ("--worker-cpus", "1")
BUSY = (*ONE, "--oversubscribe", "busy")


def begin(lease, function, timeout_us):
    """A call that runs for as long as it is let, of a worker that serves by then."""
    wait_for("a call to run", lambda: lease.invoke("slow_echo", b"x") == ("ok", b"x"))
    return lease.submit(function, b"x", timeout_us=timeout_us)


def wait_taken(quick):
    wait_for("the core to be taken", lambda: quick.invoke("echo", b"?")[0] == "busy")


def refused_by_default():
    with Node(*ONE, "--oversubscribe", "no") as node, Client(node.socket) as client:
        node.deployed("echo")
        assert node.status()["cores"]["oversubscribe"] == "no"
        with client.lease("echo") as first:
            try:
                client.lease("echo")
                raise AssertionError("a second lease of one core")
            except AdverbError as e:
                assert e.status == "no_capacity" and "oversubscribe" in e.text, e.text
            assert first.invoke("echo", b"x") == ("ok", b"x")


@without_calls
def the_default_is_no():
    text = Node().cli("serve", "--help").stdout.decode()
    line = next(l for l in text.splitlines() if "oversubscribe" in l)
    assert "no" in line, line


def who_comes_second_hears_busy():
    with Node(*BUSY) as node, Client(node.socket) as client:
        node.deployed("echo")
        node.deployed("slow")
        with client.lease("slow") as slow, client.lease("echo") as quick:
            assert quick.invoke("echo", b"a") == ("ok", b"a")
            begin(slow, "never", timeout_us=5_000_000)
            wait_taken(quick)
            for _ in range(3):
                status, _ = quick.invoke("echo", b"b")
                assert status == "busy", status
                assert "core" in lib.adv_error().decode()
            tag = quick.submit("echo", b"c")
            assert quick.take(1)[tag][0] == "busy"
            assert next(iter(slow.take(1).values()))[0] == "timeout"
            # Its caller gives up in time; the node kills it 20 ms later, and then the core is free for good.
            wait_for("the core", lambda: quick.invoke("echo", b"d") == ("ok", b"d"))
            for i in range(100):
                data = str(i).encode()
                assert quick.invoke("echo", data) == ("ok", data)
            assert slow.invoke("slow_echo", b"again") == ("ok", b"again")


def who_ends_sets_free():
    with Node(*BUSY) as node, Client(node.socket) as client:
        node.deployed("echo")
        node.deployed("slow")
        slow = client.lease("slow")
        with client.lease("echo") as quick:
            begin(slow, "never", timeout_us=60_000_000)
            wait_taken(quick)
            slow.close()
            wait_for("the core", lambda: quick.invoke("echo", b"c") == ("ok", b"c"))


def each_call_runs_or_is_refused():
    """Many leases of one core, all calling: none hangs, none runs beside another, and each gets its turn in the end."""
    with Node(*BUSY) as node, Client(node.socket) as client:
        node.deployed("slow")
        leases = [client.lease("slow") for _ in range(4)]
        done = [0] * len(leases)
        busy = 0
        for _ in range(500):
            for lease in leases:
                lease.submit("slow_echo", b"x")
            for i, lease in enumerate(leases):
                status = next(iter(lease.take(1).values()))[0]
                assert status in ("ok", "busy"), status
                done[i] += status == "ok"
                busy += status == "busy"
            if min(done) > 0 and busy > 0:
                break
        assert min(done) > 0 and busy > 0, (done, busy)
        bill = node.request("GET", "/v1/bill")[1]
        for lease in leases:
            lease.close()
        # 20 ms each that ran; what was refused took no time.
        executed = sum(line["executed_us"] for line in bill["lines"])
        assert executed >= 20_000 * sum(done) * 0.9, (executed, done)


def turns_refuse_nothing():
    with Node(*ONE, "--oversubscribe", "turns") as node, Client(node.socket) as client:
        node.deployed("echo")
        node.deployed("slow")
        with client.lease("slow") as slow, client.lease("echo") as quick:
            tag = begin(slow, "never", timeout_us=2_000_000)
            assert quick.invoke("echo", b"b") == ("ok", b"b")
            assert slow.take(1)[tag][0] == "timeout"


def a_worker_of_the_same_lease_too():
    with Node(*BUSY) as node, Client(node.socket) as client:
        node.deployed("slow")
        with client.lease("slow", workers=2) as lease:
            for worker in (0, 1):  # both serve by then
                tag = lease.submit("slow_echo", b"x", worker=worker)
                assert lease.take(1)[tag][0] == "ok"
            never = lease.submit("never", timeout_us=60_000_000, worker=0)

            def refused():
                tag = lease.submit("slow_echo", b"x", worker=1)
                done = lease.take(1)
                assert never not in done, done
                return done[tag][0] == "busy"
            assert lease.take(1, timeout_us=200_000) == {}
            wait_for("the other worker's call to be refused", refused)


if __name__ == "__main__":
    run([refused_by_default, the_default_is_no, who_comes_second_hears_busy, who_ends_sets_free, each_call_runs_or_is_refused,
         turns_refuse_nothing, a_worker_of_the_same_lease_too])
