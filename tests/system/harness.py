"""What the system tests share: a node of their own, its control socket, the command line, and a TAP runner.

Every test starts from a private state directory. Nothing asserts on time; every wait has a bound and says what it waited for.
Environment: ADVERB_BUILD is the build directory, ADVERB_MUST_HAVE a comma-separated list that turns skips into failures,
ADVERB_CGROUP a cgroup v2 directory with controllers, in which each node then gets a group of its own.
ADVERB_FABRIC=verbs runs the same tests over RDMA: nodes listen on the device at ADVERB_RDMA_ADDRESS, with ADVERB_NODE_OPTIONS, and clients come
as a tenant with a token; a test whose work requests did not move has called nothing, and fails.
"""

import atexit
import hashlib
import http.client
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

BUILD = os.environ["ADVERB_BUILD"]
ADVERB = os.path.join(BUILD, "src", "adverb")
HOSTILE = os.path.join(BUILD, "tests", "hostile")
MUST_HAVE = set(filter(None, os.environ.get("ADVERB_MUST_HAVE", "").split(",")))
UID_BASE = 1879048192
CGROUP = os.environ.get("ADVERB_CGROUP")
VERBS = os.environ.get("ADVERB_FABRIC") == "verbs"
RDMA_ADDRESS = os.environ.get("ADVERB_RDMA_ADDRESS", "10.77.0.2")
TOKEN = "a-token-for-tests"
TENANT = "tester"
WAIT_S = 60

def enterable(path):
    """May any user run what lies there?"""
    while path != "/":
        path = os.path.dirname(path)
        if not os.stat(path).st_mode & 0o001:
            return False
    return True


def for_all(path):
    """A clone in a directory of root's own: the file is copied to where ordinary users reach it, too."""
    if os.geteuid() != 0 or enterable(os.path.realpath(path)):
        return path
    directory = tempfile.mkdtemp(prefix="adverb-for-all-")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    os.chmod(directory, 0o755)
    return shutil.copy(path, directory)


ADVERB = os.environ.get("ADVERB_PROGRAM") or for_all(ADVERB)
os.environ["ADVERB_PROGRAM"] = ADVERB  # children of a test use the same copy
ports = iter(range(7400, 7999))
hosts = {}  # of each node's socket: where its lanes are to be had
work_requests = 0  # that nodes of this process have sent over RDMA, in all tests so far
nodes_started = 0


class Skip(Exception):
    """The machine cannot run this test."""


def need(what, have, why):
    """Skips when `have` is false, unless `what` must be there."""
    if not have:
        if what in MUST_HAVE:
            raise AssertionError(f"ADVERB_MUST_HAVE has {what}, but {why}")
        raise Skip(why)


def module(name):
    """The path of a test module built under tests/hostile."""
    for candidate in (f"hostile_{name}.so", f"{name}.so"):
        path = os.path.join(HOSTILE, candidate)
        if os.path.exists(path):
            return path
    raise AssertionError(f"no test module {name} under {HOSTILE}")


