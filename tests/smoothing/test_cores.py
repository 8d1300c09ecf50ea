"""Workers compute on one core each and leave the user's process as it was."""

import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Thread
from types import SimpleNamespace

import pytest
import torch

from pipelines.means import worker_pool
from rddrs import Isotropic, certify
from rddrs.noise import Purpose, Stream
from rddrs.smoothing import SmoothedClassifier, hard_counts, measure_batch, worker_threads

CORES = 3


@pytest.fixture(autouse=True)
def cores():
    before = torch.get_num_threads()
    torch.set_num_threads(CORES)
    yield
    torch.set_num_threads(before)


class Observer:
    """A classifier that notes how many cores each of its calls may use."""

    def __init__(self):
        self.cores = set()

    def __call__(self, inputs):
        self.cores.add(torch.get_num_threads())
        return torch.stack([inputs[:, 0], -inputs[:, 0]], dim=1)


def of_a_new_thread():
    found = []
    thread = Thread(target=lambda: found.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    return found[0]


X, SCALE = torch.tensor([1.0, 0.0]), Isotropic(0.5, 2)
DRAWS = Stream(0, 0, Purpose.PILOT).draws(600, 256)
USES = {
    "hard_counts": lambda network: hard_counts(SmoothedClassifier(network, SCALE), X, DRAWS),
    "hard_counts of three": lambda network: hard_counts(SmoothedClassifier(network, SCALE), X, DRAWS, workers=3),
    "certify": lambda network: certify(network, X, SCALE, samples=300),
    "measure_batch": lambda network: measure_batch(network, X, (2, 4)),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_the_network_runs_on_one_core_and_no_other_thread_notices(use):
    network = Observer()
    use(network)
    assert network.cores == {1}
    assert torch.get_num_threads() == CORES
    assert of_a_new_thread() == CORES


def test_workers_stay_on_one_core_beside_each_other():
    """Each starts while others run, and none is reached by the default that another puts back."""
    barrier = Barrier(4)

    def work(number):
        barrier.wait()
        torch.ones(200_000).sum()
        network = Observer()
        hard_counts(SmoothedClassifier(network, SCALE), X, Stream(0, number, Purpose.PILOT).draws(100, 256))
        barrier.wait()
        return {torch.get_num_threads()} | network.cores

    with worker_threads(4) as pool:
        assert list(pool.map(work, range(8))) == [{1}] * 8
        assert of_a_new_thread() == CORES
    with ThreadPoolExecutor(1) as users:
        assert users.submit(torch.get_num_threads).result() == CORES


def test_the_pool_of_the_pipeline_leaves_the_process_alone():
    with worker_pool(SimpleNamespace(certify=SimpleNamespace(workers=2), device="cpu")) as pool:  # pyright: ignore[reportArgumentType]
        assert pool.submit(torch.get_num_threads).result() == 1
    assert torch.get_num_threads() == of_a_new_thread() == CORES


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_freed_memory_is_kept_for_the_next_batch():
    """New pages for two activations of 8 MB, allocated and freed 20 times: of every one without, of none with it."""
    code = """
import resource, torch
from rddrs.smoothing import keep_freed_memory
torch.set_num_threads(1)
def pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(2**21) + torch.ones(2**21)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
without = pages()
keep_freed_memory()
pages()
print(without, pages())
"""
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    without, kept = map(int, found.stdout.split())
    assert kept < 100 < 10_000 < without


@pytest.mark.parametrize("workers", [1, 3])
def test_an_autocast_of_the_user_holds_in_worker_threads(workers):
    """It is of the thread that enters it: counts would otherwise hang on the number of workers."""
    dtypes = set()

    def network(inputs):
        dtypes.add((inputs @ torch.eye(2)).dtype)
        return inputs

    with torch.autocast("cpu", torch.bfloat16):
        hard_counts(SmoothedClassifier(network, SCALE), X, DRAWS, workers)
    assert dtypes == {torch.bfloat16}
    dtypes.clear()
    hard_counts(SmoothedClassifier(network, SCALE), X, DRAWS, workers)
    assert dtypes == {torch.float32}
