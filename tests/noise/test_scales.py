"""Laws of every noise scale: what it does is what its dense matrix C does."""

from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from beartype.roar import BeartypeCallHintViolation
from safetensors.torch import save_file
from torch import Tensor

from rddrs import Diagonal, Full, Isotropic, Kronecker
from rddrs.noise import Scale, load_scale, precision, product
from rddrs.noise.tensors import from_tensors
from tests.layouts import LAYOUTS, SHAPE

KINDS = ["isotropic", "diagonal", "full", "kronecker"]
DTYPES = [torch.float32, torch.float64]


@pytest.fixture(params=[(kind, dim, dtype) for kind in KINDS for dim in (1, 2, 17) for dtype in DTYPES], ids=str)
def case(request, scale_of):
    kind, dim, dtype = request.param
    return scale_of(kind, dim, seed=dim, dtype=dtype), torch.randn(5, dim, dtype=dtype), dtype


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def assert_close(found, expected, dtype):
    bound = 1e-5 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(found, expected, rtol=bound, atol=bound)


def test_noise_is_the_dense_product(case):
    """B U^T is C, symmetric, U orthogonal: |U^T z| = |z|; B is C itself but of a Kronecker scale."""
    scale, z, dtype = case
    assert_close(scale.spread(scale.turned(z)), z @ scale.matrix.to(z), dtype)
    assert_close(scale.turned(z).norm(dim=1), z.norm(dim=1), dtype)
    assert isinstance(scale, Kronecker) or scale.turned(z) is z


def square_root(scale, dtype):
    """The B of the noise that `perturb` adds, x + B z, from the rows of the identity."""
    return scale.perturb(torch.zeros(scale.dim, dtype=dtype), torch.eye(scale.dim, dtype=dtype)).mT


def test_perturb_adds_noise_of_the_covariance(case):
    """B z with B B^T = C C: C z itself, but for a Kronecker scale, which spares a rotation of the isotropic z."""
    scale, z, dtype = case
    x, root = torch.randn(scale.dim, dtype=dtype), square_root(scale, dtype)
    assert_close((root @ root.mT).double(), scale.covariance, dtype)
    assert_close(scale.perturb(x, z.clone()), x + z @ root.mT, dtype)
    if not isinstance(scale, Kronecker):
        assert_close(scale.perturb(x, z.clone()), x + scale.spread(z), dtype)


def test_whitening_measures_the_noise_that_is_sampled(case):
    """|B^-1 B z| = |z|, and the region's extent along w is |B^T w|: exactly, whatever the rounding of the factors."""
    scale, z, dtype = case
    scale = scale.to("cpu", dtype)
    root = square_root(scale.to("cpu", torch.float64), torch.float64).mT
    white = scale.whiten(z.double() @ root)
    torch.testing.assert_close(white.norm(dim=1), z.double().norm(dim=1), rtol=1e-12, atol=1e-12)
    extent = scale.extent(z.double())
    torch.testing.assert_close(extent.norm(dim=1), (z.double() @ root.mT).norm(dim=1), rtol=1e-12, atol=1e-12)
    singular = torch.linalg.svdvals(root)
    assert (scale.eigenvalues <= singular.flip(0) * (1 + 1e-12)).all() and scale.norm >= singular[0] * (1 - 1e-12)


def test_deviations_are_those_of_the_noise(case):
    scale, _, dtype = case
    assert_close(scale.deviations(), scale.matrix.double().norm(dim=1), dtype)