def wait_for(what, condition, seconds=WAIT_S):
    """Polls until condition() is true and returns its value."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s in vain for: {what}")
        time.sleep(0.01)


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout=WAIT_S):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Node:
    """One `adverb serve`, with directories of its own; a context manager."""

    def __init__(self, *options, user=None, directory=None, keep=False, wrap=()):
        self.options = list(options)
        if "--oversubscribe" not in self.options:
            self.options += ["--oversubscribe", "turns"]  # tests hold more leases than this machine has cores
        self.user = user
        self.keep = keep
        self.wrap = list(wrap)
        self.directory = directory or tempfile.mkdtemp(prefix="adverb-test-")
        os.chmod(self.directory, 0o711)
        if user is not None and directory is None:
            os.chown(self.directory, pwd.getpwnam(user).pw_uid, pwd.getpwnam(user).pw_gid)
        self.socket = os.path.join(self.directory, "adverb.sock")
        self.state = os.path.join(self.directory, "state")
        self.host = f"unix:{self.socket}"
        self.log_path = os.path.join(self.directory, "log")
        self.process = None
        self.seen = set()
        self.starts = 0
        self.group = None
        if VERBS:
            self.serve_verbs()
        hosts[self.socket] = self.host

    def serve_verbs(self):
        """The node listens by RDMA and TCP, for one tenant."""
        self.port = next(ports)
        self.host = f"verbs://{RDMA_ADDRESS}:{self.port}"
        conf = os.path.join(self.directory, "verbs.conf")
        with open(conf, "w") as f:
            f.write(f"[tenant {TENANT}]\ntoken_sha256 = {hashlib.sha256(TOKEN.encode()).hexdigest()}\n")
        os.chmod(conf, 0o644)
        if "--config" not in self.options:
            self.options += ["--config", conf]
        self.options += os.environ.get("ADVERB_NODE_OPTIONS", "").split()
        self.options += ["--verbs", f"{RDMA_ADDRESS}:{self.port}", "--insecure-control"]
        os.environ["ADVERB_TOKEN"] = TOKEN

    def start(self, expect_failure=False):
        global nodes_started
        nodes_started += 1
        command = as_user(self.user) + self.wrap + [
            ADVERB, "serve", "--state", self.state, "--listen", f"unix:{self.socket}",
        ] + self.options
        group = self.own_group()
        log = open(self.log_path, "ab")
        self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                        start_new_session=True, env=environment_of(self.user),
                                        preexec_fn=(lambda: enter_group(group)) if group else None)
        log.close()
        if expect_failure:
            return self.process.wait(WAIT_S)
        wait_for("the node to serve", self.serves)
        return self

    def own_group(self):
        """A cgroup for a node that serves hostile tenants; an ordinary user's session has none to give."""
        if CGROUP is None or self.user is not None:
            return None
        self.starts += 1
        self.group = os.path.join(CGROUP, f"{os.path.basename(self.directory)}.{self.starts}-{id(self)}")
        os.makedirs(self.group)
        return self.group

    def serves(self):
        if self.process.poll() is not None:
            raise AssertionError(f"the node ended with {self.process.returncode}:\n{self.log()}")
        try:
            return self.get("/healthz")[0] == 200
        except OSError:
            return False

    def pid(self):
        return self.get("/v1/status")[1]["node"]["pid"]

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def note_work(self):
        """Over verbs: what this run of the node has sent."""
        global work_requests
        if VERBS:
            try:
                work_requests += self.status()["verbs"]["counters"]["requests"]
            except (OSError, KeyError, AssertionError):
                pass  # it serves nobody any more

    def stop(self):
        if self.process is None or self.process.poll() is not None:
            return
        self.note_work()
        self.processes()
        os.kill(self.process.pid, signal.SIGTERM)
        self.process.wait(WAIT_S)

    def kill(self):
        """SIGKILL to the node alone: the warden must see to the rest."""
        self.note_work()
        self.processes()
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait(WAIT_S)

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, value, trace):
        self.stop()
        if kind is not None and kind is not Skip:
            sys.stderr.write(f"--- log of the node ---\n{self.log()[-8000:]}\n---\n")
        if not self.keep:
            shutil.rmtree(self.directory, ignore_errors=True)

    # ---- the control socket ----

    def request(self, method, path, body=None, headers=None):
        headers = dict(headers or {})
        connection = UnixConnection(self.socket)
        if VERBS and path.startswith("/v1/modules"):
            # The tenant's own modules, as it will lease them.
            connection = http.client.HTTPConnection(RDMA_ADDRESS, self.port, timeout=WAIT_S)
            headers["Authorization"] = f"Bearer {TOKEN}"
        try:
            if isinstance(body, (dict, list)):
                body = json.dumps(body)
            connection.request(method, path, body=body, headers=headers)
            answer = connection.getresponse()
            data = answer.read()
            return answer.status, json.loads(data) if data else None
        finally:
            connection.close()

    def get(self, path):
        return self.request("GET", path)

    def raw(self, data, fds=()):
        """Sends bytes (and descriptors) as they are; returns all that comes back until the node closes or is silent."""
        s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        s.settimeout(WAIT_S)
        s.connect(self.socket)
        if fds:
            socket.send_fds(s, [data], list(fds))
        else:
            s.sendall(data)
        s.shutdown(socket.SHUT_WR)
        answer = b""
        while True:
            try:
                piece = s.recv(65536)
            except ConnectionError:
                break
            if not piece:
                break
            answer += piece
        s.close()
        return answer

    def status(self):
        code, answer = self.get("/v1/status")
        assert code == 200, (code, answer)
        return answer

    def deploy(self, name, path=None, **query):
        with open(path or module(name), "rb") as f:
            data = f.read()
        text = "&".join(f"{k}={v}" for k, v in query.items())
        return self.request("PUT", f"/v1/modules/{name}" + (f"?{text}" if text else ""), data,
                            {"Content-Type": "application/octet-stream"})

    def deployed(self, name, path=None, **query):
        code, answer = self.deploy(name, path, **query)
        assert code in (200, 201), (code, answer)
        return answer["module"]

    # ---- the command line ----

    def cli(self, *arguments, stdin=b"", user=None, timeout=WAIT_S):
        environment = dict(environment_of(user), ADVERB_HOST=self.host)
        if VERBS:
            environment["ADVERB_TOKEN"] = TOKEN
        return subprocess.run(as_user(user) + [ADVERB] + list(arguments), input=stdin,
                              capture_output=True, env=environment, timeout=timeout, check=False)

    # ---- what it leaves behind ----

    def processes(self):
        """Processes of this node that are alive: its descendants now, and those that an earlier call has seen."""
        alive = {}
        for entry in os.listdir("/proc"):
            if not entry.isdigit():
                continue
            try:
                with open(f"/proc/{entry}/stat") as f:
                    fields = f.read().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if fields[0] not in "ZX":
                alive[int(entry)] = (int(fields[1]), fields[19])  # parent, start time
        found = {self.process.pid} & set(alive)
        while True:
            more = {pid for pid, (parent, _) in alive.items() if parent in found} - found
            if not more:
                break
            found |= more
        self.seen.update((pid, alive[pid][1]) for pid in found)
        return [pid for pid, start in self.seen if pid in alive and alive[pid][1] == start]


