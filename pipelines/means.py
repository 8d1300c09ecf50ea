"""What certification and audit work with: threads, the micro-batch, the shared C, what fidelity is relative to."""

import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from filelock import FileLock
from joblib import cpu_count
from torch import nn

from pipelines.prepared import Prepared
from pipelines.progress import tracked
from pipelines.settings import CovarianceTrain, Settings
from pipelines.train import train
from rddrs.files import write_text
from rddrs.methods import is_start
from rddrs.models import scale_file
from rddrs.noise import Scale, load_scale, save_scale
from rddrs.smoothing import Reference, kept_batch, on_threads, worker_threads


def worker_count(settings: Settings) -> int:
    """As many as configured, else one for a GPU, else one a core of those that SLURM or a launcher left to us."""
    share = os.environ.get("SLURM_CPUS_PER_TASK") or os.environ.get("OMP_NUM_THREADS") or cpu_count()
    return settings.certify.workers or (1 if settings.device.startswith("cuda") else int(str(share).split(",")[0]))


def worker_pool(settings: Settings) -> ThreadPoolExecutor:
    """Threads of one core each, for an input at a time."""
    return worker_threads(worker_count(settings))


def measured_batch(prepared: Prepared) -> int:
    """The micro-batch of the certification: as configured, else measured once and kept beside the classifier."""
    x = prepared.data.test_inputs[0].to(prepared.settings.device)
    return prepared.settings.certify.batch or kept_batch(prepared.network, x, prepared.classifier_places.batch)


def standard_of(prepared: Prepared) -> tuple[str, nn.Module]:
    """The network whose accuracy under isotropic noise fidelity is relative to, and the name of which one it is.

    `own`: the run's network; of a co-trained one `as_long`, that of the counterpart, where the run has one, trained as
    long under isotropic noise, or else `start`, what the rounds began with. Weights that are given have only their own:
    `itself` where they were co-trained.
    """
    settings, shipped = prepared.settings, prepared.settings.classifier.pretrained
    grown = isinstance(settings.train, CovarianceTrain) or (shipped is not None and scale_file(shipped).exists())
    if not grown or settings.classifier.as_it_is:
        return "itself" if grown else "own", prepared.network
    aimed = bool(prepared.threat.perturbations)
    standard = prepared.counterpart if aimed else prepared.beginning
    train(standard)
    return "as_long" if aimed else "start", standard.network


def unseen(prepared: Prepared) -> tuple[str, Reference]:
    """What fidelity is relative to, by name, and the inputs that it is measured on, which nothing was fitted on."""
    settings = prepared.settings
    baseline, standard = standard_of(prepared)
    kept = prepared.data.measuring(settings.data.reference, settings.seed)
    held_out = Reference(kept.inputs, kept.labels, standard).to(settings.device)
    held_out.baseline(prepared.network, settings.sigma, settings.seed, norm=settings.certify.norm)
    return baseline, held_out


def share_scale(prepared: Prepared, reference: Reference) -> Scale | None:
    """Give a method that uses one scale for all inputs that scale: co-trained, optimised before, or optimised now."""
    settings, maker, places = prepared.settings, prepared.method.shared_scale, prepared.classifier_places
    if maker is None:
        return None
    if (name := settings.classifier.pretrained) is not None and scale_file(name).exists():
        path = scale_file(name)
    elif settings.train.name == "covariance" and not settings.classifier.as_it_is:
        path = places.scale
    else:
        own = prepared.code.get("method", "")
        path = places.shared_scale(f"{maker!r} {settings.data.reference} {own}".rstrip())
    with FileLock(places.lock):
        if not path.exists():
            start = time.perf_counter()
            with on_threads(settings.train.threads):
                scale = maker.known(prepared.network, reference, settings.sigma, settings.seed, tracked)
            save_scale(scale, path, settings.certify.norm)
            write_text(path.with_suffix(".json"), json.dumps({"seconds": time.perf_counter() - start}))
    scale = load_scale(path, device=settings.device)
    if is_start(scale, settings.sigma):
        print(f"note: {path.name}: no C for all inputs but sigma I keeps what is asked for: refused", file=sys.stderr)
    maker.adopt(prepared.network, scale, sigma=settings.sigma, seed=settings.seed)
    return scale


def paths_owner(prepared: Prepared) -> str:
    """Whose classifier the paths are of: the caveat of a C that depends on the input."""
    return "one C" if prepared.method.one_scale else "a C of the input's own"
