"""libadverb through ctypes, as a Python user would have it: enough of it for the system tests."""

import ctypes
import os
from ctypes import POINTER, Structure, byref, c_char, c_char_p, c_int, c_uint32, c_uint64, c_void_p

from harness import hosts

LIBRARY = os.environ.get("ADVERB_LIBRARY",
                         os.path.join(os.environ["ADVERB_BUILD"], "src", "client", "libadverb.so.0"))
lib = ctypes.CDLL(LIBRARY)

HOT_ALWAYS = 2**64 - 1
HOT_AUTO = 2**64 - 3
NO_RENEW = 1
RESUME = 2
IDEMPOTENT = 4
ANY_WORKER = 2**32 - 1

STATUS = {}


class Options(Structure):
    _fields_ = [("size", c_uint32), ("workers", c_uint32), ("memory_bytes", c_uint64), ("ttl_ms", c_uint64),
                ("hot_us", c_uint64), ("slots", c_uint32), ("in_capacity", c_uint32),
                ("out_capacity", c_uint32), ("timeout_ms", c_uint32), ("spin_us", c_uint64),
                ("flags", c_uint32), ("priority", c_uint32), ("wait_ms", c_uint64)]


class Request(Structure):
    _fields_ = [("size", c_uint32), ("function", c_uint32), ("worker", c_uint32), ("in_size", c_uint32),
                ("input", c_void_p), ("slot", c_void_p), ("out", c_void_p), ("out_capacity", c_uint32),
                ("flags", c_uint32), ("timeout_us", c_uint64), ("user_data", c_uint64)]


class Completion(Structure):
    _fields_ = [("user_data", c_uint64), ("call_id", c_uint64), ("out", c_void_p), ("out_size", c_uint32),
                ("status", c_uint32), ("detail", c_uint32), ("worker", c_uint32), ("execution_ns", c_uint64)]


class Slot(Structure):
    _fields_ = [("input", c_void_p), ("out", c_void_p), ("in_capacity", c_uint32), ("out_capacity", c_uint32),
                ("worker", c_uint32), ("index", c_uint32)]


class Stats(Structure):
    _fields_ = [("size", c_uint32), ("reserved", c_uint32)] + [
        (name, c_uint64) for name in ("calls", "failures", "copies", "copied_bytes", "wakes", "sleeps", "deaths", "renewals",
                                      "doorbells", "work_requests", "immediates", "resumes")]


lib.adv_status_name.restype = c_char_p
lib.adv_error.restype = c_char_p
lib.adv_connect.argtypes = [c_char_p, POINTER(c_void_p)]
lib.adv_disconnect.argtypes = [c_void_p]
lib.adv_disconnect.restype = None
lib.adv_lease_open.argtypes = [c_void_p, c_char_p, POINTER(Options), POINTER(c_void_p)]
lib.adv_lease_close.argtypes = [c_void_p]
lib.adv_lease_close.restype = None
lib.adv_lease_state.argtypes = [c_void_p]
lib.adv_lease_fd.argtypes = [c_void_p]
lib.adv_lease_arm.argtypes = [c_void_p]
lib.adv_lease_cpu.argtypes = [c_void_p, c_uint32]
lib.adv_lease_stats.argtypes = [c_void_p, POINTER(Stats)]
lib.adv_slot_get.argtypes = [c_void_p, c_uint32, POINTER(Slot)]
lib.adv_slot_put.argtypes = [c_void_p, POINTER(Slot)]
lib.adv_slot_put.restype = None
lib.adv_buffer_alloc.argtypes = [c_void_p, ctypes.c_size_t]
lib.adv_buffer_alloc.restype = c_void_p
lib.adv_buffer_free.argtypes = [c_void_p, c_void_p]
lib.adv_buffer_free.restype = None
lib.adv_function_find.argtypes = [c_void_p, c_char_p, POINTER(c_uint32)]
lib.adv_invoke.argtypes = [c_void_p, c_uint32, c_void_p, c_uint32, c_void_p, c_uint32, POINTER(c_uint32),
                           c_uint64]
lib.adv_submit.argtypes = [c_void_p, POINTER(Request), POINTER(c_uint64)]
lib.adv_poll.argtypes = [c_void_p, POINTER(Completion), ctypes.c_uint]
lib.adv_wait.argtypes = [c_void_p, POINTER(Completion), ctypes.c_uint, c_uint64]


