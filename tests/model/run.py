#!/usr/bin/env python3
"""Checks the Promela models by spin: each must hold over its full state space, and each of its mutants must be found guilty.

A model's mutants are the names MUTANT_... that it tests for; its header documents every one of them. Speaks TAP. Without spin
or a C compiler everything is skipped, unless ADVERB_MUST_HAVE names spin. Arguments: models to check, without .pml (all).
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
MODELS = ["sleep", "death"]
DEPTH = 10000
SECONDS = 240  # for one search: a bound, not an expectation


class Search:
    """One run of one variant of one model."""

    def __init__(self, model, mutant=None):
        self.output = ""
        with tempfile.TemporaryDirectory(prefix="adverb-model-") as folder:
            define = ["-D" + mutant] if mutant else []
            source = os.path.join(HERE, model + ".pml")
            self.built = self.step(folder, ["spin", *define, "-a", source]) and self.step(
                folder, [compiler(), "-O1" if mutant else "-O2", "-w", "-DSAFETY", "-DCOLLAPSE", "-o", "pan", "pan.c"])
            if self.built:
                self.step(folder, ["./pan", "-m%d" % DEPTH, "-w22"])

    def step(self, folder, command):
        try:
            done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                  timeout=SECONDS)
        except (OSError, subprocess.TimeoutExpired) as error:
            self.output += "%s\n" % error
            return False
        self.output += done.stdout
        return done.returncode == 0

    def number(self, pattern):
        found = re.search(pattern, self.output)
        return int(float(found.group(1))) if found else None

    @property
    def errors(self):
        return self.number(r"errors: (\d+)")

    @property
    def states(self):
        return self.number(r"([\d.e+]+) states, stored")

    @property
    def unreached(self):
        """Lines of the model that no search came to, ends of processes aside."""
        return [line for line in re.findall(r'^\s+\S+?\.pml:(\d+), state \d+, "(.*)"$', self.output, re.M)
                if line[1] != "-end-"]

    @property
    def complete(self):
        truncated = r"max search depth too small|Search not completed|out of memory|hash-?conflicts?: .*lost|too many"
        return self.built and self.errors is not None and not re.search(truncated, self.output)

    @property
    def verdict(self):
        found = re.search(r"pan:\d+: (.*?)(?: \(at depth|$)", self.output, re.M)
        return found.group(1) if found else "no error"


class Tap:
    def __init__(self):
        self.count = self.failed = 0

    def result(self, ok, name, details=""):
        self.count += 1
        self.failed += not ok
        print("%sok %d - %s" % ("" if ok else "not ", self.count, name), flush=True)
        if not ok:
            for line in details.splitlines()[-40:]:
                print("# " + line)


def compiler():
    return os.environ.get("CC", "").split(" ")[-1] or shutil.which("gcc") or shutil.which("cc") or "cc"


def mutants_of(text):
    """In the order of the header's list."""
    header, code = text.split("*/", 1)
    documented = re.findall(r"^ \*\s+(MUTANT_\w+)", header, re.M)
    return documented, set(re.findall(r"MUTANT_\w+", code))


def check_model(tap, model):
    with open(os.path.join(HERE, model + ".pml"), encoding="utf-8") as file:
        documented, used = mutants_of(file.read())
    tap.result(len(documented) > 0 and set(documented) == used, "%s: its header names its mutants" % model,
               "\n".join(sorted(set(documented) ^ used)))
    search = Search(model)
    tap.result(search.complete and search.errors == 0,
               "%s: holds in all of its %s states" % (model, search.states), search.output)
    tap.result(search.complete and not search.unreached, "%s: every step is reached" % model,
               "\n".join("line %s: %s" % line for line in search.unreached))
    for mutant in documented:
        search = Search(model, mutant)
        tap.result(search.built and (search.errors or 0) > 0,
                   "%s: %s is found: %s" % (model, mutant, search.verdict), search.output)


def main():
    if shutil.which("spin") is None or shutil.which(compiler()) is None:
        if "spin" in re.split(r"[,\s]+", os.environ.get("ADVERB_MUST_HAVE", "")):
            print("1..1\nnot ok 1 - spin and a C compiler are there (ADVERB_MUST_HAVE)")
            return 1
        print("1..0 # SKIP spin is not installed: the models were not checked")
        return 0
    tap = Tap()
    for model in sys.argv[1:] or MODELS:
        check_model(tap, model)
    print("1..%d" % tap.count)
    return 1 if tap.failed else 0


if __name__ == "__main__":
    sys.exit(main())
