#!/usr/bin/env python3
"""What leases cost a node of this machine: one table, each row with its bar.

    bench/leases.py [--build DIR] [--rounds N] [--live COUNT] [--json]

A figure is the median of N rounds, its range the lowest and highest. Starts a node of its own, as root or as a user; needs the programs of a build
with tests. `idle` opens COUNT leases, which takes a while where processes are slow to make.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROWS = [  # key, what, bar, unit, is it met?
    ("grant", "grant: request to the answer with the lanes, hot pool, p50", 150, "us", lambda x, bar: x <= bar),
    ("echo", "  beside it: an echo of 512 bytes between two processes", None, "us", None),
    ("grant30", "the same when both have rested for 30 ms", None, "us", None),
    ("echo30", "  beside it: an echo", None, "us", None),
    ("table", "grants and releases of the table alone, 2,000 live", 5000, "/s", lambda x, bar: x >= bar),
    ("rate", "grants and releases with a sandbox each", 5000, "/s", lambda x, bar: x >= bar),
    ("idle", "control thread with so many idle leases, of one core", 10, "%", lambda x, bar: x <= bar),
    ("late", "of their renewals, late", 0, "", lambda x, bar: x <= bar),
]


class Node:
    def __init__(self, build):
        self.directory = tempfile.mkdtemp(prefix="adverb-bench-")
        os.chmod(self.directory, 0o711)
        self.socket = os.path.join(self.directory, "adverb.sock")
        self.program = os.path.join(build, "src", "adverb")
        self.log = open(os.path.join(self.directory, "log"), "wb")
        self.process = subprocess.Popen([self.program, "serve", "--oversubscribe", "turns", "--state", os.path.join(self.directory, "state"), "--listen", f"unix:{self.socket}",
                                         "--memory", "256GiB", "--max-sandboxes", "4096", "--pool-hot", "4", "--log-level", "error"],
                                        stdout=self.log, stderr=self.log)
        self.cli("deploy", "bench", os.path.join(build, "tests", "hostile", "hostile_echo.so"))

    def cli(self, *arguments):
        end = time.monotonic() + 20
        while True:
            done = subprocess.run([self.program, *arguments, "--host", f"unix:{self.socket}"], capture_output=True, text=True, check=False)
            if done.returncode == 0:
                return done.stdout
            if time.monotonic() > end:
                sys.exit(f"{' '.join(arguments)}: {done.stderr}")
            time.sleep(0.1)

    def stop(self):
        self.process.terminate()
        self.process.wait(60)
        self.log.close()
        shutil.rmtree(self.directory, ignore_errors=True)


def run(build, *arguments):
    done = subprocess.run([os.path.join(build, "bench", "bench_leases"), *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, arguments))}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def one_round(build, live):
    node = Node(build)
    try:
        figures = {
            "grant": run(build, node.socket, "grant", 200, 4)["p50"] / 1e3,
            "echo": run(build, "-", "echo", 200, 4)["p50"] / 1e3,
            "grant30": run(build, node.socket, "grant", 100, 30)["p50"] / 1e3,
            "echo30": run(build, "-", "echo", 100, 30)["p50"] / 1e3,
            "table": run(build, "-", "table", 200000)["per_second"],
            "rate": run(build, node.socket, "rate", 5)["per_second"],
        }
        many = run(build, node.socket, "idle", live, 20, node.process.pid)
        figures.update(idle=many["cpu_percent"], late=many["late"], live=many["live"], renewals=many["renewals"])
    finally:
        node.stop()
    return figures


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--live", type=int, default=2000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not os.path.exists(os.path.join(options.build, "bench", "bench_leases")):
        sys.exit(f"there is no {options.build}/bench/bench_leases: name a build by --build")
    rounds = [one_round(options.build, options.live) for _ in range(options.rounds)]
    if options.json:
        print(json.dumps(rounds))
        return
    print(f"{'':60s}{'bar':>10s} {'measured':>14s}   rounds")
    for key, what, bar, unit, met in ROWS:
        values = [r[key] for r in rounds]
        value = statistics.median(values)
        verdict = "" if bar is None or met(value, bar) else "   NOT MET"
        wanted = "" if bar is None else f"{bar:g} {unit}"
        print(f"{what:60s}{wanted:>10s} {value:11.2f} {unit:2s} {min(values):11.2f} - {max(values):.2f}{verdict}")
    print(f"{rounds[-1]['live']} leases were live, and renewed {rounds[-1]['renewals']} times in 20 s")


if __name__ == "__main__":
    main()
