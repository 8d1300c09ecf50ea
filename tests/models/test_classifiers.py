"""Networks, training under noise, and checkpoints."""

from functools import partial
from pathlib import Path

import pytest
import pytorch_lightning as lightning
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from safetensors.torch import load_file, save_file
from torch import nn

from rddrs import Isotropic
from rddrs.data.dataset import Dataset
from rddrs.data.digits import digits
from rddrs.data.toy2d import toy2d
from rddrs.models.adapters import LogProbabilities, Normalized, as_logits
from rddrs.models.lenet import LeNet
from rddrs.models.perceptron import Perceptron
from rddrs.models.resnet import ResNet
from rddrs.models.small_cnn import SmallCNN
from rddrs.models.weights import load_weights, save_weights
from rddrs.noise import Full, Purpose, Stream
from rddrs.threats import PERTURBATIONS
from rddrs.training.augmentation import Augmentation
from rddrs.training.fit import fit
from rddrs.training.noisy import NoisyTraining
from rddrs.training.objectives import OBJECTIVES, Gaussian
from rddrs.training.options import TrainingOptions

SIGMA = 0.4

pytestmark = [
    pytest.mark.filterwarnings(f"ignore:.*{message}")
    for message in ("LeafSpec", "many workers", "Checkpoint directory", "logging interval")
]


@pytest.fixture(scope="module")
def data():
    return toy2d(train=1_500)


def network(seed: int = 0) -> Perceptron:
    torch.manual_seed(seed)
    return Perceptron((2,), 3, width=16)


def module(net, data, **options) -> NoisyTraining:
    scale = Isotropic(SIGMA, data.test_inputs[0].numel())
    reference = data.reference(50, 0)
    quick = TrainingOptions(learning_rate=5e-3, batch=64)
    return NoisyTraining(net, data.train_inputs, data.train_labels, scale, reference, quick, **options)


def trainer(epochs: int, folder=None) -> lightning.Trainer:
    return lightning.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=epochs,
        reload_dataloaders_every_n_epochs=1,
        logger=False,
        callbacks=ModelCheckpoint(folder, save_last=True) if folder else None,
        enable_checkpointing=bool(folder),
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def trained(data, epochs: int, **options) -> nn.Module:
    net = network()
    trainer(epochs).fit(module(net, data, **options))
    return net.eval()


def noisy_accuracy(net, data, sigma: float = SIGMA) -> float:
    inputs = data.test_inputs[:]
    z = torch.randn(20, *inputs.shape, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        answers = net((inputs + sigma * z).flatten(0, 1)).argmax(dim=1).view(20, -1)
    return (answers == data.test_labels).float().mean().item()


def equal_weights(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def test_training_under_noise_learns(data):
    """From chance, 1/3, to above 0.8 of noisy test inputs (the classes overlap under this noise)."""
    assert noisy_accuracy(network(), data) < 0.6
    assert noisy_accuracy(trained(data, 8), data) > 0.8


def test_training_is_keyed_by_its_seed_and_leaves_the_global_random_state_out(data):
    first = trained(data, 1)
    torch.manual_seed(77)
    net = network()
    torch.randn(100)
    trainer(1).fit(module(net, data))
    assert equal_weights(first, net)
    assert not equal_weights(first, trained(data, 1, seed=1))


def test_resuming_after_an_epoch_gives_the_weights_of_an_uninterrupted_training(data, tmp_path):
    whole = trained(data, 3)
    trainer(1, tmp_path).fit(module(network(), data))
    resumed = network(seed=9)
    trainer(3, tmp_path).fit(module(resumed, data), ckpt_path=tmp_path / "last.ckpt", weights_only=False)
    assert equal_weights(whole, resumed)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "options",
    [
        {"options": {"optimizer": "sgd", "schedule": "one_cycle"}},
        {"options": {"schedule": "linear"}},
        {"options": {"schedule": "step"}},
        *({"objective": objective()} for objective in OBJECTIVES.values()),
        {"augmentation": Augmentation({PERTURBATIONS[0]: 30.0, PERTURBATIONS[5]: 1.0})},
    ],
    ids=str,
)
def test_resuming_goes_on_with_the_schedule_flips_and_validation(tmp_path, options, precision):
    """Fine-tuning of images as a user does it; the checkpoint is of a whole epoch though validation comes before."""
    images = torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    data = Dataset(images, torch.arange(40) % 2, images, torch.arange(40) % 2)

    class Stopped(NoisyTraining):
        def on_train_epoch_start(self) -> None:
            super().on_train_epoch_start()
            if self.current_epoch == 1:
                raise RuntimeError("killed")

    def fitted(seed: int, kind: type[NoisyTraining], folder: Path) -> nn.Module:
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Dropout(0.2), Perceptron((1, 4, 4), 2, width=8))
        own = TrainingOptions(learning_rate=0.05, batch=16, precision=precision, **options.get("options", {}))
        inputs, labels, validation = data.train_inputs, data.train_labels, data.reference(10, 0)
        training = kind(
            net, inputs, labels, Isotropic(SIGMA, 16), validation, **options | {"options": own, "flip": True, "crop": 1}
        )
        fit(training, epochs=3, folder=folder)
        return net

    whole = fitted(0, NoisyTraining, tmp_path / "whole")
    with pytest.raises(RuntimeError, match="killed"):
        fitted(0, Stopped, tmp_path / "parts")
    assert equal_weights(whole, fitted(9, NoisyTraining, tmp_path / "parts"))


