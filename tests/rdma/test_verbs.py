#!/usr/bin/env python3
"""What only the verbs fabric has: connections, counters, failures of hosts, links and devices. Runs in a guest: see run-suite.

The client's end is veth0 (10.77.0.1, rxe0), the node's veth1 (10.77.0.2, rxe1); what goes between takes the cable.
"""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

from harness import ADVERB, BUILD, RDMA_ADDRESS, TOKEN, WAIT_S, Node, hosts, run, twice, wait_for, without_calls
from libadverb import AdverbError, Client

CLIENT_ADDRESS = "10.77.0.1"


def wire(node):
    """The node's address, by the cable."""
    return f"{node.host}?from={CLIENT_ADDRESS}"


def over_wire(node):
    hosts["wire"] = wire(node)
    return Client("wire")


def leases(node):
    return node.request("GET", "/v1/leases")[1]["leases"]


def counters(node):
    return node.status()["verbs"]["counters"]


def sh(command):
    subprocess.run(command, shell=True, check=True, timeout=30)


def moved(test):
    """Runs a test with a node that has the echo module, and looks that its work requests moved."""
    def with_node():
        with Node() as node:
            node.deployed("echo")
            before = counters(node)
            test(node)
            after = counters(node)
            assert after["requests"] > before["requests"] and after["immediates"] > before["immediates"], \
                (before, after)
    with_node.__name__ = test.__name__
    return with_node


# ---- connections ----

@moved
def a_call_goes_over_the_cable(node):
    def packets():
        with open("/sys/class/net/veth0/statistics/tx_packets") as f:
            return int(f.read())
    before = packets()
    with over_wire(node) as client, client.lease("echo") as lease:
        for i in range(50):
            assert lease.invoke("echo", b"%d" % i) == ("ok", b"%d" % i)
    assert packets() >= before + 50


@moved
def the_second_lease_does_not_connect(node):
    with over_wire(node) as client:
        for _ in range(5):
            with client.lease("echo") as lease:
                assert lease.invoke("echo", b"x") == ("ok", b"x")
        status = node.status()["verbs"]
        assert status["accepted"] == 1 and status["links"] == 1, status


@moved
def leases_side_by_side(node):
    with over_wire(node) as client:
        with client.lease("echo", slots=2) as one, client.lease("echo", workers=3, slots=16) as other:
            tags = {other.submit("echo", b"%d" % i): b"%d" % i for i in range(48)}
            assert one.invoke("echo", b"one") == ("ok", b"one")
            done = other.take(48)
            assert {t: d[:2] for t, d in done.items()} == {t: ("ok", d) for t, d in tags.items()}
    wait_for("the leases to end", lambda: not leases(node))


@moved
def large_payloads(node):
    data = os.urandom(64 << 20)  # the largest slot there is
    with over_wire(node) as client, client.lease("echo", slots=1, in_capacity=64 << 20, out_capacity=64 << 20, memory_bytes=256 << 20) as lease:
        assert lease.invoke("echo", data, timeout_us=110_000_000) == ("ok", data)


@moved
def status_shows_the_fabric(node):
    with over_wire(node) as client, client.lease("echo") as lease:
        assert lease.invoke("echo", b"x")[0] == "ok"
        (one,) = leases(node)
        assert one["fabric"] == "verbs" and one["mode"] in ("spin", "block"), one
    verbs = node.status()["verbs"]
    assert verbs["device"] == "rxe1" and verbs["placement"] in ("memory", "immediate"), verbs
    assert verbs["placement_why"], verbs


def mapped(pid):
    """The address ranges of a process."""
    with open(f"/proc/{pid}/maps") as f:
        return [tuple(int(end, 16) for end in line.split()[0].split("-")) for line in f]


