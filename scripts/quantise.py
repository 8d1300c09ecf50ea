"""The network of a run as ONNX files in float32 and int8: python scripts/quantise.py outputs/runs/KEY FLOAT32 INT8.

The scales of int8 are fixed, by training inputs under the noise of the run: what the network sees when it is
certified. Test inputs have no part in it. Needs onnx, onnxruntime and onnxscript.
"""

import argparse
from pathlib import Path

import torch
import yaml

COUNT = 512
"""Inputs that the scales are fixed by."""


def main() -> None:
    from pipelines.prepare import prepare
    from pipelines.settings import Settings
    from rddrs import open_run
    from rddrs.models import as_onnx, quantised

    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("run", "float32", "int8"):
        parser.add_argument(name, type=Path)
    asked = parser.parse_args()
    smoothed = open_run(asked.run).smoothed
    settings = Settings.model_validate(yaml.safe_load((asked.run / "config.yaml").read_text()))
    data = prepare(settings).data
    inputs = data.reference(COUNT, settings.seed).inputs
    draws = smoothed.family.draw(len(inputs), inputs[0], torch.Generator().manual_seed(settings.seed))
    noisy = inputs + smoothed.scale.spread(draws).view_as(inputs)
    plain = as_onnx(smoothed.get_submodule("classifier"), data.shape)
    for path, content in {asked.float32: plain, asked.int8: quantised(plain, noisy)}.items():
        path.write_bytes(content)
        print(f"written to   {path} ({path.stat().st_size:,} bytes)")


if __name__ == "__main__":
    main()
