#!/usr/bin/env python3
"""A node and its clients on two hosts: two guests with a kernel and a device each, and a cable between them that can be cut. See two-guests.

	test_two_hosts.py [TEST]...          the tests, outside of both guests
	test_two_hosts.py node DIRECTORY     what they ask of the node's guest (1)
	test_two_hosts.py client DIRECTORY   and of the client's (2)

A test reads top to bottom: it tells either side what to do, by files and never by the cable, and looks at what came of it. Times are printed, nothing
asserts on them. The last tests cut the power of a guest. Environment as in tests/system/harness.py.
"""

import functools
import hashlib
import os
import shlex
import signal
import subprocess
import sys
import threading
import time

import harness
from harness import ADVERB, TOKEN, module, wait_for
from guests import BeginAnew, GuestFailed, Pair, Remote, serve

NODE, NODE6, CLIENT = "10.78.0.1", "fd00:adb::1", "10.78.0.2"
PORT = 7340
ACCOUNTS_PORT = 7345
HOST = f"verbs://{NODE}"
PEER_TIMEOUT_S = 3
LIMIT_S = 840  # of a guest, on a machine that has much else to do
# How a call may end when its way is cut for a while. At its deadline: soft-RoCE may lose a queue pair's retransmission with the interface.
ENDS = ("ok", "link_lost", "node_gone", "closed", "timeout")


