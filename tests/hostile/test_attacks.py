#!/usr/bin/env python3
"""Every module of tests/hostile/attacks against a real node: test_attacks.py root | user [ATTACK]...

Each attack must fail, seen from inside (what it returned), by its caller (the status) and from outside (the kernel's view, a second lease). Then
the same lease answers an ordinary call. One node serves all attacks of a run. `user` becomes an ordinary user, where there is one uid.
"""

import errno
import os
import struct
import sys
import time
from signal import SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGTRAP

from attack_rig import DENIED, INPUT, NO_SUCH_FORM, Rig, become_ordinary, numbers, path_of

from harness import CGROUP, Skip, run, wait_for

AS_ROOT = len(sys.argv) < 2 or sys.argv.pop(1) != "user"
WITH_CGROUP = AS_ROOT and CGROUP is not None
X86 = os.uname().machine == "x86_64"  # has calls of its own
BUDGET_US = 50_000
EXHAUSTED = ("out_of_memory", None)


def crashed(number):
    return ("crashed", number)


def returns(check):
    """It ends well, and what it has seen is right."""
    return lambda status, seen, output, detail: status == "ok" and check(seen)


def all_refused(seen):
    return bool(seen) and all(n < 0 for n in seen) and NO_SUCH_FORM not in seen


def is_errno(*errors):
    return returns(lambda seen: bool(seen) and all(-n in errors for n in seen))


def gets_mib(most):
    """It got memory, and no more than it may have; a cgroup may have ended it before."""
    def check(status, seen, _, __):
        if WITH_CGROUP and status == "out_of_memory":
            return True
        return status == "ok" and 8 <= seen[0] <= most
    return check


def spoiled(*statuses):
    return lambda status, *_: status in statuses


def times(n, expected):
    return [expected] * n


# Name of the module: what its forms end as. A form's number is the first number of its input.
ATTACKS = {
    "crash_segv": times(2, crashed(SIGSEGV)),
    "crash_bus": [crashed(SIGBUS)],
    "crash_fpe": [crashed(SIGFPE)],
    "crash_ill": [crashed(SIGILL)],
    "crash_abort": [crashed(SIGABRT), crashed(SIGSEGV)],
    "crash_trap": [crashed(SIGTRAP)],
    "crash_sys": [DENIED],
    "raise_every": [returns(lambda seen: seen == [61])],
    "raise_handled": [("exited", 128 + SIGSEGV), ("exited", 128 + SIGBUS)],
    "stack_overflow": times(2, crashed(SIGSEGV)),
    "exits": [("exited", n) for n in (3, 4, 5, 6, 7, 0, 0)],
    "fakes_end": [crashed(SIGABRT), EXHAUSTED, ("load_failed", None), ("load_failed", None)],
    "memory_malloc": [gets_mib(64), EXHAUSTED],
    "memory_mmap": times(4, gets_mib(64)),
    "memory_brk": [gets_mib(64)],
    "memory_tables": [lambda status, seen, *_: status == "out_of_memory" or (status == "ok" and seen[0] <= 64)],
    "memory_uncounted": times(8, DENIED),
    "forks": times(5, DENIED) + times(2, DENIED) * X86,
    "clone3": [is_errno(errno.ENOSYS)],
    "thread_bomb": [returns(lambda seen: seen == [0, -errno.EAGAIN])],
    "loops": [("timeout", None)],
    "loops_deaf": [("timeout", None)],
    "sleeps": times(4, ("timeout", None)),
    "late": [("timeout", None)],
    "handler_stays": [("timeout", None)],
    "hides": times(2, ("timeout", None)),
    "alternate_stack": times(3, crashed(SIGSEGV)),
    "wrong_size": times(4, lambda status, _, output, __: status == "bad_size" and output == b""),
    "write_past": times(2, crashed(SIGSEGV)),
    "write_before": [crashed(SIGSEGV)],
    "ring_write": [crashed(SIGSEGV)],
    "ring_unlock": [returns(lambda seen: seen == [-errno.EACCES, 0, -errno.EACCES, -errno.EACCES, 0])],
    "close_all": [returns(lambda seen: seen == [4])],
    "dup_over": times(4, returns(lambda seen: seen == [3])),
    "descriptors_run_out": [returns(lambda seen: seen == [60, -errno.EMFILE])],
    "eventfd_flood": [returns(lambda seen: seen[0] in (8, -errno.EAGAIN))],
    "punch": times(6, DENIED),
    "advise_remove": times(7, DENIED),
    "code_made": times(3, is_errno(errno.EACCES)) + times(3, DENIED),
    "writes_files": times(22, DENIED),
    "mounts": times(13, DENIED),
    "namespaces": times(8, DENIED),
    "sockets": times(10, DENIED),
    "passes_descriptors": [is_errno(errno.ENOTSOCK, errno.EBADF)],
    "traces": times(12, DENIED),
    "kills": times(10, DENIED),
    "schedules": times(8, DENIED),
    "limits": times(6, DENIED),
    "confinement": times(14, DENIED) + times(4, DENIED) * X86,
    "personality": times(3, DENIED),
    # A kernel without the 32-bit ABI makes it a fault.
    "other_abi": [lambda status, seen, output, detail: (status, detail) in (DENIED, crashed(SIGSEGV)), DENIED],
    "kernel_interfaces": times(26, DENIED),
    "ipc": times(6, DENIED),
    "programs": times(4, DENIED),
    "terminal": [is_errno(errno.ENOTTY)],
    "identity": times(12, DENIED),
    "descriptor_flags": times(10, DENIED),
    "timers": times(5, DENIED) + times(1, DENIED) * X86,
    "destructor": [DENIED],
}

