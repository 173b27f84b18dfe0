"""What test_attacks.py drives attacks with: a node under attack, a witness that must notice nothing, and the kernel's view of both."""

import ctypes
import os
import pwd
import secrets
import signal
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "system"))

import harness  # pylint: disable=wrong-import-position
from harness import HOSTILE, UID_BASE, Node, ordinary_user, wait_for  # pylint: disable=wrong-import-position

MEMORY = 64 << 20
INPUT = 128  # more than fits into an entry: it lies in the slot, next to the rings
BETWEEN = {"not_run", "timeout", "worker_lost", "busy"}  # of calls that were submitted while a worker was being replaced
DENIED = ("denied", signal.SIGSYS)
NO_SUCH_FORM = -9999


def become_ordinary():
    """For good: what this process does and starts from here on is an ordinary user's."""
    if os.geteuid() != 0:
        return
    entry = pwd.getpwnam(ordinary_user())
    os.setgroups([])
    os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
    os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)
    os.environ["HOME"] = entry.pw_dir
    harness.CGROUP = None  # an ordinary user's session has none to give


def numbers(output):
    """What an attack has seen."""
    return [n for (n,) in struct.iter_unpack("<q", output[:len(output) // 8 * 8])]


def path_of(name):
    return os.path.join(HOSTILE, "attacks", f"{name}.so")


def stat_of(pid):
    """(state, parent), or None when it is gone."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return fields[0], int(fields[1])
    except OSError:
        return None


def status_of(pid):
    try:
        with open(f"/proc/{pid}/status") as f:
            return dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)
    except OSError:
        return {}


def orphans():
    """Processes of the sandboxes' uids that are no warden's: one that has got away. Other nodes of this machine have wardens of their own."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        status = status_of(entry)
        uids = [int(u) for u in status.get("Uid", "").split()]
        if not any(UID_BASE < u <= UID_BASE + 4200 for u in uids) or status["State"][0] in "ZX":
            continue
        parent = status_of(status["PPid"]).get("Name", "")
        if not parent.startswith("memfd:adverb-wa"):
            found.append((int(entry), status["Name"], parent))
    return found


class Rig:
    """One node, as root or as an ordinary user, and all that is to be true of it however it is attacked."""

    def __init__(self, as_root):
        from libadverb import Client  # after the user has been chosen: it is this process that connects
        self.mounts = self.mountinfo("self")
        self.node = Node(keep=False).start()
        self.client = Client(self.node.socket)
        self.as_root = as_root
        self.cgroup = as_root and harness.CGROUP is not None
        status = self.node.status()
        assert not self.cgroup or status["sandbox"]["memory_limit"] == "cgroup", status["sandbox"]
        assert status["node"]["hostile_tenants"] == as_root, status["node"]
        self.warden = status["node"]["warden_pid"]
        self.cold = status["pool"]["cold"]
        self.warden_mounts = self.mountinfo(self.warden)
        self.secret = secrets.token_bytes(64)
        self.pattern = secrets.token_bytes(65536)
        self.asked = self.replacements = self.attacks = 0
        self.deploy("witness")
        self.witness = self.client.lease("witness", memory_bytes=MEMORY, ttl_ms=3600_000)
        assert self.witness.invoke("keep", self.secret)[0] == "ok"
        self.slot = self.witness.slot()
        ctypes.memmove(self.slot.input, self.pattern, len(self.pattern))

    # ---- the node ----

    def deploy(self, name, as_name=None):
        return self.node.deployed(as_name or name, path_of(name))

    def remove(self, name):
        code, answer = self.node.request("DELETE", f"/v1/modules/{name}")
        assert code in (200, 204), (code, answer)

    def lease(self, name, **options):
        return self.client.lease(name, **dict({"memory_bytes": MEMORY, "ttl_ms": 3600_000}, **options))

    def deaths(self, name):
        return sum(x["deaths"] for x in self.node.get("/v1/leases")[1]["leases"] if x["module"] == name)

    def call(self, lease, function, data, timeout_us=20_000_000):
        """(status, output, detail) of one call, as its caller has it."""
        tag = lease.submit(function, data, timeout_us=timeout_us, capacity=65536)
        done = lease.take(1, timeout_us=60_000_000)
        assert tag in done, f"no end within a minute: {done}"
        return done[tag]

    def answers(self, lease):
        """The same lease, an ordinary call: it ends well, if need be once a worker has been replaced. How many its worker has answered."""
        from libadverb import AdverbError
        end = time.monotonic() + 30
        while True:
            try:
                status, output, _ = self.call(lease, "answer", b"an ordinary call" * 8, timeout_us=5_000_000)
            except AdverbError as e:
                status, output = e.status, b""
                time.sleep(0.01)
            if status == "ok":
                assert output[4:] == b"an ordinary call" * 8, output
                return struct.unpack("<I", output[:4])[0]
            assert status in BETWEEN, f"an ordinary call after the attack: {status}"
            assert time.monotonic() < end, f"no ordinary call has ended well within 30 s: {status}"

    # ---- what an attack must not have changed ----

    def witness_knows_nothing(self):
        """Its worker is the same, its secret and its lane's memory are as they were, and its calls end well."""
        self.asked += 1
        status, output = self.witness.invoke("secret_kept")
        assert status == "ok", f"the witness's call: {status}"
        assert output[:64] == self.secret, "the witness's memory has changed"
        assert struct.unpack("<I", output[64:]) == (self.asked,), "the witness's worker was replaced, or asked by others"
        assert ctypes.string_at(self.slot.input, len(self.pattern)) == self.pattern, "the witness's lane has changed"
        assert self.witness.state() == "ok"

    def children(self):
        found = {}
        for entry in filter(str.isdigit, os.listdir("/proc")):
            stat = stat_of(entry)
            if stat is not None and stat[0] not in "ZX":
                found[int(entry)] = stat[1]
        return [p for p, parent in found.items() if parent == self.warden], found

    def kernel_sees_nothing(self):
        """Sandboxes are one process of one thread each, filtered, without privileges, and nobody's parents."""
        sandboxes, parents = self.children()
        assert not [p for p, parent in parents.items() if parent in sandboxes], "a sandbox has children"
        for pid in sandboxes:
            status = status_of(pid)
            if status.get("Seccomp") != "2":
                continue  # being built, or gone by now
            assert status["Threads"] == "1", status
            assert status["NoNewPrivs"] == "1" and int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0, status
            uid = int(status["Uid"].split()[0])
            assert uid > UID_BASE if self.as_root else uid == os.getuid(), status
        if self.as_root:
            assert not orphans(), orphans()
        assert self.mountinfo("self") == self.mounts, "the machine's mounts have changed"

    @staticmethod
    def mountinfo(pid):
        try:
            with open(f"/proc/{pid}/mountinfo") as f:
                return f.read()
        except OSError:
            return None

    def settles(self):
        """The pool is full again and everything that died is gone."""
        def full():
            pool = self.node.status()["pool"]
            return pool["cold"] >= self.cold and pool["dying"] == pool["loading"] == pool["building"] == 0
        wait_for("the pool to be full again and nothing to be dying", full, 30)

    def nothing_is_left(self):
        """At the end: books that add up, no process, no mount."""
        self.settles()
        self.witness_knows_nothing()
        leases = self.node.get("/v1/leases")[1]["leases"]
        assert [(x["module"], x["deaths"]) for x in leases] == [("witness", 0)], leases
        status = self.node.status()
        assert status["pool"]["claimed"] == 1, status["pool"]
        for line in status["usage"]:
            seconds = status["node"]["uptime_ms"] / 1000 + 1
            assert line["executed_us"] + line["polled_us"] <= 4 * seconds * 1e6, f"more time than there was: {line}"
            assert line["calls"] <= seconds * 1e9 and line["bytes"] < 1 << 62, f"more than can be: {line}"
        assert self.mountinfo(self.warden) == self.warden_mounts, "the warden's mounts have changed"
        self.witness.put(self.slot)
        self.witness.close()
        self.client.close()
        wait_for("the last sandbox to be let go", lambda: self.node.status()["pool"]["claimed"] == 0)
        self.node.stop()
        wait_for("every process of the node to end", lambda: not self.node.processes())
        if self.as_root:
            wait_for("no process of the sandboxes' uids to be left without a warden", lambda: not orphans())
        assert self.mountinfo("self") == self.mounts, "the machine's mounts have changed"
        assert self.node.process.returncode == 0, self.node.process.returncode
        self.node.__exit__(None, None, None)