def test_axes_are_eigenvectors_from_the_longest_to_the_shortest(case):
    scale, _, _ = case
    found = scale.axes(3, 2)
    dim = scale.dim
    assert [axis.rank for axis in found] == sorted({*range(1, min(3, dim) + 1), *range(max(1, dim - 1), dim + 1)})
    values = torch.linalg.eigvalsh(scale.matrix.double()).flip(0)
    for axis in found:
        assert axis.value == pytest.approx(values[axis.rank - 1].item(), rel=1e-5)
        assert axis.vector.norm().item() == pytest.approx(1)
        assert_close(scale.matrix.double() @ axis.vector, axis.value * axis.vector, torch.float32)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_no_layout_in_memory_changes_what_a_scale_does(scale_of, kind, dtype, layout):
    dim = torch.Size(SHAPE).numel()
    scale, x = scale_of(kind, dim, dtype=dtype), layout(torch.randn(SHAPE, dtype=dtype)).flatten()
    rows = torch.stack([layout(row).flatten() for row in torch.randn(6, *SHAPE, dtype=dtype)])
    for z in (torch.stack([rows, rows + 1e3], dim=2)[..., 0], rows.mT.contiguous().mT, x.expand(6, -1)):
        still = z.contiguous()
        assert_close(scale.spread(z), scale.spread(still), dtype)
        assert_close(scale.whiten(z), scale.whiten(still), dtype)
        # An expanded z cannot be overwritten, and a scale may do so.
        for noise in (still.clone(), z if z.stride(0) else still.clone()):
            expected = scale.perturb(x.clone(memory_format=torch.contiguous_format), still.clone())
            assert_close(scale.perturb(x, noise), expected, dtype)


def test_whiten_inverts_the_noise(case):
    scale, z, dtype = case
    white = scale.whiten(scale.spread(z))
    assert white.dtype == torch.float64
    assert_close(white, z.double(), dtype)


def test_spectrum_is_that_of_the_dense_matrix(case):
    scale, _, dtype = case
    dense = scale.matrix.double()
    assert scale.eigenvalues.dtype == torch.float64
    # Float32 factors are orthogonal up to rounding, and `matrix` is rounded, too: the eigenvalues are bounds.
    bound = 1e-6 if isinstance(scale, Kronecker) and dtype == torch.float32 else 1e-9
    torch.testing.assert_close(scale.eigenvalues, torch.linalg.eigvalsh(dense), rtol=bound, atol=1e-12)
    assert scale.log_det == pytest.approx(torch.linalg.slogdet(dense).logabsdet.item(), rel=bound)
    assert scale.geometric_mean == pytest.approx(torch.linalg.det(dense).item() ** (1 / scale.dim), rel=bound)
    torch.testing.assert_close(scale.covariance, dense @ dense)


def test_scaled_multiplies_the_matrix(case):
    scale, _, dtype = case
    assert_close(scale.scaled(2.5).matrix, 2.5 * scale.matrix, dtype)


def test_tensors_rebuild_the_scale_bit_for_bit(case):
    scale, _, _ = case
    again = from_tensors(scale.tensors())
    assert type(again) is type(scale) and again.matrix.dtype == scale.matrix.dtype
    assert torch.equal(again.matrix, scale.matrix)


@pytest.mark.parametrize("dim", [1, 2, 3, 64, 783, 784])
def test_the_triangle_tells_its_dimension(dim):
    assert from_tensors(Full(torch.eye(dim)).tensors()).dim == dim


def test_the_three_kinds_agree_on_a_multiple_of_the_identity():
    z = torch.randn(4, 6, dtype=torch.float64)
    theta = torch.full((6,), 0.7, dtype=torch.float64)
    expected = Isotropic(0.7, 6).spread(z)
    for scale in (Diagonal(theta), Full(theta.diag())):
        torch.testing.assert_close(scale.spread(z), expected)
        assert scale.log_det == pytest.approx(Isotropic(0.7, 6).log_det)


def test_a_symmetric_matrix_is_kept_bit_for_bit_and_rounding_is_symmetrised(spd_matrix):
    matrix = spd_matrix(9, seed=1).float()
    assert torch.equal(Full(matrix).matrix, matrix)
    rounded = matrix.clone()
    rounded[0, 1] *= 1 + 1e-6
    kept = Full(rounded).matrix
    assert torch.equal(kept, kept.mT)


def anything(given: Any) -> Any:
    """What is given, of which a type checker knows nothing."""
    return given


