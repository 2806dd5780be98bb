"""Tests of the generated pages: the speed section of BENCHMARKS.md, MODELS.md and the Pareto plot."""

import csv
import re

import pytest

from benchmarks import __main__ as driver
from benchmarks import latency, models_page, pareto, results_of, speed_section
from benchmarks.results_of import excused, result
from benchmarks.targets import Target, targets
from keras_resnet import zoo
from keras_resnet.weights.variants import VARIANTS
from tests.conftest import ROOT

MODELS = (ROOT / "MODELS.md").read_text()


def test_what_was_left_out_excuses_its_own_figures_only():
    assert excused("ResNet50 at 8, ours bfloat16 over peer", {"bfloat16": "no wheels"})
    assert excused("ResNet50 at 8, ours int8 over peer", {"ResNet50, ours int8": "no wheels"})
    assert not excused("ResNet50V2 at 8, ours int8 over peer", {"ResNet50, ours int8": "no wheels"})
    assert not excused("ResNet50 at 8, ours float32 over peer", {"bfloat16": "no wheels"})


@pytest.mark.parametrize("name", driver.NAMES)
def test_results_are_whole(name):
    """The stored results have every figure with a target, and were measured at a clean commit."""
    stored = result(name)
    assert stored, f"run: python -m benchmarks {name}"
    missing = [figure for figure in targets(name) if figure not in stored["figures"]]
    assert [figure for figure in missing if not excused(figure, stored["left out"])] == []
    assert re.fullmatch("[0-9a-f]{12}", stored["commit"])
    assert stored["command"] == f"python -m benchmarks {name}"


def test_readme_shows_what_was_measured():
    page = (ROOT / "BENCHMARKS.md").read_text()
    assert speed_section.with_section(page) == page, "run: python -m benchmarks table"
    with speed_section.TABLE.open(newline="") as file:
        for row in csv.DictReader(file):
            stored = result(row["benchmark"])
            assert not stored or row["figure"] in stored["figures"] or excused(row["figure"], stored["left out"]), row


def test_the_speed_section_says_what_is_asked_and_what_was_left_out(monkeypatch):
    missed = "ResNet50 at 8, keras_resnet float32 over keras.applications"
    stored = {"machine": "a cart", "commit": "abc", "figures": {missed: 1.0}, "left out": {"bfloat16": "no wheels"}}
    stored["rounds"] = {}
    for module, name in ((speed_section, "result"), (results_of, "result")):
        monkeypatch.setattr(module, name, lambda benchmark: stored if benchmark == "serve" else {})
    lines = speed_section.section().splitlines()
    assert lines[1] == "Medians of five rounds (`serve`: one measurement), measured on:"
    assert "- `serve`: a cart, commit abc" in lines
    assert [line for line in lines if "| 1 times as fast | at least 1.15: MISSED |" in line]
    assert [line for line in lines if "| not measured yet |" in line and "benchmarks build`" in line]
    assert not [line for line in lines if "served in bfloat16" in line]
    assert "- `serve`, bfloat16: no wheels" in lines
    assert "0 of the 1 measured targets (`benchmarks/targets.csv`) are met." in lines


def test_the_speed_section_names_the_missed_targets_that_its_table_does_not_show(monkeypatch):
    shown, other = (f"ResNet50 at {batch}, keras_resnet bfloat16 over keras.applications" for batch in (8, 1))
    monkeypatch.setattr(speed_section, "figures", lambda benchmark: {shown: 1.0, other: 1.5, "without a target": 0.0})
    monkeypatch.setattr(
        speed_section,
        "all_targets",
        lambda: [Target("serve", figure, "at least", 2.0) for figure in (shown, other)],
    )
    assert speed_section.missed_targets({("serve", shown)}) == [
        "",
        "0 of the 2 measured targets (`benchmarks/targets.csv`) are met. "
        "These are missed, in addition to those in the table:",
        "",
        f"- `serve`, {other}: 1.5, at least 2",
    ]


def test_a_readme_without_its_marks_is_refused():
    with pytest.raises(ValueError, match="once. Received: 0 times"):
        speed_section.with_section("# no marks")


