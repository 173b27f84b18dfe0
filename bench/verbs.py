#!/usr/bin/env python3
"""The figures of the verbs fabric, against the bare fabric: one row each, with its bar.

    tests/rdma/guest --timeout 1800 --append idle=poll python3 bench/verbs.py [--build DIR] [--rounds N] [--json]
    bench/verbs.py --node-address ADDRESS --client-address ADDRESS ...        # on a machine that has two devices of its own

Starts a node of its own on one device and CPU, and is its client on another. Round by round, not row by row: a slow minute of the machine is
shared by all; every round is shown. What calls are compared with is measured in the same round: the ping-pong of `adverb latency --baseline`,
in turns of 10 ms with the calls, and perftest's ib_write_lat (whose one-way times count twice) and ib_write_bw.
Where poller and worker share a CPU, as here by default, neither of them spins. Needs the build's programs, perftest, root. A guest whose CPUs
halt waits for its host each time it sleeps: hence idle=poll.
"""

import argparse
import contextlib
import hashlib
import http.client
import json
import math
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

TOKEN = "a-token-to-measure-with"
START_S = 60
WAIT_S = 120
IDLE_S = 10
MIB = 1 << 20
PERFTEST_TRIES = 3

options = None
ports = iter(range(7500, 7999))
perftest_ports = iter(range(18600, 18999))


def on(cpu, *command):
    return ["taskset", "-c", str(cpu), *command]


def program(*parts):
    return os.path.join(options.build, *parts)


class Skip(Exception):
    """This figure cannot be had, or not this time."""


# ---- the node ----

class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=WAIT_S)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Node:
    """A node on a private directory, on its CPUs; its one tenant is the client here."""

    def __init__(self, build, deploy=True):
        self.directory = tempfile.mkdtemp(prefix="adverb-bench-")
        os.chmod(self.directory, 0o711)
        self.socket = os.path.join(self.directory, "adverb.sock")
        self.adverb = os.path.join(build, "src", "adverb")
        port = next(ports)
        conf = os.path.join(self.directory, "conf")
        with open(conf, "w") as f:
            f.write(f"[tenant bench]\ntoken_sha256 = {hashlib.sha256(TOKEN.encode()).hexdigest()}\n")
        os.chmod(conf, 0o644)
        self.environment = dict(os.environ, ADVERB_TOKEN=TOKEN,
                                ADVERB_HOST=f"verbs://{options.node_address}:{port}?from={options.client_address}")
        self.lease_times = None  # of this round
        self.log = open(os.path.join(self.directory, "log"), "w+")
        self.process = subprocess.Popen(
            on(options.node_cpus, self.adverb, "serve", "--state", os.path.join(self.directory, "state"), "--listen",
               f"unix:{self.socket}", "--config", conf, "--verbs", f"{options.node_address}:{port}", "--insecure-control",
               "--worker-cpus", options.worker_cpu, "--poller-cpus", options.poller_cpu, "--log-level", "warning"),
            stdout=self.log, stderr=self.log)
        self.wait("to start", self.serves)
        if deploy:
            try:
                self.run(self.adverb, "deploy", "bench-sink", os.path.join(build, "bench", "bench_sink.so"))
            except Skip as why:
                sys.exit(str(why))

    def wait(self, what, condition):
        end = time.monotonic() + WAIT_S
        while not condition():
            if self.process.poll() is not None or time.monotonic() > end:
                self.log.seek(0)
                sys.exit(f"waited in vain for the node {what}:\n{self.log.read()}")
            time.sleep(0.005)

    def serves(self):
        try:
            return bool(self.get("/healthz"))
        except OSError:
            return False

    def get(self, path):
        connection = UnixConnection(self.socket)
        try:
            connection.request("GET", path)
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def status(self):
        return self.get("/v1/status")

    def is_settled(self):
        status = self.status()
        pool = status["pool"]
        return not (pool["building"] or pool["loading"] or pool["dying"] or status["leases"]["live"] or status["verbs"]["links"])

    def settle(self):
        """Until nothing is left of what was before."""
        self.wait("to settle", self.is_settled)

    def run(self, *command):
        done = subprocess.run(on(options.client_cpu, *command), env=self.environment, capture_output=True, text=True, timeout=600)
        if done.returncode != 0:
            raise Skip(f"{os.path.basename(command[0])} {command[1]}: {done.stderr.strip()}")
        return done.stdout

    def client(self, *arguments):
        """bench_verbs, to its end."""
        return json.loads(self.run(program("bench", "bench_verbs"), "bench-sink", *map(str, arguments)))

    @contextlib.contextmanager
    def client_left_running(self, *arguments):
        """bench_verbs, once it has said that it is there."""
        child = subprocess.Popen(on(options.client_cpu, program("bench", "bench_verbs"), "bench-sink", *arguments), env=self.environment,
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            if not child.stdout.readline():
                raise Skip("bench_verbs did not start")
            yield child
        finally:
            child.kill()
            child.communicate()

    def latency(self, *arguments):
        return json.loads(self.run(self.adverb, "latency", "--json", "--baseline", *arguments))["results"][0]

    def tree(self):
        """Process ids: the node's, the warden's, the sandboxes'."""
        children = {}
        for entry in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError), open(f"/proc/{entry}/stat") as f:
                children.setdefault(int(f.read().rsplit(")", 1)[1].split()[1]), []).append(int(entry))
        found = [self.process.pid]
        for pid in found:
            found += children.get(pid, [])
        return found

    def kill(self):
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait(WAIT_S)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            self.kill()
        self.log.close()
        subprocess.run(["rm", "-rf", self.directory], check=False)