def test_in_bfloat16_the_passes_alone_are_rounded(tmp_path):
    """The network answers in bfloat16; the noise is C z to the last bit, the loss and the weights are float32."""
    images, seen = torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(0)), {}
    data = Dataset(images, torch.arange(40) % 2, images, torch.arange(40) % 2)
    scale = Full(SIGMA * torch.eye(16) + 0.013)

    class Watched(Gaussian):
        def loss(self, network, inputs, labels, noise, **context):
            seen["noise"], seen["answers"] = noise(1)[0], network(inputs).dtype
            seen["loss"], logits = super().loss(network, inputs, labels, noise, **context)
            return seen["loss"], logits

    net = Perceptron((1, 4, 4), 2, width=8)
    validation = data.reference(10, 0)
    options = TrainingOptions(batch=40, precision="bfloat16")
    pairs = data.train_inputs, data.train_labels
    fit(NoisyTraining(net, *pairs, scale, validation, options, objective=Watched()), epochs=1, folder=tmp_path)
    z = torch.randn(40, 16, generator=Stream(0, 0, Purpose.TRAINING).generator())
    torch.testing.assert_close(seen["noise"].flatten(1), z @ scale.matrix, rtol=0, atol=1e-6)
    assert seen["answers"] == torch.bfloat16 and seen["loss"].dtype == torch.float32
    assert all(weights.dtype == torch.float32 for weights in net.parameters())


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 20, 24)])
def test_lenet_is_that_of_the_paper(shape):
    """The rectifier before the pooling, weights laid out as usual: the same function."""
    torch.manual_seed(0)
    net = LeNet(shape, 7)
    first, second = (layer for layer in net.modules() if isinstance(layer, nn.Conv2d))
    (linear,) = (layer for layer in net.modules() if isinstance(layer, nn.Linear))
    inputs = torch.randn(3, *shape)
    found = inputs
    for layer in (first, second):
        found = nn.functional.max_pool2d(nn.functional.conv2d(found, layer.weight, layer.bias).relu(), 2)
    torch.testing.assert_close(net(inputs), linear(found.flatten(1)), rtol=1e-4, atol=1e-5)
    assert (first.kernel_size, first.out_channels, second.kernel_size, second.out_channels) == ((5, 5), 16, (5, 5), 32)


def test_small_images_fit_a_padded_lenet():
    data = digits()
    assert LeNet(data.shape, data.classes, kernel=3, padding=1)(data.test_inputs[:4]).shape == (4, 10)


def test_probabilities_become_logits_of_the_same_softmax():
    net = network()
    wrapped = as_logits(nn.Sequential(net, nn.Softmax(dim=1)), "probabilities")
    inputs = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    assert isinstance(wrapped, LogProbabilities)
    torch.testing.assert_close(torch.softmax(wrapped(inputs), dim=1), torch.softmax(net(inputs), dim=1))
    assert as_logits(net, "logits") is net


def test_a_probability_of_zero_has_a_finite_logit():
    logits = LogProbabilities(nn.Identity())(torch.tensor([[1.0, 0.0]]))
    assert torch.isfinite(logits).all() and logits[0, 1] < -80


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_weights_are_read_back(tmp_path, suffix):
    net, other, path = network(), network(seed=1), tmp_path / f"weights{suffix}"
    if suffix == ".pt":
        torch.save(net.state_dict(), path)
    else:
        save_weights(net, path)
    assert not equal_weights(net, other)
    load_weights(other, path)
    assert equal_weights(net, other)


def test_a_checkpoint_as_training_programs_write_it_is_read_and_said_so(tmp_path):
    net, other, path = network(), network(seed=1), tmp_path / "checkpoint.pt"
    state = {f"module.{name}": value for name, value in net.state_dict().items()}
    torch.save({"epoch": 3, "state_dict": state}, path)
    below, prefix = load_weights(other, path)
    assert equal_weights(net, other)
    assert "'state_dict'" in below and "'module.'" in prefix


def test_the_weights_on_disk_are_those_of_the_network_without_its_adapters(tmp_path):
    net, path = network(), tmp_path / "weights.safetensors"
    around = as_logits(Normalized(net, [0.5, 0.5], [0.2, 0.3], (2,)), "probabilities")
    save_weights(around, path)
    assert load_file(path).keys() == net.state_dict().keys()
    other = network(seed=1)
    assert load_weights(as_logits(other, "probabilities"), path) == [] and equal_weights(net, other)