@without_calls
def addresses_are_told_to_nobody():
    """Regions are addressed from 0: no number in what a lease is told lies in the node's memory, or could."""
    with Node() as node:
        node.deployed("echo")
        wish = json.dumps({"module": "echo", "fabric": "verbs", "client": "5a" * 16, "mirror": 0, "mirror_rkey": 1, "slots": 4})
        with socket.create_connection((RDMA_ADDRESS, node.port), timeout=WAIT_S) as s:
            s.sendall(f"POST /v1/leases HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nConnection: Upgrade\r\nUpgrade: adverb-lane/1\r\n"
                      f"Content-Type: application/json\r\nContent-Length: {len(wish)}\r\n\r\n{wish}".encode())
            told = ""
            while "input_rkeys" not in told:
                piece = s.recv(65536)
                assert piece, told
                told += piece.decode()
            numbers = [int(n) for n in re.findall(r"(?<![\w\"])\d+(?![\w\"])", told)] + [int(h, 16) for h in re.findall(r"0x([0-9a-f]+)", told)]
            ranges = mapped(node.status()["node"]["pid"])
            assert len(numbers) > 10 and len(ranges) > 10, (told, ranges)
            assert not [n for n in numbers if any(begin <= n < end for begin, end in ranges)], told
            assert max(numbers) < min(begin for begin, _ in ranges), told


@moved
def an_event_loop_can_wait(node):
    """adv_lease_fd() over verbs: the link's channel and the library's own word in one descriptor."""
    import select
    from libadverb import lib
    with over_wire(node) as client, client.lease("echo", spin_us=0) as lease:
        for i in range(20):
            tag = lease.submit("echo", b"%d" % i)
            while lib.adv_lease_arm(lease.handle) == 1:
                assert select.select([lib.adv_lease_fd(lease.handle)], [], [], 10)[0], "nothing came in 10 s"
                break
            assert lease.take(1)[tag][1] == b"%d" % i


# ---- who may come ----

@without_calls
def a_wrong_token_is_refused():
    with Node() as node:
        node.deployed("echo")
        for token in ("", "not-the-token"):
            os.environ["ADVERB_TOKEN"] = token
            try:
                with over_wire(node) as client:
                    client.lease("echo")
                raise AssertionError("somebody without a token got a lease")
            except AdverbError as e:
                assert e.status == "bad_token" and "ADVERB_TOKEN" in e.text, e
            finally:
                os.environ["ADVERB_TOKEN"] = TOKEN


@without_calls
def nobody_listens():
    os.environ["ADVERB_TOKEN"] = TOKEN
    hosts["nobody"] = f"verbs://{RDMA_ADDRESS}:7999"
    try:
        Client("nobody")
        raise AssertionError("there is no node")
    except AdverbError as e:
        assert e.status == "no_node", e


@without_calls
def too_little_locked_memory():
    with Node() as node:
        node.deployed("echo")
        got = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all",
                              "prlimit", "--memlock=65536", ADVERB, "invoke", "echo/echo", "--host", wire(node)],
                             input=b"x", capture_output=True, timeout=WAIT_S, check=False)
        text = got.stderr.decode()
        assert got.returncode != 0 and "RLIMIT_MEMLOCK" in text and "ulimit" in text, (got.returncode, text)


# ---- clients that break the rules ----

def rogue(act, detail=""):
    def test():
        with Node() as node, over_wire(node) as client:
            node.deployed("echo")
            with client.lease("echo", workers=1, slots=4) as other:
                stop = threading.Event()
                bad = []

                def go_on():
                    i = 0
                    while not stop.is_set():
                        data = b"%d" % i * 20
                        if other.invoke("echo", data) != ("ok", data):
                            bad.append(i)
                        i += 1
                thread = threading.Thread(target=go_on)
                thread.start()
                try:
                    got = subprocess.run([os.path.join(BUILD, "tests", "rdma", "rogue"), wire(node), act],
                                         capture_output=True, timeout=WAIT_S, check=False)
                finally:
                    stop.set()
                    thread.join()
                said = got.stdout.decode()
                assert got.returncode == 0 and detail in said, (got.returncode, said, got.stderr.decode())
                assert not bad, f"{len(bad)} calls of another lease went wrong"
                assert other.invoke("echo", b"after") == ("ok", b"after")
            wait_for("the rogue's lease to end", lambda: not leases(node))
            wait_for("its queue pair to go", lambda: node.status()["verbs"]["links"] <= 1)
    test.__name__ = "rogue_" + act.replace("-", "_")
    return test


