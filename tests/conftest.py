"""Shared fixtures. The jaxtyping hook precedes the first import of `rddrs`: shapes are checked under pytest only."""

import gc
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jaxtyping

from tests import checked

gc.set_threshold(100_000, 50, 20)  # of so many objects that stay, the usual search for garbage takes up to a tenth
checked.install()

import pytest  # noqa: E402
import torch  # noqa: E402
from scipy.stats import norm  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils._pytree import tree_leaves  # noqa: E402

from rddrs import Diagonal, Full, Isotropic, Kronecker, Scale  # noqa: E402
from tests.warm import served  # noqa: E402

if TYPE_CHECKING:
    from playwright.sync_api import Page

torch.set_num_threads(1)

ROOT = Path(__file__).parents[1]


LONG = [f"tests/{folder}/" for folder in ("docs", "pipelines", "trust", "models", "certification")]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The folders that take longest begin first, so that no core waits at the end: see `--no-loadscope-reorder`."""
    items.sort(key=lambda item: [not item.nodeid.startswith(folder) for folder in LONG])


def pytest_runtest_setup() -> None:
    checked.calls.clear()


@pytest.fixture(scope="session")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the command `rddrs` of this checkout, and with `warm MODULE` in the place of `python -m MODULE`."""
    folder = tmp_path_factory.mktemp("commands")
    with served(folder, os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}):
        yield folder


class Linear(nn.Module):
    """Two classes, logits (0, steepness (w.x + b)): the oracle whose certificates are known in closed form."""

    def __init__(self, weight: Tensor, bias: float, steepness: float = 1.0) -> None:
        super().__init__()
        self.weight, self.bias, self.steepness = weight, bias, steepness
        self.eval()

    def forward(self, inputs: Tensor) -> Tensor:
        margin = self.steepness * (inputs.flatten(1) @ self.weight + self.bias)
        return torch.stack([torch.zeros_like(margin), margin], dim=1)

    def radius(self, x: Tensor, scale: Scale) -> float:
        """(w.x + b) / |C w|: the exact rho of class 1."""
        weight = self.weight.double()
        margin = weight @ x.flatten().double() + self.bias
        return (margin / torch.linalg.vector_norm(scale.matrix.double() @ weight)).item()


@dataclass(frozen=True)
class Oracle:
    """A linear classifier, an input of class 1 and a scale: G_C answers 1 with probability Phi(radius)."""

    classifier: Linear
    x: Tensor
    scale: Scale
    radius: float

    @property
    def probability(self) -> float:
        return float(norm.cdf(self.radius))


def random_spd(dim: int, seed: int, low: float = 0.2, high: float = 1.0) -> Tensor:
    """A float64 matrix with eigenvalues spread evenly over [low, high] and random axes."""
    source = torch.Generator().manual_seed(seed)
    axes = torch.linalg.qr(torch.randn(dim, dim, generator=source, dtype=torch.float64)).Q
    matrix = (axes * torch.linspace(low, high, dim, dtype=torch.float64)) @ axes.mT
    return (matrix + matrix.mT) / 2


def make_scale(kind: str, dim: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Scale:
    """A scale of the kind `isotropic`, `diagonal`, `full` or `kronecker` with eigenvalues in [0.2, 1]."""
    if kind == "isotropic":
        return Isotropic(0.3, dim)
    if kind == "diagonal":
        order = torch.randperm(dim, generator=torch.Generator().manual_seed(seed))
        return Diagonal(torch.linspace(0.2, 1.0, dim, dtype=dtype)[order])
    if kind == "kronecker":
        order = torch.randperm(dim, generator=torch.Generator().manual_seed(seed))
        shape = divisors(dim)
        factors = [torch.linalg.eigh(random_spd(size, seed)).eigenvectors.to(dtype) for size in shape]
        return Kronecker(factors, torch.linspace(0.2, 1.0, dim, dtype=dtype)[order].view(shape))
    return Full(random_spd(dim, seed).to(dtype))


def divisors(dim: int) -> list[int]:
    """The prime factors of a dimension, ascending; 1 for 1."""
    for divisor in range(2, dim):
        if dim % divisor == 0:
            return [divisor, *divisors(dim // divisor)]
    return [dim]


@pytest.fixture
def shapes_unchecked() -> Iterator[None]:
    """As outside of pytest: for the library's own messages about shapes, which the hook would forestall."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def page() -> "Iterator[Page]":
    from tests.browser import blank_page, chromium  # the methods' suite runs on a device's machine without it

    if chromium() is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    with blank_page() as page:
        yield page


class NoDense(TorchDispatchMode):
    """Raises where an operation makes a tensor of a fourth of dim x dim entries or more."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.most = dim * dim // 4

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **kwargs or {})
        for leaf in tree_leaves(found):
            if isinstance(leaf, Tensor):
                packed = leaf.layout != torch.strided  # oneDNN's tensors have no storage that can be seen
                entries = leaf.numel() if packed else leaf.untyped_storage().nbytes() // leaf.element_size()
                if entries >= self.most:
                    raise RuntimeError(f"{func} made a tensor of shape {tuple(leaf.shape)}")
        return found


@pytest.fixture
def no_dense_tensors() -> type[NoDense]:
    return NoDense


@pytest.fixture
def spd_matrix() -> Callable[..., Tensor]:
    return random_spd


@pytest.fixture
def scale_of() -> Callable[..., Scale]:
    return make_scale


@pytest.fixture
def linear() -> type[Linear]:
    return Linear


@pytest.fixture
def oracle_of() -> Callable[..., Oracle]:
    """An oracle of a given kind of scale, dimension and radius, float32."""

    def make(kind: str, dim: int, radius: float, seed: int = 0) -> Oracle:
        source = torch.Generator().manual_seed(seed)
        weight = torch.randn(dim, generator=source) / math.sqrt(dim)
        x, scale = torch.randn(dim, generator=source), make_scale(kind, dim, seed)
        spread = torch.linalg.vector_norm(scale.matrix.double() @ weight.double()).item()
        bias = radius * spread - (weight.double() @ x.double()).item()
        classifier = Linear(weight, bias)
        return Oracle(classifier, x, scale, classifier.radius(x, scale))

    return make
