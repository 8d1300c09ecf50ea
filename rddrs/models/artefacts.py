"""Networks as files hold them: programs of torch.export, TorchScript, ONNX. What is certified is these bytes."""

import hashlib
import io
import os
import re
import threading
import warnings
import zipfile
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from rddrs.models.programs import opened

FILES = re.compile(rb"\b(torch|aten)\.(save|from_file)\b")
"""What TorchScript calls to write a file or to map one."""

ELSEWHERE = re.compile(rb"\x6a.{1,2}(\x0a\x08location\x12|\x12[^\x00]{1,4096}?\x0a\x08location)", re.DOTALL)
"""How a tensor of an ONNX file, its field 13, says that another file holds its numbers: its path is last or first."""


class Artefact(nn.Module):
    """A network that a file holds: maps inputs [n, *shape] to logits [n, k].

    `content` are the bytes of the file: they decide its identity (`content_digest`), and copies are made of them.
    `shape` is that of one input, given or as the file says it: what lies flat, or has other axes of one entry, is
    brought to it. A network for a fixed number of inputs is given as many, the last filled up with zeros. Raises
    ValueError where the bytes cannot be read.
    """

    suffix: ClassVar[str]
    differentiable: ClassVar[bool] = True

    def __init__(self, content: bytes, shape: tuple[int, ...] | None = None) -> None:
        super().__init__()
        self.content, self.shape = content, None if shape is None else tuple(shape)
        self.rows: int | None = None
        """The number of inputs that the network takes at once; None: any."""
        self.open()
        self.eval().requires_grad_(False)

    @property
    def content_digest(self) -> str:
        """The sha256 of the file, in hex."""
        return hashlib.sha256(self.content).hexdigest()

    def takes(self, sizes: Sequence[Any]) -> None:
        """Keep what the file says of its inputs [n, *shape]: fixed sizes are numbers."""
        rows, *shape = sizes
        self.rows = rows if isinstance(rows, int) else None
        if self.shape is None and all(isinstance(size, int) for size in shape):
            self.shape = tuple(shape)

    @abstractmethod
    def open(self) -> None:
        """Make what answers, from `content`."""

    @abstractmethod
    def answer(self, inputs: Tensor) -> Tensor:
        """The logits, of `rows` inputs where that is a number."""

    def forward(self, inputs: Float[Tensor, "n *shape"]) -> Float[Tensor, "n k"]:
        if self.shape is not None:
            found, needed = ([size for size in sizes if size > 1] for sizes in (inputs.shape[1:], self.shape))
            if found != needed and len(found) > 1 and len(needed) > 1:
                raise ValueError(
                    f"inputs of shape {list(inputs.shape[1:])}: the network takes {list(self.shape)}, its axes in this "
                    "order: torch.movedim(inputs, -1, 1) brings channels to the front"
                )
            inputs = inputs.reshape(len(inputs), *self.shape)
        if self.rows is None:
            return self.answer(inputs)
        filled = torch.cat([inputs, inputs.new_zeros(-len(inputs) % self.rows, *inputs.shape[1:])])
        return torch.cat([self.answer(rows) for rows in filled.split(self.rows)])[: len(inputs)]

    def train(self, mode: bool = True) -> "Artefact":
        """A file answers as it does: there is no train mode."""
        for module in self.modules():
            module.training = False
        return self

    def extra_repr(self) -> str:
        return f"content={self.content_digest}"

    def __reduce__(self) -> Any:
        return type(self), (self.content, self.shape)


class Exported(Artefact):
    """A program of torch.export: `torch.export.save(torch.export.export(network, ...), "model.pt2")`."""

    suffix = ".pt2"

    def open(self) -> None:
        program = opened(self.content)
        self.program = program.module(check_guards=False)
        names = program.graph_signature.user_inputs
        places = [node for node in program.graph.nodes if node.op == "placeholder" and node.name in names]
        if len(places) != 1:
            raise ValueError(f"it takes {len(places)} inputs: one batch [n, *shape] is needed")
        self.takes(places[0].meta["val"].shape)

    def answer(self, inputs: Tensor) -> Tensor:
        return self.program(inputs)


class Scripted(Artefact):
    """TorchScript: `torch.jit.save(torch.jit.script(network), "model.pt")`.

    One that names the operators of torch that write or map files is refused.
    """

    suffix = ".pt"

    def open(self) -> None:
        with zipfile.ZipFile(io.BytesIO(self.content)) as archive:
            code = b"\n".join(archive.read(name) for name in archive.namelist() if "/code/" in name)
        if named := FILES.search(code):
            raise ValueError(f"its code calls {named[0].decode()}, which opens files: no network needs that")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.program = torch.jit.load(io.BytesIO(self.content), map_location="cpu")

    def answer(self, inputs: Tensor) -> Tensor:
        return self.program(inputs)