ROGUES = [rogue("beyond-inputs"), rogue("checksum", "bad_entry"), rogue("epoch"), rogue("floods"), rogue("function"),
          rogue("guessed-key"), rogue("into-header"), rogue("into-outputs"), rogue("late"), rogue("length"),
          rogue("nonsense"), rogue("reads"), rogue("sends"), rogue("slot"), rogue("strangers", "not its token"),
          rogue("torn")]


# ---- what is said of devices ----

def devices():
    got = subprocess.run([ADVERB, "devices", "--json"], capture_output=True, timeout=WAIT_S, check=True)
    return {d["name"]: d for d in json.loads(got.stdout)["devices"]}


@without_calls
def a_machine_without_devices():
    """First: a device that this process has used stays open until it ends. What is to be loaded is said."""
    sh("rdma link delete rxe0; rdma link delete rxe1")
    try:
        got = subprocess.run([ADVERB, "devices"], capture_output=True, timeout=WAIT_S, check=False)
        assert got.returncode == 1 and b"no RDMA device" in got.stderr and b"rdma_rxe" in got.stderr, got
        assert not got.stdout and got.stderr.count(b"\n") == 1, got
    finally:
        sh("rdma link add rxe0 type rxe netdev veth0; rdma link add rxe1 type rxe netdev veth1")


@without_calls
def devices_are_listed():
    listed = devices()
    assert set(listed) == {"rxe0", "rxe1"}, listed
    one = listed["rxe1"]
    assert one["usable"] and one["software"] and one["address"] == f"{RDMA_ADDRESS}:7340", one
    assert one["placement"] == "memory" and one["placement_why"] and one["max_inline"] >= 64, one
    (port,) = one["ports"]
    assert port["state"] == "active" and port["link_layer"] == "Ethernet" and port["mtu"] == 4096, port
    assert [g["gid"] for g in port["gids"] if g["used"]] == [f"::ffff:{RDMA_ADDRESS}"] == [one["gid"]], port
    assert all(g["why_not"] for g in port["gids"] if not g["used"]), port
    text = subprocess.run([ADVERB, "devices"], capture_output=True, timeout=WAIT_S, check=True).stdout.decode()
    assert f"listens on {RDMA_ADDRESS}:7340" in text and "link-local" in text, text


@without_calls
def a_port_that_is_down_is_not_used():
    sh("ip link set veth1 down")
    try:
        one = wait_for("the port to be down", lambda: (d := devices()["rxe1"]) and not d["usable"] and d)
        assert "no active port" in one["why_not"], one
        node = Node()
        node.options = ["--verbs", "rxe1", "--insecure-control"]
        assert node.start(expect_failure=True) != 0
        assert "rxe1" in node.log() and "no active port" in node.log(), node.log()
        node.__exit__(None, None, None)
    finally:
        cable_up()
    wait_for("the port to be up", lambda: devices()["rxe1"]["usable"])


@moved
def status_shows_the_address(node):
    with over_wire(node) as client, client.lease("echo") as lease:
        assert lease.invoke("echo", b"x")[0] == "ok"
    verbs = node.status()["verbs"]
    assert verbs["address"] == f"{RDMA_ADDRESS}:{node.port}" and verbs["gid"] == f"::ffff:{RDMA_ADDRESS}", verbs
    text = subprocess.run([ADVERB, "status", "--host", f"unix:{node.socket}"], capture_output=True, timeout=WAIT_S,
                          check=True).stdout.decode()
    assert verbs["address"] in text and verbs["gid"] in text, text


# ---- the bare fabric beside a lease ----

def no_ping_pongs(node):
    wait_for("ping-pongs and queue pairs to go",
             lambda: (v := node.status()["verbs"])["pingpongs"] == 0 and v["links"] == 0)


def latency(node, *options):
    got = node.cli("latency", "--host", wire(node), "--baseline", "--json", *options)
    assert got.returncode == 0, got.stderr.decode()
    return json.loads(got.stdout)["results"]


def compared(row):
    low, high = row["ratio_p50_range"]
    return (row["fabric"] == "verbs" and row["count"] > 0 and row["blocks"] > 0 and 0 < low <= row["ratio_p50"] <= high
            and 0 < row["baseline_ns"]["min"] <= row["baseline_ns"]["p50"] and isinstance(row["overhead_p50_ns"], int)
            and isinstance(row["noisy"], bool))


