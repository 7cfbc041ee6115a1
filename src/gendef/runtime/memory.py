"""Memory of the process: freed blocks are kept for the next feature map, in huge pages."""

import ctypes
import functools
import os
import sys
import threading
from pathlib import Path

# of malloc.h (glibc) and mman.h (Linux)
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _MADV_HUGEPAGE = -1, -4, 14
_HUGE_PAGE = 2 << 20
_MOST_RESERVED = 64 << 30


@functools.cache
def keep_freed_memory() -> bool:
    """Make the process keep what its main thread frees, in huge pages where Linux has them.

    glibc asks the kernel for every block of more than 32 MB and gives it back when it is freed, so that each large
    feature map is paid for again, 4 KB at a time: a sixth of the time that fields of 256x256 take on two cores.
    Here such blocks come from one heap that is never given back. Address space of half the machine's memory, at most
    64 GB, is set aside for it in pages of 2 MB, unless a limit of the process or strict accounting
    (vm.overcommit_memory = 2) makes address space scarce.

    It applies to the whole process and cannot be undone, so only the commands that sample and train call it. The cost:
    the process stays at its peak, about a tenth above that without it, and large arrays of
    zeros (`numpy.zeros`) are filled at once instead of when they are used.

    Returns:
        Whether memory is kept now. Not on other systems than Linux with glibc, not from another thread than the main
        one, and not where another allocator is loaded or variables of the environment set glibc's.
    """
    if not _has_glibc() or _set_by_user() or threading.current_thread() is not threading.main_thread():
        return False
    libc = ctypes.CDLL(None)
    if not (libc.mallopt(_M_MMAP_MAX, 0) and libc.mallopt(_M_TRIM_THRESHOLD, -1)):
        return False
    if not _scarce_addresses():
        _reserve(libc, min(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2, _MOST_RESERVED))
    return True


def _has_glibc() -> bool:
    try:
        return sys.platform == "linux" and bool(os.confstr("CS_GNU_LIBC_VERSION"))
    except (ValueError, OSError):  # unknown to other libraries
        return False


def _set_by_user() -> bool:
    """Whether another allocator was preloaded, or glibc's has settings of the user."""
    own = any(name.startswith("MALLOC_") and name.endswith("_") for name in os.environ)
    return own or "malloc" in os.environ.get("LD_PRELOAD", "") + os.environ.get("GLIBC_TUNABLES", "")


def _scarce_addresses() -> bool:
    """Whether address space is limited, or counts as memory: mapped files and libraries need the rest of it."""
    import resource  # not on Windows

    limits = (resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA))
    if any(limit != resource.RLIM_INFINITY for limit in limits):
        return True
    return _first_number("/proc/sys/vm/overcommit_memory") not in (0, 1)


def _first_number(path: str) -> int | None:
    """First number in a file of the kernel; None if the file is missing."""
    try:
        return int(Path(path).read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None


def _reserve(libc: ctypes.CDLL, size: int) -> None:
    """Grow the heap by `size` bytes of address space at once: what it grows by later would be of small pages."""
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    block = libc.malloc(size)
    if not block:
        return
    # Elsewhere a page can be of 512 MB, of which one touched byte would take all.
    if _first_number("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size") == _HUGE_PAGE:
        first = -(-block // _HUGE_PAGE) * _HUGE_PAGE
        libc.madvise(first, (block + size - first) // _HUGE_PAGE * _HUGE_PAGE, _MADV_HUGEPAGE)
    libc.free(block)
