#!/usr/bin/env python3
"""libadverb as Python loads it: by ctypes, into a process with an allocator and threads of its own. TAP.

    load.py LIBADVERB.so
"""

import ctypes
import sys
import threading

library = ctypes.CDLL(sys.argv[1])
library.adv_version.restype = ctypes.c_char_p
library.adv_error.restype = ctypes.c_char_p
library.adv_status_text.restype = ctypes.c_char_p
library.adv_status_name.restype = ctypes.c_char_p
number = 0


def check(good, name):
    global number
    number += 1
    print(f"{'' if good else 'not '}ok {number} - {name}", flush=True)


def connect(host):
    node = ctypes.c_void_p()
    return library.adv_connect(host, ctypes.byref(node)), library.adv_error()


check(library.adv_version().count(b".") == 2, "adv_version()")
check(library.adv_status_text(0) == b"ok", "adv_status_text()")
status, text = connect(b"unix:/nonexistent/a.sock")
check(library.adv_status_name(status) == b"no_node" and b"/nonexistent/a.sock" in text, "no node, by its name")

# An error's text belongs to its thread.
other = []
thread = threading.Thread(target=lambda: other.append(connect(b"unix:/nonexistent/b.sock")[1]))
thread.start()
thread.join()
check(b"b.sock" in other[0] and b"a.sock" in library.adv_error(), "each thread has its own error")
print(f"1..{number}")
