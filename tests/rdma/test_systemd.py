#!/usr/bin/env python3
"""The node as a service of systemd, as deploy/adverb.service has it. Runs in a guest whose first process is systemd: see run-suite.

The unit is the one that meson has configured, the binary lies where the unit looks for it, and the guest is a machine that has never had either.
"""

import glob
import hashlib
import json
import os
import re
import shutil
import subprocess
import time

import harness
from harness import ADVERB, BUILD, TOKEN, UID_BASE, as_user, module, ordinary_user, run, wait_for
from libadverb import Client

UNIT = os.path.join(BUILD, "deploy", "adverb.service")
SYSUSERS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "deploy", "adverb.sysusers")
SOCKET = "/run/adverb/adverb.sock"
GROUP = "/sys/fs/cgroup/system.slice/adverb.service"
CONFIGURATION = "/etc/adverb/adverb.conf"


def sh(*command, user=None, text="", ok=True):
    done = subprocess.run(as_user(user) + list(command), input=text, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0 or not ok, f"{' '.join(command)}: {done.stdout}{done.stderr}\n{journal()}"
    return done.stdout


def journal():
    done = subprocess.run(["journalctl", "-u", "adverb", "-o", "cat", "--no-pager", "-n", "30"], capture_output=True, text=True, check=False)
    return "\n".join(line for line in done.stdout.splitlines() if "(default)" not in line)


def shown(what):
    return sh("systemctl", "show", "adverb", "--value", "-p", what).strip()


def install():
    with open(UNIT) as f:
        path = re.search(r"^ExecStart=(\S+)", f.read(), re.M).group(1)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    shutil.copy(ADVERB, path)
    shutil.copy(UNIT, "/etc/systemd/system/adverb.service")
    sh("systemd-sysusers", os.path.realpath(SYSUSERS))
    sh("systemctl", "daemon-reload")


def start():
    """Returns when the node has said that it is ready."""
    begun = time.monotonic()
    sh("systemctl", "start", "adverb")
    assert shown("ActiveState") == "active", journal()
    print(f"# started in {time.monotonic() - begun:.1f} s")


def stop():
    """Whatever it is doing."""
    begun = time.monotonic()
    sh("systemctl", "stop", "adverb", ok=False)
    print(f"# stopped in {time.monotonic() - begun:.1f} s")


def processes():
    """Of the unit, and of any sandbox."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cgroup") as f:
                ours = "/adverb.service" in f.read()
            if ours or os.stat(f"/proc/{pid}").st_uid >= UID_BASE:
                found.append(int(pid))
        except OSError:
            continue
    return found


def mounts():
    with open("/proc/self/mountinfo") as f:
        return sorted(line.split()[4] for line in f)


def status():
    return harness.Node.request(Here(), "GET", "/v1/status")[1]


class Here:
    """What harness.Node.request needs to know of a node."""
    socket = SOCKET


def adverb(*arguments, **options):
    return sh(shutil.which("adverb") or ADVERB, *arguments, "--host", f"unix:{SOCKET}", **options)


# ---- tests ----

def it_starts_and_says_so():
    install()
    start()
    assert (shown("Type"), shown("Delegate"), shown("StatusText")) == ("notify", "yes", "serving"), journal()


def functions_are_called():
    adverb("deploy", "echo", module("echo"), "--public")
    assert adverb("invoke", "echo/reverse", text="desserts") == "stressed"
    assert adverb("invoke", "0/echo/reverse", text="desserts", user=ordinary_user()) == "stressed"
    assert status()["node"]["mode"] == "root"


def cgroups_are_in_use():
    assert re.search(r"memory limit: cgroup\b", adverb("status")), adverb("status")
    adverb("deploy", "acts", module("acts"))
    with Client(SOCKET) as client, client.lease("acts", memory_bytes=64 << 20) as lease:
        assert lease.invoke("eats", timeout_us=60_000_000)[0] == "out_of_memory"
        wait_for("another worker", lambda: lease.invoke("eats_politely", timeout_us=60_000_000)[0] != "not_run")
        limits = []
        for path in glob.glob(f"{GROUP}/sandboxes/*/memory.max"):
            with open(path) as f:
                limits.append(f.read().strip())
        print(f"# memory.max of the sandboxes: {' '.join(sorted(limits))}")
        assert any(limit.isdigit() and int(limit) >= 64 << 20 for limit in limits), limits


def groups():
    """Of each cgroup of sandboxes: its processes and what limits them."""
    found = []
    for path in glob.glob(f"{GROUP}/sandboxes/*/"):
        files = {}
        for name in ("cgroup.procs", "memory.max", "pids.max", "cpu.max", "cpuset.cpus", "memory.oom.group", "memory.swap.max"):
            try:
                with open(path + name) as f:
                    files[name] = f.read().split()
            except OSError:
                files[name] = None
        found.append(files)
    return found


def status_on(lease, worker, function):
    tag = lease.submit(function, worker=worker, timeout_us=60_000_000)
    return lease.take(1, timeout_us=60_000_000)[tag][0]


def a_lease_is_one_group():
    """Its workers' memory, processes and processors are limited together, also after one of them was replaced."""
    adverb("deploy", "acts", module("acts"), "--profile", "strict")
    with Client(SOCKET) as client, client.lease("acts", workers=2, memory_bytes=64 << 20) as lease:
        for _ in range(3):
            g = wait_for("a group of two", lambda: next((g for g in groups() if len(g["cgroup.procs"] or ()) == 2), None))
            print(f"# {g}")
            assert 64 << 20 <= int(g["memory.max"][0]) < 128 << 20 and g["pids.max"] == ["2"], g
            assert g["memory.oom.group"] == ["1"] and g["memory.swap.max"] in (["0"], None), g
            assert g["cpu.max"] is None or int(g["cpu.max"][0]) == 210000, g
            cpus = {os.sched_getaffinity(int(pid)) == {min(os.sched_getaffinity(int(pid)))} for pid in g["cgroup.procs"]}
            assert cpus == {True}, "each is pinned to one CPU"
            # A crash after a death for want of memory is a crash: the group's count of kills goes on.
            assert status_on(lease, 0, "eats") == "out_of_memory"
            wait_for("another worker to crash", lambda: status_on(lease, 0, "segv") == "crashed")
    wait_for("the lease's group to go", lambda: all(len(g["cgroup.procs"] or ()) <= 1 for g in groups()))


def ticks(lease):
    answer, data = lease.invoke("ticks", timeout_us=60_000_000)[:2]
    assert answer == "ok", answer
    return int.from_bytes(data[:8], "little"), int.from_bytes(data[8:12], "little")


def frozen_groups():
    found = []
    for path in glob.glob(f"{GROUP}/sandboxes/*/cgroup.events"):
        with open(path) as f:
            if "frozen 1" in f.read():
                found.append(os.path.dirname(path))
    return found


def what_has_threads_waits_frozen():
    """Loaded ahead like any other, and not one instruction of its threads runs before it is claimed; then on its lease's CPU."""
    adverb("deploy", "ticks", module("constructor_tick"), "--hot", "1")
    group = wait_for("a sandbox that waits frozen", frozen_groups)[0]

    def used():
        with open(f"{group}/cpu.stat") as f:
            return f.readline()
    before, hits = used(), status()["pool"]["hits_hot"]
    time.sleep(1)
    assert used() == before, (before, used())
    with Client(SOCKET) as client, client.lease("ticks") as lease:
        first, cpu = ticks(lease)
        assert status()["pool"]["hits_hot"] == hits + 1
        n, cpu = wait_for("its thread to go on", lambda: next((t for t in [ticks(lease)] if t[0] > first + 5), None))
        with open(f"{group}/cgroup.procs") as f:
            pid = int(f.read().split()[0])
        masks = [os.sched_getaffinity(int(tid)) for tid in os.listdir(f"/proc/{pid}/task")]
        assert len(masks) == 2 and masks[0] == masks[1] == {cpu}, (masks, cpu)
        assert all(os.getpriority(os.PRIO_PROCESS, int(tid)) == 0 for tid in os.listdir(f"/proc/{pid}/task"))
    adverb("remove", "ticks")
    wait_for("nothing to be frozen", lambda: not frozen_groups())


def the_doctor_asks_it():
    found = {c["check"]: c for c in json.loads(adverb("doctor", "--json"))["checks"]}
    for name in ("memory limit", "cpu limit", "freezer", "hostile tenants"):
        assert found[name]["verdict"] == "ok" and "the node says" in found[name]["text"], found[name]


def it_stops_and_leaves_nothing():
    """With a call under way that would go on for ever."""
    before = mounts()
    with Client(SOCKET) as client:
        lease = client.lease("acts")
        tag = lease.submit("loops", timeout_us=110_000_000)
        wait_for("the sandbox to be at work", lambda: status()["pool"]["claimed"] == 1)
        stop()
        done = lease.take(1, timeout_us=60_000_000)
        assert done[tag][0] in ("revoked", "node_gone", "worker_lost", "closed"), done
        lease.close()
    # Not by systemd's patience: it would have been killed.
    assert (shown("Result"), shown("ExecMainStatus"), shown("ActiveState")) == ("success", "0", "inactive"), journal()
    assert not processes() and not os.path.exists(GROUP), (processes(), os.listdir(GROUP))
    assert not os.path.exists(os.path.dirname(SOCKET))
    assert mounts() == before, set(mounts()) ^ set(before)


def it_starts_again_with_its_modules():
    start()
    assert adverb("invoke", "echo/reverse", text="desserts") == "stressed"


def a_crash_is_repaired():
    """Restart=on-failure, and none of the old sandboxes stays."""
    old = processes()
    main = int(shown("MainPID"))
    os.kill(main, 9)

    def again():
        return shown("ActiveState") == "active" and int(shown("MainPID")) not in (0, main)
    wait_for("systemd to start it again", again)
    assert adverb("invoke", "echo/reverse", text="desserts") == "stressed"
    assert not set(old) & set(processes()), "processes of the run before are alive"


def it_serves_verbs_when_told_to():
    """By its configuration alone: the unit must allow what that takes."""
    stop()
    os.makedirs(os.path.dirname(CONFIGURATION), exist_ok=True)
    with open(CONFIGURATION, "w") as f:
        f.write("[node]\ninsecure_control = yes\n[verbs]\nlisten = rxe1\n"
                f"[tenant tester]\ntoken_sha256 = {hashlib.sha256(TOKEN.encode()).hexdigest()}\n")
    start()
    os.environ["ADVERB_TOKEN"] = TOKEN
    harness.hosts["verbs"] = "verbs://10.77.0.2?from=10.77.0.1"
    with Client("verbs") as client, client.lease("0/echo") as lease:
        before = status()["verbs"]["counters"]["requests"]
        data = os.urandom(3000)
        assert lease.invoke("echo", data, timeout_us=60_000_000) == ("ok", data)
        assert status()["verbs"]["counters"]["requests"] > before
    stop()
    assert not processes() and not os.path.exists(GROUP)


if __name__ == "__main__":
    run([it_starts_and_says_so, functions_are_called, cgroups_are_in_use, a_lease_is_one_group, what_has_threads_waits_frozen, the_doctor_asks_it, it_stops_and_leaves_nothing, it_starts_again_with_its_modules,
         a_crash_is_repaired, it_serves_verbs_when_told_to])
