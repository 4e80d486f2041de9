"""Makes the file systems that a Python process and its children see poor: no links, no locks, and one name for a case.

It works from PYTHONPATH. Native code, as W&B's wandb-core is, is reached by a seccomp filter on the system calls, which
needs no rights and no compiler. `link` fails in Python only, as the C library makes its semaphores with it, outside any
folder of ours. Names are folded in Python only, below the folder in TEST_FILE_SYSTEM.
"""

import builtins
import ctypes
import errno
import fcntl
import io
import os
import platform
import struct
import sys

ROOT = os.environ["TEST_FILE_SYSTEM"]
NUMBERS = {  # of the system calls, by machine and the name that seccomp has for it (linux/audit.h)
    "x86_64": (0xC000003E, {"linkat": 265, "symlink": 88, "symlinkat": 266, "flock": 73}),
    "aarch64": (0xC00000B7, {"linkat": 37, "symlinkat": 36, "flock": 32}),
}
NO_NEW_PRIVS, SECCOMP, FILTER = 38, 22, 2
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06  # of the machine that runs filters
ALLOW, FAIL = 0x7FFF0000, 0x00050000


class Program(ctypes.Structure):
    """A filter, as the system takes it."""

    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_void_p))


def refuse(errors):
    """Let system calls fail in this process and those that it starts."""
    if sys.platform != "linux" or platform.machine() not in NUMBERS:
        return
    machine, numbers = NUMBERS[platform.machine()]
    steps = [(LOAD, 0, 0, 4), (EQUAL, 1, 0, machine), (RETURN, 0, 0, ALLOW), (LOAD, 0, 0, 0)]
    for name in numbers.keys() & errors.keys():
        steps += [(EQUAL, 0, 1, numbers[name]), (RETURN, 0, 0, FAIL | errors[name])]
    steps.append((RETURN, 0, 0, ALLOW))
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = Program(len(steps), ctypes.cast(code, ctypes.c_void_p))
    libc = ctypes.CDLL(None, use_errno=True)
    for call in ((NO_NEW_PRIVS, 1, 0, 0, 0), (SECCOMP, FILTER, ctypes.byref(program), 0, 0)):
        if libc.prctl(*call):
            raise OSError(ctypes.get_errno(), "the filter cannot be set")


def failing(error):
    """Return a function of `os` or `fcntl` that fails."""

    def fail(*arguments, **options):
        raise OSError(error, os.strerror(error))

    return fail


def fold(path, list_folder=os.listdir):
    """Return the path that a file system which ignores case means."""
    if not isinstance(path, str | os.PathLike) or not os.path.abspath(path).startswith(ROOT + os.sep):
        return path
    found = ROOT
    for part in os.path.relpath(path, ROOT).split(os.sep):
        try:
            there = list_folder(found)
        except OSError:
            there = []
        found = os.path.join(found, next((name for name in there if name.lower() == part.lower()), part))
    return found


def folding(call, paths=1):
    """Return *call* with its first arguments folded."""

    def folded(*arguments, **options):
        return call(*map(fold, arguments[:paths]), *arguments[paths:], **options)

    return folded


refuse({"linkat": errno.EPERM, "symlink": errno.EPERM, "symlinkat": errno.EPERM, "flock": errno.ENOLCK})
os.link, os.symlink, fcntl.flock = failing(errno.EPERM), failing(errno.EPERM), failing(errno.ENOLCK)
for name in ("stat", "lstat", "open", "listdir", "scandir", "mkdir", "unlink"):
    setattr(os, name, folding(getattr(os, name)))
os.rename, os.replace = folding(os.rename, 2), folding(os.replace, 2)
builtins.open = io.open = folding(io.open)
