"""Generated pages: the speed section of BENCHMARKS.md, MODELS.md and the Pareto plot show all results."""

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
    """What is committed has every figure that something is asked of, and was measured at a commit."""
    found = result(name)
    assert found, f"run: python -m benchmarks {name}"
    missing = [figure for figure in targets(name) if figure not in found["figures"]]
    assert [figure for figure in missing if not excused(figure, found["left out"])] == []
    assert re.fullmatch("[0-9a-f]{12}", found["commit"])
    assert found["command"] == f"python -m benchmarks {name}"


def test_readme_shows_what_was_measured():
    page = (ROOT / "BENCHMARKS.md").read_text()
    assert speed_section.with_section(page) == page, "run: python -m benchmarks table"
    with speed_section.TABLE.open(newline="") as file:
        for row in csv.DictReader(file):
            found = result(row["benchmark"])
            assert not found or row["figure"] in found["figures"] or excused(row["figure"], found["left out"]), row


def test_the_speed_section_says_what_is_asked_and_what_was_left_out(monkeypatch):
    missed = "ResNet50 at 8, keras_resnet float32 over keras.applications"
    found = {"machine": "a cart", "commit": "abc", "figures": {missed: 1.0}, "left out": {"bfloat16": "no wheels"}}
    found["rounds"] = {}
    for module, name in ((speed_section, "result"), (results_of, "result")):
        monkeypatch.setattr(module, name, lambda benchmark: found if benchmark == "serve" else {})
    lines = speed_section.section().splitlines()
    assert lines[1] == "Medians of five rounds (without rounds: `serve`), measured on:"
    assert "- `serve`: a cart, commit abc" in lines
    assert [line for line in lines if "| 1 times | at least 1.15: MISSED |" in line]
    assert [line for line in lines if "| not measured yet |" in line and "benchmarks build`" in line]
    assert not [line for line in lines if "served in bfloat16" in line]
    assert "- `serve`, bfloat16: no wheels" in lines
    assert "Of the 1 targets that were measured (`benchmarks/targets.csv`) 0 hold." in lines


def test_the_speed_section_names_the_missed_targets_that_its_table_does_not_show(monkeypatch):
    shown, other = (f"ResNet50 at {batch}, keras_resnet bfloat16 over keras.applications" for batch in (8, 1))
    monkeypatch.setattr(speed_section, "figures", lambda benchmark: {shown: 1.0, other: 1.5, "unasked": 0.0})
    monkeypatch.setattr(
        speed_section, "all_targets", lambda: [Target("serve", f, "at least", 2.0) for f in (shown, other)]
    )
    assert speed_section.judged({("serve", shown)}) == [
        "",
        "Of the 2 targets that were measured (`benchmarks/targets.csv`) 0 hold; beside those above, missed are:",
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
        f"A, {latency.BESIDE}": [1.0, 3.0, 8.0],  # 1, 1.5 and 2 times
        "B, float32": [1.0, 1.0, 1.0],
        f"B, {latency.BESIDE}": [1.0, 1.0, 1.0],
    }
    assert models_page.spread(rounds) == pytest.approx((1 / 1.5 + 0) / 2)


def test_models_page_is_what_the_code_says():
    """But for activations, which tests/test_zoo.py counts, and the costs of checkpoints at other sizes."""
    cells = {row[0].strip("`"): row for row in re.findall(r"^\| (`\w+`) \| \d+x\d+ \|(.*)", MODELS, re.M)}
    activations = {name: 1e6 * float(row[1].split("|")[2].split()[0]) for name, row in cells.items()}
    macs = {
        name: 1e9 * float(found[1]) for name, row in cells.items() if (found := re.search(r"at \d+, (\S+) G", row[1]))
    }
    assert list(cells) == list(zoo.ROWS)
    written = models_page.page(
        zoo.ROWS.values(), lambda row: round(activations[row.name]), lambda checkpoint: round(macs[checkpoint.model])
    )
    assert written == MODELS, "run: python -m benchmarks table"


def test_what_a_checkpoint_costs_at_the_size_of_its_networks_images_is_as_in_the_column():
    found = {name: models_page.recommended(name) for name in zoo.ROWS}
    same = {
        n: best
        for n, best in found.items()
        if best and best.size == zoo.ROWS[n].size and not VARIANTS[best.form].fields
    }
    assert len(same) > 5
    for name, best in same.items():
        costs = f"{zoo.ROWS[name].macs / 1e9:.3f} G"
        assert re.search(rf"^\| `{name}` \|.* {costs} \|.* at {best.size}, {costs}, ", MODELS, re.M), name


def test_a_family_for_every_model():
    found = {name: pareto.family(name) for name in zoo.ROWS}
    assert set(found.values()) == {title for title, _ in pareto.FAMILIES}
    assert found["SEResNeXt50_32x4d"] == "SE-ResNet, SE-ResNeXt"
    assert found["ECAResNet50D"] == "ECA-ResNet"
    assert found["ResNet50D"] == "ResNet-D"


def test_the_front_has_what_none_of_its_cost_beats():
    cheap, better, beaten, dear, bound = (
        pareto.Point("ResNet18", "keras", 224, macs, top1, commercial)
        for macs, top1, commercial in (
            (1, 70.0, True),
            (2, 75.0, True),
            (2, 74.0, True),
            (3, 75.0, True),
            (1, 80.0, False),
        )
    )
    assert pareto.pareto_front([dear, beaten, better, cheap, bound]) == [cheap, better]


def test_numbers_in_the_picture_leave_room_for_one_another():
    points = [pareto.Point("ResNet18", "keras", 224, 1, top1, True) for top1 in (70.0, 70.3, 70.4, 71.0)]
    assert [point.top1 for point in pareto.named(points)] == [70.0, 70.4, 71.0]


@pytest.mark.slow
def test_the_picture_has_the_published_checkpoints(tmp_path):
    found = pareto.points(zoo.ROWS.values(), lambda checkpoint: 10**9 * checkpoint.size)
    assert {point.name for point in found} >= {"ResNet50", "ResNet50V2", "ResNetRS420"}
    assert {point.tag for point in found if not point.commercial} == {"fb_ssl", "fb_swsl", "fb_wsl", "keras"}
    pareto.plot_models(found, tmp_path / "docs" / "pareto.png")
    assert (tmp_path / "docs" / "pareto.png").stat().st_size > 10_000
