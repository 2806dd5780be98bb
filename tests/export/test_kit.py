"""Tests of the deployment kit, as far as this is possible without Docker."""

import re
import shutil
import subprocess
import time

import pytest
import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2

from keras_resnet.export import kit
from keras_resnet.export.client import ask
from tests import needs
from tests.export.test_images import SOUND
from tests.serving import nets
from tests.serving.process import serving
from tests.serving.versions import read_config

IMAGE = "photo.jpg"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The kit, without an export."""
    folder = tmp_path_factory.mktemp("out")
    kit.model_path(folder, "pets").mkdir(parents=True)
    written = kit.write(folder, "pets")
    assert sorted(str(path.relative_to(folder)) for path in written) == [
        "README.md",
        "compose.yaml",
        "config/batching.config",
        "config/canary.config",
        "config/models.config",
        "config/monitoring.config",
    ]
    return folder


@pytest.fixture(scope="module")
def filled(folder):
    """The kit, two versions with different class names, and an image."""
    shutil.copytree(nets.small().folder, kit.model_path(folder, "pets"), dirs_exist_ok=True)
    (folder / IMAGE).write_bytes(SOUND["JPEG"])
    return folder


@pytest.fixture(scope="module")
def compose(folder):
    return yaml.safe_load((folder / "compose.yaml").read_text())


@pytest.fixture(scope="module")
def server(filled, compose):
    """A server with the flags and configs of the container. Paths of the container are replaced by those of the kit."""
    for path in (filled / "config").iterdir():
        (filled / "here").mkdir(exist_ok=True)
        (filled / "here" / path.name).write_text(path.read_text().replace('"/models/', f'"{filled}/models/'))
    flags = [flag.replace("/config/", f"{filled}/here/") for flag in compose["services"]["serving"]["command"]]
    set_by_serving = ("--port", "--rest_api_port", "--file_system_poll_wait_seconds")
    with serving("pets", *(flag for flag in flags if not flag.startswith(set_by_serving)), version=2) as server:
        yield server


def test_nothing_is_left_to_fill_in(folder):
    for path in (path for path in folder.rglob("*") if path.suffix in (".md", ".yaml", ".config")):
        assert "{{" not in path.read_text()


def test_the_server_computes_on_onednn(compose):
    assert compose["services"]["serving"]["environment"] == {"TF_ENABLE_ONEDNN_OPTS": "1"}


def test_what_was_changed_by_hand_stays(tmp_path):
    kit.write(tmp_path, "pets")
    (tmp_path / "compose.yaml").write_text("mine")
    (tmp_path / "README.md").unlink()
    assert kit.write(tmp_path, "pets") == [tmp_path / "README.md"]
    assert (tmp_path / "compose.yaml").read_text() == "mine"


def test_a_kit_of_another_model_is_not_taken_for_ones_own(tmp_path):
    kit.write(tmp_path, "pets")
    with pytest.raises(ValueError, match="name must be the name of a model in .*models.config.* Received: name='pet'"):
        kit.write(tmp_path, "pet")
    config = tmp_path / "config" / "models.config"
    config.write_text(config.read_text() + 'config { name: "pet" base_path: "/models/pet" }')  # a change by hand
    kit.write(tmp_path, "pet")


def test_a_home_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert kit.model_path("~/kit", "pets") == tmp_path / "kit" / "models" / "pets"
    assert tmp_path / "kit" / "README.md" in kit.write("~/kit", "pets")


@pytest.mark.parametrize("name", ["", "a b", "../x", 'x"', "-x", "pets/1"])
def test_a_name_must_fit_in_paths_and_urls(name, tmp_path):
    with pytest.raises(ValueError, match="name must start with a letter or a digit"):
        kit.write(tmp_path, name)


def test_containers_are_locked_down(compose):
    for service in compose["services"].values():
        assert re.fullmatch(r"\$\{SERVING_USER:-[1-9]\d*:[1-9]\d*\}", service["user"])
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        assert all(volume.endswith(":ro") for volume in service["volumes"])
    assert [name for name, service in compose["services"].items() if "profiles" not in service] == ["serving"]


def test_what_containers_are_given_is_there(folder, compose):
    for service in compose["services"].values():
        mounts = dict(reversed(volume.split(":")[:2]) for volume in service["volumes"])
        paths = [path for word in service["command"] for path in re.findall(r"=(/\S+)", word)]
        assert paths
        for path in paths:
            mount = next(mount for mount in mounts if path.startswith(mount))
            assert (folder / mounts[mount] / path.removeprefix(f"{mount}/")).exists(), path


# Field names and numbers from TF Serving's sources. Its Python package contains only the messages of the other configs.
BATCHING = ("max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads")
MESSAGES = {
    "monitoring.config": {"prometheus_config": {"enable": 8, "path": 9}},
    "batching.config": dict.fromkeys(BATCHING, "Int64Value"),
}


def make_message(fields):
    """A message with these fields.

    Args:
        fields: for each field the name of a type in `google.protobuf`, or the fields of an inner message with the
            numbers of their types.
    """
    file = descriptor_pb2.FileDescriptorProto(name="kit.proto", package="kit", syntax="proto3")
    file.dependency.append("google/protobuf/wrappers.proto")
    outer = file.message_type.add(name="Outer")
    for number, (name, kind) in enumerate(fields.items(), 1):
        field = outer.field.add(name=name, number=number, label=1, type=11)
        if isinstance(kind, str):
            field.type_name = f".google.protobuf.{kind}"
            continue
        field.type_name = ".kit.Inner"
        inner = file.message_type.add(name="Inner")
        for inner_number, (inner_name, scalar) in enumerate(kind.items(), 1):
            inner.field.add(name=inner_name, number=inner_number, label=1, type=scalar)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("kit.Outer"))()


@pytest.mark.parametrize("name", MESSAGES)
def test_configs_are_text_protos(name, folder):
    message = text_format.Parse((folder / "config" / name).read_text(), make_message(MESSAGES[name]))
    assert [field.name for field, _ in message.ListFields()] == list(MESSAGES[name])


@pytest.mark.slow
@pytest.mark.serving
def test_models_configs_name_versions_that_are_there(filled):
    for name in ("models.config", "canary.config"):
        (config,) = read_config(filled / "config" / name).model_config_list.config
        assert config.name == "pets"
        assert (filled / config.base_path.lstrip("/")).is_dir()
        for version in config.model_version_policy.specific.versions:
            assert (filled / config.base_path.lstrip("/") / str(version) / "saved_model.pb").is_file()
        assert set(config.version_labels.values()) == set(config.model_version_policy.specific.versions)


@pytest.mark.slow
@pytest.mark.serving
@pytest.mark.processes
def test_the_health_check_tells_what_is_served(compose, server):
    test = compose["services"]["serving"]["healthcheck"]["test"]
    assert test[0] == "CMD"
    command = [word.replace("8501", server.rest.rpartition(":")[2]) for word in test[1:]]
    assert subprocess.run(command, check=False, timeout=10).returncode == 0
    other = [word.replace("/models/pets", "/models/cars") for word in command]
    assert subprocess.run(other, check=False, timeout=10).returncode != 0


def command_lines(readme, program):
    """The commands in the indented blocks that contain the name of the program. Continued lines are joined."""
    text = re.sub(r"\\\n\s*", "", readme.read_text())
    return [line.strip() for line in text.splitlines() if line.startswith("    ") and program in line]


@pytest.mark.slow
@pytest.mark.serving
@pytest.mark.processes
@needs.curl
def test_the_curl_lines_of_the_readme_work(filled, server):
    status, predict = (line for line in command_lines(filled / "README.md", "curl") if ":8501/v1" in line)
    for line, expected in ((status, "AVAILABLE"), (predict, '"new')):
        command = line.replace("http://localhost:8501", server.rest)
        ended = subprocess.run(["bash", "-c", command], cwd=filled, capture_output=True, text=True, check=True)
        assert expected in ended.stdout, ended


@pytest.mark.slow
@pytest.mark.serving
@pytest.mark.processes
def test_the_canary_is_asked_by_its_label(filled, server):
    (_, newest) = next(ask([filled / IMAGE], server.grpc, "pets"))
    assert newest.classes[0].startswith("new")
    shutil.copy(filled / "here" / "canary.config", filled / "here" / "models.config")
    assert first_guess(filled, server.grpc, "canary").startswith("new")
    assert first_guess(filled, server.rest, "stable").startswith("old")


def first_guess(folder, address, label):
    """The first class of the image under this label. Waits until the server knows the label."""
    for _ in range(300):
        (_, guess) = next(ask([folder / IMAGE], address, "pets", label=label))
        if not isinstance(guess, ValueError):
            return guess.classes[0]
        assert "label" in str(guess)
        time.sleep(0.05)
    raise AssertionError(guess)
