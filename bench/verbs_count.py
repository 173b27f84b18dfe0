#!/usr/bin/env python3
"""What a hot call over verbs takes: instructions by callgrind, and doorbells, work requests, receives, system calls, allocations, locks.

    bench/verbs_count.py [--build DIR] [--json] [--where] [--check]

Runs the build's bench/verbs_count: client, worker and poller in one thread, on the fake device of tests/fake. Instructions are those of
Adverb's own code and of what it calls in libc; the fake device's and the worker's function's are left out, and so is spinning, for
everything that is waited for is there. The steps that call it (hot_*) are counted, some 60: into hot_poller the poller's loop is inlined. Of
two runs of different lengths the difference is taken, so that what is set up does not count. callgrind runs without the vDSO: a look at the
clock, one for each adv_submit(), has some 55 instructions fewer than on hardware.

--where lists the functions in which the instructions are. --check: exits with 1 where a figure is above its bar.
"""

import argparse
import collections
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

SIZES = (8, 32, 1024)
SHORT, LONG = 1000, 3000  # calls of the two runs
BAR_INSTRUCTIONS = 400  # a call of at most 32 bytes, client, worker and poller together
INLINE_MAX = 32

# The steps of tests/fake/verbs_hot.h, and whose they are.
ROLES = {
    "hot_client_submit": "client",
    "hot_client_take": "client",
    "hot_worker": "worker",
    "hot_poller": "poller",
}
# What is called from them and is not Adverb's: the fake device through context->ops, the function that the worker runs.
OTHERS = re.compile(r"^(poll_cq|post_send|post_recv|req_notify_cq|fake_\w+|hot_function)\b")

SCHEDULES = {2: "worker slower than its poller", 1: "worker faster"}


class Profile:
    """Self cost of each function in each chain of callers, of one run."""

    def __init__(self, path):
        self.cost = collections.Counter()
        names = {}
        chain, skip = None, False
        for line in open(path):
            line = line.rstrip("\n")
            if match := re.match(r"^(c?)fn=\((\d+)\)(?: (.*))?$", line):
                callee, number, name = match.groups()
                if name is not None:
                    names[number] = name
                if not callee:
                    chain = names[number]
            elif line.startswith("calls="):
                skip = True  # the next line has what the callee took
            elif re.match(r"^[0-9+*-]", line):
                if not skip and chain is not None:
                    self.cost[chain] += int(line.split()[1])
                skip = False

    def of_roles(self):
        """{(role, function): instructions}. A chain is the function, then its callers, innermost first."""
        found = collections.Counter()
        for chain, cost in self.cost.items():
            functions = [re.sub(r"\.(isra|constprop|part|cold)\.?\d*", "", f) for f in chain.split("'")]
            functions = [f.split("@")[0] for f in functions]
            at = next((i for i, f in enumerate(functions) if f in ROLES), None)
            if at is None or any(OTHERS.match(f) for f in functions[:at]):
                continue
            found[ROLES[functions[at]], functions[0]] += cost
        return found


def arguments(size, hand_over, passes):
    return ["--size", str(size), "--passes", str(passes)] + (["--hand-over"] if hand_over else [])


def profile(program, calls, args):
    with tempfile.TemporaryDirectory() as directory:
        out = os.path.join(directory, "out")
        subprocess.run(
            ["valgrind", "--tool=callgrind", "--quiet", "--compress-pos=no", "--separate-callers=24",
             f"--callgrind-out-file={out}", program, "--calls", str(calls), *args],
            check=True, stdout=subprocess.DEVNULL)
        return Profile(out).of_roles()


def instructions(program, args):
    short, long = profile(program, SHORT, args), profile(program, LONG, args)
    return {key: (long[key] - short[key]) / (LONG - SHORT) for key in long if long[key] != short[key]}


