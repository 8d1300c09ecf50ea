"""Whether a device certifies as the CPU does, and how much of its networks' speed is left: one command.

python -m benchmarks.device --root FOLDER [--device cuda] [--minutes 8] [--write outputs/benchmarks/device.json]

It needs the checkout and MNIST's files in FOLDER, and takes at most the minutes. Sections, each of which reports its
own error, so that the others go on, and is in the file as soon as it is over:

machine     what it is, what it can do, and which roundings are allowed;
product     C z against float64, whatever roundings are allowed: the largest error, relative to |C| |z|;
same        what must be the same: answers at noise of the CPU that was moved, but for ties up to rounding; a second
            certificate, bit for bit;
counts      certificates here and on the CPU draw other numbers: a test of equal probabilities of the class, whose false
            alarm is at most 1e-6 in all;
share       passes a second of whole certificates, of every kind of noise, and of many small ones that are counted
            together, as a share of those of the network alone at its best micro-batch, on noise that is drawn
            beforehand (medians of interleaved rounds), with peak memory;
contracts   the contract suite of the methods on the device, where pytest is installed;
run         `rddrs run` with RS at n = 100,000, of all 10,000 test inputs of MNIST, or of as many as fit in what is left
            of the time: it says how many.

`--small` takes seconds: tiny sizes, random images and the embedded digits.
"""

import argparse
import importlib.util
import json
import resource
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np
import scipy.stats
import torch
from hydra import compose, initialize_config_dir
from joblib import cpu_count
from torch import Tensor, nn

import rddrs
from benchmarks.certify import random_full
from benchmarks.large import network as sized
from pipelines.config import load
from pipelines.entry import CONFIGURATION
from pipelines.prepare import prepare
from pipelines.run import run as run_pipeline
from rddrs.certification import Terms, certify_together
from rddrs.data.mnist import mnist
from rddrs.models import pretrained
from rddrs.noise.precision import fast_float64
from rddrs.smoothing import measure_batch, votes

LENET, ALARM = "mnist-lenet-consistency-cotrained-sigma0.5", 1e-6
SIGMA, SMALL = 0.5, 1000
"""The noise level, and the draws of an input of which many are counted together."""


def machine(options: argparse.Namespace) -> dict[str, Any]:
    it: torch.device = options.device
    found: dict[str, Any] = {"torch": torch.__version__, "device": str(it), "fast_float64": fast_float64(it)}
    found["matmul"] = torch.get_float32_matmul_precision()
    if it.type == "cuda":
        found |= {
            "name": torch.cuda.get_device_name(it),
            "capability": torch.cuda.get_device_capability(it),
            "bfloat16": torch.cuda.is_bf16_supported(including_emulation=False),
            "cudnn_tf32": torch.backends.cudnn.allow_tf32,
            "memory_mib": torch.cuda.get_device_properties(it).total_memory >> 20,
        }
    return found


def product(options: argparse.Namespace) -> dict[str, float]:
    """Raises AssertionError where a product is less exact than float32's own rounding allows."""
    dim, source = (48 if options.small else 784), torch.Generator().manual_seed(0)
    z, found, before = torch.randn(512, dim, generator=source), {}, torch.get_float32_matmul_precision()
    for kind, scale in scales((dim,), SIGMA).items():
        matrix = scale.matrix.double()
        if isinstance(scale, rddrs.Kronecker):  # whose noise is B z, B = C U
            matrix = scale.spread(torch.eye(dim, dtype=torch.float64)).mT
        exact, size = z.double() @ matrix.mT, z.double().abs() @ matrix.mT.abs()
        try:
            for allowed in ("highest", "high", "medium"):
                torch.set_float32_matmul_precision(allowed)
                error = (scale.spread(z.to(options.device)).cpu().double() - exact).abs() / size
                found[f"{kind} {allowed}"] = error.max().item()
        finally:
            torch.set_float32_matmul_precision(before)
    assert max(found.values()) < 1e-6, found
    return found


