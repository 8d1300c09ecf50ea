"""The digest of a network has all that its answers depend on, and nothing else."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from rddrs.models import Normalized, Perceptron, digest
from rddrs.models.identity import described


class Session:
    """A runtime that shows nothing of what it holds."""

    __slots__ = ("_weight",)

    def __init__(self, path: Path) -> None:
        self._weight = torch.load(path)

    def run(self, x: Tensor) -> Tensor:
        return x @ self._weight


class Foreign(nn.Module):
    def __init__(self, path: Path, content: str | None = None) -> None:
        super().__init__()
        self.session = Session(path)
        if content is not None:
            self.content = content

    def forward(self, x: Tensor) -> Tensor:
        return self.session.run(x)


class Settings(nn.Module):
    def __init__(self, **settings: object) -> None:
        super().__init__()
        self.__dict__.update(settings)

    def forward(self, x: Tensor) -> Tensor:
        return x


def test_a_replaced_file_of_a_runtime_is_another_classifier(tmp_path):
    inputs, files = torch.rand(4, 3), [tmp_path / "one.pt", tmp_path / "two.pt"]
    for seed, path in enumerate(files):
        torch.save(torch.rand(3, 2, generator=torch.Generator().manual_seed(seed)), path)
    one, two = (digest(Foreign(path), inputs) for path in files)
    assert one != two and one == digest(Foreign(files[0]), inputs)
    assert digest(Foreign(files[0], "a")) != digest(Foreign(files[0], "b"))
    with pytest.raises(ValueError, match=r"attribute\['session'\] of the kind .*Session.*string `content`"):
        digest(Foreign(files[0]))


def pooled(**settings: object) -> nn.Module:
    return nn.AvgPool2d(3, 1, 1, **settings)  # pyright: ignore[reportArgumentType]


def enlarged(**settings: object) -> nn.Module:
    return nn.Upsample(scale_factor=2, mode="bilinear", **settings)  # pyright: ignore[reportArgumentType]


def recurrent(**settings: object) -> nn.Module:
    return nn.RNN(8, 8, **settings)  # pyright: ignore[reportArgumentType]


def attending(heads: int = 2, **settings: object) -> nn.Module:
    return nn.TransformerEncoderLayer(8, heads, 8, **settings)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("make", "settings"),
    [
        (pooled, {"count_include_pad": False}),
        (pooled, {"divisor_override": 2}),
        (enlarged, {"align_corners": True}),
        (recurrent, {"nonlinearity": "relu"}),
        (attending, {"heads": 4}),
        (attending, {"norm_first": True}),
        (attending, {"activation": "gelu"}),
    ],
)
def test_settings_that_torch_does_not_show_count(make, settings):
    """Each changes answers, but neither a weight nor what the module of torch prints of itself."""

    def made(**settings: object) -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(make(**settings)).eval()

    assert digest(made(**settings)) != digest(made())
    assert str(made(**settings)) == str(made())


def test_what_torch_shows_is_not_told_twice():
    """Digests of networks without such settings are what they were: runs of earlier versions stay readable."""
    for module in (
        *(nn.Conv2d(2, 2, 3, 2, 1, bias=False), nn.BatchNorm2d(2), nn.ReLU(inplace=True), nn.Hardswish(inplace=True)),
        *(nn.Linear(2, 2), nn.MaxPool2d(2, ceil_mode=True), nn.AvgPool2d(2), nn.Flatten(), nn.LSTM(2, 2), nn.Dropout()),
        *(nn.GroupNorm(1, 2), nn.LayerNorm(2), nn.Sequential(nn.Sigmoid()), nn.ModuleList(), nn.PReLU(init=0.1)),
    ):
        kind = type(module)
        assert described(module) == f"{kind.__module__}.{kind.__qualname__}({module.extra_repr()})"


def test_normalisation_and_attributes_of_a_users_own_module_count():
    network = Perceptron((3, 2, 2), 2)
    normalised = [Normalized(network, [mean] * 3, [1.0] * 3, (3, 2, 2)) for mean in (0.4, 0.5)]
    assert digest(normalised[0]) != digest(normalised[1])
    kinds = [
        Settings(),
        Settings(mean=[0.4]),
        Settings(mean=[0.5]),
        Settings(mean=torch.ones(1)),
        Settings(f=torch.relu),
    ]
    kinds += [Settings(f=torch.tanh), Settings(of={"a": {1, 2}}), Settings(of={"a": {1, 3}})]
    assert len({digest(each) for each in kinds}) == len(kinds)
    assert digest(Settings(of={"a": {1, 2}})) == digest(Settings(of={"a": {2, 1}}))


def test_hooks_and_a_forward_that_is_put_in_its_place_count():
    def hooked(factor: float | None = None, add: str = "register_forward_hook") -> nn.Module:
        torch.manual_seed(0)
        layer = nn.Linear(2, 2)
        if factor is not None:
            getattr(layer, add)(lambda *given: tuple(factor * it for it in given[-1]))
        return nn.Sequential(layer)

    replaced = hooked()
    next(replaced.children()).forward = pooled
    before = "register_forward_pre_hook"
    kinds = [hooked(), hooked(1.0), hooked(2.0), replaced]
    assert len({digest(each) for each in kinds}) == len(kinds)
    assert digest(hooked(2.0)) == digest(hooked(2.0)) and digest(hooked(2.0, before)) != digest(hooked())
