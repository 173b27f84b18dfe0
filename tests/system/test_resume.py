#!/usr/bin/env python3
"""Leases that take the place of lost ones (ADV_LEASE_RESUME, ADV_LEASE_IDEMPOTENT), and buffers (adv_buffer_alloc). On every fabric."""

import ctypes
import os
import select
import threading
import time

from harness import VERBS, Node, module, run, wait_for, without_calls
from libadverb import IDEMPOTENT, RESUME, AdverbError, Client, lib

LOST = ("node_gone", "node_restarted", "link_lost", "revoked")
LONG_US = 60_000_000


def lost_and_back(node, how):
    how()
    node.start()


def with_node(test):
    def body():
        with Node(keep=True) as node:
            for name in ("echo", "slow"):
                node.deployed(name)
            with Client(node.socket) as client:
                test(node, client)
    body.__name__ = test.__name__
    body.calls_nothing = getattr(test, "calls_nothing", False)
    return body


# ---- leases ----

@with_node
def without_the_flag_a_lost_lease_is_lost(node, client):
    with client.lease("echo") as lease:
        assert lease.invoke("echo", b"x") == ("ok", b"x")
        lost_and_back(node, node.kill)
        assert lease.invoke("echo", b"x", timeout_us=LONG_US)[0] in LOST
        assert lease.invoke("echo", b"x", timeout_us=LONG_US)[0] in LOST


@with_node
def a_killed_node(node, client):
    with client.lease("echo", flags=RESUME, workers=2) as lease:
        for round in range(3):
            for i in range(20):
                data = b"%d" % i * 50
                got = lease.invoke("echo", data, timeout_us=LONG_US)
                # The first one may be the one that finds out.
                assert got == ("ok", data) or (i == 0 and round > 0 and got[0] in LOST), (round, i, got)
            lost_and_back(node, node.kill)
        wait_for("the lease to know", lambda: lease.state() in LOST)
        assert lease.invoke("echo", b"again", timeout_us=LONG_US) == ("ok", b"again")
        assert lease.stats().resumes == 3, lease.stats().resumes


@with_node
def a_node_that_stops_and_starts(node, client):
    with client.lease("echo", flags=RESUME) as lease:
        assert lease.invoke("echo", b"x") == ("ok", b"x")
        lost_and_back(node, node.stop)
        wait_for("the lease to know", lambda: lease.state() in LOST)
        assert lease.invoke("echo", b"again", timeout_us=LONG_US) == ("ok", b"again")


@with_node
def an_expired_lease(node, client):
    with client.lease("echo", flags=RESUME | 1, ttl_ms=200) as lease:
        for _ in range(3):
            assert lease.invoke("echo", b"x", timeout_us=LONG_US) == ("ok", b"x")
            wait_for("the lease to expire", lambda: lease.state() == "expired")


@with_node
def calls_wait_for_a_node_that_comes_later(node, client):
    with client.lease("echo", flags=RESUME) as lease:
        assert lease.invoke("echo", b"x") == ("ok", b"x")
        node.kill()
        wait_for("the lease to know", lambda: lease.state() in LOST)
        later = threading.Timer(1.0, node.start)
        later.start()
        assert lease.invoke("echo", b"patience", timeout_us=LONG_US) == ("ok", b"patience")
        later.join()


@with_node
def a_node_that_stays_away(node, client):
    with client.lease("echo", flags=RESUME | IDEMPOTENT) as lease:
        assert lease.invoke("echo", b"x") == ("ok", b"x")
        node.kill()
        wait_for("the lease to know", lambda: lease.state() in LOST)
        assert lease.invoke("echo", b"y", timeout_us=300_000)[0] in LOST + ("no_node", "timeout")
        assert lease.invoke("echo", b"y", timeout_us=300_000)[0] in LOST + ("no_node", "timeout")
        node.start()
        assert lease.invoke("echo", b"z", timeout_us=LONG_US) == ("ok", b"z")


@with_node
def another_module_of_that_name_is_refused(node, client):
    with client.lease("echo", flags=RESUME | IDEMPOTENT) as lease:
        assert lease.invoke("echo", b"x") == ("ok", b"x")
        node.deployed("echo", path=module("slow"))
        lost_and_back(node, node.kill)
        wait_for("the lease to know", lambda: lease.state() in LOST)
        for _ in range(2):
            status = lease.invoke("echo", b"x", timeout_us=LONG_US)[0]
            assert status == "bad_module", (status, lib.adv_error())
            assert "another module" in lib.adv_error().decode(), lib.adv_error()


@with_node
def a_module_that_was_removed_is_refused(node, client):
    with client.lease("echo", flags=RESUME) as lease:
        assert lease.invoke("echo", b"x") == ("ok", b"x")
        assert node.request("DELETE", "/v1/modules/echo")[0] == 200
        lost_and_back(node, node.kill)
        wait_for("the lease to know", lambda: lease.state() in LOST)
        assert lease.invoke("echo", b"x", timeout_us=LONG_US)[0] == "no_module"


# ---- calls in flight ----

@with_node
def calls_in_flight_end_and_the_next_ones_work(node, client):
    with client.lease("slow", flags=RESUME, slots=4) as lease:
        tags = [lease.submit("never", timeout_us=LONG_US) for _ in range(3)]
        time.sleep(0.2)
        lost_and_back(node, node.kill)
        done = lease.take(3, timeout_us=LONG_US)
        assert set(done) == set(tags) and all(d[0] in LOST for d in done.values()), done
        assert lease.invoke("slow_echo", b"abc", timeout_us=LONG_US) == ("ok", b"abc")


