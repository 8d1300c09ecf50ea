"""Reports: laws of the tables, figures of every kind of run, and the page in a real browser.

The records come from real certificates of linear classifiers, whose true radius is known: (w.x + b) / |C w|.
"""

import decimal
import io
import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import pyplot
from matplotlib.axes import Axes
from rich.console import Console
from scipy.stats import binomtest, bootstrap
from torch import Tensor

from rddrs import Diagonal, Full, Isotropic, certify
from rddrs.certification import ABSTAIN
from rddrs.noise.scale import Scale
from rddrs.pictures.images import noise_limits, noise_map, picture, principal_axes
from rddrs.report import (
    Run,
    audit_table,
    certified_accuracy,
    closing_table,
    compare,
    comparison_figures,
    comparison_table,
    eigenvector_figure,
    histogram_figure,
    left_out,
    literature_table,
    log_summary,
    path_table,
    region_figure,
    round_down,
    run_figures,
    save,
    severity_table,
    summarize,
    threat_summary,
    threat_table,
    write_page,
)
from rddrs.report.curves import comparison_figure, probability_figure
from rddrs.report.figures import scatter_figure
from rddrs.report.gains import gain, severity_figure
from rddrs.report.headline import headline, tiles
from rddrs.report.sheet import accuracy_cells, best_of, comparison_cells, severity_cells
from rddrs.report.style import some, vector_bytes
from rddrs.report.tables import HEADINGS, alike, confidence_band, fidelity_interval, shared_inputs

ALPHA = 1e-3
SIGMA = 0.5


def linear(dim: int) -> Callable[[Tensor], Tensor]:
    """Logits (0, w.x) with w = (1, -1, 1, ...) / sqrt(d)."""
    weight = torch.tensor([(-1.0) ** k for k in range(dim)]) / math.sqrt(dim)
    return lambda inputs: torch.stack([torch.zeros(len(inputs)), inputs.flatten(1) @ weight], dim=1)


def full(dim: int, seed: int) -> Full:
    generator = torch.Generator().manual_seed(seed)
    axes = torch.linalg.qr(torch.randn(dim, dim, generator=generator)).Q
    lengths = torch.linspace(0.2, 1.0, dim)
    return Full((axes * lengths) @ axes.mT)


def make(method: str, shape: tuple[int, ...], scale_of: Callable[[int, int], Scale], inputs: int, shift: float) -> Run:
    dim = math.prod(shape)
    classifier = linear(dim)
    generator = torch.Generator().manual_seed(0)
    held, rows = {}, []
    for index in range(0, 3 * inputs, 3):
        x = torch.rand(shape, generator=generator)
        x = x + shift * classifier(x[None])[0, 1].sign() * torch.tensor([(-1.0) ** k for k in range(dim)]).view(shape)
        scale = scale_of(dim, index)
        certificate = certify(classifier, x, scale, samples=1000, alpha=ALPHA, index=index)
        label = int(classifier(x[None]).argmax()) if index % 5 else index % 2
        held[index] = (x, scale)
        rows.append(
            {
                "index": index,
                "label": label,
                "prediction": certificate.prediction,
                "norm": certificate.norm,
                "correct": certificate.prediction == label,
                "p_lower": certificate.p_lower,
                "radius": certificate.radius,
                "proxy_radius": certificate.proxy_radius,
                "ball_radius": certificate.ball_radius,
                "severity_brightness": certificate.ball_radius / 4,
                "severity_mine": certificate.radius,
                "fidelity": 0.8 if method == "rddrs" else 1.0,
                "contradictions": index % 2,
                "status": "finished" if index % 2 else "a <b>step</b> & more",
                "optimize_seconds": 0.25,
                "certify_seconds": 0.5,
            }
        )
    return Run(f"{method}-{shape}", method, SIGMA, pd.DataFrame(rows), held.__getitem__, "sigma: 0.5 # <i>")


