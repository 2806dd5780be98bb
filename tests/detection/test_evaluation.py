"""Average precision of small cases is what one counts by hand, and that of real cells is that of the originals."""

import json
import logging

import numpy as np
import pytest

from keras_resnet.detection import Found, Objects, evaluate
from keras_resnet.detection.mistakes import DUPLICATE, LOW_SCORE, MISSED, NOT_COUNTED, NOTHING, RIGHT, WRONG_CLASS
from tests import needs
from tests.detection import cells

A, B, C = (0, 0, 10, 10), (20, 20, 40, 40), (50, 0, 60, 10)
HALF_OF_A, THIRD_OF_A = (0, 0, 10, 5), (0, 0, 10, 3.3)


def found(*rows):
    """Detections from rows (box, class, score)."""
    boxes, classes, scores = zip(*rows, strict=True) if rows else ((), (), ())
    return Found(np.array(boxes, "float32").reshape(-1, 4), np.array(classes, "int32"), np.array(scores, "float32"))


def objects(*rows, difficult=(), crowd=()):
    """Objects from rows (box, label)."""
    boxes, labels = zip(*rows, strict=True) if rows else ((), ())
    numbers = range(len(rows))
    marks = (np.array([number in chosen for number in numbers], bool) for chosen in (difficult, crowd))
    return Objects(np.array(boxes, "float32").reshape(-1, 4), np.array(labels, "int32"), *marks)


def test_average_precision_is_what_one_counts_by_hand():
    # In the order of scores: right (1/1, 1/3), nothing there (1/2, 1/3), right (2/3, 2/3); the third object is missed.
    answer = evaluate(
        [found((A, 0, 0.9), (C, 0, 0.8)), found((B, 0, 0.7))], [objects((A, 0), (B, 0)), objects((B, 0))], ["cell"]
    )
    (curve,) = answer.curves
    np.testing.assert_allclose(curve.precision, [1, 1 / 2, 2 / 3])
    np.testing.assert_allclose(curve.recall, [1 / 3, 1 / 3, 2 / 3])
    assert answer.map50 == pytest.approx(1 / 3 + 2 / 9)
    assert answer.map50_2007 == pytest.approx((4 * 1 + 3 * 2 / 3) / 11)  # recalls 0 to 0.3, and 0.4 to 0.6
    assert curve.best == pytest.approx((0.7, 2 / 3, 2 / 3))


def test_an_overlap_of_half_is_right_and_less_is_wrong():
    truth = [objects((A, 0))]
    assert evaluate([found((HALF_OF_A, 0, 0.9))], truth, ["cell"]).map50 == 1
    assert evaluate([found((THIRD_OF_A, 0, 0.9))], truth, ["cell"]).map50 == 0


def test_the_second_detection_of_an_object_is_wrong():
    answer = evaluate([found((HALF_OF_A, 0, 0.9), (A, 0, 0.8))], [objects((A, 0))], ["cell"])
    np.testing.assert_array_equal(answer.curves[0].precision, [1, 0.5])
    assert answer.comparisons[0].outcomes == (RIGHT, DUPLICATE)


@needs.package("pycocotools")
def test_difficult_objects_and_crowds_do_not_count():
    truth = objects((A, 0), (B, 0), (C, 0), difficult=[1], crowd=[2])
    part_of_crowd = (50, 0, 53, 3)
    answer = evaluate([found((B, 0, 0.9), (B, 0, 0.8), (part_of_crowd, 0, 0.7), (A, 0, 0.6))], [truth], ["cell"])
    assert answer.curves[0].objects == 1
    assert answer.map50 == answer.map50_2007 == 1
    assert answer.coco.ap50 == pytest.approx(1)
    assert answer.comparisons[0].outcomes == (NOT_COUNTED, NOT_COUNTED, NOT_COUNTED, RIGHT)
    assert answer.confusion.sum() == 1
    missing = evaluate([found()], [truth], ["cell"])
    assert missing.map50 == 0
    assert missing.confusion.tolist() == [[0, 1], [0, 0]]