class Onnx(Artefact):
    """An ONNX file, run by onnxruntime: a session a thread, each on one core; it has no gradient."""

    suffix = ".onnx"
    differentiable = False

    def open(self) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise ValueError("an ONNX file needs onnxruntime: pip install 'rddrs[onnx]'") from error
        refuse_elsewhere(self.content)
        self._runtime, self._local = onnxruntime, threading.local()
        inputs = self._session.get_inputs()
        if len(inputs) != 1:
            raise ValueError(f"it takes {len(inputs)} inputs: one batch [n, *shape] is needed")
        self.takes(inputs[0].shape)
        self._name, self._type = (
            inputs[0].name,
            {"tensor(double)": np.float64, "tensor(float16)": np.float16}.get(inputs[0].type, np.float32),
        )

    @property
    def _session(self) -> Any:
        """The session of this thread."""
        if not hasattr(self._local, "session"):
            options = self._runtime.SessionOptions()
            options.intra_op_num_threads = options.inter_op_num_threads = 1
            options.log_severity_level = 3
            nowhere = "session.model_external_initializers_file_folder_path", os.devnull
            options.add_session_config_entry(*nowhere)  # whatever says that weights lie in another file finds none
            self._local.session = self._runtime.InferenceSession(
                self.content, options, providers=["CPUExecutionProvider"]
            )
        return self._local.session

    def answer(self, inputs: Tensor) -> Tensor:
        given = inputs.detach().cpu().contiguous().numpy().astype(self._type, copy=False)
        try:
            found = self._session.run(None, {self._name: given})[0]
        except Exception as error:  # onnxruntime's own, as for inputs of another shape
            raise RuntimeError(str(error)) from error
        return as_precise(torch.from_numpy(np.asarray(found)), inputs)


class OpenVino(Artefact):
    """An ONNX file, run by OpenVINO: a request a thread, each on one core, in float32; it has no gradient."""

    suffix = ".openvino.onnx"
    differentiable = False

    def open(self) -> None:
        try:
            import openvino  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise ValueError("classifier.runtime=openvino needs it: pip install 'rddrs[openvino]'") from error
        refuse_elsewhere(self.content)
        self._core, self._local = openvino.Core(), threading.local()
        self._model = model = self._core.read_model(self.content, b"")
        if len(model.inputs) != 1:
            raise ValueError(f"it takes {len(model.inputs)} inputs: one batch [n, *shape] is needed")
        self.takes([size.get_length() if size.is_static else None for size in model.inputs[0].partial_shape])
        self._type = model.inputs[0].get_element_type().to_dtype()

    @property
    def _request(self) -> Any:
        """The request of this thread."""
        if not hasattr(self._local, "request"):
            options = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "ENABLE_CPU_PINNING": False}
            options |= {"INFERENCE_PRECISION_HINT": "f32"}  # never bfloat16 on a processor that has it
            self._local.request = self._core.compile_model(self._model, "CPU", options).create_infer_request()
        return self._local.request

    def answer(self, inputs: Tensor) -> Tensor:
        given = inputs.detach().cpu().contiguous().numpy().astype(self._type, copy=False)
        found = self._request.infer([given])[0]
        return as_precise(torch.from_numpy(np.array(found)), inputs)


def refuse_elsewhere(content: bytes) -> None:
    """Raise ValueError for an ONNX file of which another file holds weights, which its digest would say nothing of."""
    if ELSEWHERE.search(content):
        raise ValueError("its weights lie in another file: rddrs.models.artefact(FILE) brings them together")


def as_precise(logits: Tensor, inputs: Tensor) -> Tensor:
    """Logits on the inputs' device, at least as precise as they: rounded ones could tie, and tell another class."""
    return logits.to(inputs.device, torch.promote_types(logits.dtype, inputs.dtype))


RUNTIMES: dict[str, type[Artefact]] = {"onnxruntime": Onnx, "openvino": OpenVino}
"""What runs an ONNX file."""


def artefact(
    file: str | Path | None = None, shape: tuple[int, ...] | None = None, runtime: str = "onnxruntime"
) -> Artefact:
    """The network of a file of one of these kinds, told by its content; `runtime` runs ONNX: one of RUNTIMES.

    Raises ValueError.
    """
    if runtime not in RUNTIMES:
        raise ValueError(f"runtime={runtime}: it must be one of {', '.join(RUNTIMES)}")
    if file is None:
        raise ValueError("file: name the file of the network, FILE.onnx, or FILE.pt2 of torch.export")
    if not Path(file).is_file():
        raise ValueError(f"{file}: there is no such file")
    try:
        return from_bytes(_whole(Path(file)), shape, runtime)
    except Exception as error:  # whatever the parsers of damaged bytes raise
        raise ValueError(f"{file} is no network that can be run: {str(error).strip().splitlines()[0]}") from error


def _whole(file: Path) -> bytes:
    """The bytes of a file, with the weights that an ONNX file keeps in another one."""
    content = file.read_bytes()
    if not ELSEWHERE.search(content) or zipfile.is_zipfile(file):
        return content
    try:
        import onnx
    except ImportError as error:
        raise ValueError("weights in a file of their own need onnx: pip install 'rddrs[onnx]'") from error
    return onnx.load(file).SerializeToString(deterministic=True)


def from_bytes(content: bytes, shape: tuple[int, ...] | None = None, runtime: str = "onnxruntime") -> Artefact:
    """The network of a file's bytes."""
    if not zipfile.is_zipfile(io.BytesIO(content)):
        return RUNTIMES[runtime](content, shape)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        scripted = any("/code/" in name for name in archive.namelist())
    return (Scripted if scripted else Exported)(content, shape)