@pytest.fixture(scope="session")
def runs() -> dict[str, Run]:
    return {
        "isotropic": make("rs", (1, 4, 4), lambda dim, _: Isotropic(SIGMA, dim), 20, 0.1),
        "diagonal": make("ancer", (1, 4, 4), lambda dim, _: Diagonal(torch.linspace(0.3, 0.9, dim)), 20, 0.1),
        "full": make("rddrs", (1, 4, 4), full, 20, 0.1),
        "plane": make("rddrs", (2,), full, 5, 0.3),
        "colour": make("rddrs", (3, 2, 2), full, 4, 0.2),
        "abstained": make("rs", (1, 4, 4), lambda dim, _: Isotropic(50.0, dim), 4, 0.0),
        "single": make("rddrs", (4, 4), full, 1, 0.3),
    }


KINDS = ["isotropic", "diagonal", "full", "plane", "colour", "abstained", "single"]


@pytest.mark.parametrize("column", ["radius", "proxy_radius", "ball_radius"])
@pytest.mark.parametrize("kind", KINDS)
def test_mean_radius_is_the_area_under_certified_accuracy(runs, kind, column):
    records = runs[kind].records
    edges = np.unique([0, *records[column]])
    area = (certified_accuracy(records, edges[1:], column) * np.diff(edges)).sum()
    name = {"radius": "acr_radius", "proxy_radius": "acr_proxy", "ball_radius": "acr_ball"}[column]
    assert summarize(records)[name] == pytest.approx(area)


def test_certified_accuracy_never_exceeds_the_truth(runs):
    """False alarms: at most 20 inputs x alpha = 2 %; the seed is fixed."""
    run = runs["full"]
    weight = torch.tensor([(-1.0) ** k for k in range(16)]) / 4
    true = np.array(
        [
            abs(x.flatten() @ weight).item() / torch.linalg.vector_norm(scale.matrix @ weight).item()
            for x, scale in map(run.load, run.records["index"])
        ]
    )
    radii = np.linspace(0, 3, 50)
    truth = (true[:, None] >= radii).mean(axis=0)
    assert (certified_accuracy(run.records, radii, "radius") <= truth).all()


def test_summary_is_json_of_the_agreed_keys(runs):
    for run in runs.values():
        assert list(json.loads(json.dumps(summarize(run.records), allow_nan=False))) == [
            *("inputs", "certified_accuracy", "abstentions", "acr_radius", "acr_proxy", "acr_ball"),
            *("fidelity", "contradictions", "optimize_seconds", "certify_seconds"),
        ]
    assert summarize(runs["abstained"].records)["abstentions"] == 4
    with pytest.raises(ValueError, match="no records"):
        summarize(runs["full"].records.iloc[:0])


def test_wrong_answers_are_not_certified(runs):
    records = runs["full"].records.assign(correct=False)
    assert not certified_accuracy(records, [0, 0.1], "radius").any()


def test_numbers_of_any_size_are_rounded_whatever_the_context():
    with decimal.localcontext(prec=2):
        assert round_down(1.25e30) == "125" + 28 * "0" + ".000" and round_down(12.3456) == "12.345"


def test_round_down_never_states_more():
    values = np.random.default_rng(0).exponential(3, 2000)
    for value in values:
        assert 0 <= value - float(round_down(value)) < 1e-3 + 1e-12
    assert [round_down(value) for value in (0.29, 0.2999999, 2, math.inf, math.nan)] == [
        *("0.290", "0.299", "2.000", "-", "-"),
    ]


def test_band_is_scipys_exact_interval():
    shares = np.arange(21) / 20
    for share, lower, upper in zip(shares, *confidence_band(shares, 20), strict=True):
        exact = binomtest(round(20 * share), 20).proportion_ci(0.95, method="exact")
        assert (lower, upper) == pytest.approx((exact.low, exact.high))


def test_an_interval_is_rounded_outward():
    assert fidelity_interval({"fidelity_low": 0.8299, "fidelity_high": 1.1001}) == "0.82-1.11"
    assert fidelity_interval({"fidelity": 1.0}) == "-", "of version 0.6"