@needs.package("pycocotools")
def test_images_without_detections_or_without_objects_count():
    perfect = [found((A, 0, 0.9))]
    assert evaluate(perfect, [objects((A, 0))], ["cell"]).coco.ap == pytest.approx(1)
    half = evaluate([*perfect, found()], [objects((A, 0)), objects((A, 0))], ["cell"])
    assert half.map50 == 0.5
    assert half.coco.ap50 == pytest.approx(51 / 101)  # 51 of the recalls 0, 0.01 to 1 are at most 0.5
    assert half.coco.ar100 == 0.5
    false = evaluate([*perfect, found((A, 0, 0.95))], [objects((A, 0)), objects()], ["cell"])
    assert false.map50 == false.coco.ap50 == pytest.approx(0.5)


@needs.package("pycocotools")
def test_a_class_without_objects_is_left_out_of_the_mean_and_named(caplog):
    with caplog.at_level(logging.WARNING, "keras_resnet.detection"):
        answer = evaluate([found((A, 0, 0.9), (B, 1, 0.9))], [objects((A, 0))], ["cell", "dust"])
    assert "classes without objects, which averages leave out: dust" in caplog.text
    assert answer.map50 == answer.map50_2007 == 1
    assert answer.coco.ap == pytest.approx(1)
    assert np.isnan([answer.curves[1].area, answer.per_class[1].ap50_2007, answer.per_class[1].coco.ap]).all()


@needs.package("pycocotools")
def test_without_any_detection_the_figures_are_zero():
    answer = evaluate([found()] * 2, [objects((A, 0), (B, 0))] * 2, ["cell"])
    assert (answer.map50, answer.map50_2007, answer.coco.ap, answer.coco.ar100) == (0, 0, 0, 0)
    assert answer.confusion.tolist() == [[0, 4], [0, 0]]
    assert np.isnan(answer.per_class[0].best.score)


@needs.package("pycocotools")
def test_without_any_object_the_figures_are_nan():
    answer = evaluate([found((A, 0, 0.9)), found()], [objects()] * 2, ["cell"])
    assert np.isnan([answer.map50, answer.map50_2007, *answer.coco]).all()
    assert answer.confusion.tolist() == [[0, 0], [1, 0]]


@needs.package("pycocotools")
def test_sizes_are_those_of_boxes():
    truth = objects((A, 0), ((100, 100, 150, 150), 0), ((200, 200, 300, 300), 0))
    answer = evaluate([found(((100, 100, 150, 150), 0, 0.9))], [truth], ["cell"]).coco
    assert (answer.ap_small, answer.ap_large) == (0, 0)
    assert (answer.ap_medium, answer.ar_medium) == pytest.approx((1, 1))
    assert answer.ar1 == answer.ar100 == pytest.approx(1 / 3)


def test_detections_and_objects_are_paired_by_class_then_by_score():
    truth = objects((A, 0), (B, 1), (C, 0))
    rows = (A, 0, 0.9), (B, 0, 0.8), (A, 1, 0.7), ((70, 70, 80, 80), 1, 0.6), (C, 0, 0.1)
    answer = evaluate([found(*rows)], [truth], ["cell", "dust"])
    (compared,) = answer.comparisons
    assert compared.outcomes == (RIGHT, WRONG_CLASS, NOTHING, NOTHING, LOW_SCORE)
    assert compared.pairs.tolist() == [0, 1, -1, -1, -1]
    assert compared.missed.tolist() == [False, True, True]
    # cell: one right, one missed; dust: one taken for a cell; nothing there: two of dust.
    assert answer.confusion.tolist() == [[1, 0, 1], [1, 0, 0], [0, 2, 0]]
    assert evaluate([found(*rows)], [truth], ["cell", "dust"], 0.05).comparisons[0].outcomes[-1] == RIGHT


def test_the_images_with_the_most_mistakes_are_the_worst():
    truth = [objects((A, 0)), objects((A, 0), (B, 0)), objects()]
    answer = evaluate([found((A, 0, 0.9)), found(), found((A, 0, 0.9), (B, 0, 0.5))], truth, ["cell"])
    assert answer.worst == [1, 2]


def test_equal_scores_are_one_threshold():
    answer = evaluate([found((C, 0, 0.9), (A, 0, 0.9), (B, 0, 0.9))], [objects((A, 0), (B, 0))], ["cell"])
    assert answer.curves[0].best == pytest.approx((0.9, 2 / 3, 1))


