"""Prepared data sets: the same images for training, smaller and upright, in files that survive a kill."""

import importlib
import io
import json
import signal

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps
from sklearn.datasets import load_sample_image

import keras_resnet as kr
from keras_resnet._internal.exclusive import exclusive
from keras_resnet.data.prepare import LOCK, prepare
from keras_resnet.data.sources import splits_of
from tests import needs, processes
from tests.cli.test_cli import invoke

pytestmark = pytest.mark.slow
MODULE = importlib.import_module("keras_resnet.data.prepare")  # `keras_resnet.data.prepare` is the function
EXIF_SIDEWAYS = Image.Exif()
EXIF_SIDEWAYS[0x0112] = 6
ORDER = {"cat": 7, "dog": 5, "1:owl ü": 4}
SHORTER = 300


def picture(height, width, seed):
    """A smooth picture, as a photograph is: noise of 8x8 pixels that is enlarged."""
    noise = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype="uint8")
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def small_pictures(folder):
    """16 small PNG files of three classes."""
    for label, (name, count) in enumerate(ORDER.items()):
        for number in range(count):
            path = folder / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture(20, 24, 10 * label + number).save(path)
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """The small pictures, and a large photograph that lies on its side."""
    folder = small_pictures(tmp_path_factory.mktemp("photos"))
    photograph = Image.fromarray(load_sample_image("china.jpg"))  # 640x427
    photograph.save(folder / "cat" / "large.jpg", quality=95, exif=EXIF_SIDEWAYS)
    return folder


@pytest.fixture(scope="module")
def out(photos, tmp_path_factory):
    """The prepared pictures."""
    directory = tmp_path_factory.mktemp("prepared")
    prepare(f"folder:{photos}", directory, shorter_side=SHORTER)
    return directory


def records(directory, split):
    """(file, label, bytes) of the records in all shards of a split."""
    shards = sorted(map(str, directory.glob(f"{split}-*.tfrecord")))
    found = []
    for record in tf.data.TFRecordDataset(shards).as_numpy_iterator():
        features = tf.train.Example.FromString(record).features.feature
        (file,), (content,) = (features[key].bytes_list.value for key in ("image/filename", "image/encoded"))
        found.append((file.decode(), features["image/class/label"].int64_list.value[0], content))
    return found


