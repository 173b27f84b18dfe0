#!/usr/bin/env python3
"""What sandboxes cost on this machine, next to bubblewrap and crun doing the nearest thing: one table, each row with its bar.

    bench/sandbox.py [--build DIR] [--rounds N] [--churn COUNT] [--json]

A figure is the median of N rounds, its range the lowest and highest; what is compared runs inside the same round. bubblewrap and crun start
/usr/bin/true in namespaces of its own, without capabilities, on a read-only /usr; where one cannot be run its row says why. Needs root, two
CPUs, and the programs of a build with tests. --churn takes minutes for 100,000 sandboxes (default: 2,000).
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

RUNS = 20  # of bubblewrap and crun in each round

BWRAP = ["bwrap", "--unshare-all", "--ro-bind", "/usr", "/usr", "--symlink", "usr/lib64", "/lib64", "--symlink", "usr/lib", "/lib",
         "--cap-drop", "ALL", "--new-session", "--die-with-parent", "/usr/bin/true"]


class Bench:
    def __init__(self, build):
        self.program = os.path.join(build, "bench", "bench_sandbox")
        self.modules = os.path.join(build, "tests", "hostile")

    def run(self, what, number):
        done = subprocess.run([self.program, self.modules, what, str(number)], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"{what}: {done.stderr.strip() or done.stdout.strip()}")
        return json.loads(done.stdout)


def bundle(directory):
    """A container for crun: as little as it lets one leave."""
    os.makedirs(os.path.join(directory, "rootfs"))
    subprocess.run(["crun", "spec"], cwd=directory, check=True, capture_output=True)
    path = os.path.join(directory, "config.json")
    with open(path) as f:
        config = json.load(f)
    config["process"].update(terminal=False, args=["/usr/bin/true"])
    config["root"] = {"path": "rootfs", "readonly": True}
    shown = [{"destination": at, "type": "bind", "source": at, "options": ["rbind", "ro"]} for at in ("/usr", "/lib", "/lib64")]
    config["mounts"] = [m for m in config["mounts"] if m["destination"] in ("/proc", "/dev")] + shown
    with open(path, "w") as f:
        json.dump(config, f)


def median_ns(command):
    took = []
    for _ in range(RUNS):
        begun = time.monotonic_ns()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        took.append(time.monotonic_ns() - begun)
        if done.returncode != 0:
            return None, done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"it ended with {done.returncode}"
    return statistics.median(took), None


def peer(name, command):
    if shutil.which(name) is None:
        return None, f"not installed: apt-get install {'bubblewrap' if name == 'bwrap' else name}"
    return median_ns(command)


def one_round(bench, directory, why_not):
    claims = bench.run("claims", 100)
    built = bench.run("build", 200)
    figures = {
        "hot": claims["hot"]["p50"] / 1e3,
        "tail": claims["hot"]["p99"] / claims["bare"]["p99"],
        "bare": claims["bare"]["p50"] / 1e3,
        "cold": claims["cold"]["p50"] / 1e3,
        "build": built["built"]["p50"] / 1e3,
        "refill": bench.run("refill", 5)["per_second"],
        "memory": bench.run("memory", 1000)["available_kib_each"],
        "confinement": bench.run("confinement", 40)["ratio"],
    }
    made = bench.run("namespaces", 200)
    figures["zygote"] = (made["as_a_sandbox"]["reaped"]["p50"] - made["user_pid"]["reaped"]["p50"]) / 1e3
    figures["net"] = (made["with_net"]["reaped"]["p50"] - made["as_a_sandbox"]["reaped"]["p50"]) / 1e3
    for name, command in (("bwrap", BWRAP), ("crun", ["crun", "--cgroup-manager=disabled", "run", "--bundle", directory, "adverb-bench"])):
        ns, why = peer(name, command)
        # Both are compared with a sandbox that is built, does nothing, and is reaped.
        figures[name] = ns / built["until_reaped"]["p50"] if ns else None
        if why:
            why_not[name] = why
    return figures


ROWS = [  # key, what, bar, unit, is it met?
    ("hot", "claim from the hot pool to first result, p50", 100, "us", lambda x, bar: x <= bar),
    ("bare", "  of it a bare eventfd wake-up, p50", None, "us", None),
    ("tail", "  p99 against that of the bare wake-up", 2, "x", lambda x, bar: x <= bar),
    ("cold", "claim from the cold pool to first result, p50", 500, "us", lambda x, bar: x <= bar),
    ("build", "built from nothing, fully confined, p50", 1500, "us", lambda x, bar: x <= bar),
    ("zygote", "  of a process, namespaces that a zygote could share", None, "us", None),
    ("net", "  and what strict_net would add", None, "us", None),
    ("bwrap", "bubblewrap, of build to reaping", 3, "x", lambda x, bar: x >= bar),
    ("crun", "crun, of build to reaping", 10, "x", lambda x, bar: x >= bar),
    ("refill", "refill on one CPU, others serving", 1000, "/s", lambda x, bar: x >= bar),
    ("memory", "memory of a pooled sandbox, kernel's share too", 600, "KiB", lambda x, bar: x <= bar),
    ("confinement", "hot call, confined against bare, p50", 1.05, "x", lambda x, bar: x <= bar),
]


def leaks(churn):
    before, after = churn["before"], churn["after"]
    grown = {key: after[key] - before[key] for key in before if key != "available_kib"}
    grown["used_kib"] = before["available_kib"] - after["available_kib"]
    return grown


def show(rounds, why, churn):
    print(f"{'':56s}{'bar':>9s} {'measured':>12s}   rounds")
    for key, what, bar, unit, met in ROWS:
        values = [r[key] for r in rounds if r[key] is not None]
        if not values:
            print(f"{what:56s}{bar if bar is not None else '':>9} {'-':>12s}   {why.get(key, '')}")
            continue
        value = statistics.median(values)
        verdict = "" if met is None or met(value, bar) else "   NOT MET"
        limit = "" if bar is None else f"{bar:g} {unit}"
        print(f"{what:56s}{limit:>9s} {value:9.2f} {unit:3s} {min(values):9.2f} - {max(values):.2f}{verdict}")
    print(f"{churn['built']} sandboxes built and destroyed in {churn['seconds']} s; grown by: "
          + ", ".join(f"{key} {value}" for key, value in leaks(churn).items()))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--churn", type=int, default=2000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    bench = Bench(options.build)
    if os.geteuid() != 0 or not os.path.exists(bench.program):
        sys.exit(f"needs root, and {bench.program} (name a build by --build)")
    why_not = {}
    directory = tempfile.mkdtemp(prefix="adverb-bench-")
    try:
        if shutil.which("crun"):
            bundle(directory)
        rounds = [one_round(bench, directory, why_not) for _ in range(options.rounds)]
        churn = bench.run("churn", options.churn)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    if options.json:
        print(json.dumps({"rounds": rounds, "why": why_not, "churn": churn}))
    else:
        show(rounds, why_not, churn)


if __name__ == "__main__":
    main()