def test_what_was_asked_is_shown_as_it_was_and_nothing_better_than_it_is(runs):
    """Six digits show an alpha of 0.0012345649 as 0.00123456, and a path to 0.29999996 as one to 0.3."""
    alpha, end = 0.0012345649, 0.29999996
    assert repr(certify(linear(4), torch.zeros(4), Isotropic(1.0, 4), samples=100, alpha=alpha)).endswith(
        f"alpha = {alpha})"
    )
    stated = replace(runs["isotropic"], configuration=f"{{certify: {{samples: 1000, alpha: {alpha}}}}}")
    assert f"alpha = {alpha};" in headline([stated])[1]
    console = Console(width=200, record=True, file=io.StringIO())
    path = {"asked": [0, end], "share": 0.9, "share_low": 0.6, "share_high": 1.0, "samples": 9, "too_many_cells": 0}
    console.print(path_table({"blur": path}))
    console.print(threat_table(threat_summary(runs["full"].records, None, {"brightness": end})))
    assert console.export_text().count(f"{end} ") == 2
    audited = dict.fromkeys(("audited", "inputs", "broken", "contradictions", "overlaps"), 1)
    table = audit_table({**audited, "expected_false_alarms": 0.0101}, pd.DataFrame({"flags": [""], "prediction": [0]}))
    assert "0.011" in table.columns[1].cells
    found = {"objective": "gaussian", "sigma": 0.5, "inputs": 50, "samples": 1000, "acr": 1.5732, "published": 1.558}
    table = literature_table(pd.DataFrame([{**found, "standard_error": 0.1001, "difference": 0.0097}]))
    assert [next(iter(column.cells)) for column in table.columns[4:]] == ["1.573", "0.101", "1.558", "+0.9%"]


def test_a_run_that_was_refused_says_so_and_what_fidelity_is_relative_to(runs):
    records = runs["isotropic"].records.assign(status="refused", baseline="as_long")
    printed = io.StringIO()
    Console(file=printed, width=100).print(closing_table(summarize(records), records))
    text = printed.getvalue()
    assert f"{len(records)} of {len(records)}" in text and "refused: C is sigma I" in text
    assert "fidelity (1: as good as RS trained as long)" in re.sub(r"\s+", " ", text)


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_tables_fit_a_terminal_and_round_down(runs, width):
    records, compared = runs["full"].records, [runs["isotropic"], runs["full"]]
    summary = summarize(records)
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(closing_table(summary, records, "a title"))
    console.print(comparison_table(compare(compared), width))
    console.print(severity_table(compared, width))
    console.print(threat_table(threat_summary(records, runs["isotropic"].records)))
    path = {"asked": [[-10, -0.25], [10, 0.25]], "share": 0.99, "share_low": 0.69, "share_high": 1.0, "samples": 28_599}
    path["too_many_cells"] = 7
    console.print(path_table({"rotation+brightness": path}, width))
    text = console.export_text()
    assert round_down(summary["acr_proxy"]) in text and "a title" in text and "brightness" in text
    assert max(map(len, text.splitlines())) <= width and "\u2026" not in text
    assert round_down(summary["certified_accuracy"]) in text
    assert "for 7 of the inputs it needs more cells than its budget" in " ".join(text.split())


def test_runs_are_named_by_method_where_that_is_enough(runs):
    twice = Run("gamma=1.25", "rddrs", SIGMA, runs["full"].records, runs["full"].load)
    assert compare([runs["isotropic"], runs["full"]])["label"].tolist() == ["rs", "rddrs"]
    assert compare([runs["full"], twice])["label"].tolist() == [runs["full"].name, "gamma=1.25"]


@pytest.mark.parametrize("kind", ["plane", "colour", "abstained", "single"])
def test_every_run_can_be_drawn(runs, kind):
    before = dict(mpl.rcParams)
    for figure in run_figures(runs[kind]).values():
        assert b"<svg" in vector_bytes(figure)
    assert dict(mpl.rcParams) == before and not pyplot.get_fignums()


def test_saving_twice_gives_the_same_files(runs, tmp_path):
    figure = eigenvector_figure([(runs["single"], 0)])
    paths = save(figure, tmp_path / "sigma=0.5" / "name")
    assert [path.name for path in paths] == ["name.svg", "name.png"]
    content = [path.read_bytes() for path in paths]
    save(figure, tmp_path / "sigma=0.5" / "name")
    assert [path.read_bytes() for path in paths] == content