@moved
def latency_with_a_baseline(node):
    rows = latency(node, "--mode", "hot,warm", "--payload", "8,20000", "--count", "40")
    assert [(r["mode"], r["payload"]) for r in rows] == [("hot", 8), ("warm", 8), ("hot", 20000), ("warm", 20000)], rows
    assert all(compared(r) for r in rows), rows
    no_ping_pongs(node)


@moved
def latency_with_many_in_flight(node):
    (row,) = latency(node, "--inflight", "16", "--count", "320")
    low, high = row["ratio_per_s_range"]
    assert compared(row) and row["inflight"] == 16 and row["baseline_per_s"] > 0 and 0 < low <= row["ratio_per_s"] <= high, row
    no_ping_pongs(node)
    got = node.cli("latency", "--host", wire(node), "--baseline", "--payload", "2MiB", "--count", "1")
    assert got.returncode != 0 and "at most" in got.stderr.decode(), got
    no_ping_pongs(node)


def pings(node, act):
    return subprocess.Popen([os.path.join(BUILD, "tests", "rdma", "pings"), wire(node), act], stdout=subprocess.PIPE)


def ping_pongs(act, detail=""):
    @moved
    def test(node):
        child = pings(node, act)
        said = child.communicate(timeout=WAIT_S)[0].decode()
        assert child.returncode == 0 and detail in said, (child.returncode, said)
        no_ping_pongs(node)
    test.__name__ = "ping_pongs_" + act.replace("-", "_")
    return test


@moved
def a_ping_pong_ends_with_its_lease(node):
    child = pings(node, "until-it-ends")
    assert child.stdout.readline().strip() == b"started"
    assert node.status()["verbs"]["pingpongs"] == 1
    (lease,) = leases(node)
    assert node.request("DELETE", f"/v1/leases/{lease['id']}")[0] == 200
    wait_for("the ping-pong to go", lambda: node.status()["verbs"]["pingpongs"] == 0)
    said = child.communicate(timeout=WAIT_S)[0].decode()
    assert child.returncode == 0 and "ended" in said, (child.returncode, said)
    no_ping_pongs(node)


@moved
def a_killed_client_leaves_no_ping_pong(node):
    child = pings(node, "until-it-ends")
    assert child.stdout.readline().strip() == b"started"
    os.kill(child.pid, signal.SIGKILL)
    no_ping_pongs(node)
    child.communicate(timeout=WAIT_S)
    wait_for("its lease to end", lambda: not leases(node))


# ---- hosts, links and devices that fail ----

def child_with_lease(node, then):
    """A process that holds a lease over the cable and says so; the node's lease is counted."""
    script = ("import sys; sys.path.insert(0, sys.argv[2])\n"
              "from harness import hosts\n"
              "hosts['wire'] = sys.argv[1]\n"
              "from libadverb import Client\n"
              "c = Client('wire'); l = c.lease('echo'); print(l.invoke('echo', b'x')[0], flush=True)\n" + then)
    child = subprocess.Popen([sys.executable, "-c", script, wire(node),
                              os.path.join(os.path.dirname(__file__), "..", "system")], stdout=subprocess.PIPE)
    assert child.stdout.readline().strip() == b"ok"
    assert len(leases(node)) == 1
    return child


@moved
def a_killed_client_loses_its_lease(node):
    child = child_with_lease(node, "import time; time.sleep(60)")
    killed = time.monotonic()
    os.kill(child.pid, signal.SIGKILL)
    wait_for("its lease and queue pair to end",
             lambda: not leases(node) and node.status()["verbs"]["links"] == 0)
    print(f"# gone after {(time.monotonic() - killed) * 1000:.0f} ms")
    child.wait()
    assert node.status()["cores"]["free"] == node.status()["cores"]["total"]


@moved
def a_killed_client_in_the_middle_of_calls(node):
    child = child_with_lease(node, "while True: l.invoke('echo', b'y' * 3000)")
    time.sleep(0.2)
    os.kill(child.pid, signal.SIGKILL)
    wait_for("its lease and queue pair to end",
             lambda: not leases(node) and node.status()["verbs"]["links"] == 0)
    child.wait()
    with over_wire(node) as client, client.lease("echo") as lease:
        assert lease.invoke("echo", b"next") == ("ok", b"next")


