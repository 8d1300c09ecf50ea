"""Stage 2: a proposal and a certificate for every input of the subset, one atomic file each.

`python -m pipelines.certify` takes up where it was stopped; `shard.count` and `shard.index` split the inputs.
"""

from pipelines.entry import entry

if __name__ == "__main__":  # the configuration is read before torch is imported
    entry("certify")()

import pickle
import signal
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from joblib import cpu_count
from omegaconf import OmegaConf
from torch import Tensor

from pipelines.errors import SettingsError
from pipelines.means import measured_batch, paths_owner, share_scale, unseen, worker_count, worker_pool
from pipelines.prepared import Prepared
from pipelines.progress import progress_bar
from pipelines.train import train
from rddrs.archives import Archives
from rddrs.certification import Certificate, PathCertificate, certified_severities, certify_together
from rddrs.files import write_text
from rddrs.methods import Problem, Proposal, kept_sigma_x
from rddrs.records import CertifiedInput, Store, described, path_column, path_columns
from rddrs.smoothing import Reference, SmoothedClassifier, check_contract, worker_threads

CALLS, SCALES, DESCRIBING, AHEAD = 8, 64, 4, 64
"""On a device other than a CPU: the calls of the network that inputs fill together, how many of them at most where each
has a scale of its own, the threads that describe what is certified and write it meanwhile, the inputs that may wait
for them."""

MANY, MOST = 64, 16
"""How many inputs are worth another process, which finds their severities (it takes about two seconds to begin), and
how many of these there are at most."""

IDLE = 300.0
"""After so many seconds without work another process ends: so do those whose own was killed."""


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
    batch, on_cpu = measured_batch(prepared), settings.device == "cpu"
    measuring, fitting = prepared.reference(0), prepared.reference(1)
    baseline, held_out = unseen(prepared)
    scale = share_scale(prepared, fitting)
    example = prepared.data.test_inputs[share[0]].to(settings.device)
    if scale is not None and prepared.method.one_scale:
        one = scale.to(example.device, example.dtype).digest
        if others := sorted(index for index in done if store.stated(index).get("scale") != one):
            told = f"{places.regions} holds inputs ({', '.join(map(str, others[:5]))}) of another C than that in"
            advice = f"method={settings.method.name} has one for all inputs: delete the regions and run again"
            raise SettingsError(f"{told} {prepared.classifier_folder}: {advice}")
    try:
        check_contract(prepared.network, example, threads=not on_cpu or worker_count(settings) > 1)
    except ValueError as error:
        raise SettingsError(str(error)) from error
    searched = Archives(prepared.classifier_places.sigma_x(batch))
    maker = Maker(prepared, store, searched, measuring, fitting, held_out, baseline, batch)
    pool = worker_pool(settings) if on_cpu else worker_threads(min(DESCRIBING, cpu_count()))
    try:
        with progress_bar() as progress:
            task = progress.add_task("certify", total=len(share), completed=len(share) - len(waiting))
            for _ in maker.on_cores(pool, waiting) if on_cpu else maker.on_a_device(pool, waiting):
                progress.advance(task)
    finally:
        pool.shutdown(cancel_futures=True)


class Proven(NamedTuple):
    """A proposal and its certificate, and the seconds that each took."""

    proposal: Proposal
    certificate: Certificate
    seconds: tuple[float, float]


