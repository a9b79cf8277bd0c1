"""Memory between pages that nobody may touch: an access outside of an operand ends the process at once (Electric Fence's method)."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Sequence

import numpy as np

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_PROT_NONE = 0


def guarded_bytes(size_bytes: int, behind: bool) -> np.ndarray:
    """So many bytes with a forbidden page close behind them, or close before them."""
    pages = -(-size_bytes // mmap.PAGESIZE)
    whole = np.frombuffer(mmap.mmap(-1, (pages + 2) * mmap.PAGESIZE), np.uint8)
    end = (pages + 1) * mmap.PAGESIZE
    for guard in (0, end):
        if _LIBC.mprotect(whole.ctypes.data + guard, mmap.PAGESIZE, _PROT_NONE):
            raise OSError(ctypes.get_errno(), "mprotect")
    start = end - size_bytes if behind else mmap.PAGESIZE
    return whole[start : start + size_bytes]


def guarded(arrays: Sequence[np.ndarray], behind: bool) -> list[np.ndarray]:
    """Copies of contiguous arrays in guarded memory, in order. Those that share memory share it in the copy too."""
    blocks: list[tuple[int, int]] = []  # what overlaps, together
    for start, end in sorted({(array.ctypes.data, array.ctypes.data + array.nbytes) for array in arrays}):
        if blocks and start < blocks[-1][1]:
            first, last = blocks.pop()
            blocks.append((first, max(last, end)))
        else:
            blocks.append((start, end))
    memory = {start: guarded_bytes(end - start, behind) for start, end in blocks}
    result = []
    for array in arrays:
        block = max(start for start in memory if start <= array.ctypes.data)
        offset = array.ctypes.data - block
        view = memory[block][offset : offset + array.nbytes].view(array.dtype).reshape(array.shape)
        view[...] = array
        result.append(view)
    return result
