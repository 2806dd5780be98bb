"""Images for training and evaluation: sources, splits, augmentation and pipelines that make batches."""

from keras_resnet.data.constructors import from_arrays, from_dataset
from keras_resnet.data.pipeline import pipeline
from keras_resnet.data.prepare import prepare
from keras_resnet.data.prepared import Prepared
from keras_resnet.data.sources import load
from keras_resnet.data.split import Split
from keras_resnet.data.train import steps_per_epoch, train_pipeline

__all__ = [
    "Prepared",
    "Split",
    "from_arrays",
    "from_dataset",
    "load",
    "pipeline",
    "prepare",
    "steps_per_epoch",
    "train_pipeline",
]