@with_node
def idempotent_calls_are_run_again(node, client):
    """More calls than a worker has time for: the node is killed while they are in flight."""
    with client.lease("slow", flags=RESUME | IDEMPOTENT, slots=8, workers=2, hot_us=0) as lease:
        for round in range(2):
            tags = {}
            for i in range(16):
                data = b"%d " % i * 30
                tags[lease.submit("slow_echo", data, timeout_us=LONG_US)] = data
            time.sleep(0.05)
            lost_and_back(node, node.kill if round == 0 else node.stop)
            done = lease.take(16, timeout_us=LONG_US)
            assert {t: d[:2] for t, d in done.items()} == {t: ("ok", d) for t, d in tags.items()}, done
        assert lease.stats().resumes >= 1


@with_node
def an_event_loop_is_told_when_to_try(node, client):
    with client.lease("slow", flags=RESUME | IDEMPOTENT, slots=4) as lease:
        assert lease.invoke("slow_echo", b"abc")[0] == "ok"
        tag = lease.submit("slow_echo", b"to be done", timeout_us=LONG_US)
        node.kill()
        later = threading.Timer(1.0, node.start)
        later.start()
        done = {}
        until = time.monotonic() + 60
        while not done and time.monotonic() < until:
            if lib.adv_lease_arm(lease.handle) == 1:
                select.select([lib.adv_lease_fd(lease.handle)], [], [], 10)
            done = lease.poll()
        later.join()
        assert done[tag][:2] == ("ok", b"to be done"), done


@with_node
def slots_stay(node, client):
    with client.lease("echo", flags=RESUME | IDEMPOTENT, slots=4) as lease:
        held = [lease.slot() for _ in range(2)]
        for round in range(2):
            for slot in held:
                data = os.urandom(3000)
                ctypes.memmove(slot.input, data, len(data))
                tag = lease.submit_slot("echo", slot, len(data))
                done = lease.take(1)
                assert done[tag][0] == "ok" and ctypes.string_at(slot.out, len(data)) == data
            if round == 0:
                lost_and_back(node, node.kill)
                wait_for("the lease to know", lambda: lease.state() in LOST)
                assert lease.invoke("echo", b"go on", timeout_us=LONG_US) == ("ok", b"go on")
        # The other two slots are free, and only they.
        tags = [lease.submit("echo", b"%d" % i) for i in range(2)]
        try:
            lease.submit("echo", b"one too many")
            raise AssertionError("a slot that is held was used")
        except AdverbError as e:
            assert e.status == "busy", e
        assert len(lease.take(2)) == len(tags)
        for slot in held:
            lease.put(slot)
        tags = [lease.submit("echo", b"%d" % i) for i in range(4)]
        assert len(lease.take(4)) == len(tags)


@with_node
@without_calls
def idempotent_needs_resume(node, client):
    try:
        client.lease("echo", flags=IDEMPOTENT)
        raise AssertionError("nothing would be run again")
    except AdverbError as e:
        assert e.status == "invalid" and "ADV_LEASE_RESUME" in e.text, e


# ---- buffers ----

@with_node
def inputs_in_buffers_are_copied_as_often_as_they_must(node, client):
    with client.lease("echo", in_capacity=1 << 20, out_capacity=1 << 20) as lease:
        for size in (33, 4096, 65536, 1 << 20):
            data = os.urandom(size)
            buffer = client.buffer(size)
            ctypes.memmove(buffer, data, size)
            before = lease.stats()
            assert lease.invoke_at("echo", buffer, size) == ("ok", data)
            after = lease.stats()
            # One copy is the output's.
            assert after.copies - before.copies == (1 if VERBS else 2), (size, after.copies - before.copies)
            assert lease.invoke("echo", data) == ("ok", data)
            assert lease.stats().copies - after.copies == 2
            client.free(buffer)


@with_node
def buffers_of_many_calls_in_flight(node, client):
    with client.lease("echo", slots=16, workers=2) as lease:
        for _ in range(20):
            buffers, tags = [], {}
            for i in range(32):
                data = os.urandom(100 + 50 * i)
                buffers.append(client.buffer(len(data)))
                ctypes.memmove(buffers[-1], data, len(data))
                tags[lease.submit_at("echo", buffers[-1], len(data))] = data
            done = lease.take(32)
            assert {t: d[:2] for t, d in done.items()} == {t: ("ok", d) for t, d in tags.items()}
            for buffer in buffers:
                client.free(buffer)


@with_node
def buffers_outlive_leases_and_are_refused_when_too_large(node, client):
    buffer = client.buffer(5000)
    ctypes.memmove(buffer, b"m" * 5000, 5000)
    for _ in range(2):
        with client.lease("echo") as lease:
            assert lease.invoke_at("echo", buffer, 5000) == ("ok", b"m" * 5000)
    assert lib.adv_buffer_alloc(client.node, 2**62) is None
    assert "2305843009213693952" in lib.adv_error().decode() or "no memory" in lib.adv_error().decode()
    lib.adv_buffer_free(client.node, None)
    lib.adv_buffer_free(client.node, ctypes.c_void_p(12345))
    client.free(buffer)


if __name__ == "__main__":
    run([without_the_flag_a_lost_lease_is_lost, a_killed_node, a_node_that_stops_and_starts, an_expired_lease,
         calls_wait_for_a_node_that_comes_later, a_node_that_stays_away, another_module_of_that_name_is_refused,
         a_module_that_was_removed_is_refused, calls_in_flight_end_and_the_next_ones_work, idempotent_calls_are_run_again,
         an_event_loop_is_told_when_to_try, slots_stay, idempotent_needs_resume,
         inputs_in_buffers_are_copied_as_often_as_they_must, buffers_of_many_calls_in_flight,
         buffers_outlive_leases_and_are_refused_when_too_large])
