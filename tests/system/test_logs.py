#!/usr/bin/env python3
"""What functions print: adverb logs, who sees which lines, floods, waiting."""

import json
import os
import signal
import socket
import subprocess
import threading

from harness import ADVERB, Node, environment_of, ordinary_user, run, wait_for
from libadverb import Client


def lines_of(node, query="", name="talks"):
    code, answer = node.get(f"/v1/modules/{name}/logs{query}")
    assert code == 200, (code, answer)
    return [line["text"] for line in answer["lines"]], answer


def said(node, text, **more):
    wait_for(f"the line {text!r}", lambda: text in lines_of(node, **more)[0])


def lines_are_kept_in_order():
    with Node() as node, Client(node.socket) as client:
        node.deployed("talks")
        with client.lease("talks") as lease:
            for text in ("one", "two \x1b[31m red", "three"):
                assert lease.invoke("says", text.encode())[0] == "ok"
            said(node, "three")
            texts, answer = lines_of(node)
            assert [t for t in texts if t != "constructed"] == ["one", "two ?[31m red", "three"], texts
            assert "constructed" in texts and answer["lost"] is False, answer
            lease.invoke("says", b"four")
            said(node, "four")
            texts = lines_of(node, f"?since={answer['next']}")[0]
            assert [t for t in texts if t != "constructed"] == ["four"], texts
        done = node.cli("logs", "talks")
        assert done.returncode == 0 and b": one\n" in done.stdout and b": four\n" in done.stdout, done
        done = node.cli("logs", "talks", "--json", "--since", str(answer["next"]))
        assert "four" in [json.loads(line)["text"] for line in done.stdout.splitlines()], done


def following():
    with Node() as node, Client(node.socket) as client:
        node.deployed("talks")
        with client.lease("talks") as lease:
            lease.invoke("says", b"before")
            said(node, "before")
            follower = subprocess.Popen([ADVERB, "logs", "talks", "--follow"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        env=dict(environment_of(None), ADVERB_HOST=node.host))
            try:
                wanted = [b": before\n", b": after 0\n", b": after 1\n"]
                heard = []
                while len(heard) < 3:
                    line = follower.stdout.readline()
                    assert line, follower.stderr.read()
                    if line.endswith(wanted[len(heard)]):
                        heard.append(line)
                        lease.invoke("says", f"after {len(heard) - 1}".encode())
                node.stop()
                assert follower.wait(60) != 0, "its node is gone"
                assert b"adverb: " in follower.stderr.read()
            finally:
                if follower.poll() is None:
                    follower.send_signal(signal.SIGKILL)
                    follower.wait()


def listen(node, since, got):
    """The next line that a function printed; those of constructors come when the pool is filled."""
    while not got:
        texts, answer = lines_of(node, f"?since={since}&wait=30")
        got += [text for text in texts if text != "constructed"]
        since = answer["next"]


def waiting():
    """An answer without lines waits, for so long; who goes away while waiting leaves nothing behind."""
    with Node() as node, Client(node.socket) as client:
        node.deployed("talks")
        assert lines_of(node, f"?since={2**62}&wait=1")[0] == []
        with client.lease("talks") as lease:
            lease.invoke("says", b"first")
            said(node, "first")
            got, before = [], node.status()["connections"]
            waiter = threading.Thread(target=listen, args=(node, lines_of(node)[1]["next"], got))
            waiter.start()
            wait_for("the waiting request", lambda: node.status()["connections"] > before)
            lease.invoke("says", b"second")
            waiter.join(60)
            assert got == ["second"], got
            since = lines_of(node)[1]["next"]
            request = f"GET /v1/modules/talks/logs?since={since}&wait=30 HTTP/1.1\r\nHost: x\r\n\r\n"
            for _ in range(20):
                with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
                    s.connect(node.socket)
                    s.sendall(request.encode())
            wait_for("those who went away to be forgotten", lambda: node.status()["connections"] <= before)
            lease.invoke("says", b"third")
            said(node, "third")
            assert node.get("/healthz")[0] == 200


def a_flood_is_bounded():
    with Node() as node, Client(node.socket) as client:
        node.deployed("talks")
        node.deployed("echo")
        with client.lease("echo") as other, client.lease("talks") as lease:
            tag = lease.submit("floods", (100_000).to_bytes(4, "little"), timeout_us=60_000_000)
            for i in range(200):
                assert other.invoke("echo", str(i).encode()) == ("ok", str(i).encode())
            assert lease.take(1, timeout_us=60_000_000)[tag][0] == "ok"
        wait_for("the count of what was dropped", lambda: any("lines dropped" in t for t in lines_of(node)[0]))
        texts = lines_of(node)[0]
        assert 20 <= len(texts) < 256 and sum(map(len, texts)) <= 65536, len(texts)


def each_tenant_sees_its_own():
    user = ordinary_user()
    with Node() as node, Client(node.socket) as client:
        node.deployed("talks", public=1)
        with client.lease("talks") as lease:
            lease.invoke("says", b"of root")
            said(node, "of root")
        assert node.cli("invoke", "0/talks/says", stdin=b"of the user", user=user).returncode == 0
        said(node, "of the user")  # root sees all
        done = node.cli("logs", "0/talks", user=user)
        assert done.returncode == 0 and b"of the user" in done.stdout and b"of root" not in done.stdout, done
        done = node.cli("logs", "0/talks", "--json", user=user)
        assert [json.loads(line)["text"] for line in done.stdout.splitlines()] == ["of the user"], done
        node.deployed("talks")
        done = node.cli("logs", "0/talks", user=user)
        assert done.returncode != 0 and b"talks" in done.stderr, done


def a_removed_module_has_none():
    with Node() as node, Client(node.socket) as client:
        node.deployed("talks")
        with client.lease("talks") as lease:
            lease.invoke("says", b"old")
            said(node, "old")
        since = lines_of(node)[1]["next"]
        assert node.cli("remove", "talks").returncode == 0
        assert node.get("/v1/modules/talks/logs")[0] == 404
        node.deployed("talks")
        with client.lease("talks") as lease:
            lease.invoke("says", b"new")
            said(node, "new")
        texts, answer = lines_of(node, f"?since={since}")
        assert "new" in texts and "old" not in texts, answer


def bad_questions():
    with Node() as node:
        node.deployed("talks")
        for query, word in (("?since=x", "since"), ("?since=-1", "since"), ("?wait=31", "wait"), ("?wait=", "wait")):
            code, answer = node.get(f"/v1/modules/talks/logs{query}")
            assert code == 400 and word in answer["error"]["message"], (query, code, answer)
        assert node.get("/v1/modules/none/logs")[0] == 404
        assert node.request("DELETE", "/v1/modules/talks/logs")[0] == 405
        done = node.cli("logs", "none")
        assert done.returncode != 0 and b"none" in done.stderr and not done.stdout, done


if __name__ == "__main__":
    os.environ.pop("TZ", None)
    run([lines_are_kept_in_order, following, waiting, a_flood_is_bounded, each_tenant_sees_its_own, a_removed_module_has_none,
         bad_questions])
