"""Networks as ONNX files, in float32 and, with scales that are fixed once, in int8.

Quantisation is static alone: dynamic quantisation takes its scales from each batch, so that the answer to one input
depends on the others, and no certificate speaks of such a network.
"""

import io
import logging
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rddrs.models.programs import check_same

NEEDED = ("onnx", "onnxruntime", "onnxscript")
"""What is imported here when it is needed: the extra `quantise`."""


def as_onnx(network: nn.Module, shape: tuple[int, ...]) -> bytes:
    """The bytes of the network as an ONNX file, for any number of inputs of this shape; the same at every call.

    It is compared with the network before it is given away. Raises ValueError where the network cannot be exported.
    """
    from rddrs.models.artefacts import Onnx

    inputs = torch.rand(3, *shape, generator=torch.Generator().manual_seed(0))
    buffer, told = io.BytesIO(), logging.getLogger("torch.onnx")
    level = told.level
    try:
        told.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sizes = ({0: torch.export.Dim.DYNAMIC},)
            program: Any = torch.onnx.export(
                network, (inputs,), dynamo=True, dynamic_shapes=sizes, input_names=["inputs"], verbose=False
            )
        program.save(buffer)
        check_same(Onnx(buffer.getvalue(), shape), network, shape, 1e-3)
    except Exception as error:  # whatever tracing a user's code raises
        raise ValueError(f"the network cannot be exported as ONNX: {str(error).strip().splitlines()[0]}") from error
    finally:
        told.setLevel(level)
    return buffer.getvalue()


def quantised(content: bytes, noisy: Float[Tensor, "n *shape"]) -> bytes:
    """The bytes of an ONNX file with weights, a scale a channel, and activations in int8.

    The scales of the activations are fixed by the `noisy` inputs, one at a time: what the network sees when it is
    certified. Inputs that are certified have no part in it.
    """
    from onnxruntime import quantization
    from onnxruntime.quantization.registry import QDQRegistry

    class Reader(quantization.CalibrationDataReader):
        rows = iter(noisy.cpu().split(1))

        def get_next(self) -> dict[str, object] | None:  # pyright: ignore[reportIncompatibleMethodOverride]
            row = next(self.rows, None)
            return None if row is None else {"inputs": row.numpy()}

    with tempfile.TemporaryDirectory() as folder:
        given, inferred, path = (Path(folder) / f"{name}.onnx" for name in ("given", "inferred", "int8"))
        given.write_bytes(content)
        quantization.shape_inference.quant_pre_process(given, inferred)
        # OpenVINO (2026.4) moves the scales of channels from before a Pad of the channels, as a ResNet's, to after it.
        kinds = sorted({*QDQRegistry} - {"Pad"})
        quantization.quantize_static(inferred, path, Reader(), op_types_to_quantize=kinds, per_channel=True)
        return path.read_bytes()
