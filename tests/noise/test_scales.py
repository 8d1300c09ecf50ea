"""Laws of every noise scale: what it does is what its dense matrix C does."""

import pytest
import torch
from jaxtyping import TypeCheckError

from rddrs import Diagonal, Full, Isotropic
from rddrs.noise.tensors import from_tensors

KINDS = ["isotropic", "diagonal", "full"]
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
    scale, z, dtype = case
    assert_close(scale.noise(z), z @ scale.matrix.to(z), dtype)


def test_perturb_adds_the_noise(case):
    scale, z, dtype = case
    x = torch.randn(scale.dim, dtype=dtype)
    assert_close(scale.perturb(x, z.clone()), x + scale.noise(z), dtype)


def test_whiten_inverts_the_noise(case):
    scale, z, dtype = case
    white = scale.whiten(scale.noise(z))
    assert white.dtype == torch.float64
    assert_close(white, z.double(), dtype)


def test_spectrum_is_that_of_the_dense_matrix(case):
    scale, _, _ = case
    dense = scale.matrix.double()
    assert scale.eigenvalues.dtype == torch.float64
    torch.testing.assert_close(scale.eigenvalues, torch.linalg.eigvalsh(dense), rtol=1e-9, atol=1e-12)
    assert scale.log_det == pytest.approx(torch.linalg.slogdet(dense).logabsdet.item(), rel=1e-9)
    assert scale.geometric_mean == pytest.approx(torch.linalg.det(dense).item() ** (1 / scale.dim), rel=1e-9)
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
    expected = Isotropic(0.7, 6).noise(z)
    for scale in (Diagonal(theta), Full(theta.diag())):
        torch.testing.assert_close(scale.noise(z), expected)
        assert scale.log_det == pytest.approx(Isotropic(0.7, 6).log_det)


def test_a_symmetric_matrix_is_kept_bit_for_bit_and_rounding_is_symmetrised(spd_matrix):
    matrix = spd_matrix(9, seed=1).float()
    assert torch.equal(Full(matrix).matrix, matrix)
    rounded = matrix.clone()
    rounded[0, 1] *= 1 + 1e-6
    kept = Full(rounded).matrix
    assert torch.equal(kept, kept.mT)


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
        (lambda: from_tensors({"weights": torch.ones(2)}), "weights"),
    ],
)
def test_what_is_no_scale_is_refused(make, message, shapes_unchecked):
    with pytest.raises(ValueError, match=message):
        make()


def test_shapes_are_checked_while_testing(scale_of):
    with pytest.raises(TypeCheckError, match="noise"):
        scale_of("full", 3).noise(torch.zeros(3))
