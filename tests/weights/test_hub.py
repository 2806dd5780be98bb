"""Weights from a hub or a URL, over real sockets: a download is complete and correct, or it fails with one sentence."""

import dataclasses
import errno
import hashlib
import json
import os
import queue
import re
import shutil
import signal
import tempfile
import threading
import time
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import safetensors.numpy
from huggingface_hub import constants

import keras_resnet as kr
from keras_resnet.weights import deadlines, fetch, timm_models
from keras_resnet.weights.download import BLOCK, download
from keras_resnet.weights.table import Checkpoint
from tests import needs, processes
from tests.conftest import randomise
from tests.hub_server import Fault, free_url, serving
from tests.torch_names import torch_state
from tests.torch_peers import peers, randomised

SECONDS = 0.5  # time limit for a server that sends nothing
CONTENT = np.random.default_rng(0).bytes(500_000)
SHA = "sha256:" + hashlib.sha256(CONTENT).hexdigest()
SOURCE = "hf://timm/any.thing"
CONFIG = {
    "architecture": "resnet18",
    "num_classes": 10,
    "num_features": 512,
    "global_pool": "avg",
    "pretrained_cfg": {
        "tag": "tiny",
        "input_size": [3, 224, 224],
        "crop_pct": 0.95,
        "interpolation": "bicubic",
        "mean": [0.4, 0.5, 0.6],
        "std": [0.2, 0.25, 0.3],
        "license": "apache-2.0",
        "num_classes": 10,
        "pool_size": [7, 7],
        "first_conv": "conv1",
        "classifier": "fc",
    },
}


@pytest.fixture
def server():
    with serving() as server:
        yield server


