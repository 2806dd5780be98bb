"""Loads and unloads versions of models: polls directories, loads new versions first, unloads old ones when idle."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.apis.get_model_status_pb2 import ModelVersionStatus
from tensorflow_serving.apis.model_pb2 import ModelSpec
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog
from tensorflow_serving.config.model_server_config_pb2 import ModelConfig, ModelServerConfig

from tests.serving.c_api import INVALID_ARGUMENT, NOT_FOUND, Model, RequestError
from tests.serving.running import run_classify, run_predict

RUN = {"predict_log": run_predict, "classify_log": run_classify}
WARM_UP = Path("assets.extra") / "tf_serving_warmup_requests"


def aspired_versions(config: ModelConfig, present: Iterable[int]) -> set[int]:
    """The versions that the server should serve, of those that are present in the directory."""
    policy = config.model_version_policy
    if policy.WhichOneof("policy_choice") == "specific":
        return set(present) & set(policy.specific.versions)
    if policy.WhichOneof("policy_choice") == "all":
        return set(present)
    return set(sorted(present)[-max(policy.latest.num_versions, 1) :])


def load_and_warm_up(directory: Path) -> Model:
    """Loads a model and runs its warm-up requests."""
    model = Model(directory)
    if (directory / WARM_UP).exists():
        for record in tf.data.TFRecordDataset(str(directory / WARM_UP)).as_numpy_iterator():
            log = PredictionLog.FromString(record)
            kind = log.WhichOneof("log_type")
            RUN[kind](model, getattr(log, kind).request)
    return model


class Versions:
    """The versions of one model. A request keeps a reference to its model, so a model is not unloaded during a request.

    Args:
        config: name, directory, policy and labels.
        load: function that loads a model from the directory of a version, or raises `RequestError`.
    """

    def __init__(self, config: ModelConfig, load: Callable[[Path], Model] = load_and_warm_up) -> None:
        self.config, self._load = config, load
        self.available: dict[int, Model] = {}
        self.states: dict[int, ModelVersionStatus] = {}

    def poll(self) -> None:
        """Reads the directory once. Ignores names that are not numbers. Never retries a version that failed."""
        folder = Path(self.config.base_path)
        names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        present = {int(name): folder / name for name in names if name.isdecimal()}
        wanted = aspired_versions(self.config, present)
        failed = {number for number, status in self.states.items() if status.status.error_code}
        for number in sorted(wanted - set(self.available) - failed):
            self._set(number, ModelVersionStatus.LOADING)
            try:
                self.available = {**self.available, number: self._load(present[number])}
                self._set(number, ModelVersionStatus.AVAILABLE)
            except RequestError as error:
                self._set(number, ModelVersionStatus.END, error.code, str(error))
        if wanted & set(self.available) or not present:
            for number in set(self.available) - wanted:
                self.available = {other: model for other, model in self.available.items() if other != number}
                self._set(number, ModelVersionStatus.END)
        self.states = {
            number: status for number, status in self.states.items() if number in (*self.available, *present)
        }

    def _set(self, number: int, state: int, code: int = 0, message: str = "") -> None:
        status = ModelVersionStatus(version=number, state=state)
        status.status.error_code, status.status.error_message = code, message
        self.states = {**self.states, number: status}


class Models:
    """All served models by name."""

    def __init__(self, config: ModelServerConfig) -> None:
        self.all = {entry.name: Versions(entry) for entry in config.model_config_list.config}

    def find(self, spec: ModelSpec) -> tuple[int, Model]:
        """The number and the model of the version that a request selects.

        Raises:
            RequestError: that version is not served.
        """
        versions = self.all.get(spec.name)
        available = versions.available if versions else {}
        labels: Mapping[str, int] = versions.config.version_labels if versions else {}
        requested = f"Latest({spec.name})"
        number = max(available, default=-1)
        if spec.HasField("version"):
            number, requested = spec.version.value, f"Specific({spec.name}, {spec.version.value})"
        elif spec.version_label and spec.version_label not in labels:
            raise RequestError(INVALID_ARGUMENT, f"Unrecognized servable version label: {spec.version_label}")
        elif spec.version_label:
            number = labels[spec.version_label]
        if number not in available:
            raise RequestError(NOT_FOUND, f"Servable not found for request: {requested}")
        return number, available[number]

    def states(self, spec: ModelSpec) -> list[ModelVersionStatus]:
        """The states of all versions of a model or of the selected one, the newest first."""
        states = self.all[spec.name].states if spec.name in self.all else {}
        numbers = [spec.version.value] if spec.HasField("version") else sorted(states, reverse=True)
        result = [states[number] for number in numbers if number in states]
        if not result:
            raise RequestError(NOT_FOUND, f"Could not find any versions of model {spec.name}")
        return result

    def update(self, config: ModelServerConfig) -> None:
        """Uses the policies and labels of a config that was read again."""
        for entry in config.model_config_list.config:
            if entry.name in self.all:
                self.all[entry.name].config = entry

    def poll_until_stopped(self, read: Callable[[], ModelServerConfig], seconds: float, stop: threading.Event) -> None:
        """Reads the config and polls all directories until the event `stop` is set."""
        while not stop.is_set():
            self.update(read())
            for versions in self.all.values():
                versions.poll()
            stop.wait(seconds)


def read_config(path: Path) -> ModelServerConfig:
    """The config in the file of `--model_config_file`."""
    return text_format.Parse(path.read_text(), ModelServerConfig())


def single_model_config(name: str, base_path: str) -> ModelServerConfig:
    """The config that is equivalent to `--model_name` and `--model_base_path`."""
    config = ModelServerConfig()
    config.model_config_list.config.add(name=name, base_path=base_path, model_platform="tensorflow")
    return config
