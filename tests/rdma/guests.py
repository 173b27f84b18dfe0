"""Two guests joined by a cable, as a program outside has them: started, asked, their power cut.

	with Pair() as pair:
		pair.start(1, "ib_write_lat -R")
		pair.start(2, "ib_write_lat -R 10.78.0.1")

What the two have in common besides the cable is a directory: /run/share in both, pair.share here. A Remote is asked by files in it, so that answers
come when the cable is cut. In the guest serve() answers.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
GUEST = os.path.join(HERE, "guest")
LOOK_S = 0.02
CABLE_S = 120  # for a kernel to be fetched, perhaps


class GuestFailed(Exception):
    """A guest did not start, did not answer, or ended."""


# ---- outside ----

class Guest:
    """One run of one of the two. Its output goes to a file."""

    def __init__(self, pair, number, command, limit, output):
        self.number = number
        self.console = os.path.join(pair.directory, f"console{number}")
        # Its power goes with the process that started it, whatever ends that.
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", GUEST, "--peer", os.path.join(pair.directory, "cable"), "--host-number", str(number),
             "--console", self.console, "--timeout", str(limit), "sh", "-c", command],
            env=dict(os.environ, GUEST_SHARE=pair.share), stdin=subprocess.DEVNULL, stdout=output, stderr=output)

    def alive(self):
        return self.process.poll() is None

    def cut_power(self):
        """What the guest was doing it has never finished."""
        if self.alive():
            self.process.terminate()
        return self.process.wait(30)


class Pair:
    """The cable, the directory, and what was started; all of it gone afterwards."""

    def __init__(self, limit=300):
        self.limit = limit
        self.guests = {}

    def __enter__(self):
        self.directory = tempfile.mkdtemp(prefix="adverb-guests-")
        self.share = os.path.join(self.directory, "share")
        os.mkdir(self.share)
        return self

    def __exit__(self, *_):
        for guest in self.guests.values():
            guest.process.terminate()
        for guest in self.guests.values():
            guest.process.wait(30)
        shutil.rmtree(self.directory, ignore_errors=True)

    def log(self, number):
        return os.path.join(self.directory, f"output{number}")

    def start(self, number, command, output=None):
        """Starts guest 1 or 2, or 2 again. 1 has the cable, which 2 plugs into."""
        end = time.monotonic() + CABLE_S
        while number == 2 and not os.path.exists(os.path.join(self.directory, "cable")):
            if not self.guests[1].alive() or time.monotonic() > end:
                raise GuestFailed(f"guest 1 has no end of the cable:\n{self.tail(1)}")
            time.sleep(LOOK_S)
        with open(self.log(number), "ab") as log:
            self.guests[number] = Guest(self, number, command, self.limit, output or log)
        return self.guests[number]

    def tail(self, number, size=4000):
        """The end of what a guest and its kernel have said."""
        text = ""
        for path in (self.log(number), os.path.join(self.directory, f"console{number}")):
            try:
                with open(path, "rb") as f:
                    text += f.read()[-size:].decode(errors="replace")
            except OSError:
                pass
        return text


class Remote:
    """A program in a guest that serve()s: remote.ask("name", ...) calls the method of that name there."""

    def __init__(self, pair, number, command, boot_s=240):
        """The command gets the name of its directory as one more argument."""
        self.pair = pair
        name = tempfile.mkdtemp(prefix=f"{number}-", dir=pair.share)
        self.directory = name
        self.asked = 0
        self.guest = pair.start(number, f"exec {command} /run/share/{os.path.basename(name)}")
        self.boot_s = boot_s

    def wait_ready(self):
        """Both may boot at a time."""
        begun = time.monotonic()
        self.wait_file("ready", self.boot_s, "boot")
        return time.monotonic() - begun

    def wait_file(self, name, seconds, what):
        path = os.path.join(self.directory, name)
        end = time.monotonic() + seconds
        while not os.path.exists(path):
            if not self.guest.alive():
                raise GuestFailed(f"guest {self.guest.number} ended while it was to {what}:\n{self.pair.tail(self.guest.number)}")
            if time.monotonic() > end:
                raise GuestFailed(f"guest {self.guest.number} did not {what} in {seconds} s:\n{self.pair.tail(self.guest.number)}")
            time.sleep(LOOK_S)
        return path

    def begin(self, method, *arguments):
        """Asks, and does not wait: finish() does."""
        self.asked += 1
        write_whole(os.path.join(self.directory, f"request{self.asked}"), json.dumps([method, arguments]))

    def finish(self, seconds=120):
        path = self.wait_file(f"answer{self.asked}", seconds, "answer")
        with open(path) as f:
            answer = json.load(f)
        if "error" in answer:
            raise AssertionError(f"in guest {self.guest.number}: {answer['error']}")
        return answer["value"]

    def ask(self, method, *arguments, seconds=120):
        self.begin(method, *arguments)
        return self.finish(seconds)

    def __getattr__(self, method):
        if method.startswith("_"):
            raise AttributeError(method)
        return lambda *arguments, **options: self.ask(method, *arguments, **options)


# ---- in the guest ----

def serve(directory, side):
    """Answers until the power is cut: calls methods of `side`, one at a time."""
    number = int(os.environ.pop("ANSWERED", 0))
    write_whole(os.path.join(directory, "ready"), "")
    while True:
        number += 1
        path = os.path.join(directory, f"request{number}")
        while not os.path.exists(path):
            time.sleep(LOOK_S)
        with open(path) as f:
            method, arguments = json.load(f)
        try:
            answer = {"value": getattr(side, method)(*arguments)}
        except BeginAnew:
            write_whole(os.path.join(directory, f"answer{number}"), json.dumps({"value": None}))
            os.execve(sys.executable, [sys.executable, *sys.argv], dict(os.environ, ANSWERED=str(number)))
        except Exception:  # pylint: disable=broad-except
            answer = {"error": traceback.format_exc()}
        write_whole(os.path.join(directory, f"answer{number}"), json.dumps(answer))


class BeginAnew(Exception):
    """What a side raises to become a process that holds nothing."""


def write_whole(path, text):
    """The other side sees all of it or nothing."""
    with open(path + ".part", "w") as f:
        f.write(text)
    os.rename(path + ".part", path)
