"""The names of ImageNet's classes, and predictions with these names."""

import importlib.util
import runpy
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_resnet.classes import decode_predictions, imagenet_classes
from tests import needs, processes


def test_there_are_1000_classes_in_the_order_of_their_ids():
    ids = [wordnet_id for wordnet_id, _ in imagenet_classes()]
    assert len(set(ids)) == 1000
    assert ids == sorted(ids)
    assert all(len(wordnet_id) == 9 and wordnet_id[0] == "n" and wordnet_id[1:].isdigit() for wordnet_id in ids)


@pytest.mark.parametrize(
    ("index", "wordnet_id", "name"),
    [
        (0, "n01440764", "tench"),
        (134, "n02012849", "crane"),
        (207, "n02099601", "golden retriever"),
        (281, "n02123045", "tabby"),
        (517, "n03126707", "crane"),
        (999, "n15075141", "toilet tissue"),
    ],
)
def test_well_known_classes_are_where_they_belong(index, wordnet_id, name):
    assert imagenet_classes()[index] == (wordnet_id, name)


@needs.package("torchvision")
def test_the_names_are_torchvisions():
    spec = importlib.util.find_spec("torchvision")
    # Only this file is run: importing torchvision fails if torch is of another build.
    names = runpy.run_path(str(Path(spec.origin).parent / "models" / "_meta.py"))["_IMAGENET_CATEGORIES"]
    pairs = zip((name for _, name in imagenet_classes()), names, strict=True)
    differ = [(name, torchvision_name) for name, torchvision_name in pairs if name != torchvision_name]
    # ImageNet has two classes with each of these names. torchvision gives one of them a different name.
    assert differ == [("crane", "crane bird"), ("maillot", "maillot tank suit")]


def scores():
    """Scores of two images. The best classes are 3, 1 and 2 in the first image, and 999 in the second."""
    array = np.zeros((2, 1000), "float32")
    array[0, [3, 1, 2]] = 0.5, 0.3, 0.125
    array[1, 999] = 1
    return array


@pytest.mark.parametrize(
    "form", [np.asarray, np.ndarray.tolist, keras.ops.convert_to_tensor, lambda x: keras.ops.cast(x, "bfloat16")]
)
def test_predictions_come_best_first_from_any_array(form):
    first, second = decode_predictions(form(scores()), top=3)
    assert [wordnet_id for wordnet_id, _, _ in first] == [imagenet_classes()[i][0] for i in (3, 1, 2)]
    assert [type(part) for part in first[0]] == [str, str, float]
    assert first[0] == ("n01491361", "tiger shark", 0.5)
    assert first[1][2] == pytest.approx(0.3, rel=2**-8)
    assert second[0] == ("n15075141", "toilet tissue", 1.0)
    assert [name for _, name, _ in second[1:]] == ["tench", "goldfish"]  # equal scores in order


JAX_SCORES = """
import jax.numpy as jnp
from keras_resnet.classes import decode_predictions
print(decode_predictions(jnp.zeros((1, 1000)).at[0, 3].set(1), top=1)[0][0][0])
"""


@pytest.mark.slow
@pytest.mark.processes
@needs.package("jax")
def test_predictions_of_other_backends_are_read():
    """In its own process, because a process that has imported JAX must not fork."""
    assert processes.printed(processes.python("-c", JAX_SCORES)).strip() == "n01491361"


def test_as_many_predictions_are_given_as_asked_for():
    assert [len(best) for best in decode_predictions(scores())] == [5, 5]
    assert [len({wordnet_id for wordnet_id, _, _ in best}) for best in decode_predictions(scores(), 1000)] == [1000] * 2
    assert decode_predictions(np.zeros((0, 1000))) == []


@pytest.mark.parametrize("shape", [(1000,), (2, 10), (1, 2, 1000)])
def test_scores_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match="scores must have the shape .N, 1000.. Received: shape "):
        decode_predictions(np.zeros(shape))


@pytest.mark.parametrize("top", [0, -1, 1001])
def test_top_is_between_1_and_1000(top):
    with pytest.raises(ValueError, match=f"top must be .*Received: top={top}"):
        decode_predictions(scores(), top)


@pytest.mark.parametrize("wrong", [None, "cat", {}, [[1], [1, 2]], keras.KerasTensor((1, 1000)), scores() * 1j])
def test_what_is_no_array_of_numbers_is_refused(wrong):
    with pytest.raises(TypeError, match="scores must be an array of .*numbers. Received: "):
        decode_predictions(wrong)