def a_killed_node_ends_calls():
    node = Node(keep=True)
    node.start()
    node.deployed("echo")
    node.deployed("acts")
    with over_wire(node) as client:
        lease = client.lease("acts")
        tag = lease.submit("loops", timeout_us=50_000_000)
        time.sleep(0.2)
        killed = time.monotonic()
        node.kill()
        done = lease.take(1, timeout_us=50_000_000)
        print(f"# the call ended after {(time.monotonic() - killed) * 1000:.0f} ms")
        assert done[tag][0] in ("node_gone", "link_lost", "node_restarted"), done
        wait_for("the lease to know", lambda: lease.state() != "ok")
        lease.close()
    wait_for("warden and sandboxes to end", lambda: not node.processes())
    with node, over_wire(node) as client, client.lease("echo") as lease:
        assert lease.invoke("echo", b"again") == ("ok", b"again")


@contextlib.contextmanager
def cable_pulled():
    """Nothing arrives any more, in either direction, and nobody is told."""
    sh("tc qdisc add dev veth0 root netem loss 100%; tc qdisc add dev veth1 root netem loss 100%")
    try:
        yield
    finally:
        sh("tc qdisc del dev veth0 root; tc qdisc del dev veth1 root")


@moved
def a_cable_that_is_back_in_time_keeps_the_lease(node):
    with over_wire(node) as client, client.lease("echo") as lease:
        assert lease.invoke("echo", b"before") == ("ok", b"before")
        with cable_pulled():
            tag = lease.submit("echo", b"meanwhile", timeout_us=30_000_000)
            time.sleep(1)
        done = lease.take(1, timeout_us=30_000_000)
        assert done[tag][:2] == ("ok", b"meanwhile"), done
        assert lease.invoke("echo", b"after") == ("ok", b"after")
        assert lease.state() == "ok"


@moved
def a_cable_that_stays_away_ends_the_lease(node):
    with over_wire(node) as client:
        lease = client.lease("echo", ttl_ms=3_600_000)
        assert lease.invoke("echo", b"before") == ("ok", b"before")
        with cable_pulled():
            tag = lease.submit("echo", b"lost", timeout_us=30_000_000)
            begun = time.monotonic()
            done = lease.take(1, timeout_us=40_000_000)
            print(f"# the call ended after {time.monotonic() - begun:.1f} s as {done[tag][0]}")
            assert done[tag][0] in ("node_gone", "link_lost"), done
            wait_for("the node to end the lease", lambda: not leases(node))
            print(f"# the node ended the lease after {time.monotonic() - begun:.1f} s")
        lease.close()
        wait_for("the queue pair to go", lambda: node.status()["verbs"]["links"] == 0)
    with over_wire(node) as client, client.lease("echo") as lease:
        assert lease.invoke("echo", b"after") == ("ok", b"after")


@moved
def an_interface_that_goes_down_is_a_status(node):
    """Soft-RoCE breaks a queue pair that sends through an interface that is down: calls end, and a new lease works."""
    with over_wire(node) as client:
        lease = client.lease("echo")
        assert lease.invoke("echo", b"before") == ("ok", b"before")
        sh("ip link set veth0 down")
        try:
            tag = lease.submit("echo", b"meanwhile", timeout_us=30_000_000)
            done = lease.take(1, timeout_us=40_000_000)
            assert done[tag][0] in ("ok", "node_gone", "link_lost"), done
        finally:
            cable_up()
        lease.close()
        with client.lease("echo") as again:
            assert again.invoke("echo", b"after") == ("ok", b"after")


def cable_up():
    """What the end of a link takes with it: its routes and neighbours."""
    sh("ip link set veth0 up; ip link set veth1 up")
    sh("ip route replace 10.77.0.2 dev veth0 src 10.77.0.1 table 101; ip route replace 10.77.0.1 dev veth1 src 10.77.0.2 table 102")
    sh("ip neigh replace 10.77.0.2 lladdr 02:00:00:00:00:02 dev veth0; ip neigh replace 10.77.0.1 lladdr 02:00:00:00:00:01 dev veth1")


