"""Lets the process keep the memory of pictures that are gone for those that come.

glibc hands large freed blocks back to the system, and every new picture faults its pages in
again: 1,500 faults for an image and its depth at 1280x720, which is a third of a core at 30 Hz.
"""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
LARGEST_BLOCK = 32 << 20  # bytes: the most that glibc keeps in its heap
KEPT = 128 << 20  # bytes at the top of a heap: a few pictures of several cameras


def keep_freed_pictures() -> None:
    """For the whole process, so it is for a main to call. Does nothing without glibc."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGEST_BLOCK)
        mallopt(M_TRIM_THRESHOLD, KEPT)
