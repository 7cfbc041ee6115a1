"""How the process holds its memory: freed blocks are kept for the next feature map, in huge pages."""

import ctypes
import functools
import mmap
import os
import platform
from pathlib import Path

# of malloc.h (glibc)
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_HUGE_PAGE = 2 << 20
_MOST_RESERVED = 64 << 30


@functools.cache
def keep_freed_memory() -> bool:
    """Make the process keep what it frees, and hold it in huge pages; the program does so at its start.

    glibc asks the kernel for every block of megabytes and gives it back when it is freed, so that each feature map is
    paid for again, 4 KB at a time: a sixth of the time that fields of 256x256 take on two cores. Here such
    blocks come from one heap that is not given back, and whose pages are of 2 MB where Linux has them
    (`/sys/kernel/mm/transparent_hugepage/enabled` says `always` or `madvise`). Address space of half the machine's
    memory, at most 64 GB, is set aside for it; memory is taken only when it is used. For the whole process and for
    good: a library should leave the choice to its users, so that importing gendef does not make it.

    Returns:
        Whether it could be done: False on other systems than Linux with glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    if not (libc.mallopt(_M_MMAP_MAX, 0) and libc.mallopt(_M_TRIM_THRESHOLD, -1)):
        return False
    _reserve(libc, min(os.sysconf("SC_PHYS_PAGES") * mmap.PAGESIZE // 2, _MOST_RESERVED))
    return True


def _reserve(libc: ctypes.CDLL, size: int) -> None:
    """Grow the heap by `size` bytes of address space at once: what it grows by later would be of small pages."""
    if _accounts_strictly():
        return
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    block = libc.malloc(size)
    if block:  # a limit of the process (`ulimit -v`) can forbid it
        first = -(-block // _HUGE_PAGE) * _HUGE_PAGE
        libc.madvise(first, (block + size - first) // _HUGE_PAGE * _HUGE_PAGE, mmap.MADV_HUGEPAGE)
        libc.free(block)


def _accounts_strictly() -> bool:
    """Whether Linux counts address space as memory (vm.overcommit_memory = 2)."""
    try:
        return Path("/proc/sys/vm/overcommit_memory").read_text().strip() == "2"
    except OSError:
        return True
