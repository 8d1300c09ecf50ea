"""What an audit finds in a run: records again from counts, counts and proposals again from their keys, attacks."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import pandas as pd

from pipelines.errors import SettingsError
from pipelines.means import measured_batch, paths_owner, share_scale, standard_of, unseen, worker_pool
from pipelines.prepared import Prepared
from pipelines.progress import progress_bar
from pipelines.shown import shown, stated_settings
from pipelines.train import train
from rddrs import audit as audit_certificate
from rddrs import audit_path, fidelity
from rddrs.certification import Certificate
from rddrs.records import (
    Difference,
    Store,
    claims,
    examine_run,
    made_elsewhere,
    manifest_differences,
    possible_worth_differences,
    proposal_differences,
    provenance,
    recounted,
    versions,
    worth_differences,
)
from rddrs.smoothing import SmoothedClassifier, shared_fidelity
from rddrs.trust import audited_inputs, overlaps
from rddrs.trust.paths import contradicted


@dataclass(frozen=True)
class Findings:
    """What an audit found: the audits of certificates, a row each, the pairs of regions that overlap, what is wrong.

    `notes` say what could not be checked here, and what of the run's provenance is not so here.
    """

    table: pd.DataFrame
    pairs: Sequence[object]
    wrong: list[Difference]
    notes: list[str]


def findings(prepared: Prepared) -> Findings:
    """All that an audit of a run finds; raises SettingsError where there is no run, or its weights are not here."""
    folder, settings = prepared.run_folder, prepared.settings
    if not folder.is_dir():
        raise SettingsError(f"{folder} holds no finished run: python -m pipelines.run with the same keys makes it")
    if not prepared.is_trained:
        raise SettingsError(
            f"the weights are not in {prepared.classifier_folder}: classifier.checkpoint=FILE says where they are"
        )
    train(prepared)
    store = Store(folder)
    records, wrong = examined(prepared, store)
    notes = made_elsewhere(prepared.run_folder) + drawn_elsewhere(prepared) + unproposed(prepared)
    notes += unmeasured(prepared, store)
    if not len(records):
        return Findings(pd.DataFrame(), [], wrong, notes)
    found, told = shown(prepared, records, lambda: counterpart_records(prepared))
    wrong, notes = wrong + found, notes + told
    unreadable = {it.input for it in wrong if it.column == "file"}
    readable = set(records["index"]) - unreadable
    chosen = [
        index
        for index in audited_inputs(prepared.indices, settings.audit.inputs, settings.audit.seed)
        if index in readable
    ]
    others, worth = sorted(readable - {*chosen}), worths(prepared, store)
    wrong += path_differences(prepared, store, others) + [it for index in others for it in worth(index, False)]
    claimed = claims(store, settings.certify.mode)
    table, found = attacked(prepared, store, chosen, claimed, worth)
    return Findings(table, overlaps(map(claimed, sorted(chosen)), claimed), wrong + found, notes)


def examined(prepared: Prepared, store: Store) -> tuple[pd.DataFrame, list[Difference]]:
    """The records that follow from the regions, and where what the run states of them differs.

    That is its manifest, its `config.yaml`, its regions and the outcomes of its memory.
    """
    settings, data, folder = prepared.settings, prepared.data, prepared.places
    known: dict[str, Any] = {"mode": "global" if prepared.method.one_scale else "per_input"}
    known["baseline"] = relative_to(prepared, store)
    known |= {"paths_of": paths_owner(prepared)} if prepared.paths else {}
    known |= {"batch": settings.certify.batch} if settings.certify.batch else {}
    name = folder.path.name if folder.is_below(prepared.root) else None
    wrong = manifest_differences(folder.path, prepared.binding, prepared.configuration, name)
    wrong += stated_settings(prepared)
    records, found = examine_run(
        store,
        prepared.labelled(),
        data.reference(settings.data.reference, settings.seed),
        terms=prepared.terms,
        binding=prepared.binding,
        known=known,
        perturbations=prepared.threat.reported,
        paths=prepared.paths,
        one_scale=prepared.method.one_scale,
        memory=settings.certify.mode == "memory",
    )
    return records, wrong + found


def counterpart_records(prepared: Prepared) -> tuple[pd.DataFrame | None, list[Difference]]:
    """What follows of the counterpart, whose counts are drawn again; None where it is not here."""
    other = prepared.counterpart
    if not (other.is_trained and other.places.is_finished):
        return None, []
    train(other)
    store = Store(other.run_folder)
    records, wrong = examined(other, store)
    known = set(records["index"]) if len(records) else set()
    chosen = [
        index
        for index in audited_inputs(other.indices, prepared.settings.audit.inputs, prepared.settings.audit.seed)
        if index in known
    ]
    proposed = proposals(other, store)
    audit, device = other.settings.audit, other.settings.device
    again = partial(recounted, store, other.network, terms=other.terms, tolerance=audit.tolerance, device=device)
    with worker_pool(other.settings) as pool:
        found = pool.map(lambda index: again(index) + proposed(index), chosen)
        wrong += [it for each in found for it in each]
    return records, [replace(it, file=f"{other.run_folder.name}/{it.file}") for it in wrong]


def drawn_elsewhere(prepared: Prepared) -> list[str]:
    """What counts that differ mean on a GPU: its generator lays its numbers out by the size of the card."""
    if prepared.settings.device == "cpu":
        return []
    return [
        f"device={prepared.settings.device}: a card of another model than the one that made the run draws other "
        "numbers from the same keys; counts that differ are a flag all the same: audit on such a card, or with "
        "audit.tolerance, where the fresh samples of the audit, compared by probability, are the judge"
    ]


def unproposed(prepared: Prepared) -> list[str]:
    """Why proposals are not made again, if they are not: then other last digits, or another start, give another C."""
    settings, method, stated = prepared.settings, prepared.method, provenance(prepared.run_folder)
    reason = None
    if settings.audit.tolerance > 0:
        reason = f"audit.tolerance={settings.audit.tolerance}"
    elif settings.device != "cpu":
        reason = f"device={settings.device}"
    elif any(stated.get(name) != value for name, value in versions().items()):
        reason = "the manifest states other versions"
    elif settings.run is not None and method.shared_scale is not None and not method.one_scale:
        reason = "the C that its proposals start from is not here"
    return [f"C, status, sigma_x and iterations are not proposed again: {reason}"] if reason else []


def relative_to(prepared: Prepared, store: Store) -> str:
    """What the fidelity of a run is relative to, by name.

    Of a co-training that was made elsewhere the network that it began with, if the run says so: it is not here.
    """
    settings, (name, _) = prepared.settings, standard_of(prepared)
    if settings.run is None or name != "itself" or settings.classifier.pretrained is not None:
        return name
    trained = "as_long" if prepared.threat.perturbations else "start"
    with suppress(ValueError):  # which `examined` names
        name = trained if store.record(prepared.indices[0]).get("baseline") == trained else name
    return name


def unmeasured(prepared: Prepared, store: Store) -> list[str]:
    """What fidelity is relative to, where that is believed: another network's accuracy, which is not here."""
    stated = relative_to(prepared, store)
    if stated == standard_of(prepared)[0]:
        return []
    return [
        f"fidelity is relative to a network that is not here (baseline {stated}): its accuracy under isotropic noise "
        "is believed; the answers under C are measured again"
    ]


