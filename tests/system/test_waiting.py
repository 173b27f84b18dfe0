#!/usr/bin/env python3
"""Leases that wait for room, in their turn, and a node that hands cores back: drain, resume, release."""

import json
import os
import subprocess
import threading
import time

from harness import ADVERB, Node, as_user, environment_of, ordinary_user, run, wait_for
from libadverb import AdverbError, Client

ONE_CORE = ("--oversubscribe", "no", "--worker-cpus", "1")


class Asking(threading.Thread):
    """A lease that is asked for on a connection of its own; `at` is when it was there."""

    def __init__(self, node, **options):
        super().__init__(daemon=True)
        self.node, self.options = node, options
        self.lease = self.client = self.error = self.at = None
        self.start()

    def run(self):
        self.client = Client(self.node.socket)
        try:
            self.lease = self.client.lease("echo", **self.options)
            self.at = time.monotonic()
        except AdverbError as e:
            self.error = e

    def close(self):
        self.join(60)
        if self.lease is not None:
            self.lease.close()
        self.client.close()


def waiting(node):
    return node.status()["leases"]["waiting"]


def works(lease):
    assert lease.invoke("echo", b"x") == ("ok", b"x")


def who_waits_gets_it():
    with Node(*ONE_CORE) as node, Client(node.socket) as client:
        node.deployed("echo")
        first = client.lease("echo")
        later = Asking(node, wait_ms=60_000, ttl_ms=2000)
        wait_for("it to wait", lambda: waiting(node) == 1)
        time.sleep(1)
        assert later.lease is None and later.error is None
        first.close()
        later.join(60)
        works(later.lease)
        # Its time began when it was granted, not when it was asked for; and it is renewed.
        time.sleep(2.5)
        works(later.lease)
        later.close()
        assert node.status()["leases"]["refused"] == 0


def in_vain():
    with Node(*ONE_CORE) as node, Client(node.socket) as client:
        node.deployed("echo")
        with client.lease("echo") as first:
            begun = time.monotonic()
            later = Asking(node, wait_ms=700)
            later.join(60)
            assert 0.6 < time.monotonic() - begun < 30, "it did not wait"
            assert later.error.status == "no_capacity" and "700 ms in vain" in later.error.text and "cores" in later.error.text, later.error
            later.client.close()
            works(first)
        code, answer = node.request("POST", "/v1/leases", {"module": "echo", "wait_ms": 3_600_001})
        assert code == 400 and "wait_ms" in answer["error"]["message"], answer
        code, answer = node.request("POST", "/v1/leases", {"module": "echo", "priority": 10})
        assert code == 400 and "priority" in answer["error"]["message"], answer


def nobody_overtakes():
    """Without waiting, not even when there is room for a moment; and the higher priority is first."""
    with Node(*ONE_CORE) as node, Client(node.socket) as client:
        node.deployed("echo")
        first = client.lease("echo")
        low = Asking(node, wait_ms=60_000, priority=1)
        wait_for("it to wait", lambda: waiting(node) == 1)
        high = Asking(node, wait_ms=60_000, priority=9)
        wait_for("both to wait", lambda: waiting(node) == 2)
        try:
            client.lease("echo")
            raise AssertionError("it overtook those that wait")
        except AdverbError as e:
            assert e.status == "no_capacity" and "wait" in e.text, e
        first.close()
        high.join(60)
        assert high.lease is not None and low.lease is None
        high.close()
        low.join(60)
        works(low.lease)
        low.close()


def who_goes_away_waits_no_more():
    with Node(*ONE_CORE) as node, Client(node.socket) as client:
        node.deployed("echo")
        first = client.lease("echo")
        code = "import sys; from libadverb import Client; Client(sys.argv[1]).lease('echo', wait_ms=60000)"
        here = os.path.dirname(os.path.abspath(__file__))
        child = subprocess.Popen(["python3", "-c", code, node.socket], env=dict(os.environ, PYTHONPATH=here))
        wait_for("it to wait", lambda: waiting(node) == 1)
        child.kill()
        child.wait()
        later = Asking(node, wait_ms=60_000)
        first.close()
        later.join(60)
        works(later.lease)
        later.close()