rig = None


def attacked(name):
    """Marks its test, so that the table in docs/security.md can be checked against what there is."""
    def mark(test):
        test.__name__ = name
        return test
    return mark


def holds(expected, status, seen, output, detail):
    if callable(expected):
        return expected(status, seen, output, detail)
    return status == expected[0] and (expected[1] is None or detail == expected[1])


def input_of(form, *more):
    return struct.pack(f"<{1 + len(more)}I", form, *more).ljust(INPUT, b"\0")


class Attack:
    """One module, deployed and leased; around it, all that must be true before and after."""

    def __init__(self, name, **options):
        self.name, self.options = name, options
        self.replacements = 0

    def __enter__(self):
        rig.witness_knows_nothing()
        rig.deploy(self.name)
        self.lease = rig.lease(self.name, **self.options)
        self.answered = rig.answers(self.lease)
        return self

    def make(self, form, expected, *more, leave=False):
        """One form: what it ends as, and an ordinary call after it, of the same worker or of the next."""
        deaths = rig.deaths(self.name)
        budget = BUDGET_US if expected == ("timeout", None) else 20_000_000
        if expected == ("timeout", None) and not more:
            more = (budget,)
        status, output, detail = rig.call(self.lease, "attack", input_of(form, *more), budget)
        what = f"form {form}: {status}, detail {detail}, {numbers(output)[:8]}"
        assert holds(expected, status, numbers(output), output, detail), what
        if leave and status == "ok":
            assert rig.call(self.lease, "leave", b"", 20_000_000)[0] == "exited"
        self.recovers(deaths, status in ("ok", "bad_size") and not leave, what)
        return output

    def recovers(self, deaths, lives, what):
        if lives:
            assert rig.deaths(self.name) == deaths, f"{what}: its worker has died"
        elif self.name != "late":
            wait_for(f"a worker in place of that of {what}", lambda: rig.deaths(self.name) > deaths, 10)
        answered = rig.answers(self.lease)
        fresh = rig.deaths(self.name) - deaths  # after the answer: one that was late may have been killed meanwhile
        assert answered == 1 if fresh else answered == self.answered + 1, (what, answered, self.answered)
        self.answered = answered
        self.replacements += fresh

    def __exit__(self, kind, value, trace):
        self.lease.close()
        rig.remove(self.name)
        if kind is not None:
            return
        rig.witness_knows_nothing()
        rig.kernel_sees_nothing()
        rig.attacks += 1
        rig.replacements += self.replacements
        print(f"# {self.name}: {self.replacements} replacements")


def of_table(name, forms):
    @attacked(name)
    def test():
        with Attack(name) as attack:
            for form, expected in enumerate(forms):
                attack.make(form, expected, leave=name.startswith("memory_") and expected is not EXHAUSTED)
            if forms == times(len(forms), DENIED) and name not in ("other_abi", "crash_sys", "destructor", "advise_remove", "sockets"):
                attack.make(len(forms), returns(lambda seen: seen == [NO_SUCH_FORM]))  # none was left out
    return test


# ---- attacks that need more than a line ----