def test_comparison_draws_the_certified_accuracy(runs):
    compared = [runs["isotropic"], runs["diagonal"], runs["full"]]
    figures = comparison_figures(compared)
    assert {"certified_accuracy", "confidence", "severities", "spectra", "fidelity", "scatter", "eigenvectors"} == set(
        figures
    )
    for axes, column in zip(figures["certified_accuracy"].axes, ("ball_radius", "proxy_radius"), strict=True):
        lines = [line for line in axes.lines if not str(line.get_label()).startswith("_")]
        for line, run in zip(lines, compared, strict=True):
            radii, shares = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
            assert line.get_label() == run.method and shares[-1] == 0
            assert shares[:-1] == pytest.approx(certified_accuracy(run.records, radii[:-1], column))
    for axes in figures["scatter"].axes:
        assert axes.get_xlim() == axes.get_ylim()


def test_names_of_a_sweep_are_not_cut_off_and_do_not_cover_each_other(runs):
    values = [(gamma, kappa) for gamma in (0.5, 1) for kappa in (0, 1)]
    swept = [replace(runs["full"], name=str(it), label=f"rddrs gamma={it[0]} kappa={it[1]}") for it in values]
    for figure in (probability_figure(swept), severity_figure(swept)):
        legend, inside = figure.legends[0].get_window_extent(), figure.bbox
        assert inside.x0 <= legend.x0 and legend.x1 <= inside.x1
    scatter = scatter_figure([(swept[0], other) for other in swept[1:]])
    axes = [it for it in scatter.axes if it.axison]
    texts = [text.get_window_extent() for it in axes for text in (it.xaxis.label, it.yaxis.label)]
    inside = scatter.bbox.padded(1)
    assert all(inside.x0 <= it.x0 and it.x1 <= inside.x1 and inside.y0 <= it.y0 and it.y1 <= inside.y1 for it in texts)
    assert not any(first.overlaps(second) for first, second in combinations(texts, 2))
    table = severity_table(swept, 80)
    assert table is not None and len(table.columns) == 6, "every run of the sweep is in the table of a terminal"


def test_what_is_the_same_of_balls_is_drawn_once(runs):
    balls, others = runs["isotropic"], runs["full"]
    for draw in (histogram_figure, lambda run: comparison_figure([run])):
        assert [len(draw(run).axes) for run in (balls, others)] == [1, 2]
    assert len(comparison_figure([balls, others]).axes) == 2
    drawn = [[axes for axes in eigenvector_figure([(run, 0)]).axes[:9] if axes.images] for run in (balls, others)]
    assert [*map(len, drawn)] == [2, 9], "the covariance of noise that is independent says no more than the noise"


def test_noise_is_drawn_on_one_scale(runs):
    """The least noise is not drawn as dark as the most."""
    figure = eigenvector_figure([(runs["isotropic"], 0), (runs["full"], 0)])
    assert [figure.axes[place].images[0].get_clim() for place in (1, 10)] == [noise_limits(torch.zeros(2))] * 2


def test_runs_without_common_inputs_are_compared(runs):
    other = runs["full"].records.assign(index=lambda records: records["index"] + 1)
    moved = Run("moved", "ancer", SIGMA, other, lambda index: runs["full"].load(index - 1))
    assert "scatter" not in comparison_figures([runs["full"], moved])
    found = left_out([runs["isotropic"], moved])
    assert found.pop(0).startswith("Tables: not all runs of a sigma have the same inputs")
    assert len(found) == 2 and all("ancer at sigma 0.5" in it for it in found)
    assert left_out([runs["isotropic"], runs["full"]]) == []


