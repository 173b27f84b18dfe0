#!/usr/bin/env python3
"""Leases from outside: attach, renewal, expiry, revocation, clients and nodes that die; and the control API's manners."""

import array
import json
import os
import signal
import socket
import subprocess
import sys
import time

from harness import (ADVERB, CGROUP, UID_BASE, WAIT_S, Node, Skip, for_all, module, need, ordinary_user, run, wait_for)
from libadverb import NO_RENEW, AdverbError, Client


def leases(node):
    return node.get("/v1/leases")[1]["leases"]


def open_lease(node, **fields):
    code, answer = node.request("POST", "/v1/leases", dict({"module": "echo"}, **fields))
    assert code == 201, (code, answer)
    return answer["lease"]


def ask_for_lanes(node, path, headers="", body=b"", fds=()):
    """One request that wants an upgrade. Returns (code, descriptors, what came behind the head, socket)."""
    s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    s.settimeout(WAIT_S)
    s.connect(node.socket)
    request = (f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: adverb-lane/1\r\n"
               f"{headers}Content-Length: {len(body)}\r\n\r\n").encode() + body
    if fds:
        socket.send_fds(s, [request], list(fds))
    else:
        s.sendall(request)
    data, got = b"", []
    while True:
        piece, ancillary, _, _ = s.recvmsg(65536, socket.CMSG_SPACE(64))
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                numbers = array.array("i")
                numbers.frombytes(payload[:len(payload) - len(payload) % 4])
                got += list(numbers)
        data += piece
        if not piece or got or (b"\r\n\r\n" in data and not data.startswith(b"HTTP/1.1 101")):
            break
    code = int(data.split()[1]) if data else 0
    return code, got, data.partition(b"\r\n\r\n"), s


def attach(node, lease_id, token, fds=()):
    """Returns (code, descriptors, socket)."""
    code, got, _, s = ask_for_lanes(node, f"/v1/leases/{lease_id}/attach", f"Adverb-Token: {token}\r\n", fds=fds)
    return code, got, s


def close_all(fds):
    for fd in fds:
        os.close(fd)


def attach_hands_over_four_descriptors():
    with Node() as node:
        node.deployed("echo")
        lease = open_lease(node, workers=2)
        code, fds, s = attach(node, lease["id"], lease["token"])
        assert code == 101 and len(fds) == 4, (code, fds)
        assert [os.fstat(fd).st_size for fd in fds[:3]] == lease["sizes"]
        for fd in fds[:3]:
            assert os.fstat(fd).st_mode & 0o777 == 0
        try:
            os.write(fds[1], b"x")
            raise AssertionError("the completion ring is writable to its client")
        except OSError:
            pass
        close_all(fds)
        code, fds, again = attach(node, lease["id"], lease["token"])
        assert code == 400 and not fds, "a lease is attached once"
        again.close()
        s.close()
        wait_for("the lease to end with its connection", lambda: not leases(node))


def lease_and_lanes_in_one_exchange():
    with Node() as node:
        node.deployed("echo")
        code, fds, (head, _, rest), s = ask_for_lanes(node, "/v1/leases", body=b'{"module": "echo"}')
        assert code == 101 and len(fds) == 4, (code, fds)
        size = int(head.lower().split(b"adverb-grant: ")[1].split(b"\r\n")[0])
        lease = json.loads(rest[:size])["lease"]
        assert rest[size:] == b"\x01", rest
        assert [os.fstat(fd).st_size for fd in fds[:3]] == lease["sizes"]
        assert [entry["id"] for entry in leases(node)] == [lease["id"]]
        close_all(fds)
        s.close()
        wait_for("the lease to end with its connection", lambda: not leases(node))
        for body, expected in ((b'{"module": "nobody"}', 404), (b"{", 400), (b'{"module": "echo", "slots": 0}', 400)):
            code, fds, _, s = ask_for_lanes(node, "/v1/leases", body=body)
            assert code == expected and not fds, (body, code)
            s.close()
        assert not leases(node)


def another_protocol_is_refused():
    with Node() as node:
        node.deployed("echo")
        code, answer = node.request("POST", "/v1/leases", {"module": "echo"}, {"Upgrade": "websocket"})
        assert code == 426 and answer["error"]["status"] == "version", (code, answer)
        assert not leases(node)


