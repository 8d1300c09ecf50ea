"""Command lines, checkpoints and folders as nobody planned them: a right result or one message, and nothing else.

`RDDRS_FUZZ=2000 python -m pytest tests/test_brought.py` tries two thousand of them; the suite a tenth.
"""

import os
import shutil
from collections import OrderedDict
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipelines.config import load
from pipelines.entry import CONFIGURATION
from pipelines.errors import SettingsError
from pipelines.settings import Settings
from pipelines.words import explained, readable
from rddrs.data import Dataset, folder
from rddrs.models import Perceptron, load_weights
from tests.test_fuzz import VALUES, fuzzed, keys

COUNT = int(os.environ.get("RDDRS_FUZZ", 200))

ODD = ["sgima=1", "method=RDDRS", "foo", "--", "=", "a=", "~sigma", "+x=1", "++x.y=2", "data=none", "data.subset=all"]
ODD += ["certify.samples=1e5", "threat=brightness", "runs=KEY", "data=folder", "data.root=~/ä (1)=?%", "sigma=1,2", "@"]
ODD += [
    "train=covariance",
    "threat=[",
    "hydra.run.dir=x",
    "data@x=digits",
    "method@_global_=rs",
    "certify=null",
    "data={}",
]
WORDS = st.one_of(
    st.sampled_from(ODD),
    st.builds(lambda key, value: f"{key}={value}", st.sampled_from(keys()), VALUES),
    st.builds(lambda key, value: f"{key}={value}", st.text(max_size=6), st.text(max_size=6)),
)


@fuzzed(COUNT // 4)
@given(words=st.lists(WORDS, min_size=1, max_size=4))
def test_command_lines(words):
    """Whatever Hydra raises is told in one sentence; after that, there are SettingsErrors alone."""
    try:
        given = readable(words)
    except ValueError as error:
        assert "KEY=VALUE" in str(error) or "write '" in str(error), error
        return
    try:
        with initialize_config_dir(str(CONFIGURATION), version_base="1.3"):
            composed = compose("config", given)
    except Exception as error:
        assert explained(error, words, str(CONFIGURATION)).strip()
        return
    try:
        assert isinstance(load(composed), Settings)
    except SettingsError as error:
        assert str(error).strip()


torch.manual_seed(0)
STATE = Perceptron((1, 2, 2), 3, width=4).state_dict()
OTHERS = st.sampled_from(
    [
        None,
        3,
        0.5,
        "text",
        b"bytes",
        [1, [2]],
        (),
        {},
        {"a": 1},
        {1: torch.ones(2)},
        np.float64(1),
        np.ones(2),
        Path("x"),
        torch.ones(2),
        torch.tensor(3),
        torch.zeros(0),
        torch.ones(2).to_sparse(),
        torch.float16,
        OrderedDict(),
        STATE,
    ]
)
PREFIXES = st.sampled_from(
    ["", "module.", "_orig_mod.", "model._orig_mod.", "1.", "a.b.", "layers.", ".", "ema_model."]
)


@st.composite
def checkpoints(draw: st.DrawFn) -> object:
    """A state dict with a prefix, something missing, changed or added, below some keys, beside others."""
    prefix = draw(PREFIXES)
    state: dict = {prefix + name: value for name, value in STATE.items()}
    for name in draw(st.lists(st.sampled_from(list(state)), max_size=2)):
        state[name] = draw(OTHERS)
    if draw(st.booleans()):
        state.pop(next(iter(state)))
    state |= draw(st.dictionaries(st.text(max_size=5), OTHERS, max_size=2))
    found: object = state
    for key in draw(st.lists(st.sampled_from(["state_dict", "model", "net", "ema", "x.y", 7]), max_size=3)):
        found = {key: found, **draw(st.dictionaries(st.text(max_size=5), OTHERS, max_size=2))}
    return draw(st.sampled_from([found, found, found, [found], draw(OTHERS)]))


PLACE = Path(mkdtemp(prefix="brought"))


@fuzzed(COUNT // 2)
@given(content=checkpoints(), state=st.sampled_from([None, None, "ema", "a.b", ""]), new_head=st.booleans())
def test_checkpoints(content, state, new_head):
    torch.save(content, PLACE / "file.pt")
    network = Perceptron((1, 2, 2), 3, width=4)
    try:
        notes = load_weights(network, PLACE / "file.pt", state=state, new_head=new_head)
    except ValueError as error:
        assert str(PLACE / "file.pt") in str(error), error
    else:
        assert all(isinstance(note, str) for note in notes)
        assert all(value.isfinite().all() for value in network.state_dict().values())


NAMES = st.sampled_from(
    [
        "train/a/1.png",
        "train/b/1.png",
        "test/a/1.png",
        "test/b/1.png",
        "train/a/sub/2.png",
        "train/.DS_Store",
        "test/Thumbs.db",
        "train/a/README",
        "train/a/x.tif",
        "test/c/1.png",
        "train/x.png",
        "train/b/ü ä.jpg",
        "test/b/caf\udce9.png",
        "val/a/1.png",
    ]
)
MODES = ["L", "RGB", "RGBA", "LA", "P", "1", "CMYK", "I;16", "F", "I", "html", "empty", "link", "loop", "cut"]


def put(path: Path, mode: str, side: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir() or path.is_symlink():
        return
    if mode in ("html", "empty"):
        path.write_text("<html>" if mode == "html" else "")
    elif mode in ("link", "loop"):
        path.unlink(missing_ok=True)
        path.symlink_to("/nowhere" if mode == "link" else path.parent)
    else:
        kind = {"I;16": "uint16", "F": "float32", "I": "int32"}.get(mode)
        pixels = np.full((side, side), 1, kind or "uint8")
        image = Image.fromarray(pixels) if kind else Image.fromarray(pixels).convert("RGB" if mode == "cut" else mode)
        image.save(path, format="TIFF" if mode in ("F", "I", "CMYK") else "PNG")
        if mode == "cut":
            path.write_bytes(path.read_bytes()[:-20])


PLAIN = [f"{part}/{name}/0.png" for part in ("train", "test") for name in "ab"]


@fuzzed(COUNT // 4)
@given(
    files=st.lists(st.tuples(NAMES, st.sampled_from(MODES), st.integers(1, 3)), max_size=6),
    size=st.sampled_from([None, 2]),
)
def test_folders(files, size):
    shutil.rmtree(PLACE / "images", ignore_errors=True)
    for name in PLAIN:
        put(PLACE / "images" / name, "L", 2)
    for name, mode, side in files:
        put(PLACE / "images" / name, mode, side)
    try:
        data = folder(str(PLACE / "images"), size)
        values = data.train_inputs[:]
        assert data.digest
    except ValueError as error:
        assert str(PLACE) in str(error), error
    else:
        assert isinstance(data, Dataset) and values.min() >= 0 and values.max() <= 1
        assert all(isinstance(note, str) for note in data.notes)