def images_by_label(split, finish=lambda image: image):
    """The images in an order that does not depend on that of the files: small changes of pixels do not change it."""
    found = [(int(label), image) for image, label in split.read(finish).as_numpy_iterator()]
    return sorted(found, key=lambda row: (row[0], row[1].shape, *(row[1].mean((0, 1)) // 1)))


def test_training_reads_the_same_images(photos, out):
    """Files that are small enough keep their bytes; the others are those of the folder at the same shorter side."""

    def shortened(image):
        is_large = tf.reduce_min(tf.shape(image)[:2]) > SHORTER
        return tf.cond(is_large, lambda: kr.data.decode.resize_shorter_side(image, SHORTER), lambda: image)

    assert splits_of(f"tfrecord:{out}") == splits_of(f"folder:{photos}") == ("train", "test")
    for name in ("train", "test"):
        before, after = kr.data.load(f"folder:{photos}", name), kr.data.load(f"tfrecord:{out}", name)
        assert after.classes == before.classes == ("1:owl ü", "cat", "dog")
        wanted, found = images_by_label(before, shortened), images_by_label(after)
        assert len(found) == before.size == after.size
        for (label, image), (found_label, found_image) in zip(wanted, found, strict=True):
            assert (found_label, found_image.shape) == (label, image.shape)
            # A JPEG of quality 92 differs by 2.1 gray levels, most of it in color, which is stored coarser.
            assert abs(found_image.astype(float) - image).mean() < (2.5 if min(image.shape[:2]) == SHORTER else 1e-9)
        for file, label, content in records(out, name):
            assert before.classes[label] == file.split("/")[0]
            assert "large" in file or (photos / file).read_bytes() == content


def test_a_large_photograph_is_upright_and_smaller_and_looks_as_that_of_pillow(photos, out):
    written = [record for split in ("train", "test") for record in records(out, split)]
    (content,) = [content for file, _, content in written if "large" in file]
    found = Image.open(io.BytesIO(content))
    upright = ImageOps.exif_transpose(Image.open(photos / "cat" / "large.jpg"))
    assert (found.format, found.size, found.getexif().get(0x0112)) == ("JPEG", (SHORTER, 449), None)
    encoded = io.BytesIO()
    upright.resize((SHORTER, 449), Image.Resampling.BILINEAR).save(encoded, "JPEG", quality=92)
    assert abs(np.asarray(found, float) - np.asarray(Image.open(encoded))).mean() < 0.5


KILLED = """
import importlib, sys, time
module = importlib.import_module("keras_resnet.data.prepare")
module.SHARD_BYTES = 5_000

def wait(split, done, images):
    if (split, done) == ("train", 10):
        print("waiting", flush=True)
        time.sleep(600)

module.prepare(sys.argv[1], sys.argv[2], shorter_side=30, progress=wait)
"""


@pytest.mark.processes
@pytest.mark.parametrize("kind", ["folder", "tfrecord"])
def test_a_preparation_that_was_killed_goes_on_and_gives_the_same_files(kind, out, tmp_path, monkeypatch):
    """A stream of records counts them from the beginning of its shards, also after a kill."""
    source = f"tfrecord:{out}" if kind == "tfrecord" else f"folder:{small_pictures(tmp_path / 'pictures')}"
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    process = processes.start("-c", KILLED, source, killed)
    process.wait_for("waiting")
    process.kill(signal.SIGKILL)
    assert process.end().returncode == -signal.SIGKILL
    finished = {path: path.stat().st_mtime_ns for path in killed.glob("*.tfrecord")}
    assert finished
    (killed / ".1-train-00002.tfrecord").write_bytes(b"a part")  # as if the kill came while a file was written
    with pytest.raises(ValueError, match=r"killed must hold all images; type `keras-resnet data .* again, to finish"):
        kr.data.load(f"tfrecord:{killed}", "train")

    monkeypatch.setattr(MODULE, "SHARD_BYTES", 5_000)
    seen = []
    prepared = prepare(source, killed, shorter_side=30, progress=lambda *step: seen.append(step))
    assert prepared.is_finished
    assert min(done for split, done, _ in seen if split == "train") == prepared.shards["train"][len(finished) - 1] + 1
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert len(list(killed.glob("train-*"))) > 2
    if kind == "folder":
        prepare(source, whole, shorter_side=30)
        files = [{path.name: hash(path.read_bytes()) for path in directory.iterdir()} for directory in (killed, whole)]
        assert files[0] == files[1]
    else:
        before, after = (
            [(label, hash(content)) for _, label, content in records(directory, "train") if content[1:4] == b"PNG"]
            for directory in (out, killed)
        )
        assert before == after
    assert all(len(records(killed, split)) == images for split, images in prepared.images.items())
    seen.clear()
    assert prepare(source, killed, shorter_side=30, progress=lambda *step: seen.append(step)) == prepared
    assert seen == []


FULL_DISK = """
import resource, sys
from keras_resnet import cli
sys.argv[0] = "keras-resnet"
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
sys.exit(cli.main())
"""


@needs.linux
@pytest.mark.processes
def test_on_a_full_disk_the_command_says_so_and_nothing_looks_whole(tmp_path):
    terminal = {"COLUMNS": "500", "NO_COLOR": "1"}
    ended = processes.python(
        "-c", FULL_DISK, "data", "digits", "--to", "tfrecord:out", cwd=tmp_path, environment=terminal
    )
    assert ended.returncode == 2, ended.stderr[-3000:]
    assert "Traceback" not in ended.stderr
    last = ended.stderr.strip().splitlines()[-1]
    assert last.endswith("cannot write out/train-00000.tfrecord: File too large")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [".lock", "classes.txt", "prepared.json"]
    with pytest.raises(ValueError, match="Received: the files of 0 of 1,797 images"):
        kr.data.load(f"tfrecord:{tmp_path / 'out'}", "train")


def test_corrupt_images_are_listed_or_stop_the_preparation(tmp_path):
    source = small_pictures(tmp_path / "pictures")
    broken = source / "dog" / "3.png"
    broken.write_bytes(broken.read_bytes()[:60])
    with pytest.raises(ValueError, match="3.png is not a readable JPEG"):
        prepare(f"folder:{source}", tmp_path / "out")
    prepared = prepare(f"folder:{source}", tmp_path / "out", on_corrupt="skip")
    assert [str(broken) in reason for reason in prepared.skipped] == [True]
    assert sum(len(records(tmp_path / "out", split)) for split in ("train", "test")) == 15
    assert prepare(f"folder:{source}", tmp_path / "out", on_corrupt="skip") == prepared


def test_a_source_without_an_image_that_can_be_read_is_refused(tmp_path):
    source = small_pictures(tmp_path / "pictures")
    for file in source.rglob("*.png"):
        file.write_bytes(file.read_bytes()[:60])
    for _ in range(2):  # also if the directory is finished
        with pytest.raises(ValueError, match=r"source must have images that can be read. Received: 16 .*: .*/0.png"):
            prepare(f"folder:{source}", tmp_path / "out", on_corrupt="skip")


def test_the_command_writes_pixels_in_memory_as_png_files(tmp_path):
    result = invoke("data", "digits", "--to", f"tfrecord:{tmp_path / 'out'}")
    assert result.exit_code == 0, result.output
    assert "\n1,797 images in 2 files, 0.4 MB\n" in result.output
    assert result.output.endswith(f" train NAME --data tfrecord:{tmp_path / 'out'} --out DIR\n")
    before, after = (kr.data.load(source, "test") for source in ("digits", f"tfrecord:{tmp_path / 'out'}"))
    pixels = [
        sorted((int(label), image.tobytes()) for image, label in split.examples.as_numpy_iterator())
        for split in (before, after.with_channels(1))
    ]
    assert pixels[0] == pixels[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shorter_side": 0}, "shorter_side must be"),
        ({"shorter_side": 2**31}, "shorter_side must be from 1 to 65,500. Received: shorter_side=2147483648"),
        ({"quality": 101}, "quality must be from 1 to 100. Received: quality=101"),
        ({"quality": 80}, "quality must be 92, with which .* was begun; or choose another directory"),
        ({"shorter_side": 64}, "shorter_side must be 300, with which .* was begun"),
        ({"source": "digits"}, "source must be 'folder:.*', with which .* was begun"),
    ],
)
def test_other_arguments_are_refused(options, message, photos, out):
    with pytest.raises(ValueError, match=message):
        prepare(**{"source": f"folder:{photos}", "directory": out, "shorter_side": SHORTER, **options})


def test_other_images_are_refused(tmp_path, out):
    """A file under another name: the order of the rest, and so which images are still missing, is not known."""
    source = small_pictures(tmp_path / "pictures")
    prepare(f"folder:{source}", tmp_path / "out")
    message = r"source must have the images with which .*out was begun.*with other images"
    (source / "dog" / "3.png").rename(source / "dog" / "9.png")
    with pytest.raises(ValueError, match=message):
        prepare(f"folder:{source}", tmp_path / "out")
    (source / "dog" / "9.png").rename(source / "dog" / "3.png")
    prepare(f"folder:{source}", tmp_path / "out")  # nothing is left to do
    (source / "dog" / "3.png").write_bytes(tf.io.encode_png(np.full((90, 90, 3), 7, "uint8")).numpy())
    with pytest.raises(ValueError, match=message):
        prepare(f"folder:{source}", tmp_path / "out")


@pytest.mark.parametrize("name", ["notes.txt", "prepared.json"])
def test_a_directory_with_other_files_is_refused(name, photos, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text(json.dumps({"shards": 5}))
    with pytest.raises(ValueError, match="must be new or empty. Received: .*out with|must be a file that `"):
        prepare(f"folder:{photos}", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [name]


def test_a_class_whose_name_is_no_line_of_text_is_refused_before_anything_is_written(tmp_path):
    source = small_pictures(tmp_path / "pictures")
    (source / "dog").rename(source / "two\nlines")
    with pytest.raises(ValueError, match="must be a line of UTF-8 .*Received: 'two.nlines'"):
        prepare(f"folder:{source}", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("place", [".", "out", "cat/out", "../pictures/train"])
@pytest.mark.parametrize("kind", ["folder", "tfrecord"])
def test_a_directory_in_the_source_is_refused_because_it_would_be_read_as_images(kind, place, tmp_path):
    source = small_pictures(tmp_path / "pictures")
    with pytest.raises(ValueError, match="directory must not be in the directory of the source. Received: .* in "):
        prepare(f"{kind}:{source}", source / place)


@pytest.mark.parametrize(("length", "is_kept"), [(1000, False), (70_000, True)])
def test_an_image_that_stays_too_long_for_a_jpeg_keeps_its_bytes(length, is_kept):
    content = tf.io.encode_png(np.zeros((20, length, 3), "uint8"))
    written = MODULE.shrunk(content, 19, 92).numpy()
    assert (written == content.numpy()) is is_kept


@pytest.mark.parametrize("place", ["prepared", "", "tfrecord:", "folder:out"])
def test_another_place_is_refused_before_the_data_are_read(place):
    message = f"to must be tfrecord:DIR. Received: {place!r}"
    assert message in str(invoke("data", "x", "--to", place).exception)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--quality", 80), "quality must not be given without --to. Received: quality=80"),
        (("--shorter-side", 80), "shorter_side must not be given without --to. Received: shorter_side=80"),
        (("--quality", 101, "--to", "tfrecord:out"), "quality must be from 1 to 100. Received: quality=101"),
    ],
)
def test_options_that_are_wrong_or_do_nothing_are_refused_before_the_data_are_read(options, message):
    assert message in str(invoke("data", "folder:missing", *options).exception)


def test_a_second_preparation_in_a_directory_is_refused(photos, tmp_path):
    with (
        exclusive(tmp_path, "preparation", LOCK),
        pytest.raises(ValueError, match="by one preparation at a time; .*, which a preparation of another process"),
    ):
        prepare(f"folder:{photos}", tmp_path)
    prepare(f"folder:{photos}", tmp_path)