BAD = {
    "found and truth must have an entry for each image": ([], []),
    "found and truth must .* Received: 1 and 2 entries": ([found()], [objects()] * 2),
    r"found\[1\].scores must be finite. Received: nan": ([found(), found((A, 0, np.nan))], [objects()] * 2),
    r"found\[0\].scores must have an entry for each of the 1 boxes": (
        [found((A, 0, 0.5))._replace(scores=np.zeros(2))],
        [objects()],
    ),
    r"found\[0\].classes must be from 0 to 1, .* Received: 2": ([found((A, 2, 0.5))], [objects()]),
    r"truth\[0\].labels must be from 0 to 1, .* Received: -1": ([found()], [objects((A, -1))]),
    r"truth\[0\].boxes must be finite, with left <= right .* \[40.0,": ([found()], [objects(((40, 0, 20, 9), 0))]),
    r"found\[0\].boxes must be finite": ([found(((0, 0, np.inf, 9), 0, 0.5))], [objects()]),
    r"truth\[0\].boxes must be \(n, 4\)": ([found()], [objects()._replace(boxes=np.zeros(4))]),
    r"truth\[0\].crowd must have an entry for each of the 1 boxes": (
        [found()],
        [objects((A, 0))._replace(crowd=np.zeros(0, bool))],
    ),
}


@pytest.mark.parametrize(("message", "arguments"), BAD.items(), ids=list(BAD))
def test_bad_input_is_named(message, arguments):
    with pytest.raises(ValueError, match=message):
        evaluate(*arguments, ["cell", "dust"])


def test_bad_types_are_named():
    with pytest.raises(TypeError, match=r"truth\[0\].labels must be integers. Received: an array of float64"):
        evaluate([found()], [objects((A, 0))._replace(labels=np.array([0.0]))], ["cell"])
    with pytest.raises(TypeError, match="classes must be a sequence of strings"):
        evaluate([found()], [objects()], "cell")
    with pytest.raises(ValueError, match="classes must have at least one name"):
        evaluate([found()], [objects()], [])
    with pytest.raises(ValueError, match=r"least_score must be in \[0, 1\]"):
        evaluate([found()], [objects()], ["cell"], 2)


@pytest.fixture(scope="module")
def noisy_cells():
    """Detections of 36 test images of blood cells, and the objects; every 7th object is difficult."""
    rng = np.random.default_rng(3)
    truth = [cells.objects(name) for name in cells.names("test")[:36]]
    truth = [image._replace(difficult=np.arange(len(image.labels)) % 7 == 6) for image in truth]
    answers = [cells.noisy(image, rng) for image in truth]
    return answers, truth


def development_kit(detections, truth, kind):
    """The curve of `VOCevaldet.m` as Girshick's Python port of it computes it, in pixels from 1 with the last inside.

    Returns recall and precision.
    """
    gts = {}
    npos = 0
    for number, image in enumerate(truth):
        mine = image.labels == kind
        gts[number] = (image.boxes[mine] + (1, 1, 0, 0), image.difficult[mine], [False] * int(mine.sum()))
        npos += int((~image.difficult[mine]).sum())
    rows = [
        (-score, number, np.add(box, (1, 1, 0, 0)))
        for number, image in enumerate(detections)
        for box, label, score in zip(image.boxes.astype("float64"), image.classes, image.scores, strict=True)
        if label == kind
    ]
    rows.sort(key=lambda row: row[0])
    tp, fp = np.zeros(len(rows)), np.zeros(len(rows))
    for d, (_, number, bb) in enumerate(rows):
        boxes, difficult, det = gts[number]
        ovmax = -np.inf
        for j, bbgt in enumerate(boxes.astype("float64")):
            iw, ih = min(bb[2], bbgt[2]) - max(bb[0], bbgt[0]) + 1, min(bb[3], bbgt[3]) - max(bb[1], bbgt[1]) + 1
            if iw > 0 and ih > 0:
                ua = (bb[2] - bb[0] + 1) * (bb[3] - bb[1] + 1) + (bbgt[2] - bbgt[0] + 1) * (bbgt[3] - bbgt[1] + 1)
                ov = iw * ih / (ua - iw * ih)
                if ov > ovmax:
                    ovmax, jmax = ov, j
        if ovmax >= 0.5:
            if not difficult[jmax]:
                tp[d], fp[d] = not det[jmax], det[jmax]
                det[jmax] = True
        else:
            fp[d] = 1
    fp, tp = np.cumsum(fp), np.cumsum(tp)
    return tp / npos, tp / np.maximum(tp + fp, np.finfo("float64").eps)


