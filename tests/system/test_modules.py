#!/usr/bin/env python3
"""Deploying, listing, replacing and removing modules, from outside; and what a node refuses, and survives."""

import os
import pwd
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

from harness import (Node, Skip, module, need, ordinary_user, run, wait_for)
from libadverb import AdverbError, Client


def refused(node, name, data, code, *words):
    with tempfile.NamedTemporaryFile(suffix=".so") as f:
        f.write(data)
        f.flush()
        got, answer = node.deploy(name, f.name)
    assert got == code, (got, answer)
    text = answer["error"]["message"]
    for word in words:
        assert word in text, (word, text)
    assert node.get(f"/v1/modules/{name}")[0] == 404


def deploy_and_describe():
    with Node() as node:
        m = node.deployed("echo")
        assert m["owner"] == os.geteuid() and m["name"] == "echo" and not m["public"]
        assert [f["number"] for f in m["functions"]] == list(range(len(m["functions"])))
        names = [f["name"] for f in m["functions"]]
        assert names == sorted(names) and names
        code, listed = node.get("/v1/modules")
        assert code == 200 and [x["name"] for x in listed["modules"]] == ["echo"]
        assert node.deploy("echo")[0] == 200, "a second deploy replaces"
        code, answer = node.request("DELETE", "/v1/modules/echo")
        assert code == 200 and answer == {"removed": "echo"}
        assert node.get("/v1/modules/echo")[0] == 404
        assert node.request("DELETE", "/v1/modules/echo")[0] == 404


def refuses_what_is_no_module():
    with open(module("echo"), "rb") as f:
        good = f.read()
    wrong_machine = bytearray(good)
    wrong_machine[18:20] = b"\xf3\x00"
    with Node() as node:
        refused(node, "empty", b"x", 422)
        refused(node, "script", b"#!/bin/sh\necho hello\n", 422)
        refused(node, "cut", good[:100], 422)
        refused(node, "alien", bytes(wrong_machine), 422)
        with open(sys.executable, "rb") as f:
            refused(node, "program", f.read(), 422, "executable")


def refuses_with_the_reason():
    with Node() as node:
        for name, word in (("none", "function"), ("jpeg", "libjpeg"), ("undefined", "nowhere"),
                           ("constructor_crash", "constructor"), ("constructor_loop", "constructor")):
            code, answer = node.deploy(name)
            assert code == 422, (name, code, answer)
            assert word in answer["error"]["message"], answer
        assert node.get("/v1/modules")[1]["modules"] == []
        assert node.deploy("echo")[0] == 201, "the node goes on"


def names_are_checked():
    with Node() as node:
        with open(module("echo"), "rb") as f:
            data = f.read()
        for name in ("-x", ".x", "a" * 64, "a%20b", "a%2fb%2fc"):
            code, _ = node.request("PUT", f"/v1/modules/{name}", data)
            assert code in (400, 404), (name, code)
        code, answer = node.request("PUT", "/v1/modules/x?public=2", data)
        assert code == 400 and "public" in answer["error"]["message"]
        code, _ = node.request("PUT", "/v1/modules/x", iter([data]), {"Transfer-Encoding": "chunked"})
        assert code == 411, code


def belongs_to_its_tenant():
    user = ordinary_user()
    with Node() as node:
        node.deployed("echo")
        assert node.cli("invoke", "echo/echo", stdin=b"mine").stdout == b"mine"
        other = node.cli("invoke", "0/echo/echo", stdin=b"x", user=user)
        assert other.returncode != 0 and other.stdout == b""
        assert node.cli("list", "--json", user=user).stdout.strip() == b'{"modules": []}'
        node.deployed("echo", tenants="4242")
        assert node.cli("invoke", "echo/echo", stdin=b"x", user=user).returncode != 0
        node.deployed("echo", tenants=f"4242,{pwd.getpwnam(user).pw_uid}")
        assert node.cli("invoke", "0/echo/echo", stdin=b"listed", user=user).stdout == b"listed"
        node.stop()
        node.start()
        assert node.cli("invoke", "echo/echo", stdin=b"still", user=user).stdout == b"still"
        done = node.cli("deploy", "echo", module("echo"), "--tenants", user)
        assert done.returncode == 0 and node.cli("invoke", "echo/echo", stdin=b"x", user=user).stdout == b"x", done
        for bad in ("1,", "x", "-1", ",", "4294967295", ",".join(["7"] * 17)):
            code, answer = node.deploy("echo", tenants=bad)
            assert code == 400 and "uids" in answer["error"]["message"], (bad, code, answer)
        node.deployed("echo", public=1)
        assert node.cli("invoke", "echo/echo", stdin=b"shared", user=user).stdout == b"shared"
        removal = node.cli("remove", "0/echo", user=user)
        assert removal.returncode != 0 and removal.stderr.count(b"\n") == 1, removal


