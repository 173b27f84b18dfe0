#!/usr/bin/env python3
"""The command line as a user types it: help, errors in one line, JSON, invoke in pipes, latency's figures."""

import json
import os
import subprocess
import tempfile

from harness import ADVERB, Node, module, run

COMMANDS = ["serve", "deploy", "list", "describe", "remove", "invoke", "status", "leases", "bill", "release", "drain", "resume", "logs", "devices", "doctor", "latency"]


def adverb(*arguments, **more):
    return subprocess.run([ADVERB] + list(arguments), capture_output=True, check=False, timeout=60, **more)


def fails_in_one_line(result, *words):
    assert result.returncode != 0, result
    text = result.stderr.decode()
    assert text.count("\n") == 1 and text.startswith("adverb: "), text
    for word in words:
        assert word in text, (word, text)


def help_is_everywhere():
    overview = adverb("--help")
    assert overview.returncode == 0
    for command in COMMANDS:
        assert command in overview.stdout.decode(), command
        one = adverb(command, "--help")
        assert one.returncode == 0 and one.stdout and not one.stderr, command
    assert adverb("--version").returncode == 0


def errors_are_one_line():
    fails_in_one_line(adverb("depoly"), "deploy")
    fails_in_one_line(adverb("deploy"))
    fails_in_one_line(adverb("deploy", "x", "/nonexistent.so", "--host", "unix:/nonexistent.sock"))
    fails_in_one_line(adverb("status", "--host", "unix:/nonexistent.sock"), "/nonexistent.sock")
    fails_in_one_line(adverb("latency", "--payload", "zero", "--host", "unix:/nonexistent.sock"))
    fails_in_one_line(adverb("status", "--nonsense"), "nonsense")
    with Node() as node:
        fails_in_one_line(node.cli("describe", "nothing"), "nothing")
        for name in ("", "a b", "a/b", "a" * 300, "1/2/3"):
            fails_in_one_line(node.cli("describe", name), "not a module's name")
            fails_in_one_line(node.cli("deploy", name, module("echo")), "not a module's name")
        fails_in_one_line(node.cli("deploy", "echo", module("echo"), "--hot", "some"), "--hot", "number")
        fails_in_one_line(node.cli("remove", "nothing"), "nothing")
        fails_in_one_line(node.cli("invoke", "nothing/f"), "nothing")
        node.deployed("echo")
        fails_in_one_line(node.cli("invoke", "echo/nothing"), "nothing")
        fails_in_one_line(node.cli("invoke", "echo/echo", "--in", "/nonexistent"), "/nonexistent")


def the_whole_path():
    with Node() as node:
        assert node.cli("deploy", "echo", module("echo")).returncode == 0
        assert b"echo" in node.cli("list").stdout
        assert json.loads(node.cli("list", "--json").stdout)["modules"][0]["name"] == "echo"
        assert b"echo" in node.cli("describe", "echo").stdout
        assert json.loads(node.cli("describe", "echo", "--json").stdout)["module"]["digest"]
        data = os.urandom(300000)
        result = node.cli("invoke", "echo/echo", stdin=data)
        assert result.returncode == 0 and result.stdout == data
        with tempfile.TemporaryDirectory() as d:
            with open(f"{d}/in", "wb") as f:
                f.write(data)
            result = node.cli("invoke", "echo/echo", "--in", f"{d}/in", "--out", f"{d}/out")
            assert result.returncode == 0, result
            with open(f"{d}/out", "rb") as f:
                assert f.read() == data
        assert node.cli("status").returncode == 0
        assert json.loads(node.cli("status", "--json").stdout)["modules"] == 1
        assert node.cli("remove", "echo").returncode == 0
        assert json.loads(node.cli("list", "--json").stdout)["modules"] == []


def what_became_of_a_call_as_json():
    with Node() as node, tempfile.TemporaryDirectory() as d:
        node.deployed("echo")
        result = node.cli("invoke", "echo/echo", "--json", "--out", f"{d}/out", stdin=b"twelve bytes")
        assert result.returncode == 0, result
        answer = json.loads(result.stdout)
        assert answer["status"] == "ok" and answer["in_size"] == answer["out_size"] == 12, answer
        with open(f"{d}/out", "rb") as f:
            assert f.read() == b"twelve bytes"
        fails_in_one_line(node.cli("invoke", "echo/echo", "--json", stdin=b"x"), "--out")


def output_that_cannot_be_written_is_an_error():
    with Node() as node:
        node.deployed("echo")
        for command in (["status"], ["list"], ["describe", "echo"], ["leases"], ["status", "--json"], ["list", "--help"],
                        ["deploy", "echo", module("echo")]):
            with open("/dev/full", "wb") as full:
                result = subprocess.run([ADVERB] + command, stdout=full,
                                        stderr=subprocess.PIPE, check=False, timeout=60,
                                        env=dict(os.environ, ADVERB_HOST=node.host))
            fails_in_one_line(result, "standard output")


def a_failing_function_fails_the_command():
    with Node() as node:
        node.deployed("acts")
        node.deployed("described")
        crashed = node.cli("invoke", "acts/segv")
        fails_in_one_line(crashed, "crash")
        assert crashed.stdout == b""
        refused = node.cli("invoke", "described/refuse")
        assert refused.returncode != 0 and refused.stdout == b"" and refused.stderr


def latency_prints_its_schema():
    with Node() as node:
        result = node.cli("latency", "--mode", "hot,warm,cold", "--payload", "8,1KiB", "--count", "50",
                          "--baseline", "--json")
        assert result.returncode == 0, result
        answer = json.loads(result.stdout)
        assert answer["machine"]
        modes = set()
        for row in answer["results"]:
            modes.add(row["mode"])
            assert {"mode", "payload", "inflight", "workers", "count", "ns", "calls_per_s"} <= set(row), row
            ns = row["ns"]
            assert ns["min"] <= ns["p10"] <= ns["p50"] <= ns["p90"] <= ns["p99"] <= ns["p999"] <= ns["max"], ns
            if row["mode"] in ("hot", "warm"):
                assert {"baseline_ns", "ratio_p50", "overhead_p50_ns"} <= set(row), row
                assert set(row["baseline_ns"]) == {"min", "p10", "p50", "p90", "p99", "p999", "max"}
        assert modes == {"hot", "warm", "cold"}, modes
        table = node.cli("latency", "--payload", "8", "--count", "50")
        assert table.returncode == 0 and b"p50" in table.stdout
        many = node.cli("latency", "--payload", "8", "--count", "1000", "--inflight", "16", "--workers", "2",
                        "--json")
        row = json.loads(many.stdout)["results"][0]
        assert row["inflight"] == 16 and row["workers"] == 2 and row["calls_per_s"] > 0


if __name__ == "__main__":
    run([help_is_everywhere, errors_are_one_line, the_whole_path, what_became_of_a_call_as_json,
         output_that_cannot_be_written_is_an_error, a_failing_function_fails_the_command,
         latency_prints_its_schema])