def test_an_index_of_other_data_is_another_input(runs):
    """Runs of two data sets stood in one scatter, as times each other's severities, and one was the best of a sigma."""
    first, second = runs["isotropic"], runs["full"]
    turned = torch.eye(16).roll(1, 0)  # of a rotation of the data the inputs are the same
    rotated = replace(
        second, load=lambda index: ((turned @ second.load(index)[0].flatten()).view(1, 4, 4), full(16, 0))
    )
    labelled = replace(second, records=second.records.assign(label=second.records["label"] + 1))
    other = replace(second, load=lambda index: (second.load(index)[0] + 1, full(16, 0)))
    few = replace(second, records=second.records[:10])
    assert alike([first, second, rotated, labelled, other, few]) == [0, 0, 0, 3, 4, 5]
    assert shared_inputs([first, few]) == few.records["index"].to_list()
    for run in (labelled, other):
        assert (
            not {"scatter", "eigenvectors"} & {*comparison_figures([first, run])} and len(left_out([first, run])) == 3
        )
        assert not any(cells[2] for cells in (comparison_cells([first, run]), severity_cells([first, run])) if cells)
    assert severity_figure([first, other]).axes[0].get_xscale() == "linear"


def test_radii_of_two_norms_are_not_compared(runs):
    """A radius of l1 is no length: it stood in one panel with those of l2, and was the best of a sigma."""
    first, second = runs["isotropic"], runs["full"]
    other = replace(second, records=second.records.assign(norm="l1"))
    titles = [panel.get_title("left") for panel in comparison_figure([first, other]).axes]
    assert [title.rpartition(", ")[2] for title in titles] == ["l1", "l1", "l2"]
    assert alike([first, other]) == [0, 1] and not comparison_cells([first, other])[2]
    assert [panel.get_title("left") for panel in comparison_figure([first, second], "ball_radius").axes] == [
        r"$\sigma$ = 0.5"
    ]
    with pytest.raises(ValueError, match="the radii of b are of l1, those of logs of l2"):
        log_summary({"a": first.records, "b": other.records})


def test_a_gain_is_a_ratio_of_means_and_its_interval_is_scipys():
    source = np.random.default_rng(0)
    base = source.exponential(1, 60)
    values = 2 * base + source.exponential(0.1, 60)
    at, low, high = gain(values, base)
    assert at == pytest.approx(values.mean() / base.mean())
    found = bootstrap(
        (values, base), lambda x, y, axis: x.mean(axis) / y.mean(axis), paired=True, method="percentile", rng=1
    ).confidence_interval
    assert (low, high) == pytest.approx((found.low, found.high), abs=0.02)
    assert gain(base, base) == pytest.approx((1, 1, 1)) and np.isnan(gain(values, 0 * base)[0])


def test_an_interval_has_an_end_where_there_is_one(runs):
    """A third of the resamples lack the only input of which RS certifies anything: infinity, not 12."""
    at, _, high = gain(np.ones(12), np.eye(12)[0])
    assert (at, high) == (12.0, np.inf)
    few, *ends = gain(np.arange(9.0))
    assert few == 4 and np.isnan(ends).all(), "as many as nine inputs have a bootstrap interval that is far too narrow"
    base = runs["isotropic"].records.assign(severity_mine=[1.0, *[0.0] * 19], correct=True)
    figure = severity_figure([replace(runs["isotropic"], records=base), runs["full"]])
    arrows = [line for line in figure.axes[0].lines if line.get_marker() == ">" and np.isfinite(line.get_xdata()).any()]
    assert len(arrows) == 1 and np.isfinite(figure.axes[0].get_xlim()).all()
    equal = replace(runs["isotropic"], records=runs["isotropic"].records.assign(correct=False))
    for run, told in ((runs["single"], "too few inputs"), (equal, "-")):
        assert {tile["interval"] for tile in tiles(run) if "radius" in tile["name"]} == {told}


@pytest.mark.parametrize("dim", [2, 5, 16, 100])
def test_principal_axes_are_eigenvectors(dim):
    scale = full(dim, 1)
    axes = principal_axes(scale, 2, 2)
    assert [rank for rank, *_ in axes] == ([1, 2] if dim == 2 else [1, 2, dim - 1, dim])
    for rank, value, vector in axes:
        assert value == pytest.approx(scale.eigenvalues[-rank].item(), rel=1e-6)
        assert scale.matrix.double().numpy() @ vector == pytest.approx(value * vector, abs=1e-6)
    assert [value for _, value, _ in principal_axes(scale, 2)] == pytest.approx([value for _, value, _ in axes[:2]])
    for ball in (Isotropic(0.5, dim), Diagonal(torch.full((dim,), 0.3)), Full(0.3 * torch.eye(dim))):
        assert principal_axes(ball, 2, 2) == principal_axes(ball, 1) == principal_axes(scale) == []


