"""Data sets of TensorFlow Datasets with boxes: two small ones, in the form of `voc` and of `coco`."""

import numpy as np
import pytest

from keras_resnet.detection import load
from keras_resnet.detection.batches import evaluation_batches
from keras_resnet.detection.design import FPN
from tests.detection.annotated_files import as_png, painted, picture

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]
BOX = (12, 9, 33, 27)


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """Makes a builder: the train split has boxes, and the test split of "tiny_coco" none, as that of COCO."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    import tensorflow_datasets as tfds

    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", str(tmp_path), raising=False)

    class TinyCoco(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {
                "image": tfds.features.Image(encoding_format="png"),
                "image/id": np.int64,
                "objects": tfds.features.Sequence(
                    {
                        "bbox": tfds.features.BBoxFeature(),
                        "label": tfds.features.ClassLabel(names=["person", "cat"]),
                        "is_crowd": np.bool_,
                    }
                ),
            }
            return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager):
            return {
                "train": self._generate_examples(6),
                "validation": self._generate_examples(3),
                "test": self._generate_examples(4, False),
            }

        def _generate_examples(self, count, labelled=True):
            left, top, right, bottom = BOX
            box = tfds.features.BBox(ymin=top / 40, xmin=left / 60, ymax=bottom / 40, xmax=right / 60)
            for number in range(count):
                cat = {"bbox": box, "label": "cat", "is_crowd": number == 1}
                image = tmp_path / f"{number}.png"
                image.write_bytes(as_png(picture((40, 60), BOX, color=(200, 10 * number, 0))))
                yield (
                    number,
                    {
                        "image": str(image),
                        "image/id": 100 + number,
                        "objects": [cat] if labelled and number != 2 else [],
                    },
                )

    class TinyVoc(TinyCoco):
        def _info(self):
            features = {
                "image": tfds.features.Image(encoding_format="png"),
                "image/filename": tfds.features.Text(),
                "objects": tfds.features.Sequence(
                    {
                        "bbox": tfds.features.BBoxFeature(),
                        "label": tfds.features.ClassLabel(names=["cat"]),
                        "is_difficult": np.bool_,
                    }
                ),
            }
            return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager):
            left, top, right, bottom = BOX
            box = tfds.features.BBox(ymin=(top + 1) / 40, xmin=(left + 1) / 60, ymax=bottom / 40, xmax=right / 60)
            (tmp_path / "x.png").write_bytes(as_png(picture((40, 60), BOX)))
            example = {"image": str(tmp_path / "x.png"), "image/filename": "x.png"}
            return {"train": [(0, {**example, "objects": [{"bbox": box, "label": "cat", "is_difficult": True}]})]}

    class TinyPlain(TinyCoco):
        def _info(self):
            features = {"image": tfds.features.Image(encoding_format="png")}
            return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager):
            return {"train": [(0, {"image": picture((8, 8))})]}

    yield
    for name in ("tiny_coco", "tiny_voc", "tiny_plain"):
        tfds.core.registered._DATASET_REGISTRY.pop(name, None)


def test_boxes_and_images_of_coco_belong_together(tiny):
    split = load("tfds:tiny_coco", "train")
    assert split.classes == ("person", "cat")
    assert sorted(split.ids) == list(range(100, 106))
    assert split.sides.tolist() == [[40, 60]] * 6
    assert split.files == ()
    order = np.argsort(split.ids)
    crowd = [split.objects[i].crowd.tolist() for i in order]
    assert crowd == [[False], [True], [], [False], [False], [False]]
    whole = split.part(order)
    for batch in evaluation_batches(whole, FPN, 4):
        for number, image, size in zip(batch["numbers"].numpy(), batch["images"].numpy(), batch["sizes"].numpy()):
            assert size.tolist() == [800, 1200]
            left, top, right, bottom = np.array(painted(image)) / 20
            assert image[int(20 * (top + bottom) / 2), int(20 * (left + right) / 2), 1] == 10 * number
            if number != 2:
                np.testing.assert_allclose(whole.objects[number].boxes, [[left, top, right, bottom]], atol=0.6)
                np.testing.assert_allclose(whole.objects[number].boxes, [BOX], atol=1e-4)


def test_a_split_without_objects_is_not_the_test_split(tiny):
    split = load("tfds:tiny_coco", "test")
    assert sorted(split.ids) == [100, 101, 102]
    assert load("tfds:tiny_coco", "train", classes=("cat", "person")).objects[0].labels.tolist() in ([0], [])
    with pytest.raises(ValueError, match=r"split='trainval'; tfds:tiny_coco has train, validation, test"):
        load("tfds:tiny_coco", "trainval")


def test_boxes_of_voc_are_pixels_from_one(tiny, monkeypatch):
    monkeypatch.setattr("keras_resnet.detection.tfds_boxes.ONE_BASED", ("tiny_voc",))
    split = load("tfds:tiny_voc", "train")
    np.testing.assert_allclose(split.objects[0].boxes, [BOX], atol=1e-4)
    assert split.objects[0].difficult.tolist() == [True]
    assert split.ids == ("x.png",)


def test_a_damaged_record_stops_or_is_skipped_by_name(tiny, tmp_path):
    load("tfds:tiny_coco", "val")
    (shard,) = (tmp_path / "tiny_coco").rglob("*validation.tfrecord*")
    content = bytearray(shard.read_bytes())
    content[20] ^= 1  # in the first record
    shard.write_bytes(content)
    with pytest.raises(ValueError, match=r"data: .*validation.tfrecord.*: record 0 is damaged"):
        load("tfds:tiny_coco", "val")
    split = load("tfds:tiny_coco", "val", on_corrupt="skip")
    assert split.size == 2
    assert len(split.skipped) == 1


def test_a_data_set_without_boxes_is_refused(tiny, monkeypatch):
    with pytest.raises(ValueError, match=r"must have the features image and objects, .* Received: \['image'\]"):
        load("tfds:tiny_plain", "train")
    with pytest.raises(ValueError, match="cannot prepare the TensorFlow data set 'no_such_set'"):
        load("tfds:no_such_set", "train")
    import tensorflow_datasets as tfds

    builder = tfds.builder("tiny_coco", file_format="array_record")
    monkeypatch.setattr("keras_resnet.detection.tfds_boxes.tfds_builder", lambda name: builder)
    with pytest.raises(ValueError, match="must be stored in TFRecord files. Received: array_record"):
        load("tfds:tiny_coco", "train")