def a_wrong_token_is_refused():
    with Node() as node:
        node.deployed("echo")
        lease = open_lease(node)
        for token in ("0" * 32, "", "zz" * 16, lease["token"][:-1], lease["token"] + "0"):
            code, fds, s = attach(node, lease["id"], token)
            assert code == 403 and not fds, (token, code)
            s.close()
        code, answer = node.request("POST", f"/v1/leases/{lease['id']}/renew", {},
                                    {"Adverb-Token": "0" * 32})
        assert code == 403 and answer["error"]["status"] == "bad_token"


def another_tenant_sees_nothing():
    user = ordinary_user()
    with Node() as node:
        node.deployed("echo")
        lease = open_lease(node)
        seen = node.cli("leases", "--json", user=user)
        assert json.loads(seen.stdout)["leases"] == [], seen
        script = ("import sys,http.client,socket\n"
                  "s=socket.socket(socket.AF_UNIX);s.connect(sys.argv[1])\n"
                  "s.sendall(b'DELETE /v1/leases/%s HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n'%sys.argv[2].encode())\n"
                  "print(s.recv(100).split()[1].decode())")
        got = subprocess.run(["setpriv", f"--reuid={user}", "--clear-groups", "--inh-caps=-all", "--",
                              "python3", "-c", script, node.socket, lease["id"]], capture_output=True,
                             check=True)
        assert got.stdout.strip() == b"404", got
        assert len(leases(node)) == 1


def unattached_it_expires():
    with Node() as node:
        node.deployed("echo")
        open_lease(node, ttl_ms=60000)
        assert len(leases(node)) == 1
        wait_for("the unattached lease to expire", lambda: not leases(node), 30)


def without_renewal_it_expires():
    with Node() as node, Client(node.socket) as client:
        node.deployed("echo")
        with client.lease("echo", ttl_ms=300, flags=NO_RENEW) as lease:
            assert lease.invoke("echo", b"x")[0] == "ok"
            wait_for("the lease to expire", lambda: lease.state() != "ok")
            assert lease.state() == "expired", lease.state()
            assert lease.invoke(0, b"x")[0] == "expired"


def renewal_keeps_it():
    with Node() as node, Client(node.socket) as client:
        node.deployed("echo")
        with client.lease("echo", ttl_ms=1000) as lease:
            end = time.monotonic() + 3
            while time.monotonic() < end:
                assert lease.invoke("echo", b"x")[0] == "ok"
                time.sleep(0.05)


def sigterm_revokes_and_ends():
    node = Node()
    with node, Client(node.socket) as client:
        node.deployed("echo")
        with client.lease("echo") as lease:
            assert lease.invoke("echo", b"x")[0] == "ok"
            node.stop()
            assert node.process.returncode == 0
            wait_for("the client to know", lambda: lease.state() != "ok")
            assert lease.state() in ("revoked", "node_gone"), lease.state()
            assert lease.invoke(0, b"x")[0] in ("revoked", "node_gone")
    assert node.processes() == []


def sigterm_lets_calls_finish():
    with Node() as node, Client(node.socket) as client:
        node.deployed("mixed_one")
        with client.lease("mixed_one") as lease:
            tag = lease.submit("spin")
            time.sleep(0.05)
            os.kill(node.process.pid, signal.SIGTERM)
            done = lease.take(1, 30_000_000)
            assert done[tag][0] == "ok", done
            node.process.wait(WAIT_S)


