"""Networks as programs of torch.export: made, and read without running any other code of the file.

torch.export.load unpickles what it finds, evaluates expressions and calls whatever function a program names. A file is
therefore looked through first: it holds plain tensors and calls of torch's own tensor operators, or it is refused.
"""

import io
import json
import re
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from rddrs.smoothing import PRECISIONS, taken

CALLED = re.compile(
    r"torch\.ops\.aten\.(?!from_file|__)\w+(\.\w+)?|_operator\.[a-z]\w*|math\.[a-z]\w*|torch\.sym_\w+"
    r"|torch\.ops\.higher_order\.(cond|wrap_with_autocast|wrap_with_set_grad_enabled)"
)
SIZES = re.compile(
    r"([su]\d+|Symbol\('[su]\d+'|positive=True|integer=True|Integer|Add|Mul|Pow|FloorDiv|CleanDiv|Mod|PythonMod|Max|Min"
    r"|\d+|[+\-*/(), ])*"
)
NAMES = re.compile(r"[\w.\-]*")
NAMED = ("name", "parameter_name", "buffer_name", "tensor_constant_name", "forward_arg_names")


class _Called(nn.Module):
    """Any callable as a module: what torch.export takes."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.function(inputs)


def exported(classifier: Any, shape: tuple[int, ...]) -> bytes:
    """The bytes of the classifier as a program for any number of inputs of this shape; raises ValueError.

    Inputs are of the `precision_of` the classifier. It is compared with the classifier before it is given away.
    """
    source = torch.Generator().manual_seed(0)
    inputs = torch.rand(3, *shape, generator=source, dtype=precision_of(classifier, shape))
    buffer = io.BytesIO()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sizes = ({0: Dim.DYNAMIC},)
            program = torch.export.export(_Called(classifier), (inputs,), dynamic_shapes=sizes, strict=False)
            if program.graph_signature.buffers_to_mutate:
                raise ValueError("it changes its own buffers")
            for node in program.graph.nodes:
                node.meta.pop("stack_trace", None)  # paths of this machine
            torch.export.save(program, buffer)
        check_same(loaded(buffer.getvalue()), classifier, shape)
    except Exception as error:  # whatever tracing a user's code raises
        raise ValueError(f"the classifier cannot be exported: {str(error).strip().splitlines()[0]}") from error
    return buffer.getvalue()


@torch.inference_mode()
def check_same(found: Any, classifier: Any, shape: tuple[int, ...], tolerance: float = 1e-4) -> None:
    """Raise AssertionError where what was made of a classifier answers otherwise, to six inputs of any sign or to one.

    Logits may differ by a share of the largest, of a classifier on a device, which may round products, by 0.02 of it.
    """
    device = device_of(classifier)
    tolerance = tolerance if device.type == "cpu" else 0.02
    source = torch.Generator().manual_seed(0)
    inputs = torch.cat([torch.rand(3, *shape, generator=source), torch.randn(3, *shape, generator=source)])
    inputs = inputs.to(dtype=precision_of(classifier, shape))
    for rows in (inputs, inputs[:1]):
        expected = taken(classifier(rows.to(device, copy=True))).cpu()
        room = tolerance * expected.nan_to_num(0, 0, 0).abs().max().item()
        torch.testing.assert_close(taken(found(rows.clone())), expected, rtol=tolerance, atol=room, equal_nan=True)


@torch.inference_mode()
def precision_of(classifier: Any, shape: tuple[int, ...]) -> torch.dtype | None:
    """That of inputs of this shape that the classifier answers: float32, else float64; None where it is neither."""
    for precision in PRECISIONS:
        with suppress(Exception):  # whatever a user's code raises for another shape or precision
            inputs = torch.zeros(2, *shape, dtype=precision, device=device_of(classifier))
            if taken(classifier(inputs)).ndim == 2:
                return precision
    return None


def device_of(classifier: Any) -> torch.device:
    """Where the classifier's weights are; the CPU where it shows none."""
    tensors = [*classifier.parameters(), *classifier.buffers()] if isinstance(classifier, nn.Module) else []
    return tensors[0].device if tensors else torch.device("cpu")


def without_modes(network: nn.Module) -> bool:
    """Put the network into evaluation; whether it is a program that was exported, which cannot be trained."""
    try:
        network.eval()
    except NotImplementedError:
        for module in network.modules():
            module.training = False
        return True
    return isinstance(network, torch.jit.ScriptModule)


def loaded(content: bytes) -> nn.Module:
    """The network of a program's bytes; raises ValueError where they are damaged or hold other code."""
    return opened(content).module(check_guards=False)


def opened(content: bytes) -> ExportedProgram:
    """The program of these bytes; raises ValueError where they are damaged or hold other code."""
    check(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.load(io.BytesIO(content))
    if program.graph_signature.buffers_to_mutate:
        raise ValueError("the program changes its own buffers: export the network after .eval()")
    return program


def check(content: bytes) -> None:
    """Raise ValueError where the bytes are no program, or hold more than plain tensors and calls of operators."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for path in archive.namelist():
            name = path.partition("/")[2]
            if name.endswith("_config.json"):
                for key, payload in json.loads(archive.read(path))["config"].items():
                    plain = re.fullmatch(r"(weight|tensor)_\d+", payload["path_name"]) and not payload["use_pickle"]
                    if not plain or not NAMES.fullmatch(key):
                        raise ValueError(f"the program holds pickled objects ({key}), which are code")
            elif re.fullmatch(r"models/\w+\.json", name):
                for key, value in _strings(json.loads(archive.read(path))):
                    allowed = {"target": CALLED, "as_operator": CALLED, "expr_str": SIZES}
                    allowed |= dict.fromkeys(NAMED, NAMES)
                    if key in allowed and not allowed[key].fullmatch(value):
                        raise ValueError(f"the program has the {key} {value!r}: only torch's own operators are run")
            elif name.startswith("data/sample_inputs/"):
                torch.load(io.BytesIO(archive.read(path)), weights_only=True)
            elif not re.fullmatch(
                r"data/(weights|constants)/(weight|tensor)_\d+|archive_\w+|byteorder|\.data/\w+", name
            ):
                raise ValueError(f"the program holds {name}, which is no part of a plain program")


def _strings(values: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every string with the key that it lies under."""
    if isinstance(values, dict):
        for name, value in values.items():
            yield from _strings(value, name)
    elif isinstance(values, list):
        for value in values:
            yield from _strings(value, key)
    elif isinstance(values, str):
        yield key, values
