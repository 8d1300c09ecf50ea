"""Stage 2: a proposal and a certificate for every input of the subset, one atomic file each.

`python -m pipelines.certify` takes up where it was stopped; `shard.count` and `shard.index` split the inputs.
"""

from pipelines.entry import entry

if __name__ == "__main__":  # the configuration is read before torch is imported
    entry("certify")()

import time
from concurrent.futures import as_completed
from functools import partial

from omegaconf import OmegaConf

from pipelines.errors import SettingsError
from pipelines.means import measured_batch, paths_owner, share_scale, unseen, worker_count, worker_pool
from pipelines.prepared import Prepared
from pipelines.progress import progress_bar
from pipelines.train import train
from rddrs import certify_input
from rddrs.archives import Archives
from rddrs.certification import PathCertificate
from rddrs.files import write_text
from rddrs.methods import Problem, kept_sigma_x
from rddrs.records import CertifiedInput, Store, path_column, path_columns
from rddrs.smoothing import Reference, SmoothedClassifier, check_contract


def certify(prepared: Prepared) -> None:
    """Certify the inputs of this shard that are not done."""
    prepared.refuse_a_folder()
    train(prepared)
    settings, store, places = prepared.settings, prepared.store, prepared.places
    places.regions.mkdir(parents=True, exist_ok=True)
    if not places.configuration.exists():
        write_text(places.configuration, OmegaConf.to_yaml(settings.model_dump(by_alias=True)))
    share = prepared.indices[settings.shard.index :: settings.shard.count]
    try:
        done = {index for index in store.finished() if store.is_whole(index)}
    except ValueError as error:
        raise SettingsError(str(error)) from error
    waiting = [index for index in share if index not in done]
    if not waiting:
        return
    batch = measured_batch(prepared)
    measuring, fitting = prepared.reference(0), prepared.reference(1)
    baseline, held_out = unseen(prepared)
    share_scale(prepared, fitting)
    example = prepared.data.test_inputs[share[0]].to(settings.device)
    try:
        check_contract(prepared.network, example, threads=worker_count(settings) > 1)
    except ValueError as error:
        raise SettingsError(str(error)) from error
    searched = Archives(prepared.classifier_places.sigma_x(batch))
    one = partial(certify_one, prepared, store, searched, measuring, fitting, held_out, baseline, batch)
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


def certify_one(
    prepared: Prepared,
    store: Store,
    searched: Archives,
    measuring: Reference,
    fitting: Reference,
    held_out: Reference,
    baseline: str,
    batch: int,
    index: int,
) -> None:
    """Certify and keep one input."""
    settings, options, sigma_x, search_seconds = prepared.settings, prepared.settings.certify, None, 0.0
    x = prepared.data.test_inputs[index].to(settings.device)
    try:
        if prepared.method.uses_sigma_x:
            keyed = (settings.sigma, None, settings.seed, index, batch)
            problem = Problem(prepared.network, x, *keyed, norm=options.norm)
            sigma_x, search_seconds = kept_sigma_x(problem, searched)
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
    paths = [certify_path(prepared, found, name, batch) for name in prepared.paths]
    found.record["baseline"] = baseline
    store.save(found.certificate, found.record, shared=prepared.method.one_scale, paths=paths)


def certify_path(prepared: Prepared, found: CertifiedInput, name: str, batch: int) -> PathCertificate:
    """Certify a path of one input, under the C of its certificate; its columns and seconds go into the record."""
    it, start = found.certificate, time.perf_counter()
    smoothed = SmoothedClassifier(prepared.network, it.scale, it.norm, it.grid)
    try:
        path = prepared.path_terms(name, it.scale).certify(smoothed, it.x, index=it.index, batch=batch)
    except ValueError as error:
        raise SettingsError(f"input {it.index}, path {name}: {error}") from error
    found.record.update(path_columns(path))
    found.record[path_column(name, "seconds")] = time.perf_counter() - start
    found.record["paths_of"] = paths_owner(prepared)
    return path
