#!/usr/bin/env python3
"""Writes the seeds of the corpora (tests/fuzz/corpus/NAME/seed-*); what fuzzing added lies beside them. Run from anywhere."""
import os
import struct

CORPUS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus")


def write(target, name, data):
    folder = os.path.join(CORPUS, target)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "seed-" + name), "wb") as file:
        file.write(data)


# ---- lane: a byte for side and slots, then operations as in fuzz_lane.c ----

def entry(kind, call_id=1, length=8, time=0, code=0, slot=0, flags=0):
    """What forge() takes: the kind, then an entry up to its flags."""
    return bytes([kind]) + bytes(32) + struct.pack("<QIIHHH", call_id, length, time, code, slot, flags)


def lane():
    four = 3 << 1
    serve, look, die = b"\x03\x20", b"\x04\xff\xff\0\0", b"\x05"
    write("lane", "caller-serves", bytes([1 | four]) + (b"\x01" + entry(0) + serve) * 3 + look + die + look)
    write("lane", "caller-wild", bytes([1 | four]) + b"".join(
        b"\x01" + entry(63, length=l, code=c, slot=s, time=t, flags=f) + serve
        for l, c, s, t, f in [(2 ** 32 - 1, 0, 0, 0, 0), (4096, 0, 0, 1, 0), (0, 9, 0, 0, 0), (0, 0, 65535, 0, 0),
                              (33, 1, 3, 100, 1), (4097, 0, 0, 0, 0)]))
    write("lane", "caller-ahead", bytes([1 | four]) + b"".join(
        b"\x02" + entry(16, time=50) + bytes([i]) for i in (3, 2, 1, 0)) + serve * 5)
    write("lane", "caller-overwrites", bytes([1 | four]) + b"\x00\x00\x11\0\0\xff" + b"\x01" * 255 + serve + look + die + serve)
    submit, poll, wait, die, end = b"\x02\0\x08", b"\x03", b"\x04\xff", b"\x06", b"\x07\x77"
    write("lane", "worker-answers", bytes([four]) + (submit + b"\x01" + entry(0) + poll) * 3 + die + submit + end + poll)
    write("lane", "worker-wild", bytes([four]) + b"".join(
        submit + b"\x01" + entry(31, length=l, code=c, slot=s) + poll
        for l, c, s in [(2 ** 32 - 1, 0, 0), (4096, 70, 0), (33, 65535, 1), (0, 0, 65535)]) + wait + poll)
    write("lane", "worker-dies", bytes([four]) + b"\x02\0\x09\x02\1\x08\x02\2\x08" + wait + die * 6 + poll + submit + poll)
    write("lane", "header", bytes([128 | four]) + struct.pack("<QIIIIII", 0x454E414C42564441, 1, 0, 1, 4, 4096, 4096) + bytes(32))


# ---- http: a byte for the pieces, then what a peer sends ----

def request(method, path, body=None, headers=()):
    head = ["%s %s HTTP/1.1" % (method, path), "Host: adverb", *headers]
    if body is not None:
        head.append("Content-Length: %d" % len(body))
    return "\r\n".join(head + ["", body or ""]).encode()