def cpu_ns(pids):
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/schedstat") as f:
                    total += int(f.read().split()[0])
    return total


# ---- perftest ----

def device_of(address):
    """Its name and the index of the GID, as `adverb devices` has them."""
    listed = json.loads(subprocess.run([program("src", "adverb"), "devices", "--json"], capture_output=True, check=True).stdout)
    for device in listed["devices"]:
        for port in device["ports"]:
            for gid in port["gids"]:
                if gid.get("address") == address and gid["type"] == "RoCE v2":
                    return device["name"], gid["index"]
    sys.exit(f"no RDMA device has the address {address}")


def perftest(tool, *arguments):
    """What the client's side prints: a server beside the node, a client where ours is."""
    for _ in range(PERFTEST_TRIES):
        port = str(next(perftest_ports))
        ends = []
        for address, cpu in ((options.node_address, options.poller_cpu), (options.client_address, options.client_cpu)):
            name, index = device_of(address)
            ends.append(on(cpu, tool, "-d", name, "-x", str(index), "-F", "-p", port, *arguments))
        server = subprocess.Popen(ends[0], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(2)  # it says nothing when it listens, and serves whoever comes first
        client = subprocess.run(ends[1] + [options.node_address], capture_output=True, text=True, timeout=WAIT_S, check=False)
        server.kill()
        server.wait()
        if client.returncode == 0:
            return client.stdout
    raise Skip(f"{tool}: {client.stdout[-200:]}{client.stderr[-200:]}")


def write_lat(size):
    """p10 and p50 of a round trip in ns."""
    for _ in range(PERFTEST_TRIES):
        lines = perftest("ib_write_lat", "-s", str(size), "-n", str(options.count), "-U").splitlines()
        one_way = sorted(float(line.split(",")[1]) for line in lines if line.split(",")[0].isdigit())
        # It times its clock as it starts, and may get that wrong where the machine is taken away meanwhile.
        if one_way and 0 < one_way[0] < math.inf:
            return {q: 2000 * one_way[int(len(one_way) * int(q[1:]) / 100)] for q in ("p10", "p50")}
    raise Skip("ib_write_lat printed no times")


def write_bw(size):
    """Bytes a second."""
    lines = perftest("ib_write_bw", "-s", str(size), "-n", str(options.transfers)).splitlines()
    fields = next(line.split() for line in lines if line.split()[:1] == [str(size)])
    return float(fields[3]) * MIB


# ---- one figure each: the value that has the bar, and what it was made of ----

def hot(size):
    def measure(node):
        row = node.latency("--payload", str(size), "--count", str(options.count))
        bare = write_lat(size)
        detail = {"noisy": row["noisy"], "range": row["ratio_p50_range"]}
        for q in ("p10", "p50"):
            detail[q] = {"call_us": row["ns"][q] / 1e3, "pingpong_us": row["baseline_ns"][q] / 1e3, "ib_write_lat_us": bare[q] / 1e3,
                         "ratio": row["ns"][q] / min(row["baseline_ns"][q], bare[q])}
        # Against the ping-pong block by block; against perftest's, should that be faster, as it comes.
        return max(row["ratio_p50"], row["ns"]["p50"] / bare["p50"]), detail
    return measure


def transport(_):
    if options.transport_build is None:
        raise Skip("no build whose node runs functions on its poller was named (--transport-build)")
    with Node(options.transport_build, deploy=False) as node:
        return hot(32)(node)


def throughput(node):
    row = node.latency("--payload", "32", "--inflight", "16", "--count", str(4 * options.count))
    return row["ratio_per_s"], {"calls_per_s": row["calls_per_s"], "pings_per_s": row["baseline_per_s"],
                                "range": row["ratio_per_s_range"], "noisy": row["noisy"]}


def bandwidth(node):
    bare = write_bw(MIB)
    ours = node.client("bandwidth", MIB, 4, options.seconds)
    return ours["bytes_per_s"] / bare, {"mib_per_s": ours["bytes_per_s"] / MIB, "ib_write_bw_mib_per_s": bare / MIB,
                                        "calls": ours["calls"], "copied_bytes": ours["copied_bytes"]}


def beside(node):
    got = node.client("beside", 64 * MIB, options.seconds)
    return got["beside"]["p99_ns"] / got["alone"]["p99_ns"], {
        "alone_us": {q: got["alone"][q + "_ns"] / 1e3 for q in ("p50", "p99")},
        "beside_us": {q: got["beside"][q + "_ns"] / 1e3 for q in ("p50", "p99")},
        "stream_mib_per_s": got["stream_bytes_per_s"] / MIB}


def idle(node):
    with node.client_left_running("hold"):
        time.sleep(2)
        pids = node.tree()
        before, start = cpu_ns(pids), time.monotonic()
        time.sleep(IDLE_S)
        spent = time.monotonic() - start
        return 100 * (cpu_ns(pids) - before) / 1e9 / spent, {"seconds": spent, "processes": len(pids)}


def lease(which, part):
    """One client a round is asked for all of it."""
    def measure(node):
        if node.lease_times is None:
            node.lease_times = node.client("lease")
        got = node.lease_times
        value = got["handle_ns"] if part == "handle" else got[which][part + "_ns"]
        return value / 1e6, {}
    return measure


def client_killed(node):
    total = node.status()["cores"]["total"]
    with node.client_left_running("hold") as child:
        start = time.monotonic()
        child.kill()
        node.wait("to be rid of the client", lambda: (s := node.status())["cores"]["free"] == total and s["leases"]["live"] == 0
                  and s["verbs"]["links"] == 0)
        return time.monotonic() - start, {}


def node_killed(_):
    with Node(options.build) as node, node.client_left_running("forever") as child:
        time.sleep(0.5)
        start = time.monotonic()
        node.kill()
        said = json.loads(child.stdout.readline())
        return said["ended_ns"] / 1e9 - start, {"status": said["status"]}


ROWS = [
    # name, unit, bar (None: for information), at least (else at most), once a run (else once a round), figure
    ("transport alone: 32 B, p50 against the bare fabric", "x", 1.5, False, False, transport),
    ("hot, 32 B, p50 against the bare fabric", "x", 2.5, False, False, hot(32)),
    ("hot, 1 KiB, p50 against the bare fabric", "x", 2.5, False, False, hot(1024)),
    ("32 B, 16 in flight: calls/s against pings/s", "x", 0.6, True, False, throughput),
    ("1 MiB in place, 4 in flight: bytes/s against ib_write_bw", "x", 0.9, True, False, bandwidth),
    ("small calls' p99 beside a 64 MiB stream, against alone", "x", 2, False, False, beside),
    ("idle node with a warm lease, of one core", "%", 0.5, False, True, idle),
    ("client killed: its lease, cores and queue pair are free", "s", 1, False, False, client_killed),
    ("node killed: a call ends", "s", 1, False, False, node_killed),
    ("handle: TCP, device, protection domain", "ms", None, False, False, lease("first", "handle")),
    ("lease: registering the mirror", "ms", None, False, False, lease("first", "register")),
    ("lease: connecting the queue pair", "ms", None, False, False, lease("first", "connect")),
    ("lease: the first, opened (with both)", "ms", None, False, False, lease("first", "open")),
    ("lease: the first, to its first result", "ms", None, False, False, lease("first", "result")),
    ("lease: the second, opened (no connect)", "ms", None, False, False, lease("second", "open")),
    ("lease: the second, to its first result", "ms", None, False, False, lease("second", "result")),
]


def take(node, figures, details, skipped):
    """`skipped` gets the reason of whatever could not be had: of the last round in which it was so."""
    for number in range(options.rounds):
        node.lease_times = None
        for name, _, _, _, once, figure in ROWS:
            if (once and number > 0) or (options.only and options.only not in name):
                continue
            node.settle()
            try:
                value, detail = figure(node)
            except Skip as why:
                skipped[name] = str(why)
                print(f"# round {number + 1}: {name}: skipped: {why}", file=sys.stderr, flush=True)
                continue
            figures[name].append(value)
            details[name].append(detail)
            print(f"# round {number + 1}: {name}: {value:.3f} {json.dumps(detail)}", file=sys.stderr, flush=True)


def results(figures, details, skipped):
    for name, unit, bar, at_least, _, _ in ROWS:
        values = figures[name]
        row = {"name": name, "unit": unit, "bar": bar, "at_least": at_least}
        if name in skipped and not values:
            yield dict(row, skipped=skipped[name])
        elif values:
            value = statistics.median(values)
            met = None if bar is None else value >= bar if at_least else value <= bar
            yield dict(row, value=value, p10=sorted(values)[len(values) // 10], rounds=values, details=details[name], met=met)


def show(rows):
    print(f"{'':58}{'bar':>10}{'median':>12}   rounds")
    for r in rows:
        bound = "" if r["bar"] is None else f"{'>=' if r['at_least'] else '<='} {r['bar']:g} {r['unit']}"
        if "skipped" in r:
            print(f"{r['name']:58}{bound:>10}{'skipped':>12}   {r['skipped']}")
            continue
        print(f"{r['name']:58}{bound:>10}{r['value']:9.2f} {r['unit']:<2}   {'  '.join(f'{v:.2f}' for v in r['rounds'])}"
              f"{'   NOT MET' if r['met'] is False else ''}")
    print(f"\n{'us of a round trip, p10 and p50':34}{'call':>20}{'ping-pong':>20}{'ib_write_lat':>20}{'ratio':>16}")
    for r in rows:
        for number, d in enumerate(r.get("details", [])):
            if "p50" not in d:
                continue
            print(f"{r['name'].split(',')[1] if 'hot' in r['name'] else ' transport alone':>10}, round {number + 1:<15}" + "".join(
                f"{d['p10'][k]:11.1f} {d['p50'][k]:8.1f}" for k in ("call_us", "pingpong_us", "ib_write_lat_us"))
                + f"{d['p10']['ratio']:9.2f} {d['p50']['ratio']:6.2f}{'  (noisy)' if d['noisy'] else ''}")


def parse():
    parser = argparse.ArgumentParser(description="Measures the verbs fabric against the bare one.")
    parser.add_argument("--build", default="build", help="the build directory (default: build)")
    parser.add_argument("--transport-build", help="a build whose node runs functions on its poller")
    parser.add_argument("--rounds", type=int, default=3, help="times each figure is taken (default: 3)")
    parser.add_argument("--only", help="rows whose name has this")
    parser.add_argument("--count", type=int, default=4000, help="calls of a latency (default: 4000)")
    parser.add_argument("--transfers", type=int, default=200, help="of ib_write_bw, 1 MiB each (default: 200)")
    parser.add_argument("--seconds", type=float, default=5, help="for bandwidth and streams (default: 5)")
    parser.add_argument("--node-address", default="10.77.0.2", help="of a RoCE v2 GID of the node's device")
    parser.add_argument("--client-address", default="10.77.0.1", help="the same of the client's")
    parser.add_argument("--client-cpu", default="0", help="where clients run (default: 0)")
    parser.add_argument("--poller-cpu", default="1", help="the poller's; perftest's server too (default: 1)")
    parser.add_argument("--worker-cpu", default="1", help="the workers' (default: 1)")
    parser.add_argument("--node-cpus", default="1", help="the rest of the node's (default: 1)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args()


def main():
    global options
    options = parse()
    figures = {row[0]: [] for row in ROWS}
    details = {row[0]: [] for row in ROWS}
    skipped = {}
    with Node(options.build) as node:
        take(node, figures, details, skipped)
        poller = node.status()["verbs"]["pollers"][0]
    rows = list(results(figures, details, skipped))
    if options.json:
        print(json.dumps({"rows": rows, "poller": poller["mode"]}, indent=2))
        return
    show(rows)


if __name__ == "__main__":
    main()