def kill_9_of_the_node_leaves_nothing():
    with open("/proc/self/mountinfo") as f:
        mounts = len(f.readlines())
    node = Node(keep=True)
    node.start()
    with Client(node.socket) as client:
        node.deployed("echo")
        lease = client.lease("echo", workers=2)
        assert lease.invoke("echo", b"x")[0] == "ok"
        tag = lease.submit("echo", b"y")
        lease.take(1)
        assert tag
        assert len(node.processes()) > 3
        node.kill()
        wait_for("warden and sandboxes to end", lambda: not node.processes())
        wait_for("the client to know", lambda: lease.state() != "ok")
        assert lease.state() in ("node_gone", "node_restarted")
        assert lease.invoke(0, b"x")[0] in ("node_gone", "node_restarted")
        with open("/proc/self/mountinfo") as f:
            assert len(f.readlines()) == mounts
        if CGROUP:
            groups = os.path.join(node.group, "sandboxes")
            assert not [g for g in os.listdir(groups) if os.path.isdir(os.path.join(groups, g))], "cgroups are left"
        with node:
            wait_for("the new node", lambda: node.get("/healthz")[0] == 200)
            with client.lease("echo") as fresh:
                assert fresh.invoke("echo", b"again") == ("ok", b"again")
            wait_for("the client to see that it is another run", lambda: lease.state() == "node_restarted")
            assert lease.invoke(0, b"x")[0] == "node_restarted"
            lease.close()


def leases_follow_one_another():
    """One handle: several at once, one after the other, and its lease outlives it."""
    with Node() as node:
        node.deployed("echo")
        client = Client(node.socket)
        for _ in range(5):
            with client.lease("echo") as one, client.lease("echo") as other:
                assert one.invoke("echo", b"one") == ("ok", b"one")
                assert other.invoke("echo", b"other") == ("ok", b"other")
        last = client.lease("echo")
        client.close()
        assert last.invoke("echo", b"last") == ("ok", b"last")
        last.close()
        wait_for("all leases to end", lambda: not leases(node))


def the_first_lease_after_a_restart_is_released():
    """Its module comes from the disk first, so that the answer comes later than the request is handled."""
    with Node() as node:
        node.deployed("echo")
        node.stop()
        node.start()
        with Client(node.socket) as client:
            with client.lease("echo") as lease:
                assert lease.invoke("echo", b"x") == ("ok", b"x")
            wait_for("the lease to end", lambda: not leases(node))
        counts = node.status()["leases"]
        assert counts["released"] == 1 and counts["expired"] == 0, counts


def a_forked_child_leases_for_itself():
    with Node() as node:
        node.deployed("echo")
        with Client(node.socket) as client, client.lease("echo") as lease:
            child = os.fork()
            if child == 0:
                try:
                    with client.lease("echo") as own:
                        os._exit(0 if own.invoke("echo", b"child") == ("ok", b"child") else 1)
                finally:
                    os._exit(2)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            assert lease.invoke("echo", b"parent") == ("ok", b"parent")
            with client.lease("echo") as another:
                assert another.invoke("echo", b"parent") == ("ok", b"parent")


def kill_9_of_the_warden_ends_the_node():
    node = Node()
    with node:
        node.deployed("echo")
        warden = node.status()["node"]["warden_pid"]
        wait_for("pooled sandboxes", lambda: len(node.processes()) > 3)
        os.kill(warden, signal.SIGKILL)
        node.process.wait(WAIT_S)
        assert node.process.returncode != 0
        assert "warden" in node.log()
        wait_for("the sandboxes to end", lambda: not node.processes())


def a_dead_client_loses_its_lease():
    with Node() as node:
        node.deployed("echo")
        script = ("import sys; sys.path.insert(0, sys.argv[2])\n"
                  "from libadverb import Client\n"
                  "c = Client(sys.argv[1]); l = c.lease('echo'); print(l.invoke('echo', b'x')[0], flush=True)\n"
                  "import time; time.sleep(60)")
        child = subprocess.Popen([sys.executable, "-c", script, node.socket, os.path.dirname(__file__)],
                                 stdout=subprocess.PIPE)
        assert child.stdout.readline().strip() == b"ok"
        assert len(leases(node)) == 1
        child.kill()
        child.wait()
        wait_for("the lease to end", lambda: not leases(node))


