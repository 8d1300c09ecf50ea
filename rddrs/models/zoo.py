"""Networks that ship with the package, trained under noise: weights, the C they were trained with, cards."""

from pathlib import Path
from pydoc import locate
from typing import Any

import yaml
from jaxtyping import Float
from torch import Tensor, nn

from rddrs.digests import file_digest
from rddrs.models.adapters import Adapter
from rddrs.models.weights import load_weights
from rddrs.noise import Scale, load_scale

FOLDER = Path(__file__).parent / "pretrained"
NAMES = tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))
"""What there is: NAME.yaml is the card, NAME.safetensors the weights, NAME.scale.safetensors the C that it was trained
with, if there is one, NAME.WHAT.scale.safetensors a C that was found for it afterwards, for WHAT."""


class Pretrained(Adapter):
    """A network that answers logits, frozen, with its `card` and the `scale` C it was co-trained with, or None.

    The card states the data, sigma, the objective, the epochs, the accuracy under noise, the ACR with the number of
    inputs and samples, the digests of the files that all this is said of, and the commands that made them. `scales` are
    C's that were found for the network as it is, by what they are for: `volume`, `light`.
    """

    def __init__(self, network: nn.Module, card: dict[str, Any], scale: Scale | None, scales: dict[str, Scale]) -> None:
        super().__init__(network)
        self.card, self.scale, self.scales = card, scale, scales

    def forward(self, inputs: Float[Tensor, "n *shape"]) -> Float[Tensor, "n k"]:
        return self.network(inputs)


def pretrained(name: str) -> Pretrained:
    """The network of that name, on the CPU; raises ValueError where there is none."""
    card, path = card_of(name), scale_file(name)
    options = dict(card["network"])
    make: Any = locate(options.pop("_target_"))
    network = make(shape=tuple(card["shape"]), classes=card["classes"], **options)
    load_weights(network, weights_file(name), "pretrained")
    scale = load_scale(path) if path.exists() else None
    scales = {what: load_scale(scale_file(name, what)) for what in card.get("scales", {})}
    return Pretrained(network, card, scale, scales).eval().requires_grad_(False)


def card_of(name: str) -> dict[str, Any]:
    """What is known of the network of that name.

    Raises ValueError where there is none, or where the files of its weights and its C are not those that the card
    speaks of.
    """
    if name not in NAMES:
        raise ValueError(f"pretrained={name}: there is no such network; there are {', '.join(NAMES)}")
    card = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    files = {
        "weights_sha256": (card["weights_sha256"], weights_file(name)),
        "scale_sha256": (card.get("scale_sha256"), scale_file(name)),
    }
    for what, facts in card.get("scales", {}).items():
        files[f"sha256 of {what}"] = facts["sha256"], scale_file(name, what)
    for key, (stated, path) in files.items():
        if stated != (found := file_digest(path) if path.is_file() else None):
            raise ValueError(f"pretrained={name}: the card's {key} is {stated}, that of {path} is {found}")
    return card


def weights_file(name: str) -> Path:
    return FOLDER / f"{name}.safetensors"


def scale_file(name: str, what: str | None = None) -> Path:
    """Of the C that the network was trained with, or of the one that was found for it for `what` is named."""
    return FOLDER / (f"{name}.scale.safetensors" if what is None else f"{name}.{what}.scale.safetensors")