def http():
    token = "Adverb-Token: " + "0" * 32
    upgrade = ["Connection: Upgrade", "Upgrade: adverb-lane/1"]
    lease = '{"module": "m", "workers": 1, "slots": 4, "in_capacity": 4096, "out_capacity": 65536, "hot_us": "always", "ttl_ms": 1000}'
    requests = {
        "get": request("GET", "/healthz") + request("GET", "/v1/status") + request("GET", "/v1/modules") + request("GET", "/v1/leases"),
        "module": request("GET", "/v1/modules/m") + request("GET", "/v1/modules/1000/m") + request("DELETE", "/v1/modules/1000%2fm"),
        "remove": request("DELETE", "/v1/modules/m"),
        "upload": request("PUT", "/v1/modules/m?hot=2&public=1", "x" * 300, ["Expect: 100-continue"]),
        "chunked": request("PUT", "/v1/modules/m", headers=["Transfer-Encoding: chunked"]) + b"5\r\nhello\r\n0\r\n\r\n",
        "json-chunked": request("POST", "/v1/leases", headers=["Transfer-Encoding: chunked"]) + b"f\r\n{\"module\": \"m\"}\r\n0\r\n\r\n",
        "lease": request("POST", "/v1/leases", lease),
        "lease-at-once": request("POST", "/v1/leases", lease, upgrade) + b"renew\n",
        "attach": request("POST", "/v1/leases/1/attach", "", [*upgrade, token]) + b"release\n" + b"x" * 300,
        "renew": request("POST", "/v1/leases/1/renew", '{"ttl_ms": 500}', [token]),
        "end": request("DELETE", "/v1/leases/1") + request("GET", "/v1/leases/1") + request("GET", "/v1/leases/2"),
        "deep": request("POST", "/v1/leases", "[" * 20),
        "bad-json": request("POST", "/v1/leases", '{"module": "m", "module": 1}') + request("POST", "/v1/leases", '{"slots": -1}'),
        "wrong-type": request("POST", "/v1/leases", '{"module": 7}') + request("POST", "/v1/leases", '{"\u00fc": "\\ud800"}'),
        "version": request("GET", "/healthz", headers=["Adverb-Protocol: 2"]),
        "connect": request("CONNECT", "a:1"),
        "garbage": b"\x16\x03\x01\x02\x00\x01\x00",
        "path": request("GET", "/%00"), "half-escape": request("GET", "/%zf"), "cut-escape": request("GET", "/v1/status%a"),
        "slashes": request("GET", "/v1/modules/a/b/c/d") + request("GET", "/v1//") + request("GET", "*"),
        "headers": request("GET", "/healthz", headers=["A: b", "A:", "C: " + "d" * 200, "Connection: close"]),
        "many-headers": request("GET", "/healthz", headers=["A: b"] * 70),
        "long-head": request("GET", "/healthz", headers=["A: " + "b" * 17000]),
        "long-query": request("PUT", "/v1/modules/m?hot=1&public=%s" % ("x" * 1100), "x") + request("PUT", "/v1/modules/m?hot=%20", "x"),
        "long-body": request("POST", "/v1/leases", headers=["Transfer-Encoding: chunked"]) + b"14008\r\n" + b" " * 0x14008 + b"\r\n0\r\n\r\n",
        "announced": request("POST", "/v1/leases", headers=["Content-Length: 65537"]) + b"{",
        "too-large": request("PUT", "/v1/modules/m?public=1", headers=["Content-Length: 4097"]) + b"x",
        "line": request("POST", "/v1/leases/1/attach", "", [*upgrade, token]) + b"y" * 254 + b"\n" + b"z" * 255 + b"\n" + b"x" * 256 + b"\n",
    }
    for name, data in requests.items():
        write("http", name, b"\0" + data)
    write("http", "bytes", b"\x01" + requests["lease"] + requests["get"])
    write("http", "pieces", b"\x07" + requests["renew"] + requests["upload"] + requests["attach"])


# ---- elf: small files that stop at each of the checks ----

def elf(e_type=3, machine=62, elf_class=2, data=1, phentsize=56, segments=((1, 0, 64), (2, 64, 48)), dynamic=((5, 0), (0x6FFFFFFB, 1), (0, 0))):
    table = b"".join(struct.pack("<qQ", tag, value) for tag, value in dynamic)
    offset = 64 + len(table)
    ident = b"\x7fELF" + bytes([elf_class, data, 1]) + bytes(9)
    header = ident + struct.pack("<HHIQQQIHHHHHH", e_type, machine, 1, 0, offset, 0, 0, 64, phentsize, len(segments), 0, 0, 0)
    programs = b"".join(struct.pack("<IIQQQQQQ", kind, 5, at, 0, 0, size, size, 8) for kind, at, size in segments)
    return header + table + programs


def elf_all():
    files = {
        "good": elf(), "pie": elf(dynamic=((0x6FFFFFFB, 0x08000000), (0, 0)), segments=((1, 0, 64), (2, 64, 32))),
        "interp": elf(segments=((3, 0, 8), (1, 0, 64), (2, 64, 48))), "static": elf(segments=((1, 0, 64),)),
        "object": elf(e_type=1), "exec": elf(e_type=2), "core": elf(e_type=4), "arm": elf(machine=183), "m32": elf(elf_class=1),
        "big-endian": elf(data=2), "beyond": elf(segments=((1, 0, 4096),)), "wraps": elf(segments=((2, 2 ** 64 - 8, 16),)),
        "runs-out": elf(segments=((1, 0, 64), (2, 208, 4096))), "phentsize": elf(phentsize=32), "cut": elf()[:40], "headers-cut": elf()[:150], "empty": b"", "script": b"#!/bin/sh\n",
        "archive": b"!<arch>\n", "text": b"hello\n",
    }
    for name, data in files.items():
        write("elf", name, data)