def test_noise_map_is_the_standard_deviation():
    scale = full(6, 2)
    assert noise_map(scale) ** 2 == pytest.approx(scale.covariance.diagonal().numpy())


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((1, 4, 5), (4, 5)), ((3, 4, 5), (4, 5, 3)), ((4, 5), (4, 5)), ((2,), None), ((7, 4, 5), None)],
)
def test_pictures(shape, expected):
    image = picture(np.zeros(shape))
    assert (None if image is None else image.shape) == expected


def test_region_edges_lie_at_the_radius(runs):
    run = runs["plane"]
    (row,) = run.records.loc[run.records["index"] == 3].to_dict("records")
    (axes,) = region_figure(linear(2), [run], 3).axes
    assert isinstance(axes, Axes)
    x, scale = run.load(3)
    edge = torch.from_numpy(axes.lines[0].get_xydata())
    distances = torch.linalg.vector_norm(scale.whiten(edge - x), dim=1)
    assert distances.numpy() == pytest.approx(row["radius"])
    with pytest.raises(ValueError, match="16 coordinates"):
        region_figure(linear(16), [runs["full"]], 3)


def test_nothing_to_report_is_an_error(runs, tmp_path):
    with pytest.raises(ValueError, match="no records"):
        Run("empty", "rs", SIGMA, runs["full"].records.iloc[:0], runs["full"].load)
    with pytest.raises(ValueError, match="at least one run"):
        write_page(tmp_path / "report.html", [], {}, "nothing")


def test_a_page_has_the_severities_of_a_run(runs, tmp_path):
    found = pd.DataFrame({"perturbation": ["red_cast"], "unit": ["amplitude"], "severity": [0.1239], "rs": [0.02]})
    found = found.assign(ratio=6.195, at=0.1, share=0.5, low=0.4, high=0.6)
    text = write_page(tmp_path / "report.html", [runs["full"]], {}, "aimed", severities=found).read_text()
    assert "red cast</th><td>0.123</td><td>0.020</td><td>6.19</td><td>amplitude</td><td>0.1</td>" in text
    assert "0.500 (0.400 to 0.600)" in text
    assert "Certified severities" not in write_page(tmp_path / "r.html", [runs["full"]], {}, "plain").read_text()


def test_a_comparison_says_between_what_its_runs_lie(runs):
    stated = "{{data: {{name: digits}}, classifier: {{_target_: a.Net}}, certify: {{samples: {}, alpha: {}}}}}"
    one = replace(runs["isotropic"], configuration=stated.format(1000, 0.001))
    other = replace(runs["full"], records=runs["full"].records[:12], configuration=stated.format(100_000, 0.01))
    sentence, details = headline([one, other])
    assert sentence == "rs and rddrs side by side, on 12 to 20 test inputs of digits and a Net"
    assert details.startswith(
        "n = 1,000 to 100,000 samples an input, each false with probability at most alpha = 0.001 to 0.01;"
    )
    assert headline([one, one])[1].startswith(
        "n = 1,000 samples an input, each false with probability at most alpha = 0.001;"
    )
    targeted = "{certify: {samples: 1000, alpha: 0.001, target_radius: 0.5}}"
    assert headline([replace(one, configuration=targeted)])[1].startswith("n = at most 1,000 samples an input")