@attacked("lane_scribble")
def lane_scribble():
    """Every byte that it can write, with zeros, ones and something between; it comes back, or dies of it."""
    for byte in (0, 0xff, 0x55):
        with Attack("lane_scribble") as attack:
            deaths = rig.deaths(attack.name)
            for form in (0, 1):
                status, _, _ = rig.call(attack.lease, "attack", input_of(form, byte), 100_000)
                assert status in ("ok", "timeout", "exited", "worker_lost", "out_of_memory", "crashed", "not_run"), status
                try:
                    rig.call(attack.lease, "leave", b"", 100_000)
                except Exception as e:  # pylint: disable=broad-except
                    assert getattr(e, "status", None) == "busy", e
                attack.recovers(deaths, False, f"byte {byte}, form {form}")
                deaths = rig.deaths(attack.name)


@attacked("forge_completion")
def forge_completion():
    """
    Early: its caller takes it, once. What is not for a worker to say is not believed. A call that was not given is dropped, and with it its own.
    """
    # Where its caller did not look in time, the worker's own word has taken the place of the forged one.
    def dropped(status, _, output, __):
        return status == "timeout" or (status, output) == ("ok", b"honest")

    forms = [lambda status, _, output, __: (status, output) in (("ok", b"forged"), ("ok", b"honest")),
             lambda status, _, output, __: status in ("worker_lost", "ok") and output in (b"", b"honest", b"forged"),
             lambda status, _, output, __: (status, output) in (("bad_size", b""), ("ok", b"honest")),
             dropped, dropped,
             lambda status, _, output, __: (status, output) == ("ok", b"honest"),
             lambda status, _, output, __: (status, output) == ("ok", b"honest"),
             lambda status, _, output, __: status == "ok" and output in (b"forged", b"honest"),
             spoiled("worker_lost", "crashed", "ok")]
    with Attack("forge_completion") as attack:
        for form, expected in enumerate(forms):
            deaths = rig.deaths(attack.name)
            status, output, detail = rig.call(attack.lease, "attack", input_of(form), 100_000)
            assert expected(status, [], output, detail), (form, status, output)
            print(f"# forge_completion: form {form} ends as {status} {output}")
            for _ in range(50):
                try:
                    rig.call(attack.lease, "leave", b"", 100_000)
                except Exception as e:  # pylint: disable=broad-except
                    assert getattr(e, "status", None) == "busy", e
                if rig.deaths(attack.name) > deaths:
                    break
            attack.recovers(deaths, False, f"form {form}")


@attacked("forge_progress")
def forge_progress():
    """The books are looked at when all is over: see nothing_is_left."""
    with Attack("forge_progress") as attack:
        attack.make(0, returns(lambda seen: seen == [1]))


@attacked("search_memory")
def search_memory():
    """What the witness keeps is nowhere in an attacker's memory; what it has itself is found, so that the search is known to work."""
    turned = bytes(b ^ 0xff for b in rig.secret)
    with Attack("search_memory") as attack:
        status, output, _ = rig.call(attack.lease, "attack", turned)
        pages, hits = numbers(output)
        assert status == "ok" and pages > 100 and hits == 0, (status, pages, hits)
        own = os.urandom(64)
        rig.call(attack.lease, "answer", own)
        status, output, _ = rig.call(attack.lease, "attack", bytes(b ^ 0xff for b in own))
        pages, hits = numbers(output)
        assert status == "ok" and hits > 0, "it does not find what it was given itself"


@attacked("grow_lane")
def grow_lane():
    """Behind a lane lie at most the other lanes of its own lease: files are one lease's, and memory of a lease is never used again."""
    turned = bytes(b ^ 0xff for b in rig.pattern[:64])
    for workers in (1, 2):
        with Attack("grow_lane", workers=workers) as attack:
            status, output, _ = rig.call(attack.lease, "attack", turned)
            pages, hits = numbers(output)
            assert status == "ok" and hits == 0, (status, pages, hits)
            most = workers * (2 + 8 * 16) + 8  # of its own lease: rings and slots
            assert pages <= most, f"{pages} pages behind its lane, and its lease has {most}"


@attacked("open_paths")
def open_paths():
    with Attack("open_paths") as attack:
        seen = numbers(attack.make(0, returns(lambda seen: len(seen) == 3 + 2 * 26)))
        listed, others = seen[:3], seen[3:]
        assert all(n in (-errno.EACCES, 2) for n in listed), f"the root lists names: {listed}"
        assert all(n in (-errno.ENOENT, -errno.EACCES, -errno.ENOTDIR) for n in others), others


@attacked("open_by_descriptor")
def open_by_descriptor():
    """Standard input is an empty pipe: nothing can be read at a place in it, nor from the log or the eventfd."""
    with Attack("open_by_descriptor") as attack:
        attack.make(0, returns(all_refused))