def worths(prepared: Prepared, store: Store) -> Callable[[int, bool], list[Difference]]:
    """Where what the record of an input says of the worth of its C is not so.

    Of a C of the input's own that is not measured again: where no answers have that worth.
    """
    settings, (baseline, held_out) = prepared.settings, unseen(prepared)
    sigma, seed, norm = settings.sigma, settings.seed, settings.certify.norm
    best, inputs = held_out.baseline(prepared.network, sigma, seed, norm=norm), len(held_out.labels)
    how = {"tolerance": settings.audit.tolerance, "believed": relative_to(prepared, store) != baseline}
    shared = prepared.method.same_scale

    def worth(index: int, again: bool) -> list[Difference]:
        stated = store.record(index)
        if not (again or shared):
            return possible_worth_differences(index, stated, best, inputs, **how)
        measure = shared_fidelity if shared else partial(fidelity, index=index)
        scale = store.certificate(index).scale
        measured = measure(prepared.network, scale, held_out, sigma=sigma, seed=seed, norm=norm)
        return worth_differences(index, stated, measured, **how)

    return worth


def proposals(prepared: Prepared, store: Store) -> Callable[[int], list[Difference]]:
    """Where the scale, the status, sigma_x or the iterations of an input are not what the method proposes there."""
    if unproposed(prepared):
        return lambda index: []
    settings, method = prepared.settings, prepared.method
    reference = prepared.reference(1)
    sigma, seed = settings.sigma, settings.seed
    if settings.run is None:
        share_scale(prepared, reference)

    def proposed(index: int) -> list[Difference]:
        certificate = store.certificate(index)
        if settings.run is not None and method.shared_scale:  # C came with the run
            method.shared_scale.adopt(prepared.network, certificate.scale, sigma=sigma, seed=seed)
        x = prepared.data.test_inputs[index].to(settings.device)
        again = method.propose(
            prepared.network, x, sigma=sigma, reference=reference, seed=seed, index=index, batch=certificate.batch
        )
        return proposal_differences(store, index, again)

    return proposed