def same(options: argparse.Namespace) -> dict[str, Any]:
    """Raises AssertionError where answers differ by more than the rounding of a network, or a repetition differs."""
    network, inputs = pretrained(LENET), images(options)
    there, x = pretrained(LENET).to(options.device), inputs[0]
    noise = SIGMA * torch.randn(64 if options.small else 10_000, *x.shape, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        here, found = network(x + noise), there((x + noise).to(options.device)).cpu()
    first, second = here.topk(2).values.unbind(dim=1)
    differ, error = votes(here) != votes(found), (here - found).abs().max().item()
    assert ((first - second)[differ] <= 2 * error).all() and error < 0.02 * here.abs().max(), (error, int(differ.sum()))
    scale = rddrs.Isotropic(SIGMA, x.numel())
    one, two = (rddrs.certify(there, x.to(options.device), scale, samples=len(noise)).counts for _ in range(2))
    assert one == two, (one, two)
    return {"votes": len(noise), "differ": int(differ.sum()), "largest_logit_error": error, "repeated": "the same"}


def counts(options: argparse.Namespace) -> dict[str, Any]:
    """Raises AssertionError where the class is certainly not as probable here as there."""
    network, there, samples = pretrained(LENET), pretrained(LENET).to(options.device), 200 if options.small else 20_000
    p_values, workers = [], min(8, cpu_count())
    for index, x in enumerate(images(options)[: 2 if options.small else 10]):
        for scale in scales(tuple(x.shape), SIGMA).values():
            pair = [
                rddrs.certify(net, at, scale, samples=samples, index=index, batch=256, workers=workers)
                for net, at in ((network, x), (there, x.to(options.device)))
            ]
            top = max(range(len(pair[0].counts)), key=pair[0].counts.__getitem__)
            table = [[it.counts[top], samples - it.counts[top]] for it in pair]
            p_values.append(float(np.asarray(scipy.stats.fisher_exact(table))[1]))
    assert min(p_values) * len(p_values) >= ALARM, p_values
    return {"certificates": len(p_values), "smallest_p": min(p_values), "alarm_below": ALARM / len(p_values)}


def share(options: argparse.Namespace) -> dict[str, Any]:
    """For every network and kind of noise the share of its own speed, and what it was measured with."""
    networks: dict[str, tuple[nn.Module, tuple[int, ...]]] = {"lenet": (pretrained(LENET), (1, 28, 28))}
    networks["resnet20"] = sized(32), (3, 32, 32)
    side = 40 if options.small else 224
    networks["resnet50"] = sized(side), (3, side, side)
    found = {}
    for name, (network, shape) in networks.items():
        try:
            found[name] = shares(network.to(options.device), shape, options)
        except Exception:
            found[name] = {"error": traceback.format_exc()}
        network.cpu()
    return found


def shares(network: nn.Module, shape: tuple[int, ...], options: argparse.Namespace) -> dict[str, Any]:
    source = torch.Generator().manual_seed(1)
    x = torch.rand(*shape, generator=source).to(options.device)
    batch = measure_batch(network, x, (4, 8)) if options.small else measure_batch(network, x)
    noisy = x + SIGMA * torch.randn(batch, *shape, generator=source).to(options.device)

    @torch.inference_mode()
    def raw(passes: int) -> float:
        start = time.perf_counter()
        for _ in range(passes):
            network(noisy)
        wait(options.device)
        return passes * batch / (time.perf_counter() - start)

    def whole(scale: rddrs.Scale, passes: int) -> float:
        chosen = min(100, passes // 2)  # draws that choose the class are of the passes, which fill the last call
        start = time.perf_counter()
        rddrs.certify(network, x, scale, samples=passes - chosen, selection_samples=chosen, batch=batch)
        return passes / (time.perf_counter() - start)

    def small(scale: rddrs.Scale, samples: int) -> float:
        each = min(SMALL, samples)
        inputs, terms = samples // each, Terms(samples=each - each // 10, selection_samples=each // 10)
        start = time.perf_counter()
        certify_together(network, inputs * [x], inputs * [scale], terms, range(inputs), batch=batch)
        return inputs * each / (time.perf_counter() - start)

    speed = max(raw(1), raw(1))
    passes = 32 // batch if options.small else max(2, int(speed / batch))  # of about a second
    found = {kind: it.to(options.device, x.dtype) for kind, it in scales(shape, SIGMA, full=not options.small).items()}
    kinds = {kind: partial(whole, scale) for kind, scale in found.items()}
    kinds["isotropic, many inputs"] = partial(small, found["isotropic"])
    rates: dict[str, list[float]] = {kind: [] for kind in kinds}
    peaks, alone = {}, []
    for _ in range(options.rounds + 1):
        for kind, certified in kinds.items():
            alone.append(raw(passes))
            if options.device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(options.device)
            rates[kind].append(certified(passes * batch) / alone[-1])
            peaks[kind] = peak(options.device)
    table = {kind: statistics.median(it[1:]) for kind, it in rates.items()}
    return {"batch": batch, "raw_passes_a_second": statistics.median(alone), "share": table, "peak_mib": peaks}


def contracts(options: argparse.Namespace) -> dict[str, Any]:
    """Raises AssertionError where a test fails."""
    if options.small or importlib.util.find_spec("pytest") is None:
        return {"left_out": "--small" if options.small else "pytest is not installed"}
    chosen = ["tests/methods/test_methods.py", "-k", options.device.type, "-q", "-p", "no:cacheprovider"]
    chosen += ["-p", "no:benchmark"]  # a plugin that warns beside xdist, and a warning is an error
    chosen += ["-n", "4"] if importlib.util.find_spec("xdist") else []
    left = max(10.0, options.deadline - time.monotonic() - 60)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *chosen], capture_output=True, text=True, check=False, timeout=min(90.0, left)
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    return {"pytest": done.stdout.strip().splitlines()[-1]}


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Whole runs, the first two of few inputs: their difference is what an input costs, and tells how many fit."""
    if options.small:
        data, counts, samples = ["data=digits", "train.epochs=1"], (2, 3), 200
    else:
        data, counts, samples = (
            [f"data=mnist data.root={options.root} classifier.pretrained={LENET}"],
            (20, 100),
            100_000,
        )
    with TemporaryDirectory() as folder:

        def certified(inputs: int) -> SimpleNamespace:
            own = [f"method=rs sigma={SIGMA} device={options.device} data.subset={inputs} certify.samples={samples}"]
            start = time.perf_counter()
            with initialize_config_dir(str(CONFIGURATION), version_base="1.3"):
                words = " ".join([*data, *own, f"output_root={folder}"]).split()
                prepared = prepare(load(compose("config", words)))
            run_pipeline(prepared)
            found = json.loads((prepared.places.path / "summary.json").read_text())
            acr, each = found["acr_radius"], found["certify_seconds"]
            return SimpleNamespace(inputs=inputs, seconds=time.perf_counter() - start, acr=acr, certify_seconds=each)

        first, second = (certified(inputs) for inputs in counts)
        each = max(second.certify_seconds, (second.seconds - first.seconds) / (second.inputs - first.inputs))
        fitting = min(10_000, int((options.deadline - time.monotonic() - 10 - first.seconds) / (1.5 * each)))
        most = certified(fitting) if not options.small and fitting > second.inputs else second
    return vars(most) | {"samples": samples, "an_input": each}


SECTIONS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    it.__name__: it for it in (machine, product, same, counts, share, contracts, run)
}


def images(options: argparse.Namespace) -> Tensor:
    if options.small:
        return torch.rand(4, 1, 28, 28, generator=torch.Generator().manual_seed(2))
    inputs = mnist(str(options.root)).test_inputs
    return inputs[list(range(0, len(inputs), 1000))]


def scales(shape: tuple[int, ...], sigma: float, full: bool = True) -> dict[str, rddrs.Scale]:
    """A scale of each kind, of levels from sigma to 2 sigma; full where it fits."""
    dim, source = int(np.prod(shape)), torch.Generator().manual_seed(0)
    factors = [torch.linalg.qr(torch.randn(n, n, generator=source, dtype=torch.float64)).Q.float() for n in shape]
    found: dict[str, rddrs.Scale] = {"isotropic": rddrs.Isotropic(sigma, dim)}
    found["kronecker"] = rddrs.Kronecker(factors, torch.linspace(sigma, 2 * sigma, dim).view(shape))
    return found | ({"full": random_full(dim, sigma)} if full and dim <= 3072 else {})


def wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def peak(device: torch.device) -> int:
    """Peak memory in MiB: of the device since it was reset, of this process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) >> 20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, help="the folder of MNIST's four files")
    default = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", type=torch.device, default=torch.device(default))
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--write", type=Path, default=Path("outputs/benchmarks/device.json"))
    options = parser.parse_args(arguments)
    if options.root is None and not options.small:
        parser.error("--root FOLDER: the folder of MNIST's files is needed")
    options.deadline = time.monotonic() + 60 * options.minutes
    options.write.parent.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {}
    for name in options.sections:
        start = time.perf_counter()
        if time.monotonic() > options.deadline - 15:
            report[name] = {"left_out": f"--minutes {options.minutes:g} are over"}
        else:
            try:
                report[name] = SECTIONS[name](options)
            except Exception:
                report[name] = {"error": traceback.format_exc()}
        report[name]["section_seconds"] = time.perf_counter() - start
        print(f"{name}: {json.dumps(report[name], indent=1)}", flush=True)
        options.write.write_text(json.dumps(report, indent=1) + "\n")
    return report


if __name__ == "__main__":
    sys.exit(any("error" in section for section in main().values()))
