"""Worker threads of one core each, and the memory that they work in."""

import ctypes
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from threading import Lock, Thread, local
from typing import TypeVar

import torch

_starting, _pool = Lock(), local()
Part = TypeVar("Part")
Result = TypeVar("Result")


def worker_threads(count: int) -> ThreadPoolExecutor:
    """A pool of threads in each of which torch computes on one core; other threads keep the cores that they have."""
    return ThreadPoolExecutor(count, initializer=partial(_begin, count))


def is_alone() -> bool:
    """Whether this thread is the only one of its pool of `worker_threads`."""
    return getattr(_pool, "threads", 0) == 1


def on_single_cores(function: Callable[[Part], Result], parts: Sequence[Part]) -> list[Result]:
    """function(part) for every part, each in a thread of one core: one part in this one, whose settings it may have."""
    if len(parts) == 1:
        with _on_one_core():
            return [function(parts[0])]
    with ThreadPoolExecutor(len(parts), initializer=_as_the_caller()) as pool:
        return list(pool.map(function, parts))


@contextmanager
def on_threads(count: int) -> Iterator[None]:
    """Have torch compute on so many threads meanwhile: sums are rounded otherwise on another number of them."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _on_one_core() -> Iterator[None]:
    """Have torch compute on one core in this thread alone meanwhile."""
    before = torch.get_num_threads()
    if before > 1:
        _one_core()
    try:
        yield
    finally:
        if before > 1:
            torch.set_num_threads(before)


def keep_freed_memory() -> None:
    """Have this process keep the memory that it frees for what it allocates next, where its allocator is glibc's.

    Otherwise a network of large activations (a few megabytes) gives them back to the system and waits for new pages
    in every batch.
    """
    trim_threshold, mmap_threshold = -1, -3  # of malloc.h
    with suppress(AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(trim_threshold, -1)
        mallopt(mmap_threshold, 2**30)


def _as_the_caller() -> Callable[[], None]:
    """What a thread begins with: one core, and this thread's autocast and its streams on every GPU."""
    kinds = [kind for kind in ("cpu", "cuda") if torch.is_autocast_enabled(kind)]
    dtypes, cached = [torch.get_autocast_dtype(kind) for kind in kinds], torch.is_autocast_cache_enabled()
    streams = [*map(torch.cuda.current_stream, range(torch.cuda.device_count()))] if torch.cuda.is_initialized() else []

    def begin() -> None:
        _one_core()
        for kind, dtype in zip(kinds, dtypes, strict=True):
            torch.set_autocast_enabled(kind, True)
            torch.set_autocast_dtype(kind, dtype)
        torch.set_autocast_cache_enabled(cached)
        for stream in streams:
            with torch.cuda.device(stream.device):
                torch.cuda.set_stream(stream)

    return begin


def _begin(threads: int) -> None:
    _pool.threads = threads
    _one_core()


def _one_core() -> None:
    # torch.set_num_threads also sets what threads to come start with. The first call lets this thread start, so that
    # it looks no more at that default, which another thread then puts back before the next worker looks.
    with _starting:
        default = torch.get_num_threads()
        torch.set_num_threads(1)
        restore = Thread(target=torch.set_num_threads, args=(default,))
        restore.start()
        restore.join()