class AdverbError(Exception):
    def __init__(self, status):
        self.status = lib.adv_status_name(status).decode()
        self.text = lib.adv_error().decode()
        super().__init__(f"{self.status}: {self.text}")


def check(status):
    if status != 0:
        raise AdverbError(status)


class Client:
    def __init__(self, path):
        self.node = c_void_p()
        check(lib.adv_connect(hosts.get(path, f"unix:{path}").encode(), byref(self.node)))

    def lease(self, name, **options):
        return Lease(self, name, options)

    def buffer(self, size):
        at = lib.adv_buffer_alloc(self.node, size)
        assert at, lib.adv_error().decode()
        return at

    def free(self, buffer):
        lib.adv_buffer_free(self.node, buffer)

    def close(self):
        lib.adv_disconnect(self.node)
        self.node = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Lease:
    def __init__(self, client, name, options):
        o = Options()
        lib.adv_lease_options_init(byref(o))
        for key, value in options.items():
            setattr(o, key, value)
        self.out_capacity = o.out_capacity
        self.handle = c_void_p()
        check(lib.adv_lease_open(client.node, name.encode(), byref(o), byref(self.handle)))
        self.buffers = {}
        self.next = 1

    def find(self, name):
        number = c_uint32()
        check(lib.adv_function_find(self.handle, name.encode(), byref(number)))
        return number.value

    def invoke(self, name, data=b"", timeout_us=20_000_000, capacity=None):
        """(status, output): a status that is not ok does not raise."""
        return self.invoke_at(name, data, len(data), timeout_us, capacity)

    def invoke_at(self, name, source, size, timeout_us=20_000_000, capacity=None):
        """The same with an input that lies at an address."""
        function = self.find(name) if isinstance(name, str) else name
        capacity = self.out_capacity if capacity is None else capacity
        out = (c_char * max(capacity, 1))()
        out_size = c_uint32()
        status = lib.adv_invoke(self.handle, function, source, size, out, capacity, byref(out_size), timeout_us)
        return lib.adv_status_name(status).decode(), out.raw[:out_size.value]

    def submit(self, name, data=b"", timeout_us=20_000_000, worker=ANY_WORKER, capacity=4096):
        source = ctypes.create_string_buffer(data, max(len(data), 1))
        return self.submit_at(name, source, len(data), timeout_us, worker, capacity)

    def submit_at(self, name, source, size, timeout_us=20_000_000, worker=ANY_WORKER, capacity=4096, slot=None):
        function = self.find(name) if isinstance(name, str) else name
        out = (c_char * capacity)()
        r = Request(size=ctypes.sizeof(Request), function=function, worker=worker, in_size=size,
                    input=ctypes.cast(source, c_void_p), slot=None if slot is None else ctypes.addressof(slot),
                    out=ctypes.cast(out, c_void_p), out_capacity=capacity, timeout_us=timeout_us, user_data=self.next)
        call = c_uint64()
        check(lib.adv_submit(self.handle, byref(r), byref(call)))
        tag = self.next
        self.next += 1
        # What a call that is run again reads must still be there then.
        self.buffers[tag] = (out, source)
        return tag

    def slot(self, worker=ANY_WORKER):
        slot = Slot()
        check(lib.adv_slot_get(self.handle, worker, byref(slot)))
        return slot

    def put(self, slot):
        lib.adv_slot_put(self.handle, byref(slot))

    def submit_slot(self, name, slot, size):
        """The output stays in the slot: what take() returns of it means nothing."""
        return self.submit_at(name, None, size, capacity=1, slot=slot)

    def poll(self):
        return self.take(1, timeout_us=0)

    def stats(self):
        stats = Stats(size=ctypes.sizeof(Stats))
        check(lib.adv_lease_stats(self.handle, byref(stats)))
        return stats

    def take(self, n=1, timeout_us=20_000_000):
        """Waits for n completions: {tag: (status, output, detail)}."""
        done = {}
        c = (Completion * 64)()
        while len(done) < n:
            got = lib.adv_wait(self.handle, c, min(64, n - len(done)), timeout_us)
            if got == 0:
                break
            for i in range(got):
                out, _ = self.buffers.pop(c[i].user_data)
                done[c[i].user_data] = (lib.adv_status_name(c[i].status).decode(),
                                        out.raw[:c[i].out_size], c[i].detail)
        return done

    def state(self):
        return lib.adv_status_name(lib.adv_lease_state(self.handle)).decode()

    def close(self):
        if self.handle:
            lib.adv_lease_close(self.handle)
        self.handle = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