def test_a_page_says_first_what_was_certified_and_how_sure_it_is(runs, tmp_path):
    stated = "{data: {name: digits}, classifier: {_target_: a.Net}, certify: {samples: 1000, alpha: 0.001}}"
    run, isotropic = (replace(runs[name], configuration=stated) for name in ("full", "isotropic"))
    words: dict[str, Any] = {"command": "rddrs run sigma=0.5", "made": "27 November 2026"}
    text = write_page(tmp_path / "r.html", [run], {}, run.name, isotropic=isotropic, **words).read_text()
    assert "rddrs certifies the answers of a Net to 20 test inputs of digits, under noise of sigma 0.5" in text
    prediction = run.records["prediction"].where(run.records["index"] > run.records["index"].iloc[2], ABSTAIN)
    abstained = replace(run, records=run.records.assign(prediction=prediction))
    assert "answers of a Net to 17 of 20 test inputs" in headline([abstained])[0]
    assert "n = 1,000 samples an input, each false with probability at most alpha = 0.001" in text
    assert all(word in text for word in words.values())
    summary, other = summarize(run.records), summarize(isotropic.records)
    correct = round(summary["certified_accuracy"] * 20)
    exact = binomtest(correct, 20).proportion_ci(0.95, method="exact")
    shown = {tile["name"]: tile for tile in tiles(run, isotropic)}
    low, high = map(float, shown["Certified accuracy"]["interval"].split("-"))
    assert 0 <= exact.low - low < 1e-3 and 0 <= high - exact.high < 1e-3
    for name, key in (("Mean ball radius", "acr_ball"), ("Mean proxy radius", "acr_proxy")):
        low, high = map(float, shown[name]["interval"].split("-"))
        assert low < float(shown[name]["value"]) <= summary[key] < high
        told, _, more = shown[name]["versus"].removeprefix("RS ").partition(": ")
        assert 0 <= other[key] - float(told) < 1e-3 and 0 <= summary[key] - other[key] - float(more) < 1e-3


def test_the_best_of_each_sigma_are_marked_and_no_column_is_all_0(runs):
    compared = [runs["isotropic"], runs["diagonal"], runs["full"]]
    headings, rows, best = accuracy_cells(compared)
    assert all(any(float(row[column]) for row in rows) for column in range(4, len(headings)))
    _, _, best = comparison_cells(compared)
    table = compare(compared)
    assert {row for row, column in best if column == [*HEADINGS].index("acr_ball")} == {table["acr_ball"].argmax()}
    assert best_of([1.0, 2.0, 2.0, 3.0, 5.0, 5.0], [0, 0, 0, 1, 2, 2]) == {1, 2}
    assert best_of([0.29, 1.0021, 1.0029], [0, 0, 0]) == {1, 2} and not best_of([1.0021, 1.0029], [0, 0]), "as shown"
    _, (brightness, *_), best = severity_cells(compared) or ([], [[]], set())
    assert brightness[0] == "brightness" and any(row == 0 for row, _ in best)
    tested = replace(runs["full"], records=runs["full"].records.assign(severity_mine_tested=True))
    _, rows, _ = severity_cells([runs["isotropic"], tested]) or ([], [], set())
    assert [row[0] for row in rows] == ["brightness", "mine, tested"], "of a run of several, too"


@pytest.mark.parametrize("kind", KINDS)
def test_the_distribution_of_p_a_is_counted(runs, kind):
    """Quantiles and curve against counting, one input at a time."""
    run = runs[kind]
    rows = run.records.to_dict("records")
    bounds = sorted(row["p_lower"] if row["correct"] else 0.0 for row in rows)
    found = compare([run]).iloc[0]
    for quantile in (0.1, 0.5, 0.9):
        value = found[f"p_A_{quantile:g}"]
        assert value in bounds and sum(it <= value for it in bounds) >= quantile * len(bounds)
        assert sum(it < value for it in bounds) <= quantile * len(bounds)
    for radius in (0.25, 0.5, 0.75, 1.0):
        held = sum(row["correct"] and row["ball_radius"] >= radius for row in rows)
        assert found[f"certified_at_{radius:g}"] == held / len(rows)
    (line,) = probability_figure([run]).axes[0].lines
    places, shares = (np.asarray(it) for it in line.get_data())
    for place in np.unique(places):
        assert shares[places == place].max() == pytest.approx(sum(it <= place for it in bounds) / len(bounds))


