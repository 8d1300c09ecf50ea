"""Random numbers, keyed by (seed, input index, purpose, block), a block being one micro-batch.

A result therefore depends neither on the order of the inputs nor on the number of workers, shards or restarts.
"""

import hashlib
from enum import IntEnum

import numpy as np
import torch

_WORDS, _PLACE = 624, slice(24, 24 + 8 * 624)
_FRESH = torch.Generator().manual_seed(0).get_state().numpy()
"""A state whose words are all to be renewed; torch keeps them as 64-bit integers at `_PLACE`."""


LAST_BLOCK = (1 << 24) - 1
"""The last block of a stream, for a number that belongs to no micro-batch: those of samples are below it."""


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


def generator(
    seed: int,
    index: int,
    purpose: Purpose,
    block: int | tuple[int, int] = 0,
    device: torch.device | str = "cpu",
) -> torch.Generator:
    """The generator of one block of one purpose for one input; a pair is a block and a part of it.

    On a CPU the whole state of the Mersenne twister, 19,968 bits, is a hash of the key: `manual_seed` would keep 32 of
    them, so that of a run's millions of streams some would be the same. Other devices have counter-based generators,
    whose key is 64 bits of the hash. Raises ValueError for a block beyond 2^24.
    """
    numbers = block if isinstance(block, tuple) else (block,)
    if not all(0 <= number <= LAST_BLOCK for number in numbers):
        raise ValueError(f"block must be in [0, 2^24), not {block}: use a larger micro-batch")
    name = "/".join(map(str, (seed, index, purpose.value, *numbers)))
    key = hashlib.shake_256(name.encode()).digest(8 + 4 * _WORDS)
    source, start = torch.Generator(device), int.from_bytes(key[:8], "little")
    if source.device.type != "cpu":
        return source.manual_seed(start)
    state = _FRESH.copy()
    state[:8].view(np.uint64)[0] = start  # what `initial_seed` answers
    state[_PLACE].view(np.uint64)[:] = np.frombuffer(key, np.uint32, offset=8)
    return source.set_state(torch.from_numpy(state))