def a_redeploy_changes_no_running_lease():
    with Node() as node, Client(node.socket) as client:
        node.deployed("version", module("mixed_one"))
        with client.lease("version") as old:
            assert old.invoke("version")[1] == b"one"
            node.deployed("version", module("mixed_two"))
            assert old.invoke("version")[1] == b"one"
            with client.lease("version") as new:
                assert new.invoke("version")[1] == b"two"
            node.request("DELETE", "/v1/modules/version")
            assert old.invoke("version")[1] == b"one"
            try:
                client.lease("version")
                raise AssertionError("a removed module was leased")
            except AdverbError as e:
                assert e.status == "no_module", e


def survives_a_restart():
    node = Node(keep=True)
    try:
        with node:
            digest = node.deployed("echo")["digest"]
        with Node(directory=node.directory, keep=True) as again, Client(again.socket) as client:
            code, answer = again.get("/v1/modules/echo")
            assert code == 200 and answer["module"]["digest"] == digest
            with client.lease("echo") as lease:
                assert lease.invoke("echo", b"still here") == ("ok", b"still here")
    finally:
        shutil.rmtree(node.directory, ignore_errors=True)


def survives_kill_9_at_any_instant():
    node = Node(keep=True)
    rng = random.Random(1)
    try:
        for round_number in range(6):
            node.start()
            stop = threading.Event()

            def deploy_for_ever():
                i = 0
                while not stop.is_set() and i < 10000:
                    try:
                        node.deploy(f"m{i % 7}", module("echo" if i % 2 else "mixed_one"))
                    except OSError:
                        return
                    i += 1

            thread = threading.Thread(target=deploy_for_ever)
            thread.start()
            time.sleep(rng.uniform(0.05, 0.4))
            node.kill()
            stop.set()
            thread.join()
            wait_for("the warden to end", lambda: not node.processes())
            assert round_number >= 0
        with node:
            code, answer = node.get("/v1/modules")
            assert code == 200
            for m in answer["modules"]:
                result = node.cli("invoke", f"{m['name']}/count", stdin=b"abc")
                assert result.returncode == 0, (m, result)
            left = [f for f in os.listdir(os.path.join(node.state, "modules")) if not f.endswith(".so")]
            assert left == [], left
    finally:
        shutil.rmtree(node.directory, ignore_errors=True)


def a_full_disk_refuses_and_keeps():
    need("root", os.geteuid() == 0, "only root can mount a small file system")
    directory = tempfile.mkdtemp(prefix="adverb-test-")
    os.chmod(directory, 0o711)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m,mode=755", "tmpfs", directory],
                      check=False).returncode != 0:
        need("mount", False, "tmpfs cannot be mounted here")
    try:
        with Node(directory=directory, keep=True) as node:
            node.deployed("echo")
            with open(module("echo"), "rb") as f:
                big = f.read() + b"\0" * (4 << 20)
            with tempfile.NamedTemporaryFile(suffix=".so") as f:
                f.write(big)
                f.flush()
                code, answer = node.deploy("big", f.name)
            assert code == 507, (code, answer)
            assert "make space" in answer["error"]["message"], answer
            assert [m["name"] for m in node.get("/v1/modules")[1]["modules"]] == ["echo"]
            assert node.cli("invoke", "echo/echo", stdin=b"on").stdout == b"on"
        with Node(directory=directory, keep=True) as node:
            assert [m["name"] for m in node.get("/v1/modules")[1]["modules"]] == ["echo"]
    finally:
        subprocess.run(["umount", "-l", directory], check=False)
        os.rmdir(directory)


def a_read_only_state_directory_is_named():
    need("root", os.geteuid() == 0, "only root can mount a read-only file system")
    directory = tempfile.mkdtemp(prefix="adverb-test-")
    os.chmod(directory, 0o711)
    state = os.path.join(directory, "state")
    os.mkdir(state)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro,size=1m", "tmpfs", state], check=True)
    try:
        node = Node(directory=directory, keep=True)
        assert node.start(expect_failure=True) != 0
        assert state in node.log() and "ead-only" in node.log(), node.log()
    finally:
        subprocess.run(["umount", "-l", state], check=False)
        shutil.rmtree(directory, ignore_errors=True)


def two_nodes_do_not_share_a_state():
    with Node() as node:
        other = Node(directory=node.directory, keep=True)
        other.log_path += ".other"
        other.socket += ".other"
        assert other.start(expect_failure=True) != 0
        with open(other.log_path) as f:
            assert node.state in f.read()
        assert node.get("/healthz")[0] == 200


if __name__ == "__main__":
    run([deploy_and_describe, refuses_what_is_no_module, refuses_with_the_reason, names_are_checked,
         belongs_to_its_tenant, a_redeploy_changes_no_running_lease, survives_a_restart,
         survives_kill_9_at_any_instant, a_full_disk_refuses_and_keeps,
         a_read_only_state_directory_is_named, two_nodes_do_not_share_a_state])
