#!/usr/bin/env python3
"""adverb doctor: what it finds here, as root and as an ordinary user, with and without a node; in a broken configuration; on another machine's files."""

import ctypes
import json
import os
import subprocess
import tempfile

from harness import ADVERB, Node, as_user, ordinary_user, run

WALLS = ["hostile tenants", "memory limit", "cpu limit", "freezer", "Landlock", "core scheduling"]


def doctor(*arguments, user=None, **environment):
    done = subprocess.run(as_user(user) + [ADVERB, "doctor", *arguments], capture_output=True, text=True, timeout=60, check=False,
                          env={**os.environ, **environment})
    assert not done.stderr, done.stderr
    return done


def findings(*arguments, **more):
    done = doctor("--json", *arguments, **more)
    answer = json.loads(done.stdout)
    for check in answer["checks"]:
        assert check["verdict"] in ("ok", "weak", "bad") and check["text"], check
    assert (done.returncode != 0) == (answer["bad"] > 0), answer
    return {check["check"]: check for check in answer["checks"]}


def a_node_runs_here():
    """So that its tests can pass: nothing is bad."""
    found = findings()
    assert not [c for c in found.values() if c["verdict"] == "bad"], found
    assert "was built and confined" in found["sandbox works"]["text"], found
    text = doctor().stdout
    for name in found:
        assert name in text, name
    assert "A node runs here" in text.splitlines()[-1], text


def an_ordinary_user_is_told():
    with tempfile.TemporaryDirectory() as home:
        os.chmod(home, 0o777)
        found = findings(user=ordinary_user(), XDG_RUNTIME_DIR=home, HOME=home)
    assert found["hostile tenants"]["verdict"] == "weak" and "your own code" in found["hostile tenants"]["text"], found
    assert found["sandbox works"]["verdict"] == "ok", found


def a_running_node_is_asked():
    """What it may use of cgroups is its service's, and not the shell's."""
    with Node() as node:
        status = node.request("GET", "/v1/status")[1]["sandbox"]
        found = findings("--host", f"unix:{node.socket}")
        weaker = {w["wall"] for w in status["weaker"]}
        assert found["node"]["verdict"] == "ok", found
        for name in WALLS:
            wall = "uids" if name == "hostile tenants" else name
            assert (found[name]["verdict"] == "weak") == (wall in weaker), (name, weaker, found[name])
            assert "the node says" in found[name]["text"], found[name]
        assert status["memory_limit"] == ("rlimit" if "memory limit" in weaker else "cgroup"), status
        shown = node.cli("status").stdout.decode()
        for w in status["weaker"]:
            assert f"{w['wall']}: {w['why']}" in shown, (w, shown)


def a_node_that_was_named_and_is_not_there():
    found = findings("--host", "unix:/nonexistent.sock")
    assert found["node"]["verdict"] == "bad" and "/nonexistent.sock" in found["node"]["text"], found


def a_broken_configuration():
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as f:
        f.write("[pool]\nclod = 4\n")
        f.flush()
        os.chmod(f.name, 0o644)
        found = findings("--config", f.name)
        assert found["configuration"]["verdict"] == "bad" and "clod" in found["configuration"]["text"], found
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as f:
        f.write("[sandbox]\nlibraries = libno-such-thing.so.7\n")
        f.flush()
        os.chmod(f.name, 0o644)
        found = findings("--config", f.name)
        # The node's part of it is fine; the warden's is not.
        assert found["configuration"]["verdict"] == "ok", found
        assert found["sandbox works"]["verdict"] == "bad" and "libno-such-thing" in found["sandbox works"]["text"], found


def files_of_another_machine():
    with tempfile.TemporaryDirectory() as root:
        def has(path, text):
            os.makedirs(os.path.dirname(root + path), exist_ok=True)
            with open(root + path, "w") as f:
                f.write(text)
        has("/proc/sys/kernel/osrelease", "5.4.0-generic\n")
        has("/sys/devices/system/cpu/online", "0-63\n")
        found = findings("--root", root + "/")
        assert found["kernel"]["verdict"] == "bad" and "5.12" in found["kernel"]["remedy"], found
        assert found["cores"]["verdict"] == "ok" and "64 CPUs" in found["cores"]["text"], found
        assert "sandbox works" not in found and "node" not in found, "that machine is not here to be tried"
    done = subprocess.run([ADVERB, "doctor", "--root", root], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "is no directory" in done.stderr, done


def it_leaves_nothing():
    """What it orphaned would be ours."""
    assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0  # PR_SET_CHILD_SUBREAPER
    doctor()
    with open(f"/proc/self/task/{os.getpid()}/children") as f:
        assert not f.read().split()


if __name__ == "__main__":
    run([a_node_runs_here, an_ordinary_user_is_told, a_running_node_is_asked, a_node_that_was_named_and_is_not_there, a_broken_configuration,
         files_of_another_machine, it_leaves_nothing])
