#!/usr/bin/env python3
"""Leases that end under way: expiry, drains, deaths of nodes and clients, while calls run and requests wait. Nothing is left, nothing hangs, and all
who wait are told."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

from harness import Node, run, wait_for
from libadverb import NO_RENEW, AdverbError, Client

ONE_CORE = ("--oversubscribe", "no", "--worker-cpus", "1")


def free(node):
    """Everything is as before any lease."""
    status = node.status()
    cores, memory = status["cores"], status["memory"]
    return not node.get("/v1/leases")[1]["leases"] and cores["free"] == cores["total"] and memory["free_bytes"] == memory["total_bytes"]


def billed(node):
    out = node.cli("bill", "--json")
    assert out.returncode == 0, out
    return {line["module"].split("/")[1]: line for line in json.loads(out.stdout)["lines"]}


class Caller(threading.Thread):
    """A lease that calls without a pause until it cannot any more; `ends` has how often a call ended how."""

    def __init__(self, node, **options):
        super().__init__(daemon=True)
        self.client = Client(node.socket)
        self.lease = self.client.lease("echo", slots=8, **options)
        self.ends = {}
        self.wrong = []
        self.start()

    def run(self):
        n = 0
        while not self.ends.keys() - {"ok"}:
            payloads = {}
            try:
                for _ in range(4):
                    data = n.to_bytes(8, "little") * 20
                    payloads[self.lease.submit("echo", data)] = data
                    n += 1
            except AdverbError as e:
                self.ends[e.status] = self.ends.get(e.status, 0) + 1
            for tag, (status, out, _) in self.lease.take(len(payloads), timeout_us=30_000_000).items():
                self.ends[status] = self.ends.get(status, 0) + 1
                if status == "ok" and out != payloads[tag]:
                    self.wrong.append((out, payloads[tag]))
        self.lease.close()

    def end(self):
        self.join(60)
        assert not self.is_alive() and not self.wrong, (self.ends, self.wrong)
        self.client.close()
        return self.ends


def expiry_while_calls_run():
    with Node() as node, Client(node.socket) as client:
        node.deployed("slow")
        with client.lease("slow", ttl_ms=3000, flags=NO_RENEW, slots=4) as lease:
            tags = [lease.submit("never", timeout_us=30_000_000), lease.submit("slow_echo", b"x")]
            done = lease.take(2)
            assert {done[t][0] for t in tags} == {"expired"}, done
            assert lease.invoke("slow_echo", b"x")[0] == "expired" and lease.state() == "expired"
            wait_for("core and memory to be free", lambda: free(node))
        line = billed(node)["slow"]
        assert line["ended"] == {"lease_over": 2} and line["calls"] == 2, line
        assert line["executed_us"] > 500_000, "what ran until then is billed"


def drained_under_load():
    """What is in flight finishes; the next call is refused; when the drain answers, the cores are idle."""
    with Node() as node:
        node.deployed("echo")
        callers = [Caller(node) for _ in range(3)]
        wait_for("calls", lambda: all(c.ends.get("ok", 0) > 50 for c in callers))
        out = node.cli("drain", "--grace", "5s")
        assert out.returncode == 0, out
        assert free(node), "it has answered before the cores were idle"
        with Client(node.socket) as client:
            try:
                client.lease("echo")
                raise AssertionError("a lease of a drained node")
            except AdverbError as e:
                assert e.status == "no_capacity" and "drained" in e.text, e
        calls = 0
        for c in callers:
            ends = c.end()
            assert set(ends) <= {"ok", "revoked", "closed"} and ends["ok"] > 50 and len(ends) > 1, ends
            calls += ends["ok"]
        assert node.cli("resume").returncode == 0
        again = Caller(node)
        wait_for("calls after that", lambda: again.ends.get("ok", 0) > 50)
        node.cli("drain", "--grace", "5s")
        again.end()
        line = billed(node)["echo"]
        assert line["calls"] >= calls and "crashed" not in line["ended"], (line, calls)


def a_drain_does_not_wait_for_what_does_not_end():
    with Node(*ONE_CORE) as node, Client(node.socket) as client:
        node.deployed("slow")
        with client.lease("slow") as lease:
            tag = lease.submit("never", timeout_us=60_000_000)
            assert lease.take(1, timeout_us=100_000) == {}
            begun = time.monotonic()
            out = node.cli("drain", "--grace", "500ms")
            took = time.monotonic() - begun
            assert out.returncode == 0 and free(node) and took >= 0.4, (out, took)
            done = lease.take(1)
            assert done[tag][0] == "revoked", done


def a_node_that_dies_while_requests_wait():
    node = Node(*ONE_CORE, keep=True)
    with node:
        node.deployed("echo")
        with Client(node.socket) as client:
            holds = client.lease("echo")
            heard = []

            def ask():
                with Client(node.socket) as other:
                    try:
                        other.lease("echo", wait_ms=60_000)
                        heard.append("granted")
                    except AdverbError as e:
                        heard.append(e.status)
            waiters = [threading.Thread(target=ask) for _ in range(5)]
            for w in waiters:
                w.start()
            wait_for("them to wait", lambda: node.status()["leases"]["waiting"] == 5)
            node.kill()
            for w in waiters:
                w.join(30)
            assert len(heard) == 5 and set(heard) <= {"node_gone", "no_node"}, heard
            wait_for("the holder to hear of it", lambda: holds.state() in ("node_gone", "closed"))
            assert holds.invoke("echo", b"x")[0] in ("node_gone", "closed")
            holds.close()
        wait_for("all processes to end", lambda: not node.processes())
        node.start()
        with Client(node.socket) as client, client.lease("echo") as lease:
            assert lease.invoke("echo", b"y") == ("ok", b"y")


def a_client_that_dies_with_calls_in_flight():
    program = """
import sys
from libadverb import Client
client = Client(sys.argv[1])
lease = client.lease("slow", slots=8)
for _ in range(8):
    lease.submit("never", timeout_us=60_000_000)
print("calling", flush=True)
lease.take(1, timeout_us=60_000_000)
"""
    with Node(*ONE_CORE) as node, Client(node.socket) as client:
        node.deployed("slow")
        child = subprocess.Popen([sys.executable, "-c", f"from harness import hosts\nhosts[{node.socket!r}] = {node.host!r}\n" + program, node.socket],
                                 stdout=subprocess.PIPE, cwd=os.path.dirname(os.path.abspath(__file__)))
        assert child.stdout.readline() == b"calling\n"
        heard = []
        waiter = threading.Thread(target=lambda: heard.append(client.lease("slow", wait_ms=60_000)))
        waiter.start()
        wait_for("it to wait", lambda: node.status()["leases"]["waiting"] == 1)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        waiter.join(30)
        with heard[0] as lease:
            assert lease.invoke("slow_echo", b"mine") == ("ok", b"mine")
        wait_for("nothing to be left", lambda: free(node))
        assert billed(node)["slow"]["ended"] == {"lease_over": 8}


if __name__ == "__main__":
    run([expiry_while_calls_run, drained_under_load, a_drain_does_not_wait_for_what_does_not_end, a_node_that_dies_while_requests_wait,
         a_client_that_dies_with_calls_in_flight])
