"""Networks in another precision and compiled: the same function, the same answers in every process and thread."""

import hashlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch._inductor import config as inductor

from rddrs import ANCER, Isotropic
from rddrs.models import Accelerated, SmallCNN
from rddrs.models.accelerated import Copies
from rddrs.noise import Purpose, Stream
from rddrs.smoothing import SmoothedClassifier, hard_counts, predict

SHAPE = (1, 12, 12)

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated")


def network() -> nn.Module:
    torch.manual_seed(0)
    return SmallCNN(SHAPE, 5, padding=1).eval().requires_grad_(False)


def inputs(count: int) -> Tensor:
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(1))


@torch.inference_mode()
def answer(fast: nn.Module, given: Tensor) -> Tensor:
    return fast(given)


def counted(fast: nn.Module, workers: int = 1) -> list[int]:
    smoothed, draws = SmoothedClassifier(fast, Isotropic(5.0, 144)), Stream(0, 0, Purpose.CERTIFICATION).draws(1000, 96)
    return hard_counts(smoothed, inputs(1)[0], draws, workers).tolist()


def fingerprint() -> str:
    """The bits of the answers and the counts of a compiled network, for a process of its own to repeat."""
    fast = Accelerated(network(), "bfloat16", compile=True)
    with torch.inference_mode():
        answers = fast(inputs(200))
    return f"{hashlib.sha256(answers.numpy().tobytes()).hexdigest()} {counted(fast)}"


@pytest.mark.parametrize(
    ("precision", "compile", "error"),
    [("bfloat16", False, 0.02), ("float16", False, 0.003), ("float32", True, 1e-5)],
)
def test_it_is_the_same_function(precision, compile, error):
    plain = network()
    fast = Accelerated(plain, precision, compile)
    with torch.inference_mode():
        answers, exact = fast(inputs(200)), plain(inputs(200))
        assert answers.dtype == torch.float32 and 0 < (answers - exact).abs().max() < error * exact.abs().max()
        assert fast(inputs(3).double()).dtype == torch.float64


def test_the_input_is_rounded_inside_after_the_sum():
    """Inputs that bfloat16 cannot tell apart get the same answer."""
    fast = Accelerated(network(), "bfloat16")
    with torch.inference_mode():
        assert torch.equal(fast(inputs(9)), fast(inputs(9).bfloat16().float()))


def test_a_compiled_answer_depends_on_no_other_input_and_counts_not_on_the_threads():
    fast = Accelerated(network(), "float32", compile=True)
    with torch.inference_mode():
        whole = fast(inputs(200))
        assert torch.equal(whole[:70], fast(inputs(200)[:70]))
        with ThreadPoolExecutor(2) as pool:
            assert all(torch.equal(whole, found) for found in pool.map(partial(answer, fast), [inputs(200)] * 4))
    one = counted(fast)
    assert one == counted(fast, workers=3) and sum(one) == 1000 and sorted(one)[-2] > 0


def test_a_compiled_network_repeats_its_counts_bit_for_bit_in_another_process():
    code = "import tests.models.test_accelerated as t; print(t.fingerprint())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == fingerprint()


def test_gradients_go_through_a_plain_copy_and_training_through_the_network():
    plain = network()
    fast = Accelerated(plain, "float32", compile=True)
    with torch.inference_mode():
        before = fast(inputs(4))
    x = inputs(4).requires_grad_()
    (found,) = torch.autograd.grad(fast(x).sum(), x)
    (expected,) = torch.autograd.grad(plain(x).sum(), x)
    torch.testing.assert_close(found, expected)
    fast.requires_grad_(True)
    assert fast(inputs(4)).requires_grad
    with torch.no_grad():
        for weights in plain.parameters():
            weights.mul_(0.5)
    fast.requires_grad_(False)
    with torch.inference_mode():
        torch.testing.assert_close(fast(inputs(4)), plain(inputs(4)), rtol=1e-4, atol=1e-4)
        assert not torch.allclose(before, fast(inputs(4))), "the weights have changed: it is compiled again"


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0, 0, :5] if x.sum().item() > 0 else x[:, 0, 1, :5]


def test_a_fidelity_and_a_proposal_compare_the_copies_once_and_not_at_every_call(monkeypatch):
    compared, are_of = [], Copies.are_of
    monkeypatch.setattr(Copies, "are_of", lambda self, network: compared.append(1) or are_of(self, network))
    fast = Accelerated(network(), "bfloat16")
    predict(SmoothedClassifier(fast, Isotropic(0.5, 144)), inputs(3), Stream(0, 0, Purpose.FIDELITY), draws=9)
    assert len(compared) == 0  # they were made, at the first of nine calls
    predict(SmoothedClassifier(fast, Isotropic(0.5, 144)), inputs(3), Stream(0, 0, Purpose.FIDELITY), draws=9)
    assert len(compared) == 1
    ANCER(samples=8, iterations=5).propose(fast, inputs(1)[0], sigma=0.5, sigma_x=0.5)
    before = len(compared)
    ANCER(samples=8, iterations=30).propose(fast, inputs(1)[0], sigma=0.5, sigma_x=0.5)
    assert len(compared) - before <= before


def test_a_network_that_cannot_be_compiled_is_one_error():
    with torch.inference_mode(), pytest.raises(ValueError, match=r"classifier.compile=true: the .*network"):
        Accelerated(Branching().eval(), "float32", compile=True)(inputs(2))


def test_a_missing_compiler_is_one_error():
    with (
        inductor.patch({"cpp.cxx": "/no/such/compiler"}),
        pytest.raises(ValueError, match=r"needs a C\+\+ compiler"),
    ):
        Accelerated(network(), "float32", compile=True)