@dataclass(frozen=True)
class Maker:
    """Certifies inputs, by their indices, and keeps what it finds."""

    prepared: Prepared
    store: Store
    searched: Archives
    measuring: Reference
    fitting: Reference
    held_out: Reference
    baseline: str
    batch: int

    def on_cores(self, pool: ThreadPoolExecutor, waiting: Sequence[int]) -> Iterator[None]:
        """One input after another in every thread."""
        prepared = self.prepared
        with processes(min(worker_count(prepared.settings), len(waiting) // MANY), prepared.threat.reported) as others:
            for job in as_completed([pool.submit(self.make, index, others) for index in waiting]):
                yield job.result()

    def make(self, index: int, others: Executor | None) -> None:
        (proven,) = self.proven([index])
        self.keep(proven, others)

    def on_a_device(self, pool: ThreadPoolExecutor, waiting: Sequence[int]) -> Iterator[None]:
        """Several inputs are counted together; meanwhile threads describe and write those before them."""
        prepared, options, jobs = self.prepared, self.prepared.settings.certify, deque[Future[None]]()
        together = max(1, CALLS * self.batch // (options.samples + options.selection_samples))
        together = together if prepared.method.same_scale else min(together, SCALES)
        with processes(min(cpu_count() - 1, len(waiting) // MANY), prepared.threat.reported) as others:
            for start in range(0, len(waiting), together):
                found = self.proven(waiting[start : start + together])
                jobs += [pool.submit(self.keep, each, others) for each in found]
                while len(jobs) > max(together, AHEAD):  # no more of them are held in memory
                    yield jobs.popleft().result()
            yield from (job.result() for job in jobs)

    def proven(self, indices: Sequence[int]) -> list[Proven]:
        """Proposals and certificates of some inputs, which share micro-batches but on a CPU."""
        prepared, settings = self.prepared, self.prepared.settings
        inputs = [prepared.data.test_inputs[index].to(settings.device) for index in indices]
        proposed = [self.proposed(x, index) for x, index in zip(inputs, indices, strict=True)]
        scales, start = [proposal.scale for proposal, _ in proposed], time.perf_counter()
        with told_of(*indices):
            found = certify_together(prepared.network, inputs, scales, prepared.terms, indices, batch=self.batch)
        each = (time.perf_counter() - start) / len(indices)
        return [Proven(it, found, (took, each)) for (it, took), found in zip(proposed, found, strict=True)]

    def proposed(self, x: Tensor, index: int) -> tuple[Proposal, float]:
        """The proposal for an input, and the seconds that it took, with those of the search for its sigma_x."""
        prepared, settings, sigma_x, seconds = self.prepared, self.prepared.settings, None, 0.0
        with told_of(index):
            if prepared.method.uses_sigma_x:
                keyed = (settings.sigma, None, settings.seed, index, self.batch)
                problem = Problem(prepared.network, x, *keyed, norm=settings.certify.norm)
                sigma_x, seconds = kept_sigma_x(problem, self.searched)
            start = time.perf_counter()
            found = prepared.method.propose(
                prepared.network,
                x,
                sigma=settings.sigma,
                reference=self.fitting,
                seed=settings.seed,
                index=index,
                sigma_x=sigma_x,
                batch=self.batch,
            )
        return found, seconds + time.perf_counter() - start

    def keep(self, proven: Proven, others: Executor | None) -> None:
        """Describe what a certificate is worth, certify the paths, and write it all.

        Severities are of many small operations, for which threads wait on each other: `others` find them, if any.
        """
        prepared, index = self.prepared, proven.certificate.index
        spoken = {"perturbations": prepared.threat.reported, "clamp": prepared.clamp, "rounding": prepared.rounding}
        severities = others and others.submit(certified_severities, proven.certificate.to("cpu"), **spoken)
        with told_of(index):
            found = described(
                prepared.network,
                proven.proposal,
                proven.certificate,
                sigma=prepared.settings.sigma,
                method=prepared.method,
                seconds=proven.seconds,
                measuring=self.measuring,
                held_out=self.held_out,
                label=int(prepared.data.test_labels[index]),
                severities=severities and severities.result(),
                **spoken,
            )
        paths = [certify_path(prepared, found, name, self.batch) for name in prepared.paths]
        found.record["baseline"] = self.baseline
        self.store.save(found.certificate, found.record, shared=prepared.method.one_scale, paths=paths)


@contextmanager
def processes(count: int, sent: object) -> Iterator[Executor | None]:
    """So many processes of one core each, `MOST` at most, which Ctrl-C leaves alone.

    None for fewer than three, as two gain nothing, and where what is to be `sent`, a user's own, cannot be.
    """
    try:
        can = count >= 3 and bool(pickle.dumps(sent))
    except Exception:  # whatever an object of a user raises
        can = False
    if not can:
        yield None
        return
    from joblib.externals.loky import ProcessPoolExecutor

    deaf = partial(signal.signal, signal.SIGINT, signal.SIG_IGN)
    pool = ProcessPoolExecutor(min(count, MOST), timeout=IDLE, env={"OMP_NUM_THREADS": "1"}, initializer=deaf)
    try:
        yield pool
    finally:
        pool.shutdown(kill_workers=True)


@contextmanager
def told_of(*indices: int) -> Iterator[None]:
    """Errors of what is certified, with the numbers of the inputs."""
    try:
        yield
    except ValueError as error:
        named = ", ".join(map(str, indices))
        raise SettingsError(f"input{'s' if len(indices) > 1 else ''} {named}: {error}") from error


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
