"""Small annotated images on disk, in the layouts of PASCAL VOC and COCO."""

import io
import json

import numpy as np
from PIL import Image

BLUE, RED = (30, 60, 200), (220, 40, 30)


def picture(sides, box=None, color=RED):
    """A blue image, uint8 (H, W, 3), with a rectangle at a box (left, top, right, bottom)."""
    image = np.empty((*sides, 3), "uint8")
    image[:] = BLUE
    if box is not None:
        left, top, right, bottom = box
        image[top:bottom, left:right] = color
    return image


def painted(image):
    """The box of the pixels in which there is more red than blue: left, top, right, bottom."""
    image = np.asarray(image, "float32")
    rows, columns = np.nonzero(image[..., 0] > image[..., 2])
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def as_png(image, orientation=1):
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG", exif=exif)
    return file.getvalue()


def xml(objects, sides=(0, 0), filename="", more=""):
    """An annotation of objects (name, four numbers as text or number, or None)."""

    def entry(name, numbers):
        box = "".join(f"<{key}>{value}</{key}>" for key, value in zip(("xmin", "ymin", "xmax", "ymax"), numbers or ()))
        return f"<object><name>{name}</name>{more}{f'<bndbox>{box}</bndbox>' if numbers else ''}</object>"

    size = f"<size><width>{sides[1]}</width><height>{sides[0]}</height><depth>3</depth></size>"
    listed = "".join(entry(*one) for one in objects)
    return f"<annotation><filename>{filename}</filename>{size}{listed}</annotation>"


def write_voc(directory, images, lists):
    """Writes a directory as that of PASCAL VOC.

    Args:
        directory: its path.
        images: for each name the bytes of a PNG file, or None for no file, and the annotation as text.
        lists: for each split the names of its images.
    """
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (directory / folder).mkdir(parents=True)
    for name, (content, annotation) in images.items():
        (directory / "Annotations" / f"{name}.xml").write_text(annotation)
        if content is not None:
            (directory / "JPEGImages" / f"{name}.png").write_bytes(content)
    for split, names in lists.items():
        (directory / "ImageSets" / "Main" / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
    return f"voc:{directory}"


def write_coco(file, images, annotations, categories):
    """Writes a JSON file as COCO's from rows of dicts; images are (id, file name, height, width)."""
    rows = [dict(zip(("id", "file_name", "height", "width"), image)) for image in images]
    numbered = [{"id": number, **annotation} for number, annotation in enumerate(annotations)]
    named = [{"id": number, "name": name} for number, name in categories.items()]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"images": rows, "annotations": numbered, "categories": named}))
    return f"coco:{file}"
