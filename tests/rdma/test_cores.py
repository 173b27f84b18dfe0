#!/usr/bin/env python3
"""Which CPUs a node takes where the kernel keeps some free, and where the kernel says its workers are. Runs in a guest that was booted with
isolcpus=2 nohz_full=2: see run-suite. No RDMA is needed."""

import os
import time

from harness import CGROUP, Node, run, wait_for, without_calls
from libadverb import AdverbError, Client

CPUS = "/sys/devices/system/cpu"


def contents(path):
    with open(path) as f:
        return f.read().strip()


def workers(node):
    """Processes of the node that the kernel lets run on one CPU alone, and which."""
    found = {}
    for pid in node.processes():
        try:
            status = dict(line.split(":\t", 1) for line in contents(f"/proc/{pid}/status").splitlines() if ":\t" in line)
        except OSError:
            continue
        if pid != node.process.pid and status["Cpus_allowed_list"] == "2":
            found[pid] = int(contents(f"/proc/{pid}/stat").rsplit(")", 1)[1].split()[36])
    return found


def cpu_time(pid):
    """In clock ticks."""
    fields = contents(f"/proc/{pid}/stat").rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


@without_calls
def the_kernel_keeps_one_free():
    assert contents(f"{CPUS}/isolated") == "2", contents(f"{CPUS}/isolated")
    assert contents(f"{CPUS}/nohz_full") == "2", contents(f"{CPUS}/nohz_full")
    assert 2 not in os.sched_getaffinity(0), "this test's own mask"


def workers_are_there():
    with Node("--oversubscribe", "no") as node, Client(node.socket) as client:
        node.deployed("echo")
        assert node.status()["cores"]["workers"] == "2 (isolated at boot)", node.status()["cores"]
        assert node.status()["cores"]["total"] == 1
        with client.lease("echo", hot_us=2**64 - 1) as lease:
            assert lease.invoke("echo", b"x") == ("ok", b"x")
            assert list(workers(node).values()) == [2], workers(node)
            try:
                client.lease("echo")
                raise AssertionError("two workers on one core")
            except AdverbError as e:
                assert e.status == "no_capacity", e
        # What waits there for the next lease sleeps.
        time.sleep(1)
        before = [cpu_time(pid) for pid in workers(node)]
        time.sleep(1)
        assert [cpu_time(pid) for pid in workers(node)] == before


def none_unpins_itself():
    attack = os.path.join(os.environ["ADVERB_BUILD"], "tests", "hostile", "attacks", "schedules.so")
    with Node("--oversubscribe", "no") as node, Client(node.socket) as client:
        node.deployed("schedules", attack)
        with client.lease("schedules") as lease:
            before = set(workers(node))
            assert len(before) == 1, before
            status, _ = lease.invoke("attack", (0).to_bytes(4, "little"))
            assert status == "denied", status
            wait_for("another worker, on the same core", lambda: set(workers(node)) - before)


def a_mask_is_kept():
    with Node("--oversubscribe", "no", wrap=("taskset", "-c", "0")) as node:
        assert node.status()["cores"]["workers"] == "0; CPU 0 is shared with the node", node.status()["cores"]
    node = Node("--worker-cpus", "1", wrap=("taskset", "-c", "0"))
    assert node.start(expect_failure=True) != 0
    assert "CPU 1 is not in this process's CPU mask" in node.log(), node.log()


def what_is_offline_is_not_used():
    with open(f"{CPUS}/cpu1/online", "w") as f:
        f.write("0")
    try:
        node = Node("--worker-cpus", "1-2")
        assert node.start(expect_failure=True) != 0
        assert "CPU 1 is offline" in node.log(), node.log()
        with Node() as node:
            assert node.status()["cores"]["workers"] == "2 (isolated at boot)", node.status()["cores"]
    finally:
        with open(f"{CPUS}/cpu1/online", "w") as f:
            f.write("1")


def narrow(name):
    """What runs a command on CPUs 0 and 1, in a cgroup of its own."""
    group = os.path.join(CGROUP, name)
    os.makedirs(group)
    with open(os.path.join(group, "cpuset.cpus"), "w") as f:
        f.write("0-1")
    return "sh", "-c", f'echo $$ >{group}/cgroup.procs && exec "$@"', "sh"


def a_cpuset_is_kept():
    """By the cgroup of the node, which is one of these tests' own."""
    parent = os.path.dirname(CGROUP)
    for group in (parent, CGROUP):
        with open(os.path.join(group, "cgroup.subtree_control"), "w") as f:
            f.write("+cpuset")
    node = Node("--worker-cpus", "2", wrap=narrow("first"))
    assert node.start(expect_failure=True) != 0
    assert "CPU 2 is not on this machine, or not in this cgroup's cpuset" in node.log(), node.log()
    with Node(wrap=narrow("second")) as node:
        assert node.status()["cores"]["workers"] == "0-1; CPU 0 is shared with the node", node.status()["cores"]


if __name__ == "__main__":
    run([the_kernel_keeps_one_free, workers_are_there, none_unpins_itself, a_mask_is_kept, what_is_offline_is_not_used, a_cpuset_is_kept])