def opened(client, **options):
    """The kernel says a lost word of its connection manager again after 4.3 s, which is later than an open waits."""
    for tries_left in reversed(range(4)):
        try:
            return client.lease("echo", **options)
        except AdverbError as e:
            if not tries_left or "timeout" not in str(e):
                raise
            print(f"# once more: {e}")


def netem(what):
    def test(node):
        sh(f"tc qdisc add dev veth0 root netem {what}; tc qdisc add dev veth1 root netem {what}")
        try:
            with over_wire(node) as client, opened(client, slots=8) as lease:
                for size in (8, 3000, 20000):
                    data = {}
                    for i in range(40):
                        payload = bytes([i]) * size
                        data[lease.submit("echo", payload, timeout_us=60_000_000, capacity=size)] = payload
                        if len(data) == 8:
                            done = lease.take(8, timeout_us=60_000_000)
                            assert {t: d[:2] for t, d in done.items()} == {t: ("ok", p) for t, p in data.items()}
                            data = {}
        finally:
            sh("tc qdisc del dev veth0 root; tc qdisc del dev veth1 root")
    test.__name__ = "cable_with_" + "_".join(what.replace("%", "").split())
    return twice(moved(test))


def an_idle_node_costs_nothing():
    with Node() as node:
        node.deployed("echo")
        with over_wire(node) as client, client.lease("echo", hot_us=0) as lease:
            assert lease.invoke("echo", b"x") == ("ok", b"x")
            time.sleep(1)

            def ticks():
                total = 0
                for pid in node.processes():
                    with open(f"/proc/{pid}/stat") as f:
                        fields = f.read().rsplit(")", 1)[1].split()
                    total += int(fields[11]) + int(fields[12])
                return total
            before = ticks()
            time.sleep(5)
            used = ticks() - before
            print(f"# {used} ticks of {5 * os.sysconf('SC_CLK_TCK')} with a warm lease")
            assert lease.invoke("echo", b"x") == ("ok", b"x")


def a_device_that_is_taken_away():
    """Last: the guest has no second rxe1 afterwards, unless it is made again."""
    with Node() as node:
        node.deployed("echo")
        with over_wire(node) as client:
            lease = client.lease("echo")
            assert lease.invoke("echo", b"x") == ("ok", b"x")
            try:
                sh("rdma link delete rxe1")
                wait_for("the lease to end", lambda: not leases(node))
                wait_for("the client to know", lambda: lease.state() != "ok")
                assert node.get("/healthz")[0] == 200
                assert node.status()["verbs"]["gone"]
                try:
                    client.lease("echo")
                    raise AssertionError("a lease without a device")
                except AdverbError as e:
                    assert e.status in ("no_capacity", "system", "timeout", "forbidden"), e
            finally:
                sh("rdma link add rxe1 type rxe netdev veth1")
                lease.close()


if __name__ == "__main__":
    run([a_machine_without_devices, a_call_goes_over_the_cable, the_second_lease_does_not_connect, leases_side_by_side, large_payloads,
         status_shows_the_fabric, addresses_are_told_to_nobody, an_event_loop_can_wait, a_wrong_token_is_refused, nobody_listens, too_little_locked_memory]
        + ROGUES +
        [devices_are_listed, a_port_that_is_down_is_not_used, status_shows_the_address,
         latency_with_a_baseline, latency_with_many_in_flight, ping_pongs("one-at-a-time", "already"), ping_pongs("too-much"),
         ping_pongs("beyond", "remote access error"), a_ping_pong_ends_with_its_lease, a_killed_client_leaves_no_ping_pong] +
        [a_killed_client_loses_its_lease, a_killed_client_in_the_middle_of_calls, a_killed_node_ends_calls,
         a_cable_that_is_back_in_time_keeps_the_lease, a_cable_that_stays_away_ends_the_lease,
         an_interface_that_goes_down_is_a_status, netem("loss 1%"), netem("loss 5%"), netem("delay 1ms reorder 25%"), an_idle_node_costs_nothing,
         a_device_that_is_taken_away])
