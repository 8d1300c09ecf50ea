"""What a Kronecker scale costs at camera size: seconds a pass and peak memory, beside isotropic noise.

python -m benchmarks.large [--samples 128] [--rounds 5] [--shapes 32 224]

A network of random weights and a random image: ResNet-20 at 3 x 32 x 32, the shape of ResNet-50 at 3 x 224 x 224. In
every round both scales certify the image, in an order that turns, on one core; seconds are the processor's, the ratio
is the median of those within a round. The peak memory is that of a process of its own for each scale, beside that of
one which has the network alone.
"""

import argparse
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import torch
from torch import Tensor, nn

import rddrs
from benchmarks.measured import keep
from rddrs.models import ResNet

SELECTION = 16


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3, 1 x 1 convolutions, the last four times as wide, and a shortcut."""

    def __init__(self, entering: int, width: int, stride: int) -> None:
        super().__init__()
        leaving = 4 * width

        def convolution(a: int, b: int, kernel: int, step: int = 1) -> list[nn.Module]:
            return [nn.Conv2d(a, b, kernel, step, kernel // 2, bias=False), nn.BatchNorm2d(b)]

        self.layers = nn.Sequential(
            *convolution(entering, width, 1),
            nn.ReLU(),
            *convolution(width, width, 3, stride),
            nn.ReLU(),
            *convolution(width, leaving, 1),
        )
        same = stride == 1 and entering == leaving
        self.shortcut = nn.Identity() if same else nn.Sequential(*convolution(entering, leaving, 1, stride))

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.relu(self.layers(inputs) + self.shortcut(inputs))


def network(size: int) -> nn.Module:
    """ResNet-20 for images of 32 x 32, the shape of ResNet-50 (He et al. 2015) for larger ones."""
    torch.manual_seed(0)
    if size == 32:
        return ResNet((3, 32, 32), 10).eval().requires_grad_(False)
    blocks, entering = [], 64
    for width, count in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for place in range(count):
            blocks.append(Bottleneck(entering, width, 2 if place == 0 and width > 64 else 1))
            entering = 4 * width
    stem = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    whole = nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, 1000))
    return whole.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def scale_of(kind: str, size: int) -> rddrs.Scale:
    """Isotropic, or Kronecker with random factors."""
    if kind == "isotropic":
        return rddrs.Isotropic(0.25, 3 * size * size)
    factors = [torch.linalg.qr(torch.randn(n, n, dtype=torch.float64)).Q.float() for n in (3, size, size)]
    return rddrs.Kronecker(factors, torch.full((3, size, size), 0.25))


def certify(net: nn.Module, scale: rddrs.Scale, size: int, samples: int) -> None:
    x = torch.rand(3, size, size, generator=torch.Generator().manual_seed(1))
    rddrs.certify(net, x, scale, samples=samples, selection_samples=SELECTION, batch=64 if size == 32 else 8)


def peak(size: int, kind: str | None, samples: int) -> float:
    """The peak memory of this process, in MiB, after a certificate, or with the network alone."""
    torch.set_num_threads(1)
    net = network(size)
    if kind is None:
        net(torch.rand(64 if size == 32 else 8, 3, size, size))
    else:
        certify(net, scale_of(kind, size), size, samples)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shapes", type=int, nargs="+", default=[32, 224])
    options = parser.parse_args()
    torch.set_num_threads(1)
    figures = {}
    for size in options.shapes:
        net, kinds = network(size), ["isotropic", "kronecker"]
        scales = {kind: scale_of(kind, size) for kind in kinds}
        samples = options.samples if size > 32 else 32 * options.samples
        seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
        for turn in range(options.rounds + 1):
            for kind in kinds if turn % 2 else reversed(kinds):
                start = time.process_time()
                certify(net, scales[kind], size, samples)
                seconds[kind].append((time.process_time() - start) / (samples + SELECTION))
        for kind in kinds:
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                most = pool.submit(peak, size, kind, samples).result()
            print(
                f"3 x {size} x {size}  {kind:<10}{1e3 * np.median(seconds[kind][1:]):>9.3f} ms a pass{most:>8.0f} MiB"
            )
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            print(f"3 x {size} x {size}  network alone {pool.submit(peak, size, None, 0).result():>23.0f} MiB")
        ratio = np.median(np.divide(seconds["kronecker"][1:], seconds["isotropic"][1:]))
        print(f"3 x {size} x {size}  kronecker / isotropic {ratio:.3f}", flush=True)
        figures[f"kronecker / isotropic, {size}"] = ratio
    keep("large", figures)


if __name__ == "__main__":
    main()
