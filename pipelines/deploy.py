"""The network as what a runtime makes of its file, where one is asked for: the end of stage 1."""

import math

from filelock import FileLock
from torch import Tensor

from pipelines.build import try_out
from pipelines.errors import SettingsError
from pipelines.prepared import Prepared
from rddrs.digests import digest
from rddrs.files import reading
from rddrs.methods import Given
from rddrs.models import deployed_in
from rddrs.noise import Isotropic, Purpose, Stream, family_of
from rddrs.smoothing import check_contract

CALIBRATION = 512
"""Training inputs that the scales of int8 are fixed by."""


def deploy(prepared: Prepared) -> None:
    """Have the file of the network answer in its place: made once, in int8 under the C that certifies.

    Raises SettingsError where the network cannot be exported, or its file is no function of one input.
    """
    settings, data, method = prepared.settings, prepared.data, prepared.method
    network, norm = deployed_in(prepared.network), settings.certify.norm
    if network is None or network.is_deployed:
        return
    scale = method.scale if isinstance(method, Given) else Isotropic(settings.sigma, math.prod(data.shape))
    key = "" if network.precision == "float32" else f"-{digest(f'{norm} {CALIBRATION}', scale.tensors())[:10]}"
    path = prepared.classifier_places.deployed(network.precision + key)

    def noisy() -> Tensor:
        inputs = data.reference(CALIBRATION, settings.seed, 1).inputs
        source = Stream(settings.seed, 0, Purpose.CALIBRATION).generator()
        return inputs + scale.spread(family_of(norm).draw(len(inputs), inputs[0], source)).view_as(inputs)

    try:
        with FileLock(prepared.classifier_places.lock):
            network.deploy(path, data.shape, noisy)
        with reading(path):
            try_out(network.network, settings, data)
        check_contract(network.network, data.test_inputs[0], threads=True)
    except ValueError as error:
        raise SettingsError(f"classifier.runtime={settings.classifier.runtime}: {error}") from error
