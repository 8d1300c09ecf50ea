"""A network that is certified as a runtime answers with its ONNX file, in float32 or int8."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from rddrs.files import replacing
from rddrs.models.adapters import Adapter
from rddrs.models.artefacts import RUNTIMES, Artefact, artefact
from rddrs.models.quantisation import NEEDED, as_onnx, quantised

Runtime = Literal["torch", "onnxruntime", "openvino"]
"""What answers: the network itself, or what runs its ONNX file."""


class Deployed(Adapter):
    """The network, to be trained, until it is deployed; from then on the file that was made of it, and nothing else.

    The file's bytes are its identity. Raises ValueError where what writes or runs such files is not installed.
    """

    def __init__(self, network: nn.Module, runtime: Runtime, precision: Literal["float32", "int8"] = "float32") -> None:
        super().__init__(network)
        self.train(network.training)
        self.runtime, self.precision = runtime, precision
        missing = [name for name in dict.fromkeys((*NEEDED, runtime)) if find_spec(name) is None]
        if runtime not in RUNTIMES or missing:
            extra = "'rddrs[quantise]'" + (" 'rddrs[openvino]'" if runtime == "openvino" else "")
            raise ValueError(f"classifier.runtime={runtime} needs {', '.join(missing)}: pip install {extra}")

    @property
    def is_deployed(self) -> bool:
        return isinstance(self.network, Artefact)

    def deploy(self, path: Path, shape: tuple[int, ...], noisy: Callable[[], Float[Tensor, "n *shape"]]) -> None:
        """Answer with the file at `path`, which is made of the network where it is not there.

        In int8 its scales are fixed by the `noisy` inputs. Raises ValueError where the network cannot be exported.
        """
        if not path.exists():
            content = as_onnx(self.network, shape)
            content = quantised(content, noisy()) if self.precision == "int8" else content
            with replacing(path) as part:
                part.write_bytes(content)
        self.network = artefact(path, shape, self.runtime)

    def forward(self, inputs: Float[Tensor, "n *shape"]) -> Float[Tensor, "n k"]:
        return self.network(inputs)

    def extra_repr(self) -> str:
        return f"{self.runtime}, {self.precision}"


def deployed_in(network: nn.Module) -> Deployed | None:
    """What is or will be deployed of a network with adapters around it."""
    while isinstance(network, Adapter) and not isinstance(network, Deployed):
        network = network.network
    return network if isinstance(network, Deployed) else None