def no_numbers() -> Iterator[tuple[str, Callable[[], Scale]]]:
    """Scales of tensors that hold no real floating-point numbers, by the name of the argument."""
    for change in (
        partial(Tensor.to, dtype=torch.complex64),
        Tensor.int,
        Tensor.bool,
        Tensor.to_sparse,
    ):
        yield "theta", lambda change=change: Diagonal(change(torch.ones(2)))
        yield "matrix", lambda change=change: Full(change(torch.eye(2)))
        yield "values", lambda change=change: Kronecker([torch.eye(2)], change(torch.ones(2)))
        yield "factor 0", lambda change=change: Kronecker([change(torch.eye(2))], torch.ones(2))
    yield "theta", lambda: Diagonal(torch.empty(0))
    yield "matrix", lambda: Full(torch.empty(0, 0))
    yield "values", lambda: Kronecker([torch.empty(0, 0)], torch.empty(0))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Isotropic(0.0, 2), "sigma"),
        (lambda: Isotropic(float("nan"), 2), "sigma"),
        (lambda: Isotropic(float("inf"), 2), "sigma"),
        (lambda: Diagonal(torch.tensor([1.0, -1.0])), "theta"),
        (lambda: Diagonal(torch.tensor([1.0, float("nan")])), "theta"),
        (lambda: Full(torch.ones(2, 3)), "square"),
        (lambda: Full(torch.tensor([[1.0, 0.5], [0.0, 1.0]])), "symmetric"),
        (lambda: Full(torch.tensor([[1.0, float("inf")], [float("inf"), 1.0]])), "finite"),
        (lambda: Full(torch.tensor([[1.0, 2.0], [2.0, 1.0]])), "positive definite"),
        (lambda: Full(torch.zeros(2, 2)), "positive definite"),
        (lambda: Kronecker([torch.eye(2)], torch.ones(3)), "do not fit values of shape"),
        (lambda: Kronecker([torch.eye(2)], torch.ones(2, 2)), "do not fit values of shape"),
        (lambda: Kronecker([torch.eye(2), 2 * torch.eye(3)], torch.ones(2, 3)), "factor 1 is not orthogonal"),
        (lambda: Kronecker([torch.full((2, 2), torch.nan)], torch.ones(2)), "factor 0 is not orthogonal"),
        (lambda: Kronecker([torch.eye(2)], torch.tensor([1.0, 0.0])), "values"),
        (lambda: from_tensors({"weights": torch.ones(2)}), "weights"),
        (lambda: Isotropic(anything(None), 2), "sigma=None: a number above 0"),
        (lambda: Isotropic(anything("x"), 2), "sigma='x': a number above 0"),
        (lambda: Diagonal(torch.tensor([1.0, float("inf")])), "there is inf"),
        *((make, f"{name} is a torch.* tensor of shape") for name, make in no_numbers()),
        (lambda: Kronecker(anything([1]), torch.ones(1)), "factor 0 is a int, not a torch.Tensor"),
        (lambda: Kronecker([torch.eye(1)], anything([1.0])), "values is a list, not a torch.Tensor"),
    ],
)
def test_what_is_no_scale_is_refused(make, message, shapes_unchecked):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "tensors",
    [
        {"triangle": torch.ones(2)},
        {"sigma": torch.ones(2), "dim": torch.tensor(3)},
        {"sigma": torch.tensor(0.5), "dim": torch.tensor(3.7)},
    ],
    ids=str,
)
def test_a_file_of_no_scale_is_named(tensors, tmp_path, shapes_unchecked):
    save_file(tensors, tmp_path / "scale.safetensors")
    with pytest.raises(ValueError, match=r"scale\.safetensors is damaged"):
        load_scale(tmp_path / "scale.safetensors")


def test_shapes_are_checked_while_testing(scale_of):
    with pytest.raises(BeartypeCallHintViolation, match="spread"):
        scale_of("full", 3).spread(torch.zeros(3))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_scale_owns_its_numbers(spd_matrix, dtype, shapes_unchecked):
    matrix = spd_matrix(4, seed=2).to(dtype)
    theta, z = torch.rand(4, dtype=dtype) + 0.5, torch.randn(3, 4, dtype=dtype)
    sigma: Any = torch.rand((), dtype=dtype) + 0.5
    for given, scale in (
        *((theta, Diagonal(theta)), (matrix, Full(matrix)), (theta, Diagonal(theta).to("cpu"))),
        *((sigma, Isotropic(sigma, 4)), (theta, Kronecker([torch.eye(4, dtype=dtype)], theta))),
    ):
        noise, eigenvalues, white = scale.spread(z), scale.eigenvalues.clone(), scale.whiten(z)
        handed = [
            given,
            scale.matrix,
            scale.eigenvalues,
            scale.deviations(),
            *scale.tensors().values(),
            *([scale.theta] if isinstance(scale, Diagonal) else []),
        ]
        for numbers in handed:
            numbers.mul_(10)
        for same in (scale, scale.to("cpu", dtype), scale.scaled(1.0)):
            assert torch.equal(same.spread(z), noise)
            assert torch.equal(same.eigenvalues, eigenvalues)
            assert torch.equal(same.whiten(z), white)


