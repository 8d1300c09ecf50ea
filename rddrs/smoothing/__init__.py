"""Monte Carlo on noisy inputs: counts, probabilities, their bounds, and the fidelity of a smoothed classifier."""

from rddrs.smoothing.bounds import clopper_pearson, clopper_pearson_upper, keyed_uniform, randomized_clopper_pearson
from rddrs.smoothing.contract import check_contract
from rddrs.smoothing.cores import keep_freed_memory, on_threads, worker_threads
from rddrs.smoothing.counts import Asked, hard_counts, running_counts, shared_counts
from rddrs.smoothing.edge import (
    PRECISIONS,
    Classifier,
    Known,
    check_classes,
    check_evaluates,
    check_precision,
    held,
    logits_of,
    networks_of,
    owned_input,
    owned_inputs,
    taken,
    votes,
)
from rddrs.smoothing.fidelity import Fidelity, Reference, fidelity, predict, shared_fidelity
from rddrs.smoothing.probabilities import soft_probabilities
from rddrs.smoothing.questions import Answer, Chunk, Question, ask, count, least
from rddrs.smoothing.sequential import Decision, decide, sequential_lower
from rddrs.smoothing.smoothed import Predictions, SmoothedClassifier
from rddrs.smoothing.speed import kept_batch, measure_batch

__all__ = [
    "PRECISIONS",
    "Answer",
    "Asked",
    "Chunk",
    "Classifier",
    "Decision",
    "Fidelity",
    "Known",
    "Predictions",
    "Question",
    "Reference",
    "SmoothedClassifier",
    "ask",
    "check_classes",
    "check_contract",
    "check_evaluates",
    "check_precision",
    "clopper_pearson",
    "clopper_pearson_upper",
    "count",
    "decide",
    "fidelity",
    "hard_counts",
    "held",
    "keep_freed_memory",
    "kept_batch",
    "keyed_uniform",
    "least",
    "logits_of",
    "measure_batch",
    "networks_of",
    "on_threads",
    "owned_input",
    "owned_inputs",
    "predict",
    "randomized_clopper_pearson",
    "running_counts",
    "sequential_lower",
    "shared_counts",
    "shared_fidelity",
    "soft_probabilities",
    "taken",
    "votes",
    "worker_threads",
]
