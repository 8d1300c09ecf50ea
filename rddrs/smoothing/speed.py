"""The micro-batch that suits a classifier on this machine."""

import json
import time
from pathlib import Path

import torch
from filelock import FileLock
from jaxtyping import Float
from torch import Tensor

from rddrs.files import write_text
from rddrs.smoothing.cores import on_single_cores
from rddrs.smoothing.edge import Classifier


def measure_batch(
    classifier: Classifier, x: Float[Tensor, "*shape"], candidates: tuple[int, ...] = (64, 128, 256, 512, 1024)
) -> int:
    """The micro-batch at which the classifier runs the most inputs a second on one core (best of three rounds)."""

    @torch.inference_mode()
    def rate(batch: int) -> float:
        inputs = x.expand(batch, *x.shape).contiguous()
        start = time.perf_counter()
        for _ in range(max(1, 1024 // batch)):
            classifier(inputs)
        if x.is_cuda:
            torch.cuda.synchronize()
        return max(1, 1024 // batch) * batch / (time.perf_counter() - start)

    def measure(candidates: tuple[int, ...]) -> int:
        rates = [[rate(batch) for batch in candidates] for _ in range(4)][1:]
        return max(zip(map(max, zip(*rates, strict=True)), candidates, strict=True))[1]

    return on_single_cores(measure, [candidates])[0]


def kept_batch(classifier: Classifier, x: Float[Tensor, "*shape"], path: Path) -> int:
    """The micro-batch that `path` holds; measured on the first call, so that counts can be repeated ever after."""
    with FileLock(path.parent / ".lock"):
        if not path.exists():
            write_text(path, json.dumps({"batch": measure_batch(classifier, x)}))
    return json.loads(path.read_text())["batch"]