def limits_of_a_tenant():
    """Its own, of a configuration; others are none of its business."""
    user = ordinary_user()
    with Node() as node:
        conf = f"{node.directory}/limits.conf"
        with open(conf, "w") as f:
            f.write("[limits]\ncores = 1\nleases = 1\n[tenant root]\nuid = 1\n")
        node.stop()
        node.options += ["--config", conf]
        node.start()
        node.deployed("echo", public=1)
        with Client(node.socket) as client, client.lease("echo") as lease:
            try:
                client.lease("echo")
                raise AssertionError("more than its share")
            except AdverbError as e:
                assert e.status == "no_capacity" and "may have 1 cores and has 1" in e.text, e
            out = subprocess.run(as_user(user) + [ADVERB, "invoke", "0/echo/echo", "--host", node.host], input=b"me too", capture_output=True,
                                 env=environment_of(user), check=False)
            assert out.stdout == b"me too", out
            works(lease)
            # It waits for its own, and holds nobody up.
            later = Asking(node, wait_ms=60_000)
            wait_for("it to wait", lambda: waiting(node) == 1)
            out = subprocess.run(as_user(user) + [ADVERB, "invoke", "0/echo/echo", "--host", node.host], input=b"again", capture_output=True,
                                 env=environment_of(user), check=False)
            assert out.stdout == b"again", out
        later.join(60)
        works(later.lease)
        later.close()


def drained_and_resumed():
    with Node() as node, Client(node.socket) as client:
        node.deployed("echo")
        lease = client.lease("echo")
        works(lease)
        begun = time.monotonic()
        drain = subprocess.Popen([ADVERB, "drain", "--grace", "1s", "--json", "--host", node.host], stdout=subprocess.PIPE, text=True)
        wait_for("the client to hear of it", lambda: lease.state() != "ok")
        assert lease.state() in ("revoked", "closed"), lease.state()
        try:
            client.lease("echo")
            raise AssertionError("a lease of a node that is drained")
        except AdverbError as e:
            assert e.status == "no_capacity" and "drained" in e.text, e
        told = json.loads(drain.communicate(timeout=60)[0])["drain"]
        assert drain.returncode == 0 and told == {"keep": 0, "cores_used": 0, "idle": True}, told
        assert time.monotonic() - begun > 0.9, "the grace is the client's"
        assert "drained" in node.cli("status").stdout.decode()
        assert node.status()["drain"]["idle"] is True
        assert b"granted again" in node.cli("resume").stdout
        assert b"was not drained" in node.cli("resume").stdout
        assert "drain" not in node.status()
        with client.lease("echo") as again:
            works(again)
        lease.close()


def some_cores_are_kept():
    """The lowest priority goes first, and of one priority the newest."""
    with Node() as node, Client(node.socket) as client:
        node.deployed("echo")
        leases = [client.lease("echo", priority=priority) for priority in (4, 9, 4)]
        assert node.cli("drain", "--keep", "1", "--grace", "100ms").returncode == 0
        assert [lease.state() == "ok" for lease in leases] == [False, True, False], [lease.state() for lease in leases]
        works(leases[1])
        leases[1].close()
        wait_for("its core to be free", lambda: node.status()["drain"]["cores_used"] == 0)
        with client.lease("echo") as within:
            works(within)
        for lease in leases:
            lease.close()


def only_who_operates_it_may():
    user = ordinary_user()
    with Node() as node:
        for command in ("drain", "resume"):
            out = subprocess.run(as_user(user) + [ADVERB, command, "--host", node.host], capture_output=True, text=True, env=environment_of(user), check=False)
            assert out.returncode != 0 and "only who operates the node" in out.stderr, out
        assert "drain" not in node.status()


def one_lease_is_released():
    with Node() as node, Client(node.socket) as client:
        node.deployed("echo")
        with client.lease("echo") as lease, client.lease("echo") as other:
            (first, second) = node.get("/v1/leases")[1]["leases"]
            out = node.cli("release", first["id"])
            assert out.returncode == 0 and f"released lease {first['id']}".encode() in out.stdout, out
            wait_for("its client to hear of it", lambda: lease.state() != "ok")
            works(other)
            assert b"no lease" in node.cli("release", "4711").stderr
            assert b"not the number" in node.cli("release", "mine").stderr
            assert second["id"] == wait_for("one lease", lambda: [x["id"] for x in node.get("/v1/leases")[1]["leases"]])[0]


if __name__ == "__main__":
    run([who_waits_gets_it, in_vain, nobody_overtakes, who_goes_away_waits_no_more, limits_of_a_tenant, drained_and_resumed, some_cores_are_kept,
         only_who_operates_it_may, one_lease_is_released])
