"""Cohen's interface, against his algorithms written down again, and his log in its dialects."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import beta, binom, binomtest, ks_2samp, norm

from rddrs.compat import Smooth, read_log, write_log


def counts_of(classifier, x, n, sigma, classes):
    noisy = x + sigma * torch.randn(n, *x.shape)
    return np.bincount(classifier(noisy).argmax(dim=1).numpy(), minlength=classes)


def certified(classifier, x, n0, n, alpha, sigma):
    """CERTIFY of Cohen et al. 2019."""
    top = counts_of(classifier, x, n0, sigma, 2).argmax()
    seen = counts_of(classifier, x, n, sigma, 2)[top]
    lower = beta.ppf(alpha, seen, n - seen + 1) if seen else 0.0
    return (-1, 0.0) if lower < 0.5 else (int(top), sigma * norm.ppf(lower))


def predicted(classifier, x, n, alpha, sigma):
    """PREDICT of Cohen et al. 2019."""
    counts = counts_of(classifier, x, n, sigma, 2)
    return int(counts.argmax()) if binomtest(int(counts.max()), n).pvalue <= alpha else -1


def test_certify_is_that_of_the_algorithm(linear):
    """Radii of 300 calls each, by Kolmogorov and Smirnov; a false alarm has probability 1e-6."""
    torch.manual_seed(0)
    classifier, x = linear(torch.tensor([1.0, -0.5, 0.25]), 0.3), torch.tensor([0.2, 0.1, -0.3])
    smooth = Smooth(classifier, 2, 0.5)
    own = [smooth.certify(x, 20, 200, 0.001, 100) for _ in range(300)]
    their = [certified(classifier, x, 20, 200, 0.001, 0.5) for _ in range(300)]
    same: Any = ks_2samp([radius for _, radius in own], [radius for _, radius in their])
    assert same.pvalue > 1e-6
    assert {answer for answer, _ in own} <= {-1, 0, 1} and all(radius == 0 for answer, radius in own if answer == -1)
    assert len({radius for _, radius in own}) > 20


def test_predict_is_that_of_the_algorithm(linear):
    """How often 300 calls abstain at p = 0.6; a false alarm has probability below 1e-6."""
    torch.manual_seed(0)
    classifier, x = linear(torch.tensor([1.0, 0.0]), float(norm.ppf(0.6))), torch.zeros(2)
    smooth = Smooth(classifier, 2, 1.0)
    own = sum(smooth.predict(x, 100, 0.05, 64) == Smooth.ABSTAIN for _ in range(300))
    seen = np.arange(101)
    chance = sum(binom.pmf(k, 100, 0.6) for k in seen if binomtest(int(k), 100).pvalue > 0.05)
    low, high = binom.interval(1 - 1e-6, 300, chance)
    assert low <= own <= high
    assert low <= sum(predicted(classifier, x, 100, 0.05, 1.0) == -1 for _ in range(300)) <= high


def test_num_classes_and_train_mode():
    network = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Dropout())
    assert Smooth(network, 3, 0.5).predict(torch.zeros(2), 10, 0.01, 10) in (-1, 0, 1, 2)
    with pytest.raises(ValueError, match="num_classes=10"):
        Smooth(network, 10, 0.5).certify(torch.zeros(2), 10, 100, 0.01, 10)


HEAD = "idx\tlabel\tpredict\tradius\tcorrect\ttime\n"
DIALECTS = {
    "clock": HEAD + "0\t7\t7\t1.23\t1\t0:0:15.5\n20\t2\t-1\t0\t0\t1 day, 0:00:01\n",
    "seconds": HEAD + "0\t7\t7\t1.23\tTrue\t15.5\n20\t2\t-1\t-0.4\tFalse\t86401\n",
    "wrong": HEAD + "0.0\t7.0\t7\t1.23\t1\t15.5\n20\t2\t3\t0\t1\t86401\n",  # called correct
    "infinite": "idx label predict radius correct gap time\n0 7 7 inf 1 2.0 15.5\n\n20 2 3 -1.0 1 0.0 24:00:01\n",
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_published_logs_are_read(dialect, tmp_path):
    (tmp_path / "log").write_text(DIALECTS[dialect])
    found = read_log(tmp_path / "log")
    assert found["index"].tolist() == [0, 20] and found["correct"].tolist() == [True, False]
    assert found["radius"].tolist() == [math.inf if dialect == "infinite" else 1.23, 0.0]
    assert found["seconds"].tolist() == [15.5, 86401.0] and found["label"].tolist() == [7, 2]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "names no column label"),
        ("a,b\n1,2\n", "names no column"),
        ("idx\tlabel\tpredict\tradius\tcorrect\n0\t1\t1\t0.5\tperhaps\n", "line 2: correct is perhaps"),
        ("idx\tlabel\tpredict\tradius\tcorrect\n0\t1\t1\n", "line 2: 3 values for 5"),
        ("idx\tlabel\tpredict\tradius\tcorrect\n", "without a line"),
        ("idx label predict radius correct radius\n0 1 1 0.5 1 9\n", "names a column twice"),
        ("idx label predict radius correct\n0 1 1 0.5 1\n0 1 1 0.5 1\n", "line 3: input 0 has been before"),
        ("idx label predict radius correct\n0 1.7 1 0.5 1\n", "line 2: 1.7 is no whole number"),
        ("idx label predict radius correct\n0 inf 1 0.5 1\n", "line 2: inf is no whole number"),
    ],
)
def test_what_is_no_log_is_one_error(text, told, tmp_path):
    (tmp_path / "log").write_text(text)
    with pytest.raises(ValueError, match=told):
        read_log(tmp_path / "log")


def test_a_log_is_written_with_radii_rounded_down(tmp_path):
    records = pd.DataFrame(
        {
            "index": [3, 4],
            "label": [1, 0],
            "prediction": [1, -1],
            "ball_radius": [0.1234567, 0.0],
            "correct": [True, False],
            "optimize_seconds": [1.0, 0.0],
            "certify_seconds": [0.25, 4000.0],
        }
    )
    write_log(tmp_path / "log.tsv", records)
    assert (tmp_path / "log.tsv").read_text().splitlines()[1] == "3\t1\t1\t0.12345\t1\t0:00:01.250000"
    again = read_log(tmp_path / "log.tsv")
    assert again["radius"].tolist() == [0.12345, 0.0] and again["seconds"].tolist() == [1.25, 4000.0]
