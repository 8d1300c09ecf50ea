"""Stage 2: a proposal and a certificate for every input of the subset, one atomic file each.

`python -m pipelines.certify` takes up where it was stopped; `shard.count` and `shard.index` split the inputs.
"""

import hashlib
import json
import os
import sys
import time
from concurrent.futures import as_completed
from functools import partial
from typing import TYPE_CHECKING

from pipelines.entry import entry
from pipelines.errors import SettingsError
from pipelines.progress import progress_bar, tracked
from pipelines.train import measured_batch, standard_of, train

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from pipelines.prepare import Prepared
    from pipelines.settings import Settings
    from rddrs.certification import PathCertificate
    from rddrs.records import CertifiedInput, Store
    from rddrs.smoothing import Reference


def certify(prepared: "Prepared") -> None:
    """Certify the inputs of this shard that are not done."""
    from omegaconf import OmegaConf

    from rddrs.files import write_text
    from rddrs.smoothing import check_contract

    store, settings = opened_store(prepared), prepared.settings
    store.regions.mkdir(parents=True, exist_ok=True)
    if not (store.folder / "config.yaml").exists():
        write_text(store.folder / "config.yaml", OmegaConf.to_yaml(settings.model_dump(by_alias=True)))
    share = prepared.indices[settings.shard.index :: settings.shard.count]
    try:
        done = {index for index in store.finished() if store.is_whole(index)}
    except ValueError as error:
        raise SettingsError(str(error)) from error
    waiting = [index for index in share if index not in done]
    if not waiting:
        return
    batch = measured_batch(prepared)
    measuring, fitting = (
        prepared.data.reference(settings.data.reference, settings.seed, part).to(settings.device) for part in (0, 1)
    )
    baseline, held_out = unseen(prepared)
    share_scale(prepared, fitting)
    example = prepared.data.test_inputs[share[0]].to(settings.device)
    try:
        check_contract(prepared.network, example, threads=worker_count(settings) > 1)
    except ValueError as error:
        raise SettingsError(str(error)) from error
    one = partial(_one, prepared, store, measuring, fitting, held_out, baseline, batch)
    pool = worker_pool(settings)
    try:
        with progress_bar() as progress:
            task = progress.add_task("certify", total=len(share), completed=len(share) - len(waiting))
            jobs = [pool.submit(one, index) for index in waiting]
            for job in as_completed(jobs):
                job.result()
                progress.advance(task)
    finally:
        pool.shutdown(cancel_futures=True)


def opened_store(prepared: "Prepared") -> "Store":
    """The regions of this run, bound to its classifier, which gets its weights; raises SettingsError for `run`."""
    from rddrs.records import Store

    if prepared.settings.run is not None:
        raise SettingsError(f"run={prepared.settings.run}: only python -m pipelines.audit takes the folder of a run")
    train(prepared)
    return Store(prepared.run_folder, prepared.binding)


def unseen(prepared: "Prepared") -> "tuple[str, Reference]":
    """What fidelity is relative to, by name, and the inputs that it is measured on, which nothing was fitted on."""
    from rddrs.smoothing import Reference

    settings = prepared.settings
    baseline, standard = standard_of(prepared)
    kept = prepared.data.measuring(settings.data.reference, settings.seed)
    held_out = Reference(kept.inputs, kept.labels, standard).to(settings.device)
    held_out.baseline(prepared.network, settings.sigma, settings.seed, norm=settings.certify.norm)
    return baseline, held_out


def share_scale(prepared: "Prepared", reference: "Reference") -> None:
    """Give a method that uses one scale for all inputs that scale: co-trained, optimised before, or optimised now."""
    from filelock import FileLock

    from rddrs.files import write_text
    from rddrs.methods import is_start
    from rddrs.models import scale_file
    from rddrs.noise import load_scale, save_scale
    from rddrs.smoothing import on_threads

    settings, maker = prepared.settings, prepared.method.shared_scale
    if maker is None:
        return
    folder = prepared.classifier_folder
    path = folder / "scale.safetensors"
    if (name := settings.classifier.pretrained) is not None and scale_file(name).exists():
        path = scale_file(name)
    elif settings.train.name != "covariance" or settings.classifier.as_it_is:
        digest = hashlib.sha256(f"{maker!r} {settings.data.reference}".encode()).hexdigest()[:10]
        path = folder / f"scale-{digest}.safetensors"
    with FileLock(folder / ".lock"):
        if not path.exists():
            start = time.perf_counter()
            with on_threads(settings.train.threads):
                scale = maker.known(prepared.network, reference, settings.sigma, settings.seed, tracked)
            save_scale(scale, path, settings.certify.norm)
            write_text(path.with_suffix(".json"), json.dumps({"seconds": time.perf_counter() - start}))
    scale = load_scale(path).to(settings.device)
    if is_start(scale, settings.sigma):
        print(f"note: {path.name}: no C for all inputs but sigma I keeps what is asked for: refused", file=sys.stderr)
    maker.adopt(prepared.network, scale, sigma=settings.sigma, seed=settings.seed)


