"""Random numbers, keyed by (seed, input index, purpose, block), a block being one micro-batch.

A result therefore depends neither on the order of the inputs nor on the number of workers, shards or restarts.
"""

import hashlib
from enum import IntEnum

import torch
from jaxtyping import Float
from torch import Tensor


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


def generator(
    seed: int, index: int, purpose: Purpose, block: int = 0, device: torch.device | str = "cpu"
) -> torch.Generator:
    """The generator of one block of one purpose for one input.

    torch keeps 32 bits of a seed on the CPU. Purpose and block are therefore added to a hash of (seed, index) instead
    of being hashed with it: the streams of one input never coincide, which is what a certificate's validity needs.
    Raises ValueError for a block beyond 2^24.
    """
    if not 0 <= block < 1 << 24:
        raise ValueError(f"block must be in [0, 2^24), not {block}: use a larger micro-batch")
    base = int.from_bytes(hashlib.blake2b(f"{seed}/{index}".encode(), digest_size=8).digest())
    return torch.Generator(device).manual_seed((base + (purpose << 24 | block)) % (1 << 32))


def draw(count: int, like: Float[Tensor, "*shape"], source: torch.Generator) -> Float[Tensor, "n d"]:
    """`count` standard normal rows of the dimension, dtype and device of the input `like`."""
    return torch.randn(count, like.numel(), generator=source, dtype=like.dtype, device=like.device)
