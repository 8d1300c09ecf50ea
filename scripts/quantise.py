"""The network of a run as ONNX files in float32 and int8: python scripts/quantise.py outputs/runs/KEY FLOAT32 INT8.

The scales of int8 are fixed, by training inputs under the noise of the run: what the network sees when it is
certified. Test inputs have no part in it. Needs onnx, onnxruntime and onnxscript.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnxruntime.quantization as quantization
import torch
import yaml
from jaxtyping import Float
from torch import Tensor, nn

COUNT = 512
"""Inputs that the scales are fixed by."""


class Reader(quantization.CalibrationDataReader):
    """Inputs, one at a time, as onnxruntime asks for them."""

    def __init__(self, inputs: Float[Tensor, "n *shape"]) -> None:
        self.rows: Iterator[Tensor] = iter(inputs.split(1))

    def get_next(self) -> dict[str, object] | None:
        row = next(self.rows, None)
        return None if row is None else {"inputs": row.numpy()}


def write_onnx(network: nn.Module, shape: tuple[int, ...], path: Path) -> None:
    """The network as an ONNX file, for any number of inputs of this shape."""
    sizes = ({0: torch.export.Dim.DYNAMIC},)
    program: Any = torch.onnx.export(
        network, (torch.rand(2, *shape),), dynamo=True, dynamic_shapes=sizes, input_names=["inputs"], verbose=False
    )
    program.save(path)


def quantise(given: Path, noisy: Float[Tensor, "n *shape"], path: Path) -> None:
    """The ONNX file with weights, a scale a channel, and activations in int8, the scales fixed by these inputs."""
    with tempfile.TemporaryDirectory() as folder:
        inferred = Path(folder) / "inferred.onnx"
        quantization.shape_inference.quant_pre_process(given, inferred)
        quantization.quantize_static(inferred, path, Reader(noisy), per_channel=True)


def main() -> None:
    from pipelines.prepare import prepare
    from pipelines.settings import Settings
    from rddrs import open_run
    from rddrs.noise import FAMILIES

    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("run", "float32", "int8"):
        parser.add_argument(name, type=Path)
    asked = parser.parse_args()
    smoothed = open_run(asked.run).smoothed
    settings = Settings.model_validate(yaml.safe_load((asked.run / "config.yaml").read_text()))
    data = prepare(settings).data
    inputs = data.reference(COUNT, settings.seed).inputs
    draws = FAMILIES[smoothed.norm].draw(len(inputs), inputs[0], torch.Generator().manual_seed(settings.seed))
    noisy = inputs + smoothed.scale.noise(draws).view_as(inputs)
    write_onnx(smoothed.get_submodule("classifier"), data.shape, asked.float32)
    quantise(asked.float32, noisy, asked.int8)
    for path in (asked.float32, asked.int8):
        print(f"written to   {path} ({path.stat().st_size:,} bytes)")


if __name__ == "__main__":
    main()