@pytest.mark.parametrize("kind", KINDS)
def test_page_is_one_safe_file(runs, kind, tmp_path):
    figures = {"radii": histogram_figure(runs[kind])}
    text = write_page(tmp_path / "report.html", [runs[kind]], figures, "<script>alert(1)</script>").read_text()
    assert "<script>alert" not in text and "<b>step" not in text and "<i>" not in text
    assert not re.search(r"""(src|href)="(?!data:|#)|url\("(?!data:)|url\([^"]|@import""", text)
    cards = json.loads(re.findall(r'<script type="application/json" id="data">(.*?)</script>', text)[0])
    assert [card["index"] for card in cards] == runs[kind].records["index"].tolist()
    assert ("mean fidelity 0.800" in text) == (runs[kind].method == "rddrs")


def test_gallery_sorts_and_filters_in_a_browser(runs, tmp_path, page):
    compared = [runs["isotropic"], runs["full"]]
    path = write_page(tmp_path / "report.html", compared, {}, "Two runs")
    choice = "sort=proxy_radius&order=descending&outcome=correct&label=1&run=rddrs%2C+sigma+0.5"
    page.goto(f"{path.as_uri()}#{choice}")
    page.wait_for_function("document.querySelector('#cards li')")
    document = page.content()
    records = runs["full"].records
    expected = records[records["correct"] & (records["label"] == 1)]
    assert 2 <= len(expected) < len(records)
    down = expected["proxy_radius"].map(lambda radius: float(round_down(radius)))
    order = expected.assign(shown=down).sort_values(["shown", "index"], ascending=[False, True])["index"]
    assert re.findall(r'<li data-index="(\d+)"', document) == [str(index) for index in order]
    assert f"{len(expected)} of {len(records)} inputs" in document
    assert page.locator("#more").is_hidden(), "there is no more"
    page.goto("about:blank")
    page.goto(path.as_uri())
    page.wait_for_function("document.querySelector('#cards li')")
    assert page.locator("#cards li").count() == len(records), "a card an input"
    assert page.locator("#cards li:first-child tbody tr").count() == len(compared), "a row a run"
    painted = "canvas => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.some(it => it)"
    assert page.locator("#cards canvas").first.evaluate(painted)
    for medium, width in (("screen", 390), ("print", 800)):
        page.emulate_media(media=medium)
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("form").is_hidden() and page.locator("nav").is_hidden(), "nothing to press on paper"
    assert "a &lt;b&gt;step&lt;/b&gt; &amp; more" in document


def test_pages_have_no_barriers(runs, tmp_path, page):
    """What axe calls serious or critical: of a run on light ground, of a comparison on a dark telephone."""
    accessible = pytest.importorskip("tests.accessible", reason="axe is not installed: pip install -e '.[dev]'")
    figures = {"eigenvectors": eigenvector_figure([(runs["full"], 0)])}
    for shown, view in (([runs["full"]], ("light", 1400)), ([runs["isotropic"], runs["full"]], ("dark", 390))):
        path = write_page(tmp_path / f"{len(shown)}.html", shown, figures, "A page", left_out=["Nothing is drawn."])
        assert [*accessible.barriers_of(page, path.as_uri(), "#cards li", [view])] == []
    page.evaluate("document.querySelectorAll('img')[0].removeAttribute('alt')")
    assert any("image-alt" in barrier for barrier in accessible.barriers(page)), "what it looks for is found"


def test_a_figure_of_pairs_shows_at_most_twelve_evenly_spaced():
    assert some([]) == [] and some([*range(12)]) == [*range(12)]
    chosen = some([*range(50)])
    assert (len(chosen), chosen[0], chosen[-1]) == (12, 0, 49) and max(np.diff(chosen)) <= 5


def test_figures_of_many_runs_name_twelve_and_leave_room_for_the_curves(runs):
    many = [replace(runs["isotropic"], name=str(seed), label=f"rs seed={seed}") for seed in range(40)]
    figure = probability_figure(many)
    named = [text.get_text() for text in figure.legends[0].get_texts()]
    assert (len(named), named[0], named[-1]) == (12, "rs seed=0", "rs seed=39")
    below = figure.legends[0].get_window_extent().y1
    assert below < figure.axes[0].get_window_extent().y0, "the names do not cover the curves"
    assert len(figure.axes[0].lines) == 40 and "12 of 40 runs" in left_out(many)[0]
    assert len(comparison_figure(many).axes[0].texts) == 12 and not left_out(many[:12])