def sh(command):
    done = subprocess.run(command, shell=True, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, f"{command}: status {done.returncode}\n{done.stdout.decode()}{done.stderr.decode()}"
    return done.stdout.decode()


class Host:
    """What either guest does when asked."""

    def sh(self, command):
        return sh(command)

    def begin_anew(self):
        raise BeginAnew

    def cable(self, state):
        sh(f"ip link set eth0 {state}")

    def netem(self, what):
        sh(f"tc qdisc replace dev eth0 root netem {what}" if what else "tc qdisc del dev eth0 root")

    def packets(self):
        with open("/sys/class/net/eth0/statistics/rx_packets") as f:
            return int(f.read())


# ---- in the node's guest ----

class NodeSide(Host):
    """One node at a time."""

    def __init__(self):
        self.node = None

    def start(self, *options):
        """The directory stays from one run to the next."""
        if self.node is None:
            self.node = harness.Node(keep=True)
            conf = os.path.join(self.node.directory, "adverb.conf")
            with open(conf, "w") as f:
                f.write(f"[tenant tester]\ntoken_sha256 = {hashlib.sha256(TOKEN.encode()).hexdigest()}\n")
            os.chmod(conf, 0o644)
            self.first = ["--config", conf, "--insecure-control"]
        self.node.options = self.first + list(options)
        self.node.start()

    def fails(self, *options):
        """The text with which it does not start."""
        node = harness.Node("--insecure-control", *options)
        status = node.start(expect_failure=True)
        assert status != 0
        return node.log()

    def stop(self):
        if self.node is not None and self.node.process is not None:
            self.node.stop()
            wait_for("its processes to end", lambda: not self.node.processes())

    def kill(self):
        if self.node is not None and self.node.process is not None:
            self.node.kill()
            wait_for("the warden and its sandboxes to end", lambda: not self.node.processes())

    def log(self):
        """What the last run said, but for its defaults."""
        lines = self.node.log().splitlines() if self.node else []
        starts = [i for i, line in enumerate(lines) if line.startswith("adverb: state ")]
        return "\n".join(line for line in lines[(starts or [0])[-1]:] if "(default)" not in line)

    def status(self):
        return self.node.status()

    def status_text(self):
        return self.node.cli("status").stdout.decode()

    def leases(self):
        return self.node.get("/v1/leases")[1]["leases"]

    def key(self, text):
        return write_key(text)

    def local(self, calls):
        """Calls of a local client, root, by leases of their own."""
        if not any(m["name"] == "echo" and m["owner"] == 0 for m in self.node.get("/v1/modules")[1]["modules"]):
            self.node.deployed("echo")
        for _ in range(calls):
            done = self.node.cli("invoke", "0/echo/echo", stdin=b"x" * 100)
            assert (done.returncode, done.stdout) == (0, b"x" * 100), done

    def usage(self):
        """What tenants have used, in the names of accounts."""
        sums = {}
        for line in self.node.status()["usage"]:
            of = sums.setdefault(str(line["tenant"]), dict.fromkeys(SUMS, 0))
            for name in SUMS:
                of[name] += line[name]
        return sums

    def wait_free(self):
        """Until nothing is left of any client; after how many seconds that was."""
        begun = time.monotonic()

        def free():
            status = self.node.status()
            cores = status["cores"]
            return not self.leases() and status["verbs"]["links"] == 0 and cores["free"] == cores["total"]
        wait_for("leases, queue pairs and cores to be free", free)
        return time.monotonic() - begun


SUMS = ("core_us", "mib_ms", "executed_us", "polled_us", "calls", "bytes")


def write_key(text):
    path = f"/run/accounting.{text}.key"
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as f:
        f.write(text * 8)
    return path


# ---- in the client's guest ----

class ClientSide(Host):
    """One lease at a time."""

    def __init__(self):
        os.environ["ADVERB_TOKEN"] = TOKEN
        self.client = self.lease = None

    accounting = None

    def collect(self):
        """This guest's own node, which collects accounts; its directory stays from one run to the next."""
        if self.accounting is None:
            self.accounting = harness.Node("--accounting-listen", f"{CLIENT}:{ACCOUNTS_PORT}", "--accounting-key", write_key("right"), keep=True)
        self.accounting.start()

    def collect_no_more(self, kill=False):
        if self.accounting is not None and self.accounting.process is not None:
            (self.accounting.kill if kill else self.accounting.stop)()
            wait_for("its processes to end", lambda: not self.accounting.processes())

    def accounts(self):
        """{"NODE TENANT BY": its sums}, and how many nodes are connected."""
        answer = self.accounting.get("/v1/accounts")[1]
        return [{f"{l['node']} {l['tenant']} {l['by']}": {n: l[n] for n in SUMS} for l in answer["lines"]}, answer["connected"]]

    def accounts_text(self):
        return self.accounting.cli("bill", "--nodes").stdout.decode()

    def accounting_log(self):
        return "\n".join(line for line in self.accounting.log().splitlines() if "(default)" not in line)

    def cli(self, arguments, text=""):
        done = subprocess.run([ADVERB, *arguments], input=text.encode(), capture_output=True, timeout=60, check=False)
        return [done.returncode, done.stdout.decode(), done.stderr.decode()]

    def open(self, host, name="echo", options=None):
        """What became of it, in two words: its status and its text."""
        try:
            harness.hosts["there"] = host
            self.client = Client("there")
            self.lease = self.client.lease(name, **(options or {}))
            return ["ok", ""]
        except AdverbError as e:
            self.close()
            return [e.status, e.text]

    def lease_again(self, name="echo"):
        """By the handle that is there."""
        try:
            if self.lease is not None:
                self.lease.close()
            self.lease = self.client.lease(name)
            return "ok"
        except AdverbError as e:
            self.lease = None
            return f"{e.status}: {e.text}"

    def close(self):
        if self.lease is not None:
            self.lease.close()
        if self.client is not None:
            self.client.close()
        self.client = self.lease = None

    def state(self):
        return self.lease.state()

    def call(self, name="echo", seconds=20):
        """The status it ended with; ok only when the output was right."""
        data = os.urandom(3000)
        status, out = self.lease.invoke(name, data, timeout_us=int(seconds * 1e6))
        assert status != "ok" or out == data
        return status

    def calls(self, number, size, inflight=4):
        """That all of them were answered with what they had asked."""
        for first in range(0, number, inflight):
            payloads = [bytes([i % 251]) * size for i in range(first, min(first + inflight, number))]
            tags = {self.lease.submit("echo", p, timeout_us=60_000_000, capacity=max(size, 1)): p for p in payloads}
            done = self.lease.take(len(tags), timeout_us=60_000_000)
            assert {t: d[:2] for t, d in done.items()} == {t: ("ok", p) for t, p in tags.items()}

    def large(self, size):
        data = os.urandom(size)
        begun = time.monotonic()
        got = self.lease.invoke("echo", data, timeout_us=60_000_000)
        assert got == ("ok", data), got[0]
        return time.monotonic() - begun

    def submit(self, name="loops", seconds=20):
        self.tag = self.lease.submit(name, b"x" * 100, timeout_us=int(seconds * 1e6))
        self.submitted = time.monotonic()

    def take(self, seconds=60):
        """The status of what was submitted, and how long that took. None: not even its deadline ended it."""
        done = self.lease.take(1, timeout_us=int(seconds * 1e6))
        return [done[self.tag][0] if done else None, time.monotonic() - self.submitted]

    def go_on_calling(self):
        """One call after the other until one fails or end_calls()."""
        self.stop = threading.Event()
        self.ended = ("ok", 0)

        def go_on():
            n = 0
            while not self.stop.is_set() and self.ended[0] == "ok":
                self.ended = (self.call(), n)
                n += 1
        self.thread = threading.Thread(target=go_on)
        self.thread.start()

    def end_calls(self):
        """How the last one ended, and how many had not failed."""
        self.stop.set()
        self.thread.join()
        return list(self.ended)


# ---- the tests ----

class Hosts:
    """The two guests, and what the tests have of them."""
    pair = node = client = None
    serving = None  # the options that the node runs with


def boot(number):
    side = "node" if number == 1 else "client"
    environment = {k: v for k, v in os.environ.items() if k in ("ADVERB_BUILD", "ADVERB_MUST_HAVE")}
    environment.update(PYTHONPATH=os.path.dirname(os.path.abspath(harness.__file__)), PYTHONDONTWRITEBYTECODE="1")
    words = ["env", *(f"{k}={v}" for k, v in environment.items()), sys.executable, os.path.abspath(__file__), side]
    remote = Remote(Hosts.pair, number, " ".join(map(shlex.quote, words)))
    setattr(Hosts, side, remote)
    return remote


def serving(*options, host=HOST):
    """The node runs with these options, and has the modules. It stays for the next test that wants the same."""
    options = options or ("--verbs", "rxe0")
    if Hosts.serving == options:
        return
    Hosts.node.stop()
    Hosts.serving = None
    Hosts.node.start(*options)
    for name in ("echo", "acts"):
        status, _, err = Hosts.client.cli(["deploy", name, module(name), "--host", host])
        assert status == 0, err
    Hosts.serving = options


def counted():
    """What the node has sent and heard by verbs, and which run of it."""
    status = Hosts.node.status()
    return dict(status["verbs"]["counters"], run=status["node"]["pid"])


def moved(before):
    after = counted()
    if after["run"] != before["run"]:
        before = dict(before, requests=0, immediates=0)
    assert after["requests"] > before["requests"] and after["immediates"] > before["immediates"], (before, after)


def lease(host=HOST, name="echo", options=None):
    got = Hosts.client.open(host, name, options)
    assert got[0] == "ok", got


def across(*options, host=HOST):
    """A test with a node that serves so. Work requests must move, and nothing of a client may be left."""
    def decorate(test):
        @functools.wraps(test)
        def with_node():
            try:
                serving(*options, host=host)
                before = counted()
                test(Hosts.node, Hosts.client)
                moved(before)
                Hosts.client.close()
                Hosts.node.wait_free()
            except BaseException:
                clean()
                raise
        return with_node
    return decorate


def clean():
    """After a failure, so that the next test begins as if there had been none."""
    for what in (lambda: print("# the node's log:\n# " + Hosts.node.log().replace("\n", "\n# ")), lambda: Hosts.client.cable("up"),
                 lambda: Hosts.node.cable("up"), Hosts.client.begin_anew, Hosts.node.kill):
        try:
            what()
        except (AssertionError, GuestFailed) as e:
            print(f"# cleaning up: {str(e).splitlines()[-1]}")
    for number in (1, 2):
        print(f"# guest {number}:\n# " + Hosts.pair.tail(number, 1500).replace("\n", "\n# "))
    Hosts.serving = None


@across()
def calls_go_over_the_cable(node, client):
    before = node.packets()
    lease()
    client.calls(50, 8)
    client.calls(50, 3000)
    assert node.packets() >= before + 100
    (one,) = node.leases()
    assert one["fabric"] == "verbs", one
    client.close()
    status, out, err = client.cli(["invoke", "echo/reverse", "--host", HOST], "desserts")
    assert (status, out) == (0, "stressed"), err


@across()
def large_payloads(_, client):
    size = 8 << 20
    lease(options={"slots": 1, "in_capacity": size, "out_capacity": size})
    print(f"# {size >> 20} MiB there and back: {client.large(size):.2f} s")


# ---- addresses ----

def said(node, device, address, gid):
    """What the node says of itself, to programs and to people."""
    verbs, text = node.status()["verbs"], node.status_text()
    assert verbs["device"] == device and verbs.get("address") == address and verbs.get("gid") == gid, verbs
    assert device in text and address in text and gid in text, text


def reached(*hosts):
    for host in hosts:
        lease(host)
        Hosts.client.calls(8, 100)
        Hosts.client.close()


@across()
def a_device_by_name(node, _):
    said(node, "rxe0", f"{NODE}:{PORT}", f"::ffff:{NODE}")
    reached(f"verbs://{NODE}", f"verbs://{NODE}:{PORT}", f"verbs://{NODE}:{PORT}?from={CLIENT}", f"{NODE}:{PORT}")


@across("--verbs", f"{NODE}:7351", host=f"verbs://{NODE}:7351")
def an_ipv4_address_and_a_port(node, _):
    said(node, "rxe0", f"{NODE}:7351", f"::ffff:{NODE}")
    reached(f"verbs://{NODE}:7351")


@across("--verbs", f"[{NODE6}]:7352", host=f"verbs://[{NODE6}]:7352")
def an_ipv6_address_and_a_port(node, _):
    said(node, "rxe0", f"[{NODE6}]:7352", NODE6)
    reached(f"verbs://[{NODE6}]:7352")


@across()
def a_host_name(_, client):
    client.sh(f"echo '{NODE} node.test' >>/etc/hosts")
    reached("verbs://node.test", f"verbs://node.test:{PORT}", f"node.test:{PORT}")


@across()
def a_host_name_with_two_addresses(_, client):
    """The node listens on one of them, and a resolver gives the other first."""
    client.sh(f"echo '{NODE6} both.test' >>/etc/hosts; echo '{NODE} both.test' >>/etc/hosts")
    reached("verbs://both.test")


@across()
def wrong_addresses(node, client):
    reached(HOST)
    for host, status, word in ((f"verbs://{NODE}:7999", "no_node", "refused"),
                               (f"verbs://[{NODE6}]", "no_node", "refused"),
                               ("verbs://10.78.0.99", "no_node", "10.78.0.99"),
                               ("verbs://nowhere.test", "no_node", "nowhere.test"),
                               (f"{HOST}:0", "invalid", "HOST:PORT"),
                               (f"{HOST}:port", "invalid", "HOST:PORT"),
                               (f"verbs://[{NODE6}", "invalid", "HOST:PORT"),
                               (f"verbs://{NODE6}:{PORT}", "invalid", "brackets"),
                               (f"{HOST}?from=10.78.0.77", "no_node", "assign"),
                               (f"rdma://{NODE}", "invalid", "verbs://")):
        got = client.open(host)
        assert got[0] == status and word in got[1], (host, got)
    del node


def places_where_no_node_can_listen():
    node = Hosts.node
    for where, words in (("mlx9_0", ("no RDMA device \"mlx9_0\"", "rxe0")), (CLIENT, (CLIENT, "no interface")),
                         ("10.78.0.1:99999", ("ADDRESS",)), ("0.0.0.0", ("one RDMA device",))):
        text = node.fails("--verbs", where)
        assert all(w in text for w in words), (where, text)


def a_node_without_verbs():
    """The control API answers there, and nothing else does."""
    try:
        serving("--control", f"{NODE}:{PORT}", host=f"tcp://{NODE}")
        got = Hosts.client.open(HOST)
        assert got[0] != "ok" and got[1], got
        print(f"# {got[0]}: {got[1]}")
    except BaseException:
        clean()
        raise


# ---- a cable that is cut, or bad ----

def ids(node):
    return [one["id"] for one in node.leases()]


def goes_on(node, client, before):
    """A lease that lives still works; else there is another by the same handle, and nothing is left of the first. Says which."""
    time.sleep(PEER_TIMEOUT_S + 1)  # both sides have noticed by then
    what = ""
    if client.state() != "ok" or client.call() != "ok":
        again = client.lease_again()
        if again != "ok":
            print(f"# {again}")
            make_devices_again()
            what = ", by devices made again"
            lease()
        assert client.call() == "ok"
    wait_for("the node to have one lease", lambda: len(node.leases()) == 1)
    return ("the same lease" if ids(node) == before and not what else "another lease") + what


def make_devices_again():
    """
    Soft-RoCE loses more to an interface that is down than the queue pairs that send: its connection manager's own may be one of them,
    and then no connection is made any more. Whoever has the device open must let go of it first.
    """
    Hosts.client.begin_anew()
    Hosts.node.stop()
    for host in (Hosts.client, Hosts.node):
        host.sh("rdma link delete rxe0 && rdma link add rxe0 type rxe netdev eth0")
    Hosts.node.start("--verbs", "rxe0")


def interface_down(side, seconds, calling):
    def test(node, client):
        lease(options={"ttl_ms": 600_000})
        host = getattr(Hosts, side)
        assert client.call() == "ok"
        before = ids(node)
        if calling:
            client.go_on_calling()
            time.sleep(0.5)
        host.cable("down")
        time.sleep(seconds)
        if calling and seconds > PEER_TIMEOUT_S:
            # Both find out while there is no cable.
            wait_for("the node to end the lease", lambda: not node.leases())
            said_so(client)
        host.cable("up")
        if calling and seconds <= PEER_TIMEOUT_S:
            said_so(client)
        print(f"# {goes_on(node, client, before)}")
    test.__name__ = f"{side}_interface_down_for_{seconds}_s{'_while_calling' if calling else ''}"
    return harness.twice(across()(test))


def said_so(client):
    status, n = client.end_calls()
    print(f"# {n} good calls, then {status}")
    assert status in ENDS, status


def bad_cable(what):
    def test(_, client):
        lease(options={"slots": 8})
        Hosts.node.netem(what)
        client.netem(what)
        begun = time.monotonic()
        try:
            for size in (8, 3000, 20000):
                client.calls(40, size)
        finally:
            client.netem("")
            Hosts.node.netem("")
        print(f"# 120 calls in {time.monotonic() - begun:.1f} s")
    test.__name__ = "cable_with_" + "_".join(what.replace("%", "").split())
    return harness.twice(across()(test))


# ---- hosts that fail ----

@across()
def the_node_is_restarted(node, client):
    lease()
    assert client.call() == "ok"
    run = node.status()["node"]["pid"]
    for end in ("stop", "kill"):
        node.ask(end)
        wait_for("the client to know", lambda: client.state() != "ok")
        print(f"# {end}: the lease is {client.state()}")
        got = client.call(seconds=5)
        assert got != "ok", got
        node.start("--verbs", "rxe0")
        before = counted()
        assert client.lease_again() == "ok"
        assert client.call() == "ok"
        moved(before)
        assert node.status()["node"]["pid"] != run


def the_client_loses_power():
    """In the middle of calls; then it boots, and comes again."""
    serving()
    before = counted()
    lease(options={"ttl_ms": 600_000})
    Hosts.client.go_on_calling()
    wait_for("calls", lambda: counted()["immediates"] > before["immediates"] + 10)
    assert len(Hosts.node.leases()) == 1
    moved(before)
    Hosts.client.guest.cut_power()
    print(f"# its lease, cores and queue pair are free after {Hosts.node.wait_free():.1f} s; peer_timeout is {PEER_TIMEOUT_S} s")
    print(f"# it has booted again in {boot(2).wait_ready():.0f} s")
    before = counted()
    reached(HOST)
    moved(before)


def the_node_loses_power():
    """In the middle of a call with a deadline that is far. The last test: nothing is left to ask."""
    serving()
    before = counted()
    lease(name="acts")
    Hosts.client.submit("loops", 20)
    wait_for("the node to hear of it", lambda: counted()["immediates"] > before["immediates"])
    Hosts.node.guest.cut_power()
    cut = time.monotonic()
    status, _ = Hosts.client.take()
    print(f"# the call ended {time.monotonic() - cut:.1f} s after the power as {status}; its deadline was 20 s")
    assert status in ("node_gone", "link_lost"), status
    wait_for("the lease to be over", lambda: Hosts.client.state() != "ok")
    begun = time.monotonic()
    got = Hosts.client.lease_again("acts")
    assert got.startswith("no_node"), got
    print(f"# another lease is refused after {time.monotonic() - begun:.1f} s: {got}")
    Hosts.client.close()


# ---- accounts ----

def reporting(by, key="right"):
    return ("--verbs", "rxe0", "--accounting-report", f"{CLIENT}:{ACCOUNTS_PORT}", "--accounting-key", Hosts.node.key(key), "--accounting-by", by)


def told(node, client, by):
    """What the accounting node knows of this node, by tenant."""
    lines, _ = client.accounts()
    identity = node.status()["node"]["id"]
    return {key.split()[1]: sums for key, sums in lines.items() if key.split()[0] == identity and key.split()[2] == by}


def wait_told(node, client, by, minus=None):
    """Until the accounting node knows what the node knows of itself, to the last microsecond; less what was before, where only more is told."""
    def same():
        usage = node.usage()
        for tenant, sums in (minus or {}).items():
            usage[tenant] = {name: usage[tenant][name] - sums[name] for name in SUMS}
        usage = {tenant: sums for tenant, sums in usage.items() if any(sums.values())}
        there = {tenant: sums for tenant, sums in told(node, client, by).items() if any(sums.values())}
        return there if usage and there == usage else None
    return wait_for(f"accounts to agree: {node.usage()}, {client.accounts()}", same)


def use(node, client, calls):
    """By a remote tenant and by a local one."""
    lease()
    client.calls(calls, 8)
    node.local(2)
    client.close()
    node.wait_free()


def accounted(test):
    @functools.wraps(test)
    def with_accounts():
        try:
            Hosts.client.collect()
            test(Hosts.node, Hosts.client)
        except BaseException:
            print("# the accounting node's log:\n# " + Hosts.client.accounting_log().replace("\n", "\n# "))
            Hosts.client.collect_no_more(True)  # what begins anew knows nothing of it
            clean()
            raise
        Hosts.client.collect_no_more()
    return with_accounts


@accounted
def accounts_by_writing(node, client):
    serving(*reporting("write"))
    use(node, client, 50)
    first = wait_told(node, client, "write")
    assert len(first) == 2 and max(sums["calls"] for sums in first.values()) >= 50, first
    text = client.accounts_text()
    assert node.status()["node"]["id"] in text and "1 nodes are connected" in text, text
    # Nothing comes through for a while, and nothing is lost or counted twice.
    client.cable("down")
    node.local(5)
    time.sleep(5)
    client.cable("up")
    second = wait_told(node, client, "write")
    assert second["0"]["calls"] == first["0"]["calls"] + 5, (first, second)
    # The accounting node is killed, and knows all again before anything new is told.
    client.collect_no_more(True)
    node.local(3)
    client.collect()
    third = wait_told(node, client, "write")
    assert third["0"]["calls"] == second["0"]["calls"] + 3, (second, third)
    # The node is killed: it has lost its last second, which the accounting node keeps; and goes on.
    node.kill()
    Hosts.serving = None
    before = {key: sums for key, sums in client.accounts()[0].items()}
    serving(*reporting("write"))
    node.local(3)
    wait_for("it to be connected again", lambda: client.accounts()[1] == 1)
    after = client.accounts()[0]
    assert all(after[key][name] >= sums[name] for key, sums in before.items() for name in SUMS), (before, after)


@accounted
def accounts_by_adding(node, client):
    node.stop()
    Hosts.serving = None
    serving(*reporting("add"))
    before = node.usage()
    known = told(node, client, "add")
    assert not any(value for sums in known.values() for value in sums.values()), known
    use(node, client, 50)
    first = wait_told(node, client, "add", before)
    client.collect_no_more(True)
    client.collect()
    node.local(3)
    second = wait_for("more to be added", lambda: (lambda now: now if now["0"]["calls"] > first["0"]["calls"] else None)(told(node, client, "add")))
    # At most once: what was under way may be missing, and nothing is there twice.
    usage = node.usage()
    for tenant, sums in second.items():
        for name in SUMS:
            assert sums[name] <= usage[tenant][name] - before.get(tenant, {}).get(name, 0), (tenant, name, second, usage, before)


@accounted
def strangers_keep_no_accounts(node, client):
    known = client.accounts()[0]
    serving(*reporting("write", "wrong"))
    wait_for("it to be refused", lambda: "not a node that has this key" in node.status()["accounting"]["reports"]["why"])
    node.local(1)
    time.sleep(3)
    lines, connected = client.accounts()
    assert connected == 0 and lines == known, (lines, known)
    assert "does not reach" in node.status_text() and "a connection is refused" in client.accounting_log()
    report = ("--verbs", "rxe0", "--accounting-report", f"{CLIENT}:{ACCOUNTS_PORT}")
    Hosts.node.stop()
    assert "may be read by others" in Hosts.node.fails(*report, "--accounting-key", "/etc/passwd")
    assert "needs a key" in Hosts.node.fails(*report)
    assert "write or add" in Hosts.node.fails(*report, "--accounting-by", "mail")
    Hosts.node.stop()
    Hosts.serving = None


TESTS = [an_ipv4_address_and_a_port, an_ipv6_address_and_a_port, places_where_no_node_can_listen, a_node_without_verbs,
         a_device_by_name, calls_go_over_the_cable, large_payloads, a_host_name, a_host_name_with_two_addresses, wrong_addresses,
         interface_down("client", 1, False), interface_down("client", 1, True), interface_down("client", 8, True),
         interface_down("node", 1, False), interface_down("node", 1, True), interface_down("node", 8, True),
         bad_cable("loss 1%"), bad_cable("loss 5%"), bad_cable("delay 1ms reorder 25%"),
         accounts_by_writing, accounts_by_adding, strangers_keep_no_accounts, the_node_is_restarted, the_client_loses_power, the_node_loses_power]


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    for last in (False, True):
        with Pair(LIMIT_S) as Hosts.pair:
            try:
                boot(1)
                boot(2)
                print(f"# both guests are up after {max(Hosts.node.wait_ready(), Hosts.client.wait_ready()):.0f} s")
            except GuestFailed as e:
                # QEMU's translator crashes now and then: once is no failure of ours.
                print(f"# {e}".replace("\n", "\n# "))
                if last:
                    print("1..1\nnot ok 1 - two guests")
                    sys.exit(1)
                continue
            harness.run(TESTS)


if __name__ == "__main__":
    if sys.argv[1:2] in (["node"], ["client"]) and len(sys.argv) == 3:
        if sys.argv[1] == "client":
            from libadverb import AdverbError, Client
        serve(sys.argv[2], NodeSide() if sys.argv[1] == "node" else ClientSide())
    else:
        main()
