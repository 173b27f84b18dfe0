#!/usr/bin/env python3
"""Counts what meson's test logs say was run: TAP points, Criterion's tests, else one for each program.

Arguments: NAME=testlog.json ... Prints the failed and the skipped by name, then "N passed, N failed, N skipped". A build that has no
log, or a log without a test, counts as one failure: what was not run did not pass.
"""

import json
import re
import sys

SYNTHESIS = re.compile(r"Synthesis: Tested: *(\d+) *\| Passing: *(\d+) *\| Failing: *(\d+) *\| Crashing: *(\d+)")
TAP = re.compile(r"^(not )?ok\b *\d* *-? *([^#]*)(#.*)?$")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def from_tap(text):
    passed, failed, skipped = 0, [], []
    for line in text.splitlines():
        match = TAP.match(line)
        if not match:
            continue
        if match.group(3) and "SKIP" in match.group(3).upper():
            skipped.append(f"{match.group(2).strip()} {match.group(3)}")
        elif match.group(1):
            failed.append(match.group(2).strip())
        else:
            passed += 1
    return passed, failed, skipped


def from_criterion(text):
    matches = SYNTHESIS.findall(COLOUR.sub("", text))
    if not matches:
        return None
    tested, passing, failing, crashing = map(int, matches[-1])
    return passing, failing + crashing, tested


def count(test):
    """(passed, [failed], [skipped]) of one program."""
    name = test["name"]
    out, err = test.get("stdout") or "", test.get("stderr") or ""
    good = test["result"] in ("OK", "EXPECTEDFAIL")
    if test["result"] == "SKIP":
        passed, failed, skipped = from_tap(out)
        if skipped:
            return passed, [f"{name}: {f}" for f in failed], [f"{name}: {s}" for s in skipped]
        return 0, [], [f"{name}: {(out + err).strip().splitlines()[-1] if (out + err).strip() else 'no reason given'}"]
    if re.search(r"^1\.\.\d+", out, re.M):
        passed, failed, skipped = from_tap(out)
        if not good and not failed:
            failed = [f"ended with {test['result']}"]
        return passed, [f"{name}: {f}" for f in failed], [f"{name}: {s}" for s in skipped]
    criterion = from_criterion(err + out)
    if criterion:
        passing, bad, _ = criterion
        if not good and bad == 0:
            bad = 1
        return passing, [f"{name}: see its log"] * bad, []
    return (1, [], []) if good else (0, [f"{name}: {test['result']}"], [])


def main():
    total, failed, skipped = 0, [], []
    for argument in sys.argv[1:]:
        build, _, path = argument.partition("=")
        seen = 0
        try:
            with open(path, errors="replace") as f:
                for line in f:
                    passed, bad, skips = count(json.loads(line))
                    seen += 1
                    total += passed
                    failed += [f"[{build}] {x}" for x in bad]
                    skipped += [f"[{build}] {x}" for x in skips]
        except OSError:
            pass
        if seen == 0:
            failed.append(f"[{build}] no test was run: it did not build, or the run was cut off")
    for name in skipped:
        print(f"skipped: {name}")
    for name in failed:
        print(f"FAILED: {name}")
    print(f"{total} passed, {len(failed)} failed" + (f", {len(skipped)} skipped" if skipped else ""))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