@attacked("log_flood")
def log_flood():
    """Twenty lines at once and a steady rate; the rest is counted. No control character comes through."""
    before = len(rig.node.log())
    with Attack("log_flood") as attack:
        attack.make(0, returns(lambda seen: seen == [0]))
    text = rig.node.log()[before:]
    assert text.count("of a hostile module") <= 200, f"{text.count('of a hostile module')} lines of a flood"
    assert not [c for c in text if ord(c) < 32 and c not in "\n\t"], "control characters in the node's log"


@attacked("canaries")
def canaries():
    """Each sandbox has a canary of its own, and none is the warden's or the node's."""
    seen = set()
    if AS_ROOT:
        for pid in (rig.warden, rig.node.pid()):
            with open(f"/proc/{pid}/auxv", "rb") as f:
                entries = dict(struct.iter_unpack("<QQ", f.read()))
            with open(f"/proc/{pid}/mem", "rb") as f:
                f.seek(entries[25])  # AT_RANDOM: libc's canary is its first word, the lowest byte 0
                seen.add(struct.unpack("<Q", f.read(8))[0] & ~0xff)
        assert len(seen) == 2
    others = len(seen)
    with Attack("canaries") as attack:
        for _ in range(4):
            canary, uid, pid, parent, no_environment = numbers(
                attack.make(0, returns(lambda seen: len(seen) == 5), leave=True))
            assert (uid, pid, parent, no_environment) == (0, 1, 0, 1)
            seen.add(canary & (1 << 64) - 1)
    if X86:
        assert len(seen) == others + 4, "two have one canary"


# ---- constructors ----


def refused(name, *texts, status="bad_module"):
    """Deploy says no, with a reason; nothing of it is there afterwards."""
    @attacked(name)
    def test():
        rig.witness_knows_nothing()
        code, answer = rig.node.deploy(name, path_of(name))
        assert code >= 400, (code, answer)
        assert any(t in answer["error"]["message"] for t in texts), answer
        assert answer["error"]["status"] == status, answer
        assert rig.node.get(f"/v1/modules/{name}")[0] == 404
        rig.witness_knows_nothing()
        rig.kernel_sees_nothing()
        rig.attacks += 1
    return test


def harmless(name, expected=returns(lambda seen: seen == [1])):
    """Deploy and lease go as if nothing had been; the node is whole."""
    @attacked(name)
    def test():
        with Attack(name) as attack:
            attack.make(0, expected)
        rig.settles()
    return test


@attacked("constructor_forges_functions")
def constructor_forges_functions():
    """Its list is taken for what it says; a worker that has other functions is not used. Its own leases alone suffer."""
    name = "constructor_forges_functions"
    rig.witness_knows_nothing()
    module = rig.deploy(name)
    assert [f["name"] for f in module["functions"]] == ["no_such_thing", "answer"], module
    with rig.lease(name) as lease:
        status, _, _ = rig.call(lease, "no_such_thing", b"x", 5_000_000)
        assert status == "load_failed", status
    rig.remove(name)
    rig.witness_knows_nothing()
    rig.kernel_sees_nothing()
    rig.attacks += 1


@attacked("constructor_floods_reports")
def constructor_floods_reports():
    """The node reads what it expects, in pieces; it goes on, and a pool that has loaded the module is full again."""
    name = "constructor_floods_reports"
    rig.witness_knows_nothing()
    rig.deploy(name)
    for _ in range(20):
        rig.witness_knows_nothing()
    rig.settles()
    rig.remove(name)
    rig.kernel_sees_nothing()
    rig.attacks += 1


@attacked("constructor_sends_descriptors")
def constructor_sends_descriptors():
    def held():
        try:
            return len(os.listdir(f"/proc/{rig.node.pid()}/fd"))
        except PermissionError:
            return None
    rig.settles()
    before = held()
    harmless("constructor_sends_descriptors")()
    rig.settles()
    after = held()
    assert before is None or after <= before + 2, f"the node has {after} descriptors, and had {before}"


@attacked("constructor_floods_failures")
def constructor_floods_failures():
    before = len(rig.node.log())
    harmless("constructor_floods_failures")()
    time.sleep(0.2)
    n = rig.node.log()[before:].count("forged failure")
    assert n <= 200, f"{n} lines of a flood"


@attacked("constructor_holds_pool")
def constructor_holds_pool():
    """As many as may be loaded at a time. The pool must be full again for others."""
    names = ["holds_one", "holds_two"]
    rig.witness_knows_nothing()
    for name in names:
        rig.deploy("constructor_holds_pool", name)
    time.sleep(0.2)
    for name in names:
        with rig.lease(name) as lease:
            rig.answers(lease)
    try:
        rig.settles()
    finally:
        for name in names:
            rig.remove(name)
    rig.witness_knows_nothing()
    rig.attacks += 1