def test_a_scale_needs_no_gradient(spd_matrix):
    for scale in (Diagonal(torch.ones(2, requires_grad=True)), Full(spd_matrix(2, seed=0).requires_grad_())):
        assert not scale.matrix.requires_grad


def test_factors_of_another_precision_are_rounded_with_the_values():
    """The noise is made with them rounded: what is certified would else be too long by 1e-5 here."""
    factor = torch.linalg.qr(torch.randn(8, 8, dtype=torch.float64))[0]
    scale = Kronecker([factor], torch.logspace(0, -4, 8)).to("cpu", torch.float32)
    delta = torch.randn(1, 8, dtype=torch.float64)
    white = (delta @ torch.linalg.inv(factor.float().double()).mT) / scale.values.double()
    assert_close(scale.whiten(delta), white, torch.float64)


@pytest.mark.parametrize("kind", KINDS)
def test_a_scale_that_is_where_it_should_be_is_not_copied(scale_of, kind):
    scale = scale_of(kind, 5)
    if kind != "isotropic":
        assert scale.to("cpu", torch.float32) is scale
    assert scale.to("cpu") is scale


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_the_isotropic_scale_of_a_precision_is_what_its_noise_is_made_with(dtype):
    """torch rounds a factor that is a Python number to the tensor's precision."""
    scale = Isotropic(0.1, 3)
    rounded, one = scale.to("cpu", dtype), torch.ones(1, 3, dtype=dtype)
    assert rounded.spread(one).double().unique().item() == rounded.sigma == scale.spread(one).double().unique().item()
    assert torch.equal(rounded.perturb(torch.zeros(3, dtype=dtype), one.clone()), rounded.spread(one))
    assert torch.equal(rounded.whiten(rounded.spread(one)), one.double())
    assert (rounded.sigma == 0.1) == (dtype == torch.float64)


@pytest.mark.parametrize("precision", ["high", "medium"])
def test_the_product_is_exact_whatever_precision_is_allowed(spd_matrix, precision):
    """Less than the highest precision lets torch round the factors, so that the product is then made in float64."""
    scale, z, x = Full(spd_matrix(40, seed=3).float()), torch.randn(50, 40), torch.randn(40)
    exact = (z.double() @ scale.matrix.double()).float()
    torch.testing.assert_close(scale.spread(z), exact, rtol=1e-5, atol=1e-5)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision(precision)
        assert torch.equal(scale.spread(z), exact)
        assert torch.equal(scale.perturb(x, z), x + exact)
    finally:
        torch.set_float32_matmul_precision(before)


def test_a_float32_product_on_a_device_is_never_left_to_what_is_allowed(shapes_unchecked):
    """The environment can allow TF32 behind torch's back (NVIDIA_TF32_OVERRIDE), and another thread at any time."""
    kinds = [(dtype, torch.device(name)) for dtype in DTYPES for name in ("cpu", "cuda", "mps", "xpu")]
    rounded = [precision.rounds_products(SimpleNamespace(dtype=dtype, device=it)) for dtype, it in kinds]  # pyright: ignore[reportArgumentType]
    assert rounded == [False, True, True, True, False, False, False, False]


def test_an_autocast_of_the_user_does_not_round_the_noise(spd_matrix):
    scale, z, x = Full(spd_matrix(40, seed=3).float()), torch.randn(50, 40), torch.randn(40)
    exact = (z.double() @ scale.matrix.double()).float()
    with torch.autocast("cpu", torch.bfloat16):
        found, summed = scale.spread(z), scale.perturb(x, z.clone())
    assert torch.equal(found, exact) and torch.equal(summed, x + exact)


def rounded_to_tf32(tensor):
    """To the nearest number of eleven significant bits, as a tensor core reads it."""
    whole = tensor.view(torch.int32)
    return ((whole + 0xFFF + ((whole >> 13) & 1)) & ~0x1FFF).view(torch.float32)