def worker_count(settings: "Settings") -> int:
    """As many as configured, else one for a GPU, else one a core of those that SLURM or a launcher left to us."""
    from joblib import cpu_count

    share = os.environ.get("SLURM_CPUS_PER_TASK") or os.environ.get("OMP_NUM_THREADS") or cpu_count()
    return settings.certify.workers or (1 if settings.device.startswith("cuda") else int(str(share).split(",")[0]))


def worker_pool(settings: "Settings") -> "ThreadPoolExecutor":
    """Threads of one core each, for an input at a time."""
    from rddrs.smoothing import worker_threads

    return worker_threads(worker_count(settings))


def _one(
    prepared: "Prepared",
    store: "Store",
    measuring: "Reference",
    fitting: "Reference",
    held_out: "Reference",
    baseline: str,
    batch: int,
    index: int,
) -> None:
    """Certify and keep one input."""
    from rddrs import certify_input

    settings = prepared.settings
    sigma_x, search_seconds = _sigma_x(prepared, index, batch)
    x, options = prepared.data.test_inputs[index].to(settings.device), settings.certify
    try:
        found = certify_input(
            prepared.network,
            x,
            sigma=settings.sigma,
            method=prepared.method,
            reference=fitting,
            measuring=measuring,
            held_out=held_out,
            label=int(prepared.data.test_labels[index]),
            sigma_x=sigma_x,
            seed=settings.seed,
            index=index,
            batch=batch,
            perturbations=prepared.threat.reported,
            clamp=prepared.clamp,
            rounding=prepared.rounding,
            samples=options.samples,
            selection_samples=options.selection_samples,
            alpha=options.alpha,
            bound=options.bound,
            target_radius=options.target_radius,
            norm=options.norm,
            grid=prepared.grid,
        )
    except ValueError as error:
        raise SettingsError(f"input {index}: {error}") from error
    found.record["optimize_seconds"] += search_seconds
    paths = [_path(prepared, found, name, batch) for name in prepared.paths]
    found.record["baseline"] = baseline
    store.save(found.certificate, found.record, shared=prepared.method.one_scale, paths=paths)


def _path(prepared: "Prepared", found: "CertifiedInput", name: str, batch: int) -> "PathCertificate":
    """Certify a path of one input, under the C of its certificate; its columns and seconds go into the record."""
    from rddrs.records import path_columns
    from rddrs.smoothing import SmoothedClassifier

    it, start = found.certificate, time.perf_counter()
    smoothed = SmoothedClassifier(prepared.network, it.scale, it.norm, it.grid)
    try:
        path = prepared.path_terms(name, it.scale).certify(smoothed, it.x, index=it.index, batch=batch)
    except ValueError as error:
        raise SettingsError(f"input {it.index}, path {name}: {error}") from error
    found.record.update(path_columns(path))
    found.record[f"path_{name}_seconds"] = time.perf_counter() - start
    found.record["paths_of"] = path_owner(prepared)
    return path


def path_owner(prepared: "Prepared") -> str:
    """Whose classifier the paths are of: the caveat of a C that depends on the input."""
    return "one C" if prepared.method.one_scale else "a C of the input's own"


def _sigma_x(prepared: "Prepared", index: int, batch: int) -> tuple[float | None, float]:
    """The input's sigma_x, for a method that uses it, and the seconds it took: found once for all methods."""
    from rddrs.files import write_text
    from rddrs.methods import Problem

    if not prepared.method.uses_sigma_x:
        return None, 0.0
    settings = prepared.settings
    path = prepared.classifier_folder / f"sigma_x-batch{batch}" / f"{index}.json"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        x = prepared.data.test_inputs[index].to(settings.device)
        start = time.perf_counter()
        sigma_x = Problem(
            prepared.network, x, settings.sigma, None, settings.seed, index, batch, norm=settings.certify.norm
        ).sigma_x
        write_text(path, json.dumps({"sigma_x": sigma_x, "seconds": time.perf_counter() - start}))
    found = json.loads(path.read_text())
    return found["sigma_x"], found["seconds"]


if __name__ == "__main__":
    entry(certify)()
