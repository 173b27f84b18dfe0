#!/usr/bin/env python3
"""Profiles: what a module may do is chosen at its deploy, by who deploys it or by what its scratch load shows."""

import os

from harness import Node, module, run, wait_for
from libadverb import Client

ENOENT, EACCES, EAGAIN = 2, 13, 11


def number(answer):
    status, data = answer[:2]
    assert status == "ok", answer
    return int.from_bytes(data, "little")


def chosen_by_what_is_needed():
    with Node() as node:
        assert node.deployed("echo")["profile"] == "strict"
        m = node.deployed("parallel")
        assert m["profile"] == "threads" and "pthread_create" in m["profile_why"], m
        m = node.deployed("parallel", profile="strict")
        assert m["profile"] == "strict" and "asked" in m["profile_why"], m
        assert node.deployed("echo", profile="threads")["profile"] == "threads"
        # Its constructor has a thread from the start: so it needs them, and is not loaded ahead.
        m = node.deployed("constructor_thread")
        assert m["profile"] == "threads" and m["poolable"] is False, m
        code, answer = node.deploy("echo", None, profile="loose")
        assert code == 400 and "strict, libc or threads" in answer["error"]["message"], answer


def survives_a_restart():
    with Node(keep=True) as node:
        node.deployed("parallel")
        node.stop()
        node.start()
        m = node.get("/v1/modules/parallel")[1]["module"]
        assert m["profile"] == "threads" and "pthread_create" in m["profile_why"], m


def threads_work():
    data = bytes(range(256)) * 64
    with Node() as node, Client(node.socket) as client:
        node.deployed("parallel")
        for hot in (0, 1000):
            with client.lease("parallel", workers=2, hot_us=hot) as lease:
                for _ in range(20):
                    assert number(lease.invoke("sums", data)) == sum(data)


def strict_has_none():
    with Node() as node, Client(node.socket) as client:
        node.deployed("parallel", profile="strict")
        with client.lease("parallel") as lease:
            assert number(lease.invoke("sums", b"x" * 100)) == EAGAIN


def a_bomb_is_bounded():
    """Of threads there are so many and no more, they end with their lease, and nobody else notices."""
    with Node() as node, Client(node.socket) as client:
        node.deployed("parallel")
        node.deployed("echo")
        with client.lease("echo") as other:
            with client.lease("parallel") as lease:
                first = number(lease.invoke("bomb", b"", timeout_us=60_000_000))
                assert 1 <= first < 64, first
                assert number(lease.invoke("bomb", b"", timeout_us=60_000_000)) == 0
                assert other.invoke("echo", b"x") == ("ok", b"x")
            wait_for("the lease to be gone", lambda: len(node.get("/v1/leases")[1]["leases"]) == 1)
            assert other.invoke("echo", b"x") == ("ok", b"x")


def a_thread_that_stays():
    with Node() as node, Client(node.socket) as client:
        node.deployed("parallel")
        node.deployed("echo")
        with client.lease("echo") as other, client.lease("parallel") as lease:
            assert lease.invoke("leaves_one", b"")[0] == "ok"
            for _ in range(50):
                assert other.invoke("echo", b"x") == ("ok", b"x")
                assert number(lease.invoke("sums", b"x" * 80)) == 80 * ord("x")


def a_fork_among_threads():
    with Node() as node, Client(node.socket) as client:
        node.deployed("parallel")
        with client.lease("parallel") as lease:
            assert lease.invoke("forks", b"", timeout_us=30_000_000)[0] == "denied"
            assert number(lease.invoke("sums", b"x" * 8)) == 8 * ord("x")


def files_that_the_operator_shows():
    with Node() as node:
        shown = os.path.join(node.directory, "shown")
        os.mkdir(shown, 0o755)
        for path, text in ((os.path.join(shown, "data"), "for all"), (os.path.join(node.directory, "hidden"), "for none"),
                           (os.path.join(node.directory, "one"), "alone")):
            with open(path, "w") as f:
                f.write(text)
            os.chmod(path, 0o644)
        conf = os.path.join(node.directory, "paths.conf")
        with open(conf, "w") as f:
            f.write(f"[sandbox]\npaths = {shown}, {node.directory}/one\n")
        os.chmod(conf, 0o644)
        node.stop()
        node.options += ["--config", conf]
        node.start()
        with Client(node.socket) as client:
            read_by(node, client, "libc", shown, b"for all", b"alone")
            read_by(node, client, "threads", shown, b"for all", b"alone")
            missing = b"-" + bytes([ENOENT])
            read_by(node, client, "strict", shown, missing, missing)


def read_by(node, client, profile, shown, data, one):
    node.deployed("parallel", profile=profile)
    top = os.path.dirname(shown)
    with client.lease("parallel") as lease:
        assert lease.invoke("reads", f"{shown}/data".encode()) == ("ok", data)
        assert lease.invoke("reads", f"{top}/one".encode()) == ("ok", one)
        for path in (f"{top}/hidden", f"{top}/log", "/etc/passwd", "/proc/self/maps", f"{shown}/../hidden"):
            status, answer = lease.invoke("reads", path.encode())
            assert status == "ok" and answer[:1] == b"-" and answer[1] in (ENOENT, EACCES), (profile, path, answer)


def paths_that_will_not_do():
    for text, word in (("relative", "absolute"), ("/etc/../root", "absolute"), ("/proc", "kernel"), ("/nowhere/at/all", "/nowhere/at/all")):
        node = Node()
        conf = os.path.join(node.directory, "bad.conf")
        with open(conf, "w") as f:
            f.write(f"[sandbox]\npaths = {text}\n")
        os.chmod(conf, 0o644)
        node.options += ["--config", conf]
        try:
            node.start()
        except AssertionError as e:
            assert word in str(e) or word in node.log(), (text, node.log())
        else:
            raise AssertionError(f"a node started with paths = {text}")
        finally:
            node.stop()


def by_the_command_line():
    with Node() as node:
        done = node.cli("deploy", "p", module("parallel"))
        assert done.returncode == 0 and b"profile threads (it uses pthread_create)" in done.stdout, done
        done = node.cli("deploy", "p", module("parallel"), "--profile", "strict")
        assert done.returncode == 0 and b"profile strict" in done.stdout, done
        done = node.cli("deploy", "p", module("parallel"), "--profile", "none")
        assert done.returncode != 0 and b"strict, libc or threads" in done.stderr, done
        assert b"profile    strict" in node.cli("describe", "p").stdout


if __name__ == "__main__":
    run([chosen_by_what_is_needed, survives_a_restart, threads_work, strict_has_none, a_bomb_is_bounded, a_thread_that_stays,
         a_fork_among_threads, files_that_the_operator_shows, paths_that_will_not_do, by_the_command_line])
