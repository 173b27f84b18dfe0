#!/usr/bin/env python3
"""A worker whose constructors come to no end when its lease begins, and did at its deploy: its callers are told, and nobody else notices."""

import time

from harness import Node, run
from libadverb import Client

SERVE_WITHIN_S = 20


def callers_are_told_in_the_end():
    with Node("--pool-hot", "0") as node:
        node.deployed("constructor_stuck")
        node.deployed("echo")
        with Client(node.socket) as client, client.lease("echo") as other, client.lease("constructor_stuck") as lease:
            begun = time.monotonic()
            tag = lease.submit("outcome", timeout_us=60_000_000)
            while not (done := lease.take(1, timeout_us=500_000)):
                assert other.invoke("echo", b"x") == ("ok", b"x")
                assert time.monotonic() - begun < 3 * SERVE_WITHIN_S, "its caller waits for ever"
            took = time.monotonic() - begun
            print(f"# {done[tag][0]} after {took:.1f} s")
            assert done[tag][0] == "load_failed" and took > SERVE_WITHIN_S - 1, (done, took)
            assert other.invoke("echo", b"x") == ("ok", b"x")


if __name__ == "__main__":
    run([callers_are_told_in_the_end])