def test_normalisation_is_inside_the_network():
    net = network()
    wrapped = Normalized(net, [0.5, -1.0], [0.2, 3.0], (2,))
    inputs = torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(wrapped(inputs), net((inputs - torch.tensor([0.5, -1.0])) / torch.tensor([0.2, 3.0])))
    images = Normalized(nn.Flatten(), [1.0, 2.0], [1.0, 1.0], (2, 3, 4))(torch.zeros(1, 2, 3, 4))
    assert images[0].tolist() == [-1] * 12 + [-2] * 12


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        ([0.5], [0.2, 0.2], r"normalize.mean=\[0.5\] has 1 numbers, inputs of shape \(2,\) have 2 channels"),
        ([0.5, 0.5], [0.2] * 3, "normalize.std.*has 3 numbers"),
        ([0.5, 0.5], [0.2, 0.0], "normalize.std.*must be positive"),
    ],
)
def test_a_normalisation_that_does_not_fit_is_refused(mean, std, message):
    with pytest.raises(ValueError, match=message):
        Normalized(network(), mean, std, (2,))


def count(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


@pytest.mark.parametrize(("depth", "millions"), [(20, 0.27), (56, 0.85), (110, 1.7)])
def test_residual_networks_have_the_sizes_of_their_paper(depth, millions):
    """Table 6 of He et al. 2015."""
    assert count(ResNet((3, 32, 32), 10, depth)) / 1e6 == pytest.approx(millions, rel=0.03)
    assert count(ResNet((3, 32, 32), 10, depth, width=32)) / count(ResNet((3, 32, 32), 10, depth)) == pytest.approx(
        4, rel=0.02
    )


def test_the_small_network_is_the_literatures():
    """Convolutions 32, 32, 64, 64 over 28 x 28 leave 64 x 4 x 4."""
    assert count(SmallCNN((1, 28, 28), 10)) == 320 + 9_248 + 18_496 + 36_928 + 1_024 * 200 + 200 + 40_200 + 2_010


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 17, 20), (3, 32, 32)])
@pytest.mark.parametrize("make", [ResNet, partial(SmallCNN, padding=1)])
def test_the_networks_of_images_take_any_size(make, shape):
    net = make(shape, 7).eval()
    inputs = torch.rand(3, *shape, generator=torch.Generator().manual_seed(0))
    answers = net(inputs)
    assert answers.shape == (3, 7)
    torch.testing.assert_close(answers[1:2], net(inputs[1:2]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("shape", "depth"), [((3, 32, 32), 21), ((3, 32, 32), 2), ((3, 7, 32), 20), ((64,), 20)])
def test_a_residual_network_that_cannot_be_is_refused(shape, depth):
    with pytest.raises(ValueError, match=r"depth=|inputs of shape"):
        ResNet(shape, 10, depth)


def test_a_published_residual_network_is_read():
    """The weights and the names of akamaster/pytorch_resnet_cifar10, where they are beside the repository."""
    path = Path(__file__).parents[3] / "shared" / "networks" / "resnet20-12fca82f.th"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    assert len(load_weights(ResNet((3, 32, 32), 10), path)) == 2


class Unpickled:
    """Something that `weights_only=True` refuses to load."""


def broken_checkpoint(kind: str, folder):
    """A file that holds no fitting state dict."""
    path = folder / ("weights.safetensors" if kind in ("damaged", "another shape") else "weights.pt")
    fitting = network().state_dict()
    match kind:
        case "missing":
            pass
        case "damaged":
            path.write_bytes(b"\x08" + b"\0" * 20)
        case "damaged torch file":
            path.write_bytes(b"no torch file")
        case "another shape":
            save_file(Perceptron((3,), 3, width=16).state_dict(), path)
        case "another network":
            torch.save(nn.Linear(2, 3).state_dict(), path)
        case "a tensor":
            torch.save(torch.zeros(3), path)
        case "no tensors":
            torch.save({"weights": {"first": 3}, "epoch": 3}, path)
        case "code":
            torch.save({"network": Unpickled()}, path)
        case "a whole network":
            torch.save(network(), path)
        case "half":
            torch.save({name: value for name, value in fitting.items() if "layers.5" not in name}, path)
        case "NaN":
            torch.save(fitting | {"layers.1.weight": fitting["layers.1.weight"] * torch.nan}, path)
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "no such file"),
        ("damaged", "cannot be read"),
        ("damaged torch file", "cannot be read"),
        ("another shape", "does not fit Perceptron.*size mismatch"),
        ("another network", "does not fit Perceptron.*Missing key"),
        ("a tensor", "no state dict"),
        ("no tensors", "no state dict"),
        ("code", "no state dict.*Unpickled"),
        ("a whole network", "cannot be read.*save torch.save"),
        ("half", "does not fit Perceptron.*Missing key.*layers.5.weight"),
        ("NaN", "layers.1.weight hold NaN"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused_by_name(tmp_path, kind, message):
    path = broken_checkpoint(kind, tmp_path)
    with pytest.raises(ValueError, match=f"(?s)classifier.checkpoint={path}.*{message}"):
        load_weights(network(), path)
