"""Random numbers, keyed by (seed, input index, purpose, path): the one way to draw any.

A result therefore depends neither on the order of the inputs nor on the number of workers, shards or restarts.
"""

import hashlib
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import torch

from rddrs.options import check_whole

_WORDS, _PLACE = 624, slice(24, 24 + 8 * 624)
_FRESH = torch.Generator().manual_seed(0).get_state().numpy()
"""A state whose words are all to be renewed; torch keeps them as 64-bit integers at `_PLACE`."""


LAST_BLOCK = (1 << 24) - 1
"""The last child of a stream, for a number that belongs to no micro-batch: those of draws are below it."""


class Purpose(IntEnum):
    """What random numbers are for: streams of different purposes are independent."""

    LABEL = 0
    SIGMA = 1
    ASCENT = 2
    PILOT = 3
    SELECTION = 4
    CERTIFICATION = 5
    FIDELITY = 6
    BASELINE = 7
    REFERENCE = 8
    GLOBAL = 9
    RECOUNT = 10
    ATTACK = 11
    VERDICT = 12
    GUARD = 13
    TRAINING = 14
    ORDER = 15
    TOY = 16
    ROTATION = 20
    VALIDATION = 21
    NETWORK = 22
    PATH = 23
    AUGMENTATION = 24
    PREDICTION = 30
    CALIBRATION = 31


@dataclass(frozen=True)
class Stream:
    """The random numbers of one purpose for one input; its `path` tells those of its children apart.

    The empty path and (0,) are one stream, that of the first micro-batch, as it was before streams had paths. Raises
    ValueError where seed or index is no whole number, or a number of the path is not in [0, 2^24).
    """

    seed: int
    index: int
    purpose: Purpose
    path: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check_whole(None, seed=self.seed, index=self.index)
        if not all(0 <= number <= LAST_BLOCK for number in self.path):
            raise ValueError(f"path must be of numbers in [0, 2^24), not {self.path}")

    def child(self, number: int) -> "Stream":
        """The stream of this number below this one, independent of its siblings."""
        return replace(self, path=(*self.path, number))

    def draws(self, samples: int, batch: int, first: int = 0) -> "list[Draws]":
        """So many draws in micro-batches, each from a child of its own: from the child `first` on.

        Raises ValueError where they need a child beyond 2^24 - 2.
        """
        count = -(-samples // batch)
        if first + count > LAST_BLOCK:
            raise ValueError(f"{samples} samples in batches of {batch} are more than {LAST_BLOCK} blocks: enlarge it")
        return [Draws(self.child(first + block), min(batch, samples - batch * block)) for block in range(count)]

    def generator(self, device: torch.device | str = "cpu") -> torch.Generator:
        """A generator at the start of the stream.

        On a CPU the whole state of the Mersenne twister, 19,968 bits, is a hash of the key: `manual_seed` would keep 32
        of them, so that of a run's millions of streams some would be the same. Other devices have counter-based
        generators, whose key is 64 bits of the hash.
        """
        name = "/".join(map(str, (self.seed, self.index, self.purpose.value, *(self.path or (0,)))))
        key = hashlib.shake_256(name.encode()).digest(8 + 4 * _WORDS)
        source, start = torch.Generator(device), int.from_bytes(key[:8], "little")
        if source.device.type != "cpu":
            return source.manual_seed(start)
        state = _FRESH.copy()
        state[:8].view(np.uint64)[0] = start  # what `initial_seed` answers
        state[_PLACE].view(np.uint64)[:] = np.frombuffer(key, np.uint32, offset=8)
        return source.set_state(torch.from_numpy(state))


class Draws(NamedTuple):
    """Draws of one micro-batch: the stream that they are the first of, and their number."""

    stream: Stream
    size: int