@pytest.mark.parametrize("reads", [rounded_to_tf32, lambda it: it.to(torch.bfloat16).float()], ids=["tf32", "bfloat16"])
@pytest.mark.parametrize("size", [1e-30, 1.0, 1e15])
def test_a_product_of_parts_is_one_of_float32_whatever_its_factors_are_rounded_to(monkeypatch, reads, size):
    """Against float64, with torch made to read factors as a device that rounds them does."""
    monkeypatch.setattr(precision, "fast_float64", lambda device: False)
    source = torch.Generator().manual_seed(0)
    z = size * torch.randn(64, 300, generator=source)
    matrix = torch.randn(300, 200, generator=source) * torch.logspace(-6, 0, 200)
    mm, addmm = torch.mm, torch.addmm
    monkeypatch.setattr(torch, "mm", lambda left, right: mm(reads(left), reads(right)))
    monkeypatch.setattr(torch, "addmm", lambda sum, left, right: addmm(sum, reads(left), reads(right)))
    found = precision.exact(z, precision.prepared(matrix, z.device))
    bound = z.double().abs() @ matrix.double().abs()  # what the errors of a product are relative to
    error = ((found.double() - z.double() @ matrix.double()).abs() / bound).max().item()
    rounded = ((torch.mm(z, matrix).double() - z.double() @ matrix.double()).abs() / bound).max().item()
    assert error < 2e-7 < 1e-5 < rounded


def test_a_product_of_parts_has_the_gradients_of_a_product(monkeypatch):
    monkeypatch.setattr(precision, "fast_float64", lambda device: False)
    monkeypatch.setattr(product, "rounds_products", lambda z: True)
    source = torch.Generator().manual_seed(0)
    z, matrix = (torch.randn(*shape, generator=source).requires_grad_() for shape in [(2, 5, 7), (7, 3)])
    weights = torch.randn(2, 5, 3, generator=source)
    found = torch.autograd.grad((product.multiply(z, matrix) ** 2 * weights).sum(), [z, matrix], create_graph=True)
    expected = torch.autograd.grad(((z @ matrix) ** 2 * weights).sum(), [z, matrix], create_graph=True)
    torch.testing.assert_close(found, expected)
    twice, known = (torch.autograd.grad(it[0].square().sum(), z)[0] for it in (found, expected))
    torch.testing.assert_close(twice, known)


def test_large_noise_is_multiplied_in_parts(monkeypatch, spd_matrix):
    scale, z, x = Full(spd_matrix(8, seed=3).float()), torch.randn(50, 8), torch.randn(8)
    monkeypatch.setattr(product, "rounds_products", lambda z: True)
    whole = scale.perturb(x, z)
    monkeypatch.setattr(product, "BUSY", 7 * 8)
    assert torch.equal(scale.perturb(x, z), whole)


def test_the_sum_without_onednn_is_that_with_it(spd_matrix, monkeypatch):
    scale, z, x = Full(spd_matrix(40, seed=3).float()), torch.randn(50, 40), torch.randn(40)
    calls = []
    addmm = torch.addmm
    monkeypatch.setattr(torch, "addmm", lambda *tensors: calls.append(1) or addmm(*tensors))
    if product.onednn():
        with_it = scale.perturb(x, z)
        assert not calls
        monkeypatch.setattr(product, "onednn", lambda: False)
        torch.testing.assert_close(scale.perturb(x, z), with_it, rtol=1e-5, atol=1e-5)
    else:
        torch.testing.assert_close(scale.perturb(x, z), x + scale.spread(z), rtol=1e-5, atol=1e-5)
    assert calls


@pytest.mark.parametrize("gone", ["_linear_pointwise", "_reorder_linear_weight"])
def test_a_torch_without_the_private_product_is_noticed(monkeypatch, gone):
    class Namespace:
        def __getattr__(self, name):
            raise AttributeError(name)

    names = {"_linear_pointwise", "_reorder_linear_weight"} - {gone}
    there = Namespace()
    there.__dict__ |= {name: getattr(torch.ops.mkldnn, name, None) for name in names}
    monkeypatch.setattr(torch.ops, "mkldnn", there)
    assert not product.onednn.__wrapped__()
    monkeypatch.undo()
    there.__dict__ |= {"_reorder_linear_weight": lambda matrix: matrix, "_linear_pointwise": lambda z, *_: z}
    monkeypatch.setattr(torch.ops, "mkldnn", there)
    assert not product.onednn.__wrapped__()