def test_latency_is_given_in_two_digits_with_how_far_its_rounds_lie_apart():
    assert [models_page.two_digits(value) for value in (123.4, 24.6, 3.04, 0.951)] == ["120", "25", "3", "0.95"]
    rounds = {
        "A, float32": [1.0, 2.0, 4.0],
        f"A, {latency.PEER}": [1.0, 3.0, 8.0],  # the ratios are 1, 1.5 and 2
        "B, float32": [1.0, 1.0, 1.0],
        f"B, {latency.PEER}": [1.0, 1.0, 1.0],
    }
    assert models_page.spread(rounds) == pytest.approx((1 / 1.5 + 0) / 2)


def test_models_page_is_what_the_code_says():
    """The activations and the MACs of checkpoints are read from the page. tests/test_zoo.py tests the activations."""
    cells = {row[0].strip("`"): row for row in re.findall(r"^\| (`\w+`) \| \d+x\d+ \|(.*)", MODELS, re.M)}
    activations = {name: 1e6 * float(row[1].split("|")[2].split()[0]) for name, row in cells.items()}
    macs = {
        name: 1e9 * float(found[1]) for name, row in cells.items() if (found := re.search(r"at \d+, (\S+) G", row[1]))
    }
    assert list(cells) == list(zoo.ROWS)
    expected = models_page.page(
        zoo.ROWS.values(), lambda row: round(activations[row.name]), lambda checkpoint: round(macs[checkpoint.model])
    )
    assert expected == MODELS, "run: python -m benchmarks table"


def test_what_a_checkpoint_costs_at_the_size_of_its_networks_images_is_as_in_the_column():
    recommended = {name: models_page.recommended(name) for name in zoo.ROWS}
    same = {
        name: best
        for name, best in recommended.items()
        if best and best.size == zoo.ROWS[name].size and not VARIANTS[best.form].fields
    }
    assert len(same) > 5
    for name, best in same.items():
        costs = f"{zoo.ROWS[name].macs / 1e9:.3f} G"
        assert re.search(rf"^\| `{name}` \|.* {costs} \|.* at {best.size}, {costs}, ", MODELS, re.M), name


def test_a_family_for_every_model():
    titles = {name: pareto.family(name).title for name in zoo.ROWS}
    assert set(titles.values()) == {family.title for family in pareto.FAMILIES}
    assert titles["SEResNeXt50_32x4d"] == "SE-ResNet, SE-ResNeXt"
    assert titles["ECAResNet50D"] == "ECA-ResNet"
    assert titles["ResNet50D"] == "ResNet-D"


def test_the_front_has_what_none_of_its_cost_beats():
    cheap, better, worse, expensive, noncommercial = (
        pareto.Point("ResNet18", "keras", 224, macs, top1, commercial)
        for macs, top1, commercial in (
            (1, 70.0, True),
            (2, 75.0, True),
            (2, 74.0, True),
            (3, 75.0, True),
            (1, 80.0, False),
        )
    )
    assert pareto.pareto_front([expensive, worse, better, cheap, noncommercial]) == [cheap, better]


def test_numbers_in_the_picture_leave_room_for_one_another():
    points = [pareto.Point("ResNet18", "keras", 224, 1, top1, True) for top1 in (70.0, 70.3, 70.4, 71.0)]
    assert [point.top1 for point in pareto.numbered_points(points)] == [70.0, 70.4, 71.0]


@pytest.mark.slow
def test_the_picture_has_the_published_checkpoints(tmp_path):
    points = pareto.points(zoo.ROWS.values(), lambda checkpoint: 10**9 * checkpoint.size)
    assert {point.name for point in points} >= {"ResNet50", "ResNet50V2", "ResNetRS420"}
    assert {point.tag for point in points if not point.commercial} == {"fb_ssl", "fb_swsl", "fb_wsl", "keras"}
    pareto.plot_models(points, tmp_path / "docs" / "pareto.png")
    assert (tmp_path / "docs" / "pareto.png").stat().st_size > 10_000
