"""What a directory of prepared images holds, and how far the preparation went; its file is prepared.json."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from keras_resnet._internal.atomic_files import atomic_write
from keras_resnet._internal.json_files import read_object
from keras_resnet._internal.validation import printable

STATE = "prepared.json"
ASKED = ("source", "shorter_side", "quality", "images", "names")  # the same in each call that goes on


@dataclasses.dataclass
class Prepared:
    """What a directory of prepared images holds.

    Attributes:
        source: the source of the images.
        shorter_side: the shorter side, in pixels, to which larger images were shrunk.
        quality: JPEG quality of the images that were shrunk.
        images: number of images of the source, by split.
        names: a digest of the names and sizes of the source's files and shards.
        shards: finished files by split; for each the number of images that were read until its end.
        skipped: one reason for each image that could not be read.
    """

    source: str
    shorter_side: int
    quality: int
    images: dict[str, int]
    names: str
    shards: dict[str, list[int]]
    skipped: list[str]

    def read(self, split: str) -> int:
        """Number of images of a split that were read until now."""
        return max(self.shards[split], default=0)

    @property
    def is_finished(self) -> bool:
        """Whether all images of all splits are written."""
        return all(self.read(split) == images for split, images in self.images.items())

    def write(self, directory: Path) -> None:
        """Writes `prepared.json`."""
        with atomic_write(directory / STATE) as temporary:
            temporary.write_text(json.dumps(dataclasses.asdict(self), indent=2) + "\n", encoding="utf-8")


def stored_in(directory: Path) -> Prepared | None:
    """What `prepared.json` of a directory says; None if there is no such file.

    Raises:
        ValueError: the file was not written by this library.
    """
    file = directory / STATE
    if not file.is_file():
        return None
    content = read_object(file)
    try:
        found = Prepared(**content)
        shards = {name: [int(read) for read in found.shards[name]] for name in found.images}
        if shards != found.shards or not all(isinstance(images, int) for images in found.images.values()):
            raise TypeError("shards do not fit images")
        return dataclasses.replace(found, skipped=[str(reason) for reason in found.skipped])
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        raise ValueError(
            f"{printable(file)} must be a file that `keras-resnet data --to` wrote. Received: {str(error)[:200]}"
        ) from error


def check_finished(directory: Path) -> None:
    """Raises a `ValueError` if images are still missing in a directory that `prepare` writes."""
    found = stored_in(directory)
    if found is not None and not found.is_finished:
        written, images = (sum(counts) for counts in (map(found.read, found.images), found.images.values()))
        raise ValueError(
            f"data: {printable(directory)} must hold all images; type `keras-resnet data {printable(found.source)} "
            f"--to tfrecord:{printable(directory)}` with the same options again, to finish it. Received: the files of "
            f"{written:,} of {images:,} images"
        )
