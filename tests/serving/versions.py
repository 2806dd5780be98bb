"""Which versions of a model are up: directories are polled, the new is loaded first, the old goes when it is idle."""

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
from tests.serving.running import classified, predicted

RUN = {"predict_log": predicted, "classify_log": classified}
WARM_UP = Path("assets.extra") / "tf_serving_warmup_requests"


def aspired(config: ModelConfig, there: Iterable[int]) -> set[int]:
    """The versions that are to be up, of those that are there."""
    policy = config.model_version_policy
    if policy.WhichOneof("policy_choice") == "specific":
        return set(there) & set(policy.specific.versions)
    if policy.WhichOneof("policy_choice") == "all":
        return set(there)
    return set(sorted(there)[-max(policy.latest.num_versions, 1) :])


def loaded(directory: Path) -> Model:
    """A model that has answered its warm-up requests."""
    model = Model(directory)
    if (directory / WARM_UP).exists():
        for record in tf.data.TFRecordDataset(str(directory / WARM_UP)).as_numpy_iterator():
            log = PredictionLog.FromString(record)
            kind = log.WhichOneof("log_type")
            RUN[kind](model, getattr(log, kind).request)
    return model


class Versions:
    """Of one model. What answers a request holds its model, which so outlives its version.

    Args:
        config: name, directory, policy and labels.
        load: function from a version's directory to a model; or it raises `RequestError`.
    """

    def __init__(self, config: ModelConfig, load: Callable[[Path], Model] = loaded) -> None:
        self.config, self._load = config, load
        self.up: dict[int, Model] = {}
        self.states: dict[int, ModelVersionStatus] = {}

    def poll(self) -> None:
        """Looks at the directory once. What is no number is no version; what cannot be loaded is not tried again."""
        folder = Path(self.config.base_path)
        names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        there = {int(name): folder / name for name in names if name.isdecimal()}
        wanted = aspired(self.config, there)
        failed = {number for number, status in self.states.items() if status.status.error_code}
        for number in sorted(wanted - set(self.up) - failed):
            self._set(number, ModelVersionStatus.LOADING)
            try:
                self.up = {**self.up, number: self._load(there[number])}
                self._set(number, ModelVersionStatus.AVAILABLE)
            except RequestError as error:
                self._set(number, ModelVersionStatus.END, error.code, str(error))
        if wanted & set(self.up) or not there:
            for number in set(self.up) - wanted:
                self.up = {other: model for other, model in self.up.items() if other != number}
                self._set(number, ModelVersionStatus.END)
        self.states = {number: status for number, status in self.states.items() if number in (*self.up, *there)}

    def _set(self, number: int, state: int, code: int = 0, message: str = "") -> None:
        status = ModelVersionStatus(version=number, state=state)
        status.status.error_code, status.status.error_message = code, message
        self.states = {**self.states, number: status}


class Models:
    """All that are served, by their names."""

    def __init__(self, config: ModelServerConfig) -> None:
        self.all = {entry.name: Versions(entry) for entry in config.model_config_list.config}

    def find(self, spec: ModelSpec) -> tuple[int, Model]:
        """The version that a request means, and its number.

        Raises:
            RequestError: there is none.
        """
        versions = self.all.get(spec.name)
        up = versions.up if versions else {}
        labels: Mapping[str, int] = versions.config.version_labels if versions else {}
        wanted = f"Latest({spec.name})"
        number = max(up, default=-1)
        if spec.HasField("version"):
            number, wanted = spec.version.value, f"Specific({spec.name}, {spec.version.value})"
        elif spec.version_label and spec.version_label not in labels:
            raise RequestError(INVALID_ARGUMENT, f"Unrecognized servable version label: {spec.version_label}")
        elif spec.version_label:
            number = labels[spec.version_label]
        if number not in up:
            raise RequestError(NOT_FOUND, f"Servable not found for request: {wanted}")
        return number, up[number]

    def states(self, spec: ModelSpec) -> list[ModelVersionStatus]:
        """Of all versions of a model, or of one, the newest first."""
        states = self.all[spec.name].states if spec.name in self.all else {}
        asked = [spec.version.value] if spec.HasField("version") else sorted(states, reverse=True)
        found = [states[number] for number in asked if number in states]
        if not found:
            raise RequestError(NOT_FOUND, f"Could not find any versions of model {spec.name}")
        return found

    def update(self, config: ModelServerConfig) -> None:
        """Takes policies and labels from a config that was read anew."""
        for entry in config.model_config_list.config:
            if entry.name in self.all:
                self.all[entry.name].config = entry

    def keep_up(self, read: Callable[[], ModelServerConfig], seconds: float, stop: threading.Event) -> None:
        """Polls until told to stop."""
        while not stop.is_set():
            self.update(read())
            for versions in self.all.values():
                versions.poll()
            stop.wait(seconds)


def config_from(path: Path) -> ModelServerConfig:
    """As `--model_config_file` has it."""
    return text_format.Parse(path.read_text(), ModelServerConfig())


def config_of(name: str, base_path: str) -> ModelServerConfig:
    """As `--model_name` and `--model_base_path` say it."""
    config = ModelServerConfig()
    config.model_config_list.config.add(name=name, base_path=base_path, model_platform="tensorflow")
    return config
