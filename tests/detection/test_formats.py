"""Detectors in other formats: they find what the detector finds in Keras."""

import numpy as np
import pytest

from keras_resnet.detection import find, openvino
from tests import needs
from tests.detection.export_detector import DESIGN, as_one_size, detector, photographs

pytestmark = pytest.mark.slow


def test_openvino_finds_what_the_detector_finds_in_images_of_any_size(tmp_path):
    runtime = needs.import_package("openvino")
    net, path = detector(), tmp_path / "new" / "pets.xml"
    assert openvino(net, DESIGN, path) == path
    compiled = runtime.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for image in photographs(np.random.default_rng(0)):
        (expected,) = find(net, [image], DESIGN)
        answer = compiled({"image": np.concatenate([as_one_size(image)] * 2)})
        height, width = image.shape[:2]
        for row in range(2):
            count = int(answer["num_detections"][row])
            assert count == len(expected.scores) > 5
            boxes = answer["detection_boxes"][row, :count][:, [1, 0, 3, 2]] * [width, height, width, height]
            np.testing.assert_allclose(boxes, expected.boxes, atol=1e-2)
            np.testing.assert_allclose(answer["detection_scores"][row, :count], expected.scores, atol=1e-4)
            assert answer["detection_classes"][row, :count].tolist() == expected.classes.tolist()
            assert not answer["detection_scores"][row, count:].any()


def test_other_files_and_other_models_are_refused(tmp_path):
    needs.import_package("openvino")
    with pytest.raises(ValueError, match=r"path must end in \.xml"):
        openvino(detector(), DESIGN, tmp_path / "pets.onnx")
    backbone = detector().get_layer("neck")
    with pytest.raises(ValueError, match="detector must be a model of keras_resnet.detection.FasterRCNN"):
        openvino(backbone, DESIGN, tmp_path / "pets.xml")
    assert not list(tmp_path.iterdir())
