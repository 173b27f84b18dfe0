#!/usr/bin/env python3
"""The hot window that is learned, beside every fixed one, on patterns of arrivals: one table, JSON, and a plot.

    bench/hotwindow.py [--build DIR] [--json] [--plot FILE.svg] [FILE]...

FILE has recorded gaps between calls, one a line, in nanoseconds. Costs are those of src/lane/hot_window.h: time spun, and a millisecond for each
wake-up. Nothing is measured here but arithmetic: the same figures on each machine.
"""

import argparse
import json
import os
import subprocess
import sys

PATTERNS = ["steady", "sparse", "bursty", "poisson", "diurnal", "phases"]


def window(ns):
    if ns > 1e15:
        return "always"
    return f"{ns / 1000:.1f} us" if ns < 1e6 else f"{ns / 1e6:.1f} ms"


def plot(results, path):
    """One panel a pattern: the cost of fixed windows over their length, and that of the learned one as a line; each against the best."""
    width, height, left, top = 300, 180, 46, 26
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{3 * width + 20}" height="{(len(results) + 2) // 3 * (height + 20) + 10}" '
           'font-family="sans-serif" font-size="10">', '<rect width="100%" height="100%" fill="white"/>']
    for n, (name, r) in enumerate(results.items()):
        x0, y0 = n % 3 * width + 10, n // 3 * (height + 20) + 5
        points = [(i, cost / r["best"]["cost_ns"]) for i, (_, cost) in enumerate(r["fixed"])]
        last = len(points) - 1

        def at(i, ratio):
            # From 1 to 10 and more, by the logarithm.
            import math
            up = min(math.log10(max(ratio, 1)), 1)
            return f"{x0 + left + i * (width - left - 12) / last:.1f},{y0 + top + (1 - up) * (height - top - 24):.1f}"

        learned = r["auto"]["cost_ns"] / r["best"]["cost_ns"]
        out.append(f'<text x="{x0 + left}" y="{y0 + 14}" font-size="12">{name}: learned {learned:.2f} times the best</text>')
        for ratio, label in ((1, "1"), (2, "2"), (5, "5"), (10, "10+")):
            x, y = at(0, ratio).split(",")
            out.append(f'<text x="{float(x) - 6}" y="{float(y) + 3}" text-anchor="end">{label}</text>'
                       f'<line x1="{x}" y1="{y}" x2="{x0 + width - 12}" y2="{y}" stroke="#ddd"/>')
        out.append(f'<polyline fill="none" stroke="#888" stroke-width="1.5" points="{" ".join(at(i, c) for i, c in points)}"/>')
        a, b = at(0, learned), at(last, learned)
        out.append(f'<line x1="{a.split(",")[0]}" y1="{a.split(",")[1]}" x2="{b.split(",")[0]}" y2="{b.split(",")[1]}" stroke="#c03" stroke-width="2"/>')
        for i, label in ((0, "never"), (13, "32 us"), (23, "1 ms"), (33, "32 ms"), (last, "always")):
            x = at(i, 1).split(",")[0]
            out.append(f'<text x="{x}" y="{y0 + height - 8}" text-anchor="middle">{label}</text>')
    out.append("</svg>")
    with open(path, "w") as f:
        f.write("\n".join(out) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--plot")
    parser.add_argument("files", nargs="*")
    options = parser.parse_args()
    program = os.path.join(options.build, "bench", "bench_hotwindow")
    if not os.path.exists(program):
        sys.exit(f"there is no {program}: name a build by --build")
    results = {}
    for name in PATTERNS + options.files:
        done = subprocess.run([program, name], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(done.stderr.strip())
        results[os.path.basename(name)] = json.loads(done.stdout)
    if options.plot:
        plot(results, options.plot)
    if options.json:
        print(json.dumps(results))
        return
    print(f"{'pattern':10s} {'best fixed window':>18s} {'learned':>10s} {'bar':>6s} {'1 ms':>8s} {'always':>8s}   latency added by wake-ups: learned, always")
    for name, r in results.items():
        best = r["best"]["cost_ns"]
        learned = r["auto"]["cost_ns"] / best
        print(f"{name:10s} {window(r['best_window_ns']):>18s} {learned:8.2f} x {'2 x':>6s} {r['rule']['cost_ns'] / best:6.2f} x {r['always']['cost_ns'] / best:6.2f} x"
              f"   {r['auto']['latency_ns']:8.1f} ns {r['always']['latency_ns']:8.1f} ns{'' if learned <= 2 else '   NOT MET'}")


if __name__ == "__main__":
    main()