def attacked(
    prepared: Prepared,
    store: Store,
    chosen: list[int],
    claimed: Callable[[int], Certificate],
    worth: Callable[[int, bool], list[Difference]],
) -> tuple[pd.DataFrame, list[Difference]]:
    """The audit of the chosen certificates, and where they are not proposed, or worth, what is stated."""
    settings, options = prepared.settings, prepared.settings.audit
    batch = measured_batch(prepared)
    reference, proposed = prepared.reference(), proposals(prepared, store)

    def one(index: int) -> tuple[dict[str, Any], list[Difference]]:
        certificate = claimed(index)
        found = audit_certificate(
            prepared.network,
            certificate,
            prepared.data.test_inputs[index].to(settings.device),
            index=index,
            terms=prepared.terms,
            reference=reference,
            perturbations=prepared.threat.perturbations,
            samples=options.samples,
            false_alarm=options.false_alarm,
            outside=options.outside,
            tolerance=options.tolerance,
            batch=batch,
            seed=options.seed,
        )
        flags, wrong = [*found.flags, *path_flags(prepared, store, index, batch)], proposed(index) + worth(index, True)
        return pd.json_normalize(asdict(found)).iloc[0].to_dict() | {"flags": ", ".join(flags)}, wrong

    with worker_pool(settings) as pool, progress_bar() as progress:
        done = list(progress.track(pool.map(one, chosen), total=len(chosen), description="audit"))
    return pd.DataFrame([row for row, _ in done]), [it for _, wrong in done for it in wrong]


def path_differences(prepared: Prepared, store: Store, indices: Sequence[int]) -> list[Difference]:
    """Where the paths of inputs that are not drawn again do not follow from their own counts."""
    found = []
    for index in indices:
        for name, asked in prepared.paths.items():
            with suppress(ValueError):  # which `examined` names
                path = store.path_certificate(index, name, asked)
                flags = contradicted(path, prepared.path_terms(name, path.scale))
                told = f"regions/{index}.safetensors", index, f"path_{name}"
                found += [Difference(*told, f"another {flag}", "what its counts prove") for flag in flags]
    return found


def path_flags(prepared: Prepared, store: Store, index: int, batch: int) -> list[str]:
    """The ways in which the paths of an input are broken, each after the name of its path."""
    options, flags = prepared.settings.audit, []
    for name, asked in prepared.paths.items():
        try:
            path = store.path_certificate(index, name, asked).to(prepared.settings.device)
        except ValueError:  # which `examined` names
            flags.append(f"path {name}: file")
            continue
        found = audit_path(
            SmoothedClassifier(prepared.network, path.scale, prepared.settings.certify.norm, prepared.grid),
            path,
            prepared.data.test_inputs[index].to(prepared.settings.device),
            index=index,
            terms=prepared.path_terms(name, path.scale),
            samples=options.samples,
            false_alarm=options.false_alarm,
            tolerance=options.tolerance,
            seed=options.seed,
            batch=batch,
        )
        flags += [f"path {name}: {flag}" for flag in found.flags]
    return flags
