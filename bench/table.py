#!/usr/bin/env python3
"""The figures that Adverb promises, measured on this machine: one row each, with its bar.

    bench/table.py [--build DIR] [--rounds N] [--json]

Starts nodes of its own on private directories and stops them. A row's figure is the median of N rounds, its range the lowest and highest
round: machines that are shared change their speed from one second to the next. Ratios compare with the bare hardware inside the
same run. Needs the build's programs; run as root for the node that serves hostile tenants, as anyone else for one's own.
"""

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

START_S = 30
IDLE_S = 10


class Node:
    """A node on a private directory."""

    def __init__(self, build, *options):
        self.directory = tempfile.mkdtemp(prefix="adverb-bench-")
        os.chmod(self.directory, 0o755)
        self.adverb = os.path.join(build, "src", "adverb")
        self.host = f"unix:{self.directory}/adverb.sock"
        self.environment = dict(os.environ, ADVERB_HOST=self.host)
        self.log = open(os.path.join(self.directory, "log"), "w+")
        self.process = subprocess.Popen(
            [self.adverb, "serve", "--state", os.path.join(self.directory, "state"), "--listen", self.host, *options],
            stdout=self.log, stderr=self.log)
        end = time.monotonic() + START_S
        while subprocess.run([self.adverb, "status"], env=self.environment, capture_output=True).returncode != 0:
            if self.process.poll() is not None or time.monotonic() > end:
                self.log.seek(0)
                sys.exit("the node did not start:\n" + self.log.read())
            time.sleep(0.05)
        self.settle()

    def settle(self):
        """Until the pool is full and nothing is being built."""
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            pool = self.status()["pool"]
            if pool["building"] == 0 and pool["loading"] == 0 and pool["dying"] == 0:
                return
            time.sleep(0.05)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(START_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def run(self, *command):
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout

    def status(self):
        return json.loads(self.run(self.adverb, "status", "--json"))

    def latency(self, *options):
        return json.loads(self.run(self.adverb, "latency", "--json", *options))["results"]

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


def cpu_ns(pids):
    total = 0
    for pid in pids:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/schedstat") as f:
                total += int(f.read().split()[0])
    return total


def pss_bytes(pid):
    with open(f"/proc/{pid}/smaps_rollup") as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith("Pss:"))


def machine(build):
    """What absolute times are made of, in ns: see machine.c."""
    return json.loads(subprocess.run([os.path.join(build, "bench", "bench_machine")], capture_output=True, text=True, check=True).stdout)


# ---- one figure each; each returns a number ----

def ratio(mode, payload):
    def measure(nodes):
        return nodes["full"].latency("--mode", mode, "--payload", str(payload), "--baseline")[0]["ratio_p50"]
    return measure


def inflight(nodes):
    row = nodes["full"].latency("--mode", "hot", "--payload", "8", "--inflight", "16", "--count", "4000000")[0]
    return row["calls_per_s"] / 1e6


def cold(node, pool):
    def measure(nodes):
        rows = nodes[node].latency("--mode", "cold", "--count", "100")
        return next(row["ns"]["p50"] for row in rows if row["pool"] == pool) / 1e3
    return measure


def built(nodes):
    return nodes["full"].status()["pool"]["build_us"]["p50"]


def copies(nodes):
    build = os.path.dirname(os.path.dirname(nodes["full"].adverb))
    nodes["full"].run(nodes["full"].adverb, "deploy", "bench-sum", os.path.join(build, "bench", "bench_sum.so"))
    return json.loads(nodes["full"].run(os.path.join(build, "bench", "bench_inplace"), "bench-sum", str(1 << 20)))["copies"]


def idle(nodes):
    pids = nodes["full"].tree()
    before, start = cpu_ns(pids), time.monotonic()
    time.sleep(IDLE_S)
    if nodes["full"].tree() != pids:
        return idle(nodes)
    return 100 * (cpu_ns(pids) - before) / 1e9 / (time.monotonic() - start)


def pss(nodes):
    sandboxes = nodes["full"].tree()[2:]
    return statistics.median(pss_bytes(pid) for pid in sandboxes) / 1024


ROWS = [
    # name, unit, bar, at least (else at most), once a run (else once a round), figure
    ("hot, 8 B, p50 against a bare ping-pong", "x", 1.3, False, False, ratio("hot", 8)),
    ("hot, 32 B, p50 against a bare ping-pong", "x", 1.3, False, False, ratio("hot", 32)),
    ("hot, 1 KiB, p50 against a ping-pong with its copies", "x", 1.3, False, False, ratio("hot", 1024)),
    ("warm, 8 B, p50 against a bare futex wake-up", "x", 1.3, False, False, ratio("warm", 8)),
    ("hot, 8 B, 16 in flight on one worker", "M/s", 10, True, False, inflight),
    ("1 MiB in place: copies made by the library", "", 0, False, True, copies),
    ("lease to first result, hot pool, p50", "us", 300, False, False, cold("full", "hot")),
    ("lease to first result, cold pool, p50", "us", 1000, False, False, cold("full", "cold")),
    ("lease to first result, pool empty, p50", "us", 3000, False, False, cold("empty", "cold")),
    ("a sandbox built from nothing, p50", "us", 3000, False, True, built),
    ("idle node, of one core", "%", 0.5, False, True, idle),
    ("resident memory of a pooled sandbox (PSS)", "KiB", 1024, False, True, pss),
]


def main():
    parser = argparse.ArgumentParser(description="Measures the figures of README.md.")
    parser.add_argument("--build", default="build", help="the build directory (default: build)")
    parser.add_argument("--rounds", type=int, default=5, help="times each figure is taken (default: 5)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    results = []
    costs = machine(options.build)
    with Node(options.build) as full, Node(options.build, "--pool-cold", "0", "--pool-hot", "0") as empty:
        nodes = {"full": full, "empty": empty}
        figures = {row[0]: [] for row in ROWS}
        # Round by round, not row by row: a slow minute of the machine is shared by all.
        for number in range(options.rounds):
            for name, _, _, _, once, figure in ROWS:
                if number == 0 or not once:
                    full.settle()
                    figures[name].append(figure(nodes))
    for name, unit, bar, at_least, _, _ in ROWS:
        values = figures[name]
        value = statistics.median(values)
        results.append({"name": name, "unit": unit, "bar": bar, "at_least": at_least, "value": value, "low": min(values),
                        "high": max(values), "met": value >= bar if at_least else value <= bar})
    if options.json:
        print(json.dumps({"rows": results, "rounds": options.rounds, "machine": costs}, indent=2))
        return
    print(f"this machine: a system call {costs['system_call_ns'] / 1e3:.2f} us, a page touched first {costs['page_fault_ns'] / 1e3:.2f} us,"
          f" a process forked and reaped {costs['fork_ns'] / 1e3:.0f} us")
    print(f"{'':54}{'bar':>12}{'measured':>12}   {'rounds':<20}")
    for r in results:
        bound = f"{'>=' if r['at_least'] else '<='} {r['bar']:g} {r['unit']}"
        print(f"{r['name']:54}{bound:>12}{r['value']:9.2f} {r['unit']:<3}  {r['low']:.2f} - {r['high']:.2f}"
              f"{'' if r['met'] else '   NOT MET'}")


if __name__ == "__main__":
    main()