@attacked("constructor_takes_lane")
def constructor_takes_lane():
    """
    A worker that is loaded as its lease begins has the lane's files in hand meanwhile, and may keep them: all memory of its own lease. Its caller is
    misled or told; it is not harmed, and nobody else is.
    """
    name = "constructor_takes_lane"
    taken = 0
    for byte in (0xff, 0x01, 0x80):
        rig.witness_knows_nothing()
        rig.deploy(name)
        with rig.lease(name, workers=1) as lease:
            rig.answers(lease)
            # The pool's were loaded without; a replacement comes from the cold ones now and then.
            for _ in range(8):
                status, output, _ = rig.call(lease, "attack", input_of(0), 2_000_000)
                if status == "ok" and numbers(output)[0] > 0:
                    break
                rig.call(lease, "leave", b"", 1_000_000)
            taken += numbers(output)[0] if status == "ok" else 0
            status, _, _ = rig.call(lease, "attack", input_of(byte), 500_000)
            assert status != "ok", status
        rig.remove(name)
        rig.witness_knows_nothing()
        rig.kernel_sees_nothing()
        rig.settles()
    print(f"# {name}: {taken} files of its own lease taken")
    rig.attacks += 1


@attacked("constructor_procfs")
def constructor_procfs():
    """It sees that it is alone, and by its procfs neither memory, nor environment, nor a way out through its root."""
    with Attack("constructor_procfs") as attack:
        seen = numbers(attack.make(0, returns(lambda seen: len(seen) == 14)))
        assert seen[0] in (0, 1), f"{seen[0]} processes are listed"
        # Its own image and namespaces it may look at: there is nothing of anybody in the one, and no setns() for the others.
        assert all_refused(seen[1:6] + seen[7:13]), seen


def the_table_names_every_attack():
    """docs/security.md names each attack that there is, and none that there is not."""
    directory = os.path.dirname(os.path.abspath(__file__))
    there = {f[:-2] for f in os.listdir(os.path.join(directory, "attacks")) if f.endswith(".c")} - {"witness"}
    tested = {t.__name__ for t in TESTS}
    assert there == tested, there ^ tested
    with open(os.path.join(directory, "..", "..", "docs", "security.md")) as f:
        text = f.read()
    missing = [name for name in there if f"`{name}`" not in text]
    assert not missing, f"not in docs/security.md: {missing}"


def nothing_is_left():
    rig.nothing_is_left()
    print(f"# {rig.attacks} attacks, {rig.replacements} replacements")


TESTS = [of_table(name, forms) for name, forms in ATTACKS.items()] + [
    lane_scribble, forge_completion, forge_progress, search_memory, grow_lane, open_paths, open_by_descriptor, log_flood, canaries,
    refused("constructor_forges_failure", "forged reason", status="system"),
    refused("constructor_oversized", "ended the scratch sandbox"),
    refused("constructor_short", "ended the scratch sandbox"),
    refused("constructor_bad_type", "ended the scratch sandbox"),
    refused("constructor_bad_text", "ended the scratch sandbox"),
    refused("constructor_endless_text", "ended the scratch sandbox"),
    refused("constructor_many_functions", "more than 1024 functions"),
    refused("constructor_closes_socket", "ended the scratch sandbox"),
    refused("constructor_reopens", "denies"),
    refused("constructor_opens_socket", "denies"),
    refused("constructor_never_ends", "ran longer"),
    refused("executable_stack", "executable stack"),
    harmless("constructor_writes_module", returns(lambda seen: seen == [0, 0])),
    constructor_forges_functions, constructor_floods_reports, constructor_sends_descriptors, constructor_floods_failures, constructor_holds_pool,
    constructor_takes_lane, constructor_procfs,
]


def main():
    global rig
    if not AS_ROOT:
        try:
            become_ordinary()
        except Skip as skip:
            print(f"1..0 # SKIP {skip}")
            return
    elif os.geteuid() != 0:
        print("1..0 # SKIP only root can give sandboxes uids of their own")
        return
    rig = Rig(AS_ROOT)
    if len(sys.argv) > 1:
        sys.argv.append(nothing_is_left.__name__)
    try:
        run(TESTS + [the_table_names_every_attack, nothing_is_left])
    finally:
        rig.node.stop()


if __name__ == "__main__":
    main()