@pytest.fixture
def hub(server, tmp_path, monkeypatch):
    """The server in the place of the hub, with empty caches. Sets what huggingface_hub reads from the environment."""
    point_at(server.url, monkeypatch)
    settings = {
        "HF_HUB_CACHE": str(tmp_path / "hub"),
        "HF_TOKEN_PATH": str(tmp_path / "token"),
        "HF_HUB_DOWNLOAD_TIMEOUT": SECONDS,
        "HF_HUB_ETAG_TIMEOUT": SECONDS,
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_TELEMETRY": True,
    }
    for name, value in settings.items():
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("NO_PROXY", "*")
    for name in ("KERAS_RESNET_MIRROR", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    huggingface_hub.close_session()
    yield server
    huggingface_hub.close_session()


@pytest.fixture
def path(hub, tmp_path):
    """The path that a test downloads a file to."""
    return tmp_path / "files" / "weights.h5"


@pytest.fixture(scope="module")
def tiny():
    """A ResNet-18 for 10 classes with random weights: the digest of the weights, and the files of its repository."""
    model = kr.ResNet18(classes=10)
    randomise(model, np.random.default_rng(0))
    return digest(model), repository(model, CONFIG)


def point_at(url, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")


def go_offline(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def repository(model, config):
    """The files of a repository, in the form of timm's repositories."""
    return {
        "config.json": json.dumps(config).encode(),
        "model.safetensors": safetensors.numpy.save(torch_state(model)),
    }


def digest(model):
    """A hash of all weights in a model, except those of the preprocessing layer."""
    values = [
        np.asarray(variable) for layer in model.layers for variable in layer.weights if layer.name != "preprocessing"
    ]
    return hashlib.sha256(b"".join(value.tobytes() for value in values)).hexdigest()


def one_sentence(caught):
    """The message of an error. Asserts that it is one short line, and that a traceback would show no other error."""
    error = caught.value
    assert error.__cause__ is None
    assert error.__context__ is None or error.__suppress_context__
    assert "\n" not in str(error)
    assert len(str(error)) < 500
    return str(error)


def files_in(folder):
    """The files in a folder and its subfolders, without locks."""
    return sorted(
        str(file.relative_to(folder)) for file in folder.rglob("*") if not file.is_dir() and file.suffix != ".lock"
    )


# Downloading


def test_a_file_that_is_there_is_not_asked_for_again(server, path):
    url = server.serve_file("/weights.h5", CONTENT)
    download(url, path, SHA)
    download(url, path, SHA)
    assert path.read_bytes() == CONTENT
    assert files_in(path.parent) == ["weights.h5"]
    assert len(server.requests) == 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["drop", "reset"])
def test_a_lost_connection_is_taken_up_where_it_broke(server, path, kind):
    server.faults["GET", ".h5"] = Fault(kind, after=200_000, times=2)
    download(server.serve_file("/weights.h5", CONTENT), path, SHA)
    first, second, third = server.of("GET", ".h5")
    assert path.read_bytes() == CONTENT
    assert first.range == ""
    lost = 200_000 - BLOCK if kind == "reset" else BLOCK  # a busy kernel may still hold most of the data
    assert 200_000 - lost <= int(second.range[6:-1]) <= 200_000
    assert 400_000 - 2 * lost <= int(third.range[6:-1]) <= 400_000
    assert server.sent(".h5") <= len(CONTENT) + 2 * lost


@pytest.mark.parametrize("kind", ["no range", "wrong range"])
def test_a_server_that_cannot_resume_is_asked_for_all(server, path, kind):
    path.parent.mkdir()
    path.with_name("weights.h5.part").write_bytes(CONTENT[:1000])
    server.faults["GET", ".h5"] = Fault(kind)
    download(server.serve_file("/weights.h5", CONTENT), path, SHA)
    assert path.read_bytes() == CONTENT
    assert server.requests[0].range == "bytes=1000-"


@pytest.mark.parametrize("kind", ["no range", "wrong range"])
def test_a_server_that_always_breaks_off_at_the_same_place_is_given_up(server, path, kind):
    server.faults["GET", ".h5"] = Fault(kind, after=100_000)
    with pytest.raises(ValueError, match="/weights.h5: the connection was lost; the received part is kept") as caught:
        download(server.serve_file("/weights.h5", CONTENT), path, SHA)
    one_sentence(caught)
    assert not path.exists()
    assert len(server.requests) <= 4


@pytest.mark.parametrize(
    ("part", "ranges"),
    [
        (b"older" * 1000, ["bytes=5000-", ""]),
        (CONTENT + b"older", ["bytes=500005-", ""]),
        (CONTENT, ["bytes=500000-"]),  # the process was killed after the last byte and before the rename
        (b"older" * 100_000, ["bytes=500000-", ""]),
    ],
    ids=["shorter", "longer", "whole", "as long"],
)
def test_what_is_left_of_another_version_is_thrown_away(server, path, part, ranges):
    path.parent.mkdir()
    path.with_name("weights.h5.part").write_bytes(part)
    download(server.serve_file("/weights.h5", CONTENT), path, SHA)
    assert path.read_bytes() == CONTENT
    assert [request.range for request in server.requests] == ranges


def test_a_rest_is_not_trusted_without_a_hash(server, path):
    path.parent.mkdir()
    path.with_name("weights.h5.part").write_bytes(b"of another file")
    download(server.serve_file("/weights.h5", CONTENT), path, "")
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize(
    "expected", ["md5:" + hashlib.md5(CONTENT).hexdigest(), SHA, SHA[:15].upper().replace("SHA", "sha")]
)
def test_a_file_of_another_hash_is_refused_and_removed(server, path, expected):
    url = server.serve_file("/weights.h5", CONTENT)
    server.faults["GET", ".h5"] = Fault("other", times=1)
    with pytest.raises(ValueError, match=f"must have the hash {expected}. Received: {expected[:3]}") as caught:
        download(url, path, expected)
    one_sentence(caught)
    assert files_in(path.parent) == []
    download(url, path, expected)
    assert path.read_bytes() == CONTENT


def test_a_damaged_file_goes_even_if_no_other_comes(server, path):
    path.parent.mkdir()
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(ValueError, match="the server answered 404 Not Found"):
        download(server.url + "/weights.h5", path, SHA)
    assert files_in(path.parent) == []


def test_a_file_is_kept_where_directories_cannot_be_flushed(server, path, monkeypatch):
    real_open = os.open

    def refuse(name, *args, **kwargs):
        if Path(name).is_dir():
            raise PermissionError(13, "as on Windows")
        return real_open(name, *args, **kwargs)

    monkeypatch.setattr(os, "open", refuse)
    download(server.serve_file("/weights.h5", CONTENT), path, SHA)
    assert path.read_bytes() == CONTENT


def test_a_hash_of_no_kind_is_refused(server, path):
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    with pytest.raises(ValueError, match="a hash must be md5:..., sha256:... or git:... Received: '0123abcd'"):
        download(server.url, path, "0123abcd")


@pytest.mark.slow
@pytest.mark.parametrize("received", [0, 200_000])
def test_a_stalled_server_times_out(server, path, received):
    server.faults["GET", ".h5"] = Fault("stall", received, times=1)
    server.faults["GET", "/weights.h5"] = Fault("stall")
    start = time.monotonic()
    with pytest.raises(ValueError, match=f"download .*weights.h5: the server did not answer for {SECONDS} s") as caught:
        download(server.serve_file("/weights.h5", CONTENT), path, SHA)
    one_sentence(caught)
    assert time.monotonic() - start < 10 * SECONDS
    assert not path.exists()


@pytest.mark.slow
def test_a_server_that_stalled_once_is_asked_again(server, path):
    server.faults["GET", ".h5"] = Fault("stall", 200_000, times=1)
    download(server.serve_file("/weights.h5", CONTENT), path, SHA)
    assert path.read_bytes() == CONTENT
    assert server.sent(".h5") <= len(CONTENT) + BLOCK


def test_of_two_at_once_one_downloads(server, path):
    url = server.serve_file("/weights.h5", CONTENT)
    server.faults["GET", ".h5"] = Fault("slow", seconds=0.01)
    threads = [threading.Thread(target=download, args=(url, path, SHA)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() == CONTENT
    assert [request.sent for request in server.requests] == [len(CONTENT)]


def test_an_unreachable_server_gives_one_sentence(path):
    with pytest.raises(ValueError, match="cannot download .*/weights.h5: the server cannot be reached$") as caught:
        download(free_url() + "/weights.h5", path, SHA)
    one_sentence(caught)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("status", "the server answered 500 Internal Server Error"),
        ("answers 204", "the server answered 204 No Content"),
        ("answers 206", "the server answered 206 Partial Content"),
        ("answers 300", "the server answered 300 Multiple Choices"),
        ("answers 304", "the server answered 304 Not Modified"),
        ("page", "must be a file. Received: a web page"),
        ("page of bytes", "must be a file. Received: a web page"),
        ("gzip", "must be sent without compression and with its length. Received: Content-Encoding gzip"),
        ("no length", "must be sent without compression and with its length. Received: .*Content-Length None"),
        ("endless", "must have at most 1,000,000 bytes. Received: at least 1,0"),
    ],
)
def test_what_is_no_file_is_refused(server, path, kind, message):
    server.faults["GET", ".h5"] = Fault(kind)
    with pytest.raises(ValueError, match=message) as caught:
        download(server.serve_file("/weights.h5", CONTENT), path, "", largest=1_000_000)
    one_sentence(caught)
    assert not path.exists()


def test_a_login_page_does_not_cost_what_had_come(server, path):
    path.parent.mkdir()
    path.with_name("weights.h5.part").write_bytes(CONTENT[:400_000])
    server.faults["GET", ".h5"] = Fault("page", times=1)
    url = server.serve_file("/weights.h5", CONTENT)
    with pytest.raises(ValueError, match="a web page"):
        download(url, path, SHA)
    download(url, path, SHA)
    assert server.sent(".h5") < 101_000


def test_a_password_or_signature_is_not_shown(path):
    url = free_url().replace("//", "//user:secret@") + "/weights.h5?signature=secret"
    with pytest.raises(ValueError, match="cannot be reached") as caught:
        download(url, path, SHA)
    assert "secret" not in str(caught.value)


def test_a_token_does_not_follow_to_another_host(server, path):
    server.serve_file("/storage/weights.h5", CONTENT)
    server.redirects["/weights.h5"] = server.elsewhere + "/storage/weights.h5"
    download(server.url + "/weights.h5", path, SHA, {"authorization": "Bearer hf_secret"})
    assert [request.authorization for request in server.requests] == ["Bearer hf_secret", ""]


@pytest.mark.parametrize("kind", ["trickle", "trickling head"])
def test_a_server_that_trickles_is_given_up(server, path, monkeypatch, kind):
    monkeypatch.setattr("keras_resnet.weights.deadlines.PATIENCE", 0.2)
    monkeypatch.setattr("keras_resnet.weights.download.PATIENCE", 0.2 - 2 * SECONDS)
    server.faults["GET", ".h5"] = Fault(kind, seconds=0.02)
    start = time.monotonic()
    with pytest.raises(
        ValueError, match="cannot download .*/weights.h5: (the server sent [0-9]+ bytes|no answer)"
    ) as caught:
        download(server.serve_file("/weights.h5", CONTENT), path, SHA)
    one_sentence(caught)
    assert time.monotonic() - start < 30  # much more than it takes, for machines with other work
    if kind == "trickle":  # what came is used by the next try, which waits for as long as it takes
        assert "KERAS_RESNET_MIN_SPEED=0 waits" in str(caught.value)
        monkeypatch.setenv("KERAS_RESNET_MIN_SPEED", "0")
        monkeypatch.setattr("keras_resnet.weights.deadlines.PATIENCE", -1000)
        server.faults.clear()
        download(server.url + "/weights.h5", path, SHA)
        assert server.requests[-1].range.startswith("bytes=")


class Response:
    """What a server answers; it counts how often it is closed."""

    def __init__(self):
        self.closed = threading.Semaphore(0)

    def close(self):
        self.closed.release()


def test_an_answer_after_the_deadline_is_closed():
    response, asked = Response(), threading.Event()
    with pytest.raises(TimeoutError, match="no answer within 0.01 s"):
        deadlines.within(0.01, lambda: asked.wait() and response)
    asked.set()
    assert response.closed.acquire(timeout=30)


@pytest.mark.parametrize("stop", [queue.Empty, KeyboardInterrupt])
@pytest.mark.parametrize("answers_first", [False, True])
def test_an_answer_at_the_moment_of_giving_up_is_closed(monkeypatch, stop, answers_first):
    response, asked, answered = Response(), threading.Event(), threading.Event()

    class Results(queue.SimpleQueue):
        def put(self, item):
            super().put(item)
            answered.set()

        def get(self, timeout):
            if answers_first:
                asked.set()
                assert answered.wait(30)
            raise stop

    monkeypatch.setattr(queue, "SimpleQueue", Results)
    with pytest.raises(TimeoutError if stop is queue.Empty else stop):
        deadlines.within(1, lambda: asked.wait() and response)
    asked.set()
    assert response.closed.acquire(timeout=30)
    assert not response.closed.acquire(timeout=0.01)


def test_a_hub_that_trickles_is_said_to_give_no_answer_in_time(monkeypatch):
    monkeypatch.setattr(fetch, "PATIENCE", 0.01 - 2 * constants.HF_HUB_ETAG_TIMEOUT)
    waiting = threading.Event()
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", lambda url, timeout: waiting.wait())
    monkeypatch.setattr(fetch, "_from_cache", lambda repository, revision, files, reason: reason)
    reason = fetch.from_hub(SOURCE, "model.safetensors")
    waiting.set()
    assert reason.endswith("the hub cannot be reached (no answer within 0.01 s)")


def test_a_speed_that_is_no_number_is_named(server, path, monkeypatch):
    monkeypatch.setenv("KERAS_RESNET_MIN_SPEED", "fast")
    with pytest.raises(ValueError, match="KERAS_RESNET_MIN_SPEED must be bytes in a second, .* Received: 'fast'"):
        download(server.serve_file("/weights.h5", CONTENT), path, SHA)


@pytest.mark.parametrize("link", ["symlink_to", "hardlink_to"])
def test_a_part_that_is_a_link_is_not_followed(server, path, tmp_path, link):
    path.parent.mkdir()
    (tmp_path / "mine").write_bytes(CONTENT[:1000])
    getattr(path.with_name("weights.h5.part"), link)(tmp_path / "mine")
    download(server.serve_file("/weights.h5", CONTENT), path, SHA)
    assert (tmp_path / "mine").read_bytes() == CONTENT[:1000]
    assert path.read_bytes() == CONTENT
    assert not path.is_symlink()
    assert server.requests[0].range == ""


def test_a_full_disk_is_named(server, path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ValueError, match="cannot store weights.h5 in .*: No space left on device") as caught:
        download(server.serve_file("/weights.h5", CONTENT), path, SHA)
    one_sentence(caught)
    assert not path.exists()


def test_a_cache_that_is_no_directory_is_named(server, path, tmp_path):
    (tmp_path / "files").write_bytes(b"")
    with pytest.raises(ValueError, match="cannot store weights.h5 in .*files: (File exists|Not a directory)") as caught:
        download(server.serve_file("/weights.h5", CONTENT), path, SHA)
    one_sentence(caught)


@pytest.fixture
def read_only(hub, monkeypatch):
    """An open folder, and a function that makes it read-only, even for root."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    user = os.geteuid()

    def close():
        for path in (folder, *folder.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o555 if path.is_dir() else 0o444)
        if user == 0:
            os.seteuid(65534)

    yield folder, close
    os.seteuid(user)
    for path in (folder, *folder.rglob("*")):
        if path.is_dir():
            path.chmod(0o755)
    shutil.rmtree(folder)


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="needs POSIX permissions")
def test_a_read_only_cache_is_used_or_named(server, read_only, monkeypatch):
    folder, close = read_only
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(folder / "token"))
    server.commit("timm/any.thing", {"model.safetensors": CONTENT, "config.json": b"{}"})
    cached = fetch.from_hub(SOURCE, "model.safetensors")
    close()
    assert fetch.from_hub(SOURCE, "model.safetensors") == cached
    with pytest.raises(ValueError, match="cannot store [0-9a-f]{40} in .*: Permission denied") as caught:
        fetch.from_hub(SOURCE, "config.json")
    one_sentence(caught)


# A URL, and mirrors


def test_a_url_is_kept_where_keras_keeps_it(server, hub, tmp_path):
    url = server.serve_file("/any/weights.h5", CONTENT)
    checkpoint = Checkpoint("ResNet18", "tag", url, hash=SHA)
    assert fetch.local_file(checkpoint, include_top=True) == tmp_path / "keras" / "models" / "weights.h5"
    fetch.local_file(checkpoint, include_top=False)
    assert len(server.requests) == 1


def test_a_damaged_file_of_a_url_is_fetched_again_or_refused_offline(server, hub, monkeypatch):
    url = server.serve_file("/weights.h5", CONTENT)
    path = fetch.from_url(url, SHA)
    path.write_bytes(CONTENT[:-1] + b"x")
    assert fetch.from_url(url, SHA).read_bytes() == CONTENT
    assert len(server.requests) == 2
    go_offline(monkeypatch)
    assert fetch.from_url(url, SHA) == path
    path.write_bytes(CONTENT[:-1] + b"x")
    with pytest.raises(ValueError, match="HF_HUB_OFFLINE forbids the download of weights.h5") as caught:
        fetch.from_url(url, SHA)
    one_sentence(caught)
    assert len(server.requests) == 2


def test_a_mirror_stands_in_for_all_urls(server, hub, monkeypatch):
    server.serve_file("/mirrored/weights.h5", CONTENT)
    monkeypatch.setenv("KERAS_RESNET_MIRROR", server.url + "/mirrored/")
    assert fetch.from_url(free_url() + "/weights.h5", SHA).read_bytes() == CONTENT
    with pytest.raises(ValueError, match="/mirrored/other.h5: the server answered 404"):
        fetch.from_url(free_url() + "/other.h5", SHA)


@pytest.mark.parametrize("kind", ["page", "page of bytes"])
@pytest.mark.parametrize("expected", ["", SHA])
def test_a_mirror_of_web_pages_is_refused(server, hub, monkeypatch, tmp_path, kind, expected):
    server.serve_file("/weights.h5", CONTENT)
    server.faults["GET", ".h5"] = Fault(kind)
    monkeypatch.setenv("KERAS_RESNET_MIRROR", server.url)
    with pytest.raises(ValueError, match="weights.h5 must be a file. Received: a web page, perhaps from a mirror"):
        fetch.from_url(free_url() + "/weights.h5", expected)
    assert files_in(tmp_path / "keras") == []


def test_two_urls_without_hashes_are_not_taken_for_each_other(server, hub):
    urls = server.serve_file("/a/weights.h5", b"a"), server.serve_file("/b/weights.h5", b"b")
    assert [fetch.from_url(url, "").read_bytes() for url in urls] == [b"a", b"b"]


def test_a_users_file_is_held_against_the_hash_and_left_alone(tmp_path):
    path = tmp_path / "mine.h5"
    path.write_bytes(CONTENT)
    checkpoint = Checkpoint("ResNet18", "tag", str(path), hash=SHA)
    assert fetch.local_file(checkpoint, include_top=True) == path
    with pytest.raises(ValueError, match="must have the hash md5:1234. Received: .* with md5:"):
        fetch.local_file(dataclasses.replace(checkpoint, hash="md5:1234"), include_top=True)
    assert path.read_bytes() == CONTENT


# A hub's cache


def test_a_file_of_the_hub_is_transferred_once(hub):
    commit = hub.commit("timm/any.thing", {"model.safetensors": CONTENT})
    path = fetch.from_hub(SOURCE, "model.safetensors")
    assert path.read_bytes() == CONTENT
    assert fetch.from_hub(SOURCE, "model.safetensors") == path
    assert fetch.from_hub(f"{SOURCE}@{commit}", "model.safetensors") == path
    assert len(hub.of("GET", "model.safetensors")) == 1
    assert len(hub.of("HEAD", "model.safetensors")) == 3


def test_the_hubs_client_finds_what_is_in_the_cache(hub, monkeypatch):
    hub.commit("timm/any.thing", {"model.safetensors": CONTENT, "config.json": b"{}"})
    paths = [str(fetch.from_hub(SOURCE, file)) for file in ("model.safetensors", "config.json")]
    transferred = len(hub.of("GET", ""))
    found = [huggingface_hub.hf_hub_download("timm/any.thing", file) for file in ("model.safetensors", "config.json")]
    assert found == paths
    assert len(hub.of("GET", "")) == transferred
    (repository,) = huggingface_hub.scan_cache_dir(constants.HF_HUB_CACHE).repos
    assert [revision.refs for revision in repository.revisions] == [{"main"}]


def test_what_the_hubs_client_has_downloaded_is_used(hub):
    hub.commit("timm/any.thing", {"config.json": b"{}"})
    path = huggingface_hub.hf_hub_download("timm/any.thing", "config.json")
    transferred = len(hub.of("GET", "config.json"))
    assert str(fetch.from_hub(SOURCE, "config.json")) == path
    assert len(hub.of("GET", "config.json")) == transferred


def test_a_revision_is_the_one_that_is_asked_for(hub, monkeypatch):
    hub.commit("timm/any.thing", {"model.safetensors": b"new"})
    old = hub.commit("timm/any.thing", {"model.safetensors": b"old"}, revision="refs/pr/1")
    sources = {SOURCE: b"new", f"{SOURCE}@refs/pr/1": b"old", f"{SOURCE}@{old}": b"old"}
    for _ in ("online", "offline"):
        assert {source: fetch.from_hub(source, "model.safetensors").read_bytes() for source in sources} == sources
        go_offline(monkeypatch)


@pytest.mark.parametrize(
    "source", ["hf://timm", "hf://a/b/c", "hf://a/b@", "hf://a/b@../../x", "hf://a/b@/x", "hf://a/../b"]
)
def test_a_source_is_a_repository(hub, source):
    with pytest.raises(ValueError, match="must be hf://owner/repository or hf://owner/repository@revision. Received: "):
        fetch.from_hub(source, "model.safetensors")
    assert hub.requests == []


def test_a_new_version_replaces_the_old(hub):
    hub.commit("timm/any.thing", {"model.safetensors": b"old"})
    fetch.from_hub(SOURCE, "model.safetensors")
    hub.commit("timm/any.thing", {"model.safetensors": b"new"})
    assert fetch.from_hub(SOURCE, "model.safetensors").read_bytes() == b"new"


def test_other_bytes_than_the_hub_names_are_refused(hub, tmp_path):
    hub.commit("timm/any.thing", {"model.safetensors": CONTENT, "config.json": b"{ }"})
    for file, kind in {"model.safetensors": "sha256", "config.json": "git"}.items():
        hub.faults["GET", file] = Fault("other")
        with pytest.raises(ValueError, match=f"{file} must have the hash {kind}:.*; the file is removed") as caught:
            fetch.from_hub(SOURCE, file)
        assert "secret" not in one_sentence(caught)
    assert files_in(tmp_path / "hub") == []


def test_a_damaged_file_of_the_hub_is_fetched_again_or_refused_offline(hub, monkeypatch):
    hub.commit("timm/any.thing", {"model.safetensors": CONTENT})
    path = fetch.from_hub(SOURCE, "model.safetensors")
    path.write_bytes(CONTENT[:-1] + b"x")
    assert fetch.from_hub(SOURCE, "model.safetensors").read_bytes() == CONTENT
    path.write_bytes(CONTENT[:-1] + b"x")
    go_offline(monkeypatch)
    with pytest.raises(ValueError, match="HF_HUB_OFFLINE forbids downloads, and .* in the cache is damaged") as caught:
        fetch.from_hub(SOURCE, "model.safetensors")
    one_sentence(caught)


def test_a_blob_may_be_a_link_into_a_store_of_all_repositories(hub, monkeypatch):
    hub.commit("timm/any.thing", {"model.safetensors": CONTENT})
    path = fetch.from_hub(SOURCE, "model.safetensors")
    stored = path.resolve().rename(path.parents[3] / ("f" * 64))  # its name is not the hash in the blob's name
    (path.parent / path.readlink()).symlink_to(stored)
    assert fetch.from_hub(SOURCE, "model.safetensors") == path
    go_offline(monkeypatch)
    assert fetch.from_hub(SOURCE, "model.safetensors").read_bytes() == CONTENT
    assert stored.read_bytes() == CONTENT
    assert len(hub.of("GET", "model.safetensors")) == 1


def test_a_cache_without_links_has_copies(hub, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("a privilege is not held")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    hub.commit("timm/any.thing", {"model.safetensors": CONTENT})
    for _ in range(2):
        path = fetch.from_hub(SOURCE, "model.safetensors")
        assert path.read_bytes() == CONTENT
    assert not path.is_symlink()
    go_offline(monkeypatch)
    assert fetch.from_hub(SOURCE, "model.safetensors") == path
    assert len(hub.of("GET", "model.safetensors")) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ("status", "the hub answered 500"),
        ("drop", "the hub cannot be reached (Server disconnected without sending a response.)"),
        ("stall", f"the hub did not answer for {SECONDS} s"),
        ("page", "the answer is not that of a hub; does HF_ENDPOINT name a hub?"),
        ("refused", "the hub cannot be reached ([Errno 111] Connection refused)"),
    ],
)
def test_a_hub_that_gives_no_answer_leaves_the_cache(hub, monkeypatch, tmp_path, fault, why):
    hub.commit("timm/any.thing", {"model.safetensors": CONTENT})
    path = fetch.from_hub(SOURCE, "model.safetensors")
    start = time.monotonic()
    hub.faults["HEAD", ""] = hub.faults["GET", ""] = Fault(fault)
    if fault == "refused":
        point_at(free_url(), monkeypatch)
    assert fetch.from_hub(SOURCE, "model.safetensors") == path
    shutil.rmtree(tmp_path / "hub")
    with pytest.raises(ValueError, match=re.escape(why) + ", and model.safetensors is not in the cache, ") as caught:
        fetch.from_hub(SOURCE, "model.safetensors")
    one_sentence(caught)
    assert time.monotonic() - start < 10 * SECONDS
    assert files_in(tmp_path) == []


@pytest.mark.slow
def test_a_storage_that_fails_leaves_no_file(hub, tmp_path):
    hub.commit("timm/any.thing", {"model.safetensors": CONTENT})
    for fault, why in {"status": "answered 500", "stall": "did not answer", "page": "a web page"}.items():
        hub.faults["GET", "model.safetensors"] = Fault(fault)
        with pytest.raises(ValueError, match=why) as caught:
            fetch.from_hub(SOURCE, "model.safetensors")
        assert "secret" not in one_sentence(caught)
    assert files_in(tmp_path) == []


def test_a_file_that_cannot_be_downloaded_says_what_to_do(hub, tmp_path, monkeypatch):
    hub.commit("timm/any.thing", {"model.safetensors": CONTENT})
    hub.faults["GET", ""] = Fault("status")
    url = hub.serve_file("/weights.h5", CONTENT)
    copied = f"without a network, copy the file to {tmp_path / 'keras' / 'models' / 'weights.h5'}"
    for offline, source, parts in (
        (False, url, ["answered 500", "KERAS_RESNET_MIRROR", copied]),
        (False, SOURCE, ["answered 500", "model.safetensors", str(tmp_path / "hub"), "HF_ENDPOINT"]),
        (True, url, ["HF_HUB_OFFLINE", copied]),
        (True, SOURCE, ["HF_HUB_OFFLINE", str(tmp_path / "hub"), "HF_ENDPOINT", "`hf download timm/any.thing`"]),
    ):
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
        with pytest.raises(ValueError, match="weights") as caught:
            fetch.local_file(Checkpoint("ResNet18", "tag", source, hash=SHA), include_top=True)
        message = one_sentence(caught)
        assert [part for part in parts if part not in message] == []


@pytest.mark.parametrize(
    "source", ["x/y@.", "x/y@..", "x/y@../z", "x/y@a/.", "x/y@.git", "x/y@a/../b", "./y", "../y", "x/.."]
)
def test_a_source_cannot_name_a_folder_of_the_cache(hub, tmp_path, source):
    with pytest.raises(ValueError, match="weights must be hf://owner/repository") as caught:
        fetch.from_hub(f"hf://{source}", "config.json")
    one_sentence(caught)
    assert hub.requests == []
    assert files_in(tmp_path) == []


def test_offline_asks_nothing_and_says_so(hub, monkeypatch):
    go_offline(monkeypatch)
    with pytest.raises(
        ValueError, match="HF_HUB_OFFLINE forbids downloads, and config.json is not in the cache"
    ) as caught:
        kr.ResNet18(weights=SOURCE)
    one_sentence(caught)
    assert hub.requests == []


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("hf://timm/none", "there is no repository hf://timm/none, or it is private and needs HF_TOKEN"),
        (f"{SOURCE}@none", "the repository has no such revision. Received: hf://timm/any.thing@none"),
        (SOURCE, "hf://timm/any.thing must have config.json. Received: a repository without it"),
    ],
)
def test_what_the_hub_has_not_is_named(hub, source, message):
    hub.commit("timm/any.thing", {"README.md": b""})
    with pytest.raises(ValueError, match=message) as caught:
        kr.ResNet18(weights=source)
    one_sentence(caught)


def test_a_repository_without_weights_is_refused(hub):
    hub.commit("timm/any.thing", {"config.json": json.dumps(CONFIG).encode()})
    with pytest.raises(ValueError, match="must have model.safetensors or pytorch_model.bin. Received: ") as caught:
        fetch.local_file(Checkpoint("ResNet18", "tag", SOURCE), include_top=True)
    one_sentence(caught)


@pytest.mark.parametrize("name", ["X-Repo-Commit", "ETag"])
def test_a_hub_cannot_name_files_outside_the_cache(hub, tmp_path, name):
    hub.commit("timm/any.thing", {"config.json": b"{}"})
    fetched = hub.answer("/timm/any.thing/resolve/main/config.json")
    hub.files["/timm/any.thing/resolve/main/config.json"] = fetched._replace(
        status=200, headers={**fetched.headers, name: "../" * 5 + "escaped"}, body=b"{}"
    )
    with pytest.raises(ValueError, match="the answer is not that of a hub"):
        fetch.from_hub(SOURCE, "config.json")
    assert files_in(tmp_path) == []


def test_the_token_goes_to_the_hub_and_not_to_its_storage(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.commit("timm/any.thing", {"model.safetensors": CONTENT, "config.json": b"{}"})
    fetch.from_hub(SOURCE, "model.safetensors")
    fetch.from_hub(SOURCE, "config.json")
    assert {(request.host, request.authorization) for request in hub.requests} == {
        (hub.url.partition("//")[2], "Bearer hf_secret"),
        (hub.elsewhere.partition("//")[2], ""),
    }


# The config.json of a repository


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (b"", "must have timm's config.json. Received: JSONDecodeError"),
        (b"\xff\xfe\x00", "must have timm's config.json. Received: "),
        (b"[" * 100_000, "must have timm's config.json. Received: "),
        (b"[]", "must have timm's config.json. Received: "),
        (b" " * 2**20 + b"{}", "config.json must have at most 1,048,576 bytes. Received: at least 1,048,57"),
        ({"architecture": "resnetblur50"}, "that keras_resnet can build: .*Received: 'resnetblur50'"),
        ({"architecture": "resnet50_gn"}, "that keras_resnet can build: .*Received: 'resnet50_gn'"),
        ({"architecture": "vit_base_patch16_224"}, "that keras_resnet can build: .*Received: 'vit_base_patch16_224'"),
        ({"architecture": "x" * 10**5}, "that keras_resnet can build: .*Received: 'x{100}'$"),
        ({"architecture": None}, "that keras_resnet can build: .*Received: 'None'"),
        ({"global_pool": "max"}, "must have average pooling, .* Received: global_pool='max', model_args={}"),
        ({"model_args": {"global_pool": "max"}}, "must have average pooling, .* Received: global_pool='max'"),
        (
            {"model_args": {"act_layer": "silu", "num_classes": 3}},
            "no model_args that change the network .* Received: .* model_args={'act_layer': 'silu'}",
        ),
        ({"model_args": {"output_stride": 64}}, "no model_args that change .*model_args={'output_stride': 64}"),
        (
            {"model_args": {"output_stride": 8}, "architecture": "resnet18d"},
            "no model_args that change .*model_args={'output_stride': 8}",
        ),
        ({"model_args": [1]}, "must have timm's config.json. Received: AttributeError"),
        ({"model_args": {"in_chans": 10**12}}, "config.json. Received: ValueError.*in_chans must be in .1, 256"),
        ({"num_classes": "many"}, "config.json. Received: TypeError.*num_classes must be an integer"),
        ({"num_classes": 10.5}, "config.json. Received: TypeError.*num_classes must be an integer"),
        ({"num_classes": -1}, "config.json. Received: ValueError.*num_classes must be an integer of at least 0"),
        ({"num_classes": 10**12}, "config.json. Received: ValueError.*num_classes must be in .0, 100000"),
        ({"pretrained_cfg": [1, 2]}, "must have timm's config.json. Received: TypeError"),
        ({"pretrained_cfg": {}}, "must have timm's config.json. Received: KeyError"),
        ({"mean": "grey"}, "config.json. Received: TypeError.*mean must be a number"),
        ({"mean": []}, "config.json. Received: ValueError.*mean and std must have 3 numbers"),
        ({"mean": ["0.5"] * 3}, "config.json. Received: TypeError.*mean must be a number"),
        ({"std": [0.5, 0, 0.5]}, "config.json. Received: ValueError.*std must be in .0.0001, 1000"),
        ({"std": [0.5, float("nan"), 0.5]}, "config.json. Received: ValueError.*std must be in"),
        ({"mean": [0.5, 1e30, 0.5]}, "config.json. Received: ValueError.*mean must be in"),
        ({"input_size": 224}, "must have timm's config.json. Received: TypeError"),
        ({"input_size": [3, 224, 256]}, "input_size must be square. Received: 224 x 256"),
        ({"input_size": [3, 6000, 6000]}, "config.json. Received: ValueError.*size must be in .1, 4096"),
        ({"input_size": [3, -1, -1]}, "config.json. Received: ValueError.*size must be an integer of at least 1"),
        ({"crop_pct": {}}, "must have timm's config.json. Received: TypeError.*crop_pct must be a number"),
        *(
            ({"crop_pct": value}, "config.json. Received: ValueError.*crop_pct must be in .0.25, 1")
            for value in (0, 1e-5, -1, 2, float("nan"), float("inf"))
        ),
        ({"crop_pct": 10**400}, "must have timm's config.json. Received: OverflowError"),
        ({"interpolation": "lanczos"}, "interpolation must be one of 'bilinear', 'bicubic'. Received: "),
        ({"architecture": f"resnext50_32x{'9' * 4000}d"}, "that keras_resnet can build: .*Received: 'resnext50_32x9"),
    ],
)
def test_a_config_that_cannot_be_built_is_refused(hub, tmp_path, change, message):
    if isinstance(change, dict):
        facts = {**CONFIG["pretrained_cfg"], **{k: v for k, v in change.items() if k in CONFIG["pretrained_cfg"]}}
        change = json.dumps({**CONFIG, "pretrained_cfg": facts, **change}).encode()
    hub.commit("timm/any.thing", {"config.json": change})
    with pytest.raises(ValueError, match=message) as caught:
        kr.ResNet18(weights=SOURCE)
    one_sentence(caught)
    assert hub.of("HEAD", "model.safetensors") == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnext50_32x99999d", "a network of at most 1,000,000,000 parameters. Received: [0-9]{3},[0-9]{3},[0-9]{3},"),
        ("resnext50_32x0d", "a network that can be built: base_width must be an integer"),
    ],
)
def test_a_network_that_is_too_large_is_refused_before_it_is_built(hub, name, message):
    hub.commit("timm/any.thing", {"config.json": json.dumps({**CONFIG, "architecture": name}).encode()})
    with pytest.raises(ValueError, match=message) as caught:
        kr.create_model(SOURCE)
    one_sentence(caught)
    assert hub.of("HEAD", "model.safetensors") == []


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("resnet101", {}, "the weights of the network that it describes, 42,[0-9]+,[0-9]+ parameters. Received: model"),
        ("resnet10t", {"fc.weight": np.zeros((3, 512), "f4")}, "10 classes .* Received: .* a classifier of 3 classes"),
    ],
)
def test_a_network_that_its_weights_do_not_fill_is_refused_before_it_is_built(hub, name, weights, message):
    content = safetensors.numpy.save({"other": np.zeros(2_000_000 * len(weights) + 1), **weights})
    config = json.dumps({**CONFIG, "architecture": name}).encode()
    hub.commit("timm/any.thing", {"config.json": config, "model.safetensors": content})
    with pytest.raises(ValueError, match=message) as caught:
        kr.create_model(SOURCE)
    one_sentence(caught)


@pytest.mark.slow
def test_a_repository_is_loaded_as_it_says(hub, tiny):
    expected, files = tiny
    hub.commit("timm/resnet18.tiny", files)
    model = kr.ResNet18(weights="hf://timm/resnet18.tiny")
    assert digest(model) == expected
    assert model.output_shape == (None, 10)
    preprocessing = model.get_layer("preprocessing")
    np.testing.assert_allclose(np.ravel(preprocessing.mean) / 255, CONFIG["pretrained_cfg"]["mean"], rtol=1e-6)
    np.testing.assert_allclose(
        np.sqrt(np.ravel(preprocessing.variance)) / 255, CONFIG["pretrained_cfg"]["std"], rtol=1e-6
    )
    # The second load downloads no file again. The caller may choose another number of classes.
    model = kr.ResNet18(weights="hf://timm/resnet18.tiny", classes=3)
    assert model.output_shape == (None, 3)
    assert len(hub.of("GET", "model.safetensors")) == len(hub.of("GET", "config.json")) == 1
    with pytest.raises(
        ValueError,
        match=r"do not fit ResNet50 with these arguments; they need depths=\(2, 2, 2, 2\), not \(3, 4, 6, 3\)",
    ):
        kr.ResNet50(weights="hf://timm/resnet18.tiny")
    with pytest.raises(ValueError, match=r"mean=\(0.4, 0.5, 0.6\), not \(0, 0, 0\)"):
        kr.ResNet18(weights="hf://timm/resnet18.tiny", mean=(0, 0, 0))


@pytest.mark.slow
def test_a_network_outside_the_zoo_is_built_as_its_repository_says(hub):
    fields = timm_models.architecture("resnet10t")
    statistics = {key: CONFIG["pretrained_cfg"][key] for key in ("mean", "std")}
    original = kr.ResNet(**fields, **statistics, classes=10, include_top=True)
    randomise(original, np.random.default_rng(0))
    hub.commit("timm/resnet10t.tiny", repository(original, {**CONFIG, "architecture": "resnet10t"}))
    model = kr.create_model("hf://timm/resnet10t.tiny")
    assert digest(model) == digest(original)
    assert model.name == "resnet10t.tiny"


@pytest.mark.slow
@pytest.mark.parity
@needs.package("timm")
@pytest.mark.parametrize(
    "arguments",
    [{"num_classes": 5}, {"num_classes": 3, "in_chans": 1, "output_stride": 16}, {"in_chans": 5, "drop_rate": 0.1}],
    ids=str,
)
def test_an_export_of_timm_gives_its_logits(hub, tmp_path, rng, arguments):
    torch, timm, _ = peers()
    from timm.models._hub import save_config_for_hf

    net = randomised(timm.create_model("resnet10t", **{**arguments, "output_stride": 32}), rng)
    if "output_stride" in arguments:
        net = randomised(timm.create_model("resnet18", **arguments), rng)
    channels = arguments.get("in_chans", 3)
    save_config_for_hf(net, tmp_path / "config.json")
    state = {name: value.numpy() for name, value in net.state_dict().items()}
    content = safetensors.numpy.save(state)
    hub.commit("me/mine", {"config.json": (tmp_path / "config.json").read_bytes(), "model.safetensors": content})
    model = kr.create_model("hf://me/mine", input_shape=(64, 64, channels), classifier_activation=None)
    config = json.loads((tmp_path / "config.json").read_text())["pretrained_cfg"]
    images = rng.integers(0, 256, (2, 64, 64, channels)).astype("float32")
    normalized = (images / 255 - config["mean"]) / config["std"]
    with torch.inference_mode():
        expected = net(torch.from_numpy(normalized.transpose(0, 3, 1, 2).astype("float32"))).numpy()
    np.testing.assert_allclose(model(images), expected, atol=1e-4 * abs(expected).max())
    assert model.input_shape[-1] == channels


@pytest.mark.slow
@needs.package("torch")
def test_a_repository_with_torchs_file_alone_is_loaded(hub, tiny, tmp_path, monkeypatch):
    import torch

    expected, files = tiny
    tensors = safetensors.numpy.load(files["model.safetensors"])
    torch.save({name: torch.from_numpy(value.copy()) for name, value in tensors.items()}, tmp_path / "model.bin")
    content = (tmp_path / "model.bin").read_bytes()
    hub.commit("timm/resnet18.old", {"config.json": files["config.json"], "pytorch_model.bin": content})
    assert digest(kr.ResNet18(weights="hf://timm/resnet18.old")) == expected
    go_offline(monkeypatch)
    assert digest(kr.ResNet18(weights="hf://timm/resnet18.old")) == expected


def test_nothing_is_asked_for_without_weights(hub, cheap_weights):
    kr.ResNet20(weights=None, depths=(1,), filters=(8,))
    kr.create_model("ResNet20", depths=(1,), filters=(8,))
    kr.list_weights("ResNet50")
    assert hub.requests == []


# Separate processes, with settings from the environment


USER = """
import hashlib, importlib, sys, traceback
import huggingface_hub.constants
importlib.reload(huggingface_hub.constants)  # the parent of a forked process imported it with another environment
import numpy as np
import keras_resnet as kr
for source in sys.argv[1:]:
    try:
        kr.ResNet18(weights=source)
    except ValueError:
        traceback.print_exc()
model = kr.ResNet18(weights="hf://timm/resnet18.tiny")
values = [np.asarray(v) for layer in model.layers for v in layer.weights if layer.name != "preprocessing"]
print("digest", hashlib.sha256(b"".join(value.tobytes() for value in values)).hexdigest())
"""


@pytest.mark.slow
@pytest.mark.processes
def test_a_killed_download_is_finished_by_one_of_two_processes_and_then_serves_offline(server, tiny, tmp_path):
    expected, files = tiny
    size = len(files["model.safetensors"])
    server.commit("timm/resnet18.tiny", files)
    server.faults["GET", "model.safetensors"] = Fault("slow", seconds=0.004)
    settings = {"HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "*"}
    unset = ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE", "HF_TOKEN", "HF_TOKEN_PATH")
    settings |= dict.fromkeys(unset)

    killed = processes.start("-c", USER, environment=settings)
    killed.wait_until(lambda: server.sent("model.safetensors") >= 4_000_000)
    killed.kill(signal.SIGKILL)
    assert killed.end().returncode == -signal.SIGKILL
    (part,) = tmp_path.rglob("*.part")
    received = part.stat().st_size
    assert 0 < received < size
    assert [name for name in files_in(tmp_path) if Path(name).name in ("model.safetensors", part.stem)] == []

    server.faults.clear()
    for finished in [user.end() for user in [processes.start("-c", USER, environment=settings) for _ in range(2)]]:
        assert f"digest {expected}" in finished.stdout, finished.stderr
    requests = server.of("GET", "model.safetensors")
    assert [request.range for request in requests] == ["", f"bytes={received}-"]
    assert requests[1].sent == size - received

    # A new interpreter is needed, because the hub's client reads the environment when it is imported.
    code = USER.replace("importlib.reload", "# ")
    offline = {**settings, "HF_HUB_OFFLINE": "1", "HF_ENDPOINT": free_url()}
    finished = processes.fresh("-c", code, "hf://timm/another", environment=offline)
    assert f"digest {expected}" in finished.stdout, finished.stderr
    message = "HF_HUB_OFFLINE forbids downloads, and config.json is not in the cache"
    assert message in finished.stderr.strip().splitlines()[-1]
    assert "During handling" not in finished.stderr
    assert "direct cause" not in finished.stderr