def descriptors_are_refused_and_closed():
    with Node() as node:
        node.deployed("echo")
        r, w = os.pipe()
        answer = node.raw(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", fds=[w])
        os.close(w)
        assert b" 400 " in answer.split(b"\r\n")[0], answer
        assert os.read(r, 1) == b"", "the node kept the descriptor"
        os.close(r)


def malformed_requests_are_answered():
    cases = [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /v1/status HTTP/1.1\r\nHost: x\r\nBad Header\r\n\r\n", 400),
        (b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\n\r\n", None),
        (b"POST /v1/leases HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n{bad}", 400),
        (b"POST /v1/leases HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n[]", 400),
        (b"POST /v1/leases HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n", 413),
        (b"GET /v1/nothing HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"GET /%ff%fe HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"PUT /v1/modules/x HTTP/1.1\r\nHost: x\r\nContent-Length: 268435457\r\n\r\n", 413),
        (b"PATCH /v1/status HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\nAdverb-Protocol: 9\r\n\r\n", 426),
    ]
    with Node() as node:
        for data, code in cases:
            answer = node.raw(data)
            head, _, body = answer.partition(b"\r\n\r\n")
            got = int(head.split()[1])
            assert got == code or (code is None and 400 <= got < 500), (data[:60], head)
            assert "error" in json.loads(body), body
        two = node.raw(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert two.count(b"HTTP/1.1 200") == 2, two
        assert node.get("/healthz")[0] == 200


def wishes_are_checked_by_name():
    with Node() as node:
        node.deployed("echo")
        for field, value in (("workers", 0), ("workers", 100000), ("slots", 0), ("slots", 1 << 40),
                             ("in_capacity", 0), ("out_capacity", 1 << 50), ("memory_bytes", 1),
                             ("ttl_ms", 0), ("ttl_ms", 1 << 60), ("workers", -1), ("hot_us", "maybe"),
                             ("workers", "two"), ("memroy_bytes", 1)):
            code, answer = node.request("POST", "/v1/leases", {"module": "echo", field: value})
            assert code in (400, 503), (field, value, code, answer)
            assert field.split("_")[0] in answer["error"]["message"], (field, value, answer)
        code, answer = node.request("POST", "/v1/leases", {"workers": 1})
        assert code == 400 and "module" in answer["error"]["message"]
        assert leases(node) == []
        status = node.status()
        assert status["memory"]["free_bytes"] == status["memory"]["total_bytes"]


def cores_are_not_oversold_when_forbidden():
    with Node("--oversubscribe", "no") as node:
        node.deployed("echo")
        total = node.status()["cores"]["total"]
        code, answer = node.request("POST", "/v1/leases", {"module": "echo", "workers": total + 1})
        assert code == 503 and answer["error"]["status"] == "no_capacity", answer
        assert "core" in answer["error"]["message"]
        open_lease(node, workers=total)
        assert node.request("POST", "/v1/leases", {"module": "echo"})[0] == 503


def each_worker_is_on_its_core():
    """Where the kernel says that it may run: on the lease's CPU, and there alone."""
    with Node("--oversubscribe", "no") as node, Client(node.socket) as client:
        node.deployed("echo")
        total = node.status()["cores"]["total"]
        with client.lease("echo", workers=total) as lease:
            assert lease.invoke("echo", b"x") == ("ok", b"x")
            cpus = node.request("GET", "/v1/leases")[1]["leases"][0]["cpus"]
            assert len(set(cpus)) == total, cpus
            wait_for("a worker on each of them, and no more",
                     lambda: sorted(cpu for cpu in pinned(node).values() if cpu in cpus) == sorted(cpus))


def pinned(node):
    """Processes of the node that may run on one CPU alone, and on which."""
    found = {}
    for pid in node.processes():
        try:
            mask = os.sched_getaffinity(pid)
        except OSError:
            continue
        if len(mask) == 1:
            found[pid] = mask.pop()
    return found


def the_pool_refills():
    with Node("--pool-cold", "3", "--pool-hot", "1") as node, Client(node.socket) as client:
        node.deployed("echo")
        wait_for("both pools", lambda: node.status()["pool"]["cold"] == 3 and node.status()["pool"]["hot"] == 1)
        with client.lease("echo") as lease:
            assert lease.invoke("echo", b"x")[0] == "ok"
            assert node.status()["pool"]["hits_hot"] == 1
            wait_for("the hot pool again", lambda: node.status()["pool"]["hot"] == 1)
        wait_for("nothing claimed", lambda: node.status()["pool"]["claimed"] == 0)


def an_empty_pool_still_serves():
    with Node("--pool-cold", "0", "--pool-hot", "0") as node, Client(node.socket) as client:
        node.deployed("echo")
        for _ in range(3):
            with client.lease("echo") as lease:
                assert lease.invoke("echo", b"x") == ("ok", b"x")
        assert node.status()["pool"]["misses"] >= 3


def settled(pool):
    return pool["cold"] == 4 and pool["building"] == pool["loading"] == pool["dying"] == 0


def sandboxes_are_confined():
    need("root", os.geteuid() == 0, "only root sees another user's processes")
    with Node() as node, Client(node.socket) as client:
        node.deployed("echo")
        if CGROUP:
            assert node.status()["sandbox"]["memory_limit"] == "cgroup"
        with client.lease("echo") as lease:
            lease.invoke("echo", b"x")
            # One that is being built is not confined yet.
            wait_for("the pool to be full", lambda: settled(node.status()["pool"]))
            found = 0
            for pid in node.processes():
                with open(f"/proc/{pid}/status") as f:
                    status = dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)
                uid = int(status["Uid"].split()[0])
                if uid <= UID_BASE:
                    continue
                found += 1
                assert status["CapEff"] == status["CapPrm"] == status["CapBnd"] == "0" * 16, status
                assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2", status
                for ns in ("user", "mnt", "pid", "ipc", "uts", "cgroup", "net"):
                    mine = os.readlink(f"/proc/self/ns/{ns}")
                    assert os.readlink(f"/proc/{pid}/ns/{ns}") != mine, ns
                assert os.listdir(f"/proc/{pid}/root/") == [], "the sandbox has files"
            assert found >= 1
        with open(f"/proc/{node.pid()}/status") as f:
            status = f.read()
        assert "CapEff:\t0000000000000000" in status and "Uid:\t0" not in status, "the node kept privileges"


def an_ordinary_user_has_a_node():
    user = ordinary_user()
    with Node(user=user) as node:
        assert node.cli("deploy", "echo", for_all(os.path.abspath(module("echo"))), user=user).returncode == 0
        out = node.cli("invoke", "echo/echo", stdin=b"as myself", user=user)
        assert out.returncode == 0 and out.stdout == b"as myself", out
        assert node.cli("status", user=user).returncode == 0
        stranger = subprocess.run(["setpriv", "--reuid=54321", "--clear-groups", "--inh-caps=-all", "--",
                                   ADVERB, "status", "--host", f"unix:{node.socket}"],
                                  capture_output=True, check=False)
        assert stranger.returncode != 0, "another user reached the node"
        status = node.cli("status", "--json", user=user)
        assert json.loads(status.stdout)["node"]["hostile_tenants"] is False


def used(node):
    return {line["module"]: line for line in node.status()["usage"]}


def usage_is_kept_over_a_restart():
    node = Node(keep=True)
    with node, Client(node.socket) as client:
        node.deployed("echo")
        with client.lease("echo") as lease:
            for _ in range(100):
                lease.invoke("echo", b"x")
        wait_for("the lease to be over", lambda: not leases(node))
        first = used(node)
        assert first["0/echo"]["calls"] == 100 and first["0/echo"]["leases"] == 1, first
        assert first["(deploy)"]["cpu_us"] > 0, "what a scratch sandbox used is who deploys'"
    with Node(directory=node.directory) as again:
        assert used(again) == first, (used(again), first)


if __name__ == "__main__":
    run([attach_hands_over_four_descriptors, lease_and_lanes_in_one_exchange, another_protocol_is_refused,
         a_wrong_token_is_refused, another_tenant_sees_nothing,
         unattached_it_expires, without_renewal_it_expires, renewal_keeps_it, sigterm_revokes_and_ends,
         sigterm_lets_calls_finish, kill_9_of_the_node_leaves_nothing,
         leases_follow_one_another, the_first_lease_after_a_restart_is_released,
         a_forked_child_leases_for_itself,
         kill_9_of_the_warden_ends_the_node, a_dead_client_loses_its_lease,
         descriptors_are_refused_and_closed, malformed_requests_are_answered, wishes_are_checked_by_name,
         cores_are_not_oversold_when_forbidden, each_worker_is_on_its_core, the_pool_refills, an_empty_pool_still_serves,
         sandboxes_are_confined, an_ordinary_user_has_a_node, usage_is_kept_over_a_restart])
