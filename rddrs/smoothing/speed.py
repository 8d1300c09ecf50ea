"""The micro-batch that suits a classifier on this machine."""

import json
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from filelock import FileLock
from jaxtyping import Float
from torch import Tensor

from rddrs.files import reading, write_text
from rddrs.smoothing.cores import on_single_cores
from rddrs.smoothing.edge import Classifier, out_of_memory

BATCHES = tuple(1 << power for power in range(6, 17))
"""64 to 65,536: the micro-batches that are tried, in this order."""

ROUNDS, ROWS, CALLS, SECONDS = 3, 1024, 8, 1.0
"""How often a micro-batch is timed, on how many rows at most or, on a device, in how many calls, and the longest call
that a larger one is tried after."""

ALIKE = 0.97
"""Micro-batches of at least this share of the highest rate are equals: a call costs more than its network."""


def measure_batch(classifier: Classifier, x: Float[Tensor, "*shape"], candidates: Sequence[int] = BATCHES) -> int:
    """The micro-batch at which the classifier runs the most inputs a second on one core, or on the device of `x`.

    The candidates, ascending, are tried up to where the rate falls, two in a row are no faster, or the memory ends;
    where it does at the first, half as many rows are, and so on. On a GPU, which others may slow down meanwhile, three
    in a row are no faster. Of equals the largest is taken. Raises RuntimeError where one row does not fit.
    """
    return on_single_cores(lambda these: _fastest(classifier, x, these), [candidates])[0]


@torch.inference_mode()
def _fastest(classifier: Classifier, x: Float[Tensor, "*shape"], candidates: Sequence[int]) -> int:
    rates: dict[int, float] = {}
    for batch in candidates:
        seconds = None
        try:
            seconds = _seconds(classifier, x, batch)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error) or batch == 1:
                raise
        torch.cuda.empty_cache()  # now that the error, which held what was allocated, is gone
        if seconds is None:
            return _largest(rates) if rates else _fastest(classifier, x, [batch // 2])
        rates[batch] = batch / seconds
        best = max(rates, key=rates.__getitem__)
        patience = 8 if x.is_cuda else 4 if rates[batch] >= 0.9 * rates[best] else 2
        if batch >= patience * best or seconds > SECONDS:
            break
    return _largest(rates)


def _largest(rates: dict[int, float]) -> int:
    """The largest micro-batch of those that are as good as the fastest."""
    return max(batch for batch, rate in rates.items() if rate >= ALIKE * max(rates.values()))


def _seconds(classifier: Classifier, x: Float[Tensor, "*shape"], batch: int) -> float:
    """The fewest seconds a call took, with room for the noise and its product in memory."""
    inputs = x.expand(3 * batch, *x.shape).contiguous()[:batch]

    def seconds(calls: int) -> float:
        start = time.perf_counter()
        for _ in range(calls):
            classifier(inputs)
        if x.is_cuda:
            torch.cuda.synchronize(x.device)
        return (time.perf_counter() - start) / calls

    seconds(1)  # which may wait for kernels to be found
    once = seconds(1)
    calls = int(min(ROWS / batch if x.device.type == "cpu" else CALLS, SECONDS / ROUNDS / max(once, 1e-9)))
    return min(once, *(seconds(calls) for _ in range(ROUNDS))) if calls else once


def kept_batch(classifier: Classifier, x: Float[Tensor, "*shape"], path: Path) -> int:
    """The micro-batch that `path` holds; measured on the first call, so that counts can be repeated ever after."""
    with FileLock(path.parent / ".lock"):
        if not path.exists():
            write_text(path, json.dumps({"batch": measure_batch(classifier, x)}))
    with reading(path):
        batch = json.loads(path.read_text())["batch"]
        if type(batch) is not int or batch < 1:
            raise ValueError(f"batch={batch!r}")
        return batch
