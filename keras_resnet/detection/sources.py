"""Sources of annotated images: `load("voc:photos", "train")` and others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from keras_resnet._internal.validation import one_of, text, texts
from keras_resnet.data.corrupt import ON_CORRUPT
from keras_resnet.detection.annotations import AnnotatedSplit
from keras_resnet.detection.class_names import checked_classes
from keras_resnet.detection.coco import load_coco
from keras_resnet.detection.tfds_boxes import load_tfds
from keras_resnet.detection.voc import load_voc

LoadPath = Callable[[Path, str, Sequence[str] | None, str], AnnotatedSplit]
Load = Callable[[str, str, Sequence[str] | None, str], AnnotatedSplit]  # (where, split, classes, on_corrupt)


def load(source: str, split: str, *, classes: Sequence[str] | None = None, on_corrupt: str = "stop") -> AnnotatedSplit:
    """Opens a split of a data set of annotated images.

    Boxes that no image can have (corners swapped, without area, outside of the image, no numbers) are dropped; their
    number is in `AnnotatedSplit.dropped` and, once, in the log `keras_resnet.data`. Boxes that reach over the border
    are cut. An image that is stored on its side is turned upright, and its boxes with it
    (`keras_resnet.detection.upright_boxes`).

    Args:
        source: one of
            "voc:DIR": a directory in the layout of PASCAL VOC: `Annotations/*.xml`, `JPEGImages`, and lists of images
            in `ImageSets/Main`.
            "coco:FILE.json": a file in COCO's format, with its images near it; "coco:DIR": a directory with COCO's
            `annotations/instances_train2017.json` and `train2017`, or with Roboflow's `train/_annotations.coco.json`.
            "tfds:NAME": a data set of TensorFlow Datasets, for example `tfds:voc/2007` or `tfds:coco/2017`.
        split: "train", "val" or "test", which is `val` if there are no other test images; for VOC also the name of
            another list, such as "trainval". "all" is each annotated image of a directory of VOC, or a JSON file.
        classes: names of the classes, in the order of the labels. None: those of the data set. Pass those of the
            training images where the classes are sorted from what the annotations hold.
        on_corrupt: what to do about an annotation or an image that is missing or cannot be read. "stop" (default)
            raises an error that names it. "skip" continues without it, writes a warning to the log `keras_resnet.data`,
            and adds it to `AnnotatedSplit.skipped`.

    Returns:
        An `AnnotatedSplit`.

    Raises:
        ValueError: an argument has another value, something cannot be read, or an annotation has an unknown class.
        TypeError: an argument has another type.

    Example:
        >>> from keras_resnet.detection import load
        >>> load("voc:photos", "train")  # doctest: +SKIP
        <AnnotatedSplit: 205 images, 2,804 objects, 3 classes>
    """
    text("source", source), text("split", split)
    one_of("on_corrupt", on_corrupt, ON_CORRUPT)
    if classes is not None:
        classes = checked_classes(texts("classes", classes), "the argument classes")
    kind, _, where = source.partition(":")
    if kind not in SOURCES or not where:
        raise ValueError(
            f"source must be voc:DIR, coco:FILE.json, coco:DIR or tfds:NAME. Received: {source!r}{_hint(source)}"
        )
    try:
        return SOURCES[kind](where, split, classes, on_corrupt)
    except (OSError, RuntimeError) as error:  # RuntimeError: no home directory for "~"
        raise ValueError(f"data: cannot read {source}: {error}") from error


def _hint(source: str) -> str:
    """What to type for a path without the kind of its source."""
    if source.endswith(".json"):
        return f"; type coco:{source}"
    return f"; type voc:{source}" if source and (Path(source) / "Annotations").is_dir() else ""


def _below(load_path: LoadPath) -> Load:
    def load_expanded(where: str, split: str, classes: Sequence[str] | None, on_corrupt: str) -> AnnotatedSplit:
        return load_path(Path(where).expanduser(), split, classes, on_corrupt)

    return load_expanded


SOURCES: dict[str, Load] = {
    "voc": _below(load_voc),
    "coco": _below(load_coco),
    "tfds": load_tfds,
}