def voc_ap(rec, prec, use_07_metric):
    """`voc_ap` of the same port."""
    if use_07_metric:
        return sum(np.max(prec[rec >= t]) if (rec >= t).any() else 0 for t in np.arange(0.0, 1.1, 0.1)) / 11
    mrec, mpre = np.concatenate([[0], rec, [1]]), np.concatenate([[0], prec, [0]])
    for i in range(mpre.size - 1, 0, -1):
        mpre[i - 1] = np.maximum(mpre[i - 1], mpre[i])
    i = np.where(mrec[1:] != mrec[:-1])[0]
    return np.sum((mrec[i + 1] - mrec[i]) * mpre[i + 1])


@needs.shared_data
def test_voc_average_precision_is_the_development_kits(noisy_cells):
    answer = evaluate(*noisy_cells, cells.CLASSES)
    for kind, curve in enumerate(answer.curves):
        rec, prec = development_kit(*noisy_cells, kind)
        assert 0.3 < curve.area < 0.98
        assert curve.area == pytest.approx(voc_ap(rec, prec, False), abs=1e-12)
        assert curve.eleven_points == pytest.approx(voc_ap(rec, prec, True), abs=1e-12)


@needs.shared_data
@needs.package("pycocotools")
@pytest.mark.slow
def test_coco_figures_are_those_of_files_in_cocos_format(noisy_cells, tmp_path, capsys):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    answers, truth = noisy_cells
    marks = [image._replace(crowd=image.difficult, difficult=np.zeros_like(image.crowd)) for image in truth]
    entries, results = [], []
    for number, (image, objects_of_image) in enumerate(zip(answers, marks, strict=True)):
        for box, label, crowd in zip(
            *(part.tolist() for part in objects_of_image[:2]), objects_of_image.crowd.tolist()
        ):
            left, top, right, bottom = box
            sides = [left, top, right - left, bottom - top]
            entry = {"image_id": number, "category_id": label, "bbox": sides, "area": sides[2] * sides[3]}
            entries.append({**entry, "iscrowd": int(crowd), "id": len(entries) + 1})
        for box, label, score in zip(*(part.tolist() for part in image)):
            left, top, right, bottom = box
            sides = [left, top, right - left, bottom - top]
            results.append({"image_id": number, "category_id": label, "bbox": sides, "score": score})
    content = {
        "images": [{"id": number} for number in range(len(answers))],
        "categories": [{"id": number, "name": name} for number, name in enumerate(cells.CLASSES)],
        "annotations": entries,
    }
    (tmp_path / "truth.json").write_text(json.dumps(content))
    (tmp_path / "results.json").write_text(json.dumps(results))
    index = COCO(str(tmp_path / "truth.json"))
    counting = COCOeval(index, index.loadRes(str(tmp_path / "results.json")), "bbox")
    counting.evaluate()
    counting.accumulate()
    counting.summarize()
    capsys.readouterr()
    answer = evaluate(answers, truth, cells.CLASSES)
    np.testing.assert_allclose(answer.coco, counting.stats, atol=1e-12)
    assert 0.1 < answer.coco.ap < answer.coco.ap50
    assert answer.coco.ap == pytest.approx(np.mean([row.coco.ap for row in answer.per_class]))
    assert capsys.readouterr().out == ""


@needs.shared_data
@needs.package("pycocotools")
@pytest.mark.slow
def test_perfect_detections_of_cells_have_the_best_figures():
    truth = [cells.objects(name) for name in cells.names("test")]
    answer = evaluate([Found(t.boxes, t.labels, np.ones(len(t.labels))) for t in truth], truth, cells.CLASSES)
    assert answer.map50 == answer.map50_2007 == 1
    assert answer.coco.ap == pytest.approx(1)
    assert answer.worst == []
    assert np.array_equal(answer.confusion, np.diag(answer.confusion.diagonal()))
    assert MISSED not in answer.comparisons[0].outcomes