def enter_group(group):
    with open(os.path.join(group, "cgroup.procs"), "w") as f:
        f.write(str(os.getpid()))


def as_user(user):
    if user is None or os.geteuid() != 0:
        return []
    entry = pwd.getpwnam(user)
    return ["setpriv", f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups",
            "--inh-caps=-all", "--"]


def environment_of(user):
    """Ours without what belongs to our own session, and with the user's home."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "ADVERB_"))}
    if user is not None:
        environment["HOME"] = pwd.getpwnam(user).pw_dir
    return environment


def ordinary_user():
    """An account to be an ordinary user with; needs root."""
    need("root", os.geteuid() == 0, "only root can become another user")
    for name in ("tester", "nobody"):
        try:
            pwd.getpwnam(name)
            return name
        except KeyError:
            continue
    raise Skip("there is no ordinary user on this machine")


def without_calls(test):
    """Marks a test that need not call anything."""
    test.calls_nothing = True
    return test


def twice(test):
    """
    Marks a test of a bad network: one failure is shown and forgiven. Soft-RoCE under emulation now and then loses for good what a card would
    send again.
    """
    test.tries = 2
    return test


def attempt(test):
    """Lets the last failure through."""
    for left in reversed(range(getattr(test, "tries", 1))):
        try:
            test()
            return
        except Skip:
            raise
        except Exception:  # pylint: disable=broad-except
            if not left:
                raise
            print("# it failed, and is tried once more:")
            for line in traceback.format_exc().splitlines():
                print(f"# {line}")


def run(tests):
    """Runs functions as TAP. Arguments name the ones to run; default all."""
    chosen = [t for t in tests if len(sys.argv) < 2 or t.__name__ in sys.argv[1:]]
    print(f"1..{len(chosen)}")
    failed = 0
    for number, test in enumerate(chosen, 1):
        name = test.__name__
        before, started = work_requests, nodes_started
        try:
            attempt(test)
            if VERBS and nodes_started > started and not getattr(test, "calls_nothing", False):
                assert work_requests > before, "no work request went over RDMA"
            print(f"ok {number} - {name}")
        except Skip as skip:
            print(f"ok {number} - {name} # SKIP {skip}")
        except Exception:  # pylint: disable=broad-except
            failed += 1
            print(f"not ok {number} - {name}")
            for line in traceback.format_exc().splitlines():
                print(f"# {line}")
        sys.stdout.flush()
    sys.exit(1 if failed else 0)