def counts(program, args):
    done = subprocess.run([program, "--calls", "10000", "--seal", *args], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def measure(program, size, hand_over, passes):
    args = arguments(size, hand_over, passes)
    where = instructions(program, args)
    counted = counts(program, args)
    row = {"size": size, "placement": "hand_over" if hand_over else "memory", "passes": passes}
    row["instructions"] = {role: sum(n for (r, _), n in where.items() if r == role) for role in ("client", "worker", "poller")}
    row["instructions"]["together"] = sum(row["instructions"].values())
    row["where"] = [{"role": r, "function": f, "instructions": round(n, 2)}
                    for (r, f), n in sorted(where.items(), key=lambda item: -item[1])]
    for end in ("client", "node"):
        row[end] = {name: counted[end][name] / counted["calls"]
                    for name in ("doorbells", "requests", "receives", "receive_doorbells", "signalled")}
    for name in ("system_calls", "allocations", "locks"):
        row[name] = counted.get(name, None)
    row["calls_counted"] = counted["calls"]
    return row


def above(row):
    """What is above its bar, in words."""
    wrong = []
    if row["size"] <= INLINE_MAX and row["instructions"]["together"] > BAR_INSTRUCTIONS:
        wrong.append(f"{row['instructions']['together']:.0f} instructions, bar {BAR_INSTRUCTIONS}")
    requests = 1 if row["size"] <= INLINE_MAX else 2  # a receive is posted for each call, in batches: the last one is cut
    for end in ("client", "node"):
        for name, bar in (("doorbells", 1), ("requests", requests), ("receives", 1.01)):
            if row[end][name] > bar:
                wrong.append(f"{end}: {row[end][name]:.2f} {name}, bar {bar}")
    for name in ("system_calls", "allocations", "locks"):
        if row[name] != 0:
            wrong.append(f"{row[name]} {name}")
    return wrong


def print_table(rows):
    print(f"{'bytes':>5} {'placement':<9} {'passes':>6} | {'client':>6} {'worker':>6} {'poller':>6} {'all':>6} |"
          f" {'doorbells':>9} {'requests':>8} {'receives':>9} | {'syscalls':>8} {'allocs':>6} {'locks':>5}")
    print(f"{'':>22} | {'instructions a call':^27} | {'there+back, a call':^28} | {'in all calls':^21}")
    for r in rows:
        i, c, n = r["instructions"], r["client"], r["node"]
        print(f"{r['size']:>5} {r['placement']:<9} {r['passes']:>6} | {i['client']:>6.1f} {i['worker']:>6.1f} {i['poller']:>6.1f}"
              f" {i['together']:>6.1f} | {c['doorbells']:>4.0f}+{n['doorbells']:<4.0f} {c['requests']:>4.0f}+{n['requests']:<3.0f}"
              f" {n['receives']:>4.2f}+{c['receives']:<4.2f} | {r['system_calls']!s:>8} {r['allocations']:>6} {r['locks']:>5}")
    print(f"instructions: bar {BAR_INSTRUCTIONS} together at up to {INLINE_MAX} bytes;"
          f" 2 passes: {SCHEDULES[2]}, one hears, one carries; 1: {SCHEDULES[1]}")


def print_where(rows):
    for r in rows:
        print(f"\n{r['size']} bytes, {r['placement']}, {r['passes']} passes")
        for w in r["where"]:
            if w["instructions"] >= 0.5:
                print(f"  {w['instructions']:>7.1f}  {w['role']:<7} {w['function']}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build", help="the build directory")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--where", action="store_true", help="list functions")
    parser.add_argument("--check", action="store_true", help="exit with 1 above a bar")
    options = parser.parse_args()
    program = os.path.join(options.build, "bench", "verbs_count")
    if not os.path.exists(program):
        sys.exit(f"{program} is not there: build it (ninja bench/verbs_count)")
    if shutil.which("valgrind") is None:
        sys.exit("valgrind is not installed: apt-get install valgrind")
    # What is handed over is heard of first: that takes a pass of its own.
    rows = [measure(program, size, hand_over, passes)
            for hand_over, passes in ((False, 2), (False, 1), (True, 2)) for size in SIZES]
    if options.json:
        print(json.dumps(rows, indent=1))
    else:
        print_table(rows)
        if options.where:
            print_where(rows)
    wrong = [f"{r['size']} bytes, {r['placement']}, {r['passes']} passes: {w}" for r in rows for w in above(r)]
    for w in wrong:
        print("above: " + w, file=sys.stderr)
    return 1 if options.check and wrong else 0


if __name__ == "__main__":
    sys.exit(main())