# ---- verbs: a byte for side, placement and slots, then operations as in fuzz_verbs.c ----

def verbs():
    submit, take, serve, relay = b"\x00\x01\x08", b"\x10", b"\x20\0\x01", b"\x30"
    large, arm, die = b"\x00\x02\xff", b"\x41", b"\x40\0"
    call = submit + relay + serve + relay + take
    forged = bytes([0]) + bytes(32) + struct.pack("<QIIHHHH", 1, 8, 0, 0, 0, 0, 1) + bytes(8)
    wild = bytes([127]) + b"\xff" * 64

    def immediate(kind, seq):
        return b"\x5f\0" + bytes([kind]) + struct.pack("<H", seq)
    for side in (0, 1):
        for name, bits in (("memory", 0), ("handed", 2), ("staged", 4)):
            kind = bytes([side | bits | 3 << 4])
            calls = call + large + relay + serve + relay + take
            strange = b"\x53" + forged + b"\x54" + wild + b"\x50\x10\0\0\0\xff" + b"\xa5" * 255 + b"\x52\0\0\0\0\x40" + b"\x01" * 64
            says = b"".join(immediate(k, n) for k, n in ((0, 1), (1, 0), (2, 0), (3, 9), (4, 1), (0x18, 2), (0x40, 65535)))
            end = serve + relay + take + die + relay + arm + submit + relay + serve + relay + take
            write("verbs", f"{'client' if side else 'node'}-{name}", kind + calls + arm + strange + says + end)
    hello = struct.pack("<BBHIQ", 1, 2, 0, 7, 77) + bytes(32)
    for name, data in (("good", hello), ("version", b"\x02" + hello[1:]), ("flags", hello[:1] + b"\xff" + hello[2:]), ("zero", bytes(48))):
        write("verbs", "hello-" + name, b"\x08" + bytes([56, 1]) + data + bytes(48) + b"\x11")
    write("verbs", "hello-short", b"\x08" + bytes([20, 0]) + hello)


# ---- reports: operations as in fuzz_reports.c, the sandbox in the upper four bits of each ----

def report(box, kind, more=0, text=b"echo", numbers=b""):
    return bytes([box << 4, kind | more]) + text.ljust(32, b"\0") + numbers + b"\1\0\0"


def reports():
    timers, used, claim, scratch, kill = b"\x05", b"\x06", b"\x03", b"\x0b", b"\x04"
    confined = b"".join(report(box, 1) for box in range(4))
    loaded = b"".join(report(box, 2, 0x10) for box in range(4))
    write("reports", "hot", timers + timers + confined + used + timers + timers + loaded + claim + timers + kill + timers)
    write("reports", "cold", timers + confined + claim + report(0, 2) + b"\x02\x0b" + timers + claim)
    write("reports", "scratch", timers + confined + scratch + report(0, 3, 32) + report(0, 3, 32, b"reverse") + report(0, 2) + kill)
    for name, data in (("failed", report(0, 4, 0, b"no usable function")), ("endless", report(0, 4, 64)), ("short", report(0, 1, 128)),
                       ("control", report(0, 4, 0, b"\x1b[2J\n")), ("kind", report(0, 7)), ("many", report(0, 2, 8, numbers=b"\xff" * 4)),
                       ("needs", report(0, 2, 16, numbers=b"\x09"))):
        write("reports", name, timers + scratch + confined + data * 3 + confined + timers + claim + timers)
    lines = b"\x01\xff" + b"a line\n\x1b[31m and more\r\n".ljust(64, b".")
    write("reports", "prints", timers + confined + claim + lines * 5 + b"\x02\x07" + timers + lines)
    write("reports", "dies", b"".join(timers + confined + claim + bytes([2 | box << 4 | 8 * (box & 1), 11]) for box in range(8)))


if __name__ == "__main__":
    reports()
    verbs()
    lane()
    http()
    elf_all()
