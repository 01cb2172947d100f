"""The memory allocators of `serve` and `validate --out`: freed memory is kept for reuse.

By default, glibc and the allocator of Arrow return large blocks to the kernel when they are freed.
The spool and the sinks allocate such blocks many times a second, and the kernel fills their pages
with zeros each time (docs/decisions/0025-freed-memory-is-kept.md).
"""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Final

_M_TRIM_THRESHOLD: Final = -1  # malloc.h
_M_MMAP_THRESHOLD: Final = -3

_MAPPED_BYTES: Final = 32 * 1024 * 1024
"""Blocks of this size or more are returned when they are freed: glibc's limit of the setting."""

_KEPT_BYTES: Final = 128 * 1024 * 1024
"""What an arena keeps of freed memory at its end."""


def keep_freed_memory() -> None:
    """Let the allocators keep freed memory; to be called before pyarrow is imported.

    Nothing changes where malloc is not glibc's, nor what the environment already says.
    """
    if sys.platform != "linux" or any(name.startswith("MALLOC_") for name in os.environ):
        return
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return  # musl
    set_option(_M_MMAP_THRESHOLD, _MAPPED_BYTES)
    set_option(_M_TRIM_THRESHOLD, _KEPT_BYTES)
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
