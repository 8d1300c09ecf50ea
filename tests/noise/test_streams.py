"""The keyed streams: every bit of the twister's state is the key's, and no two streams of a run coincide."""

import hashlib

import numpy as np
import torch

from rddrs.noise import Purpose, Stream


def test_a_stream_is_numpys_twister_in_a_hashed_state():
    """Independent of torch's layout of a state: NumPy's generator in that state draws the same."""
    key = hashlib.shake_256(f"3/7/{Purpose.CERTIFICATION.value}/11".encode()).digest(8 + 4 * 624)
    twister = np.random.MT19937()
    words = {"key": np.frombuffer(key, np.uint32, offset=8), "pos": 624}
    twister.state = {"bit_generator": "MT19937", "state": words}  # pyright: ignore
    stream = Stream(3, 7, Purpose.CERTIFICATION).child(11)
    drawn = torch.empty(2_000, dtype=torch.int32).random_(generator=stream.generator())
    assert drawn.tolist() == (twister.random_raw(2_000) % (1 << 31)).tolist()


def test_an_empty_path_is_that_of_the_first_micro_batch():
    streams = [Stream(3, 7, Purpose.PATH, path) for path in ((), (0,), (0, 0), (1,))]
    first, same, below, other = (stream.generator().initial_seed() for stream in streams)
    assert first == same and len({first, below, other}) == 3
    assert streams[0].child(4).child(2) == Stream(3, 7, Purpose.PATH, (4, 2))


def test_no_two_streams_of_a_run_coincide():
    """10,000 inputs, 20 streams each: in 32 bits about five pairs of them would be the same, in 64 none."""
    keys = [(index, purpose, block) for index in range(10_000) for purpose in list(Purpose)[:5] for block in range(4)]
    streams = (Stream(0, index, purpose).child(block) for index, purpose, block in keys)
    seeds = np.array([stream.generator().initial_seed() for stream in streams], dtype=np.uint64)
    assert len(np.unique(seeds)) == len(keys) > len(np.unique(seeds.astype(np.uint32)))


def test_streams_are_normal_and_independent_of_their_neighbours():
    """Mean and variance of 2 * 10^6 draws and the correlation of neighbours within five standard errors: 2e-6."""
    rows = torch.stack(
        [
            torch.randn(10_000, generator=Stream(0, index, Purpose.PILOT).generator(), dtype=torch.float64)
            for index in range(200)
        ]
    )
    count = rows.numel()
    assert rows.mean().abs() < 5 / count**0.5
    assert (rows.var() - 1).abs() < 5 * (2 / count) ** 0.5
    assert (rows[:-1] * rows[1:]).mean().abs() < 5 / count**0.5
