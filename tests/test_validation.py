"""Checks of arguments that several commands share."""

import os
import re
from pathlib import Path

import pytest

from keras_resnet._internal import validation
from keras_resnet._internal.validation import output_file


@pytest.mark.parametrize("name", ["a.png", "a.PNG", "a.b.Svg"])
def test_an_output_file_has_a_suffix_in_any_case_and_home_is_expanded(name, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert output_file("out", f"~/{name}", ".svg", ".png") == tmp_path / name
    assert output_file("out", tmp_path / name, ".svg", ".png") == tmp_path / name


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("a.jpg", "out must end in .svg or .png. Received: 'a.jpg'"),
        ("png", "out must end in .svg or .png. Received: 'png'"),
        ("folder.png", "out must be a file. Received: 'folder.png', which is a directory"),
        ("no/a.png", "out must be in a directory that exists. Received: 'no/a.png'; make 'no' first"),
        ("file/a.png", "out must be in a directory that exists. Received: 'file/a.png'; 'file' is a file"),
        ("locked/a.png", "out must be in a directory that you may write to. Received: 'locked/a.png'"),
    ],
)
def test_a_file_that_cannot_be_written_is_refused(value, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for directory in ("folder.png", "locked"):
        (tmp_path / directory).mkdir()
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(os, "access", lambda path, _: path != Path("locked"))  # root may write everywhere
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        output_file("out", value, ".svg", ".png")


def test_the_home_of_an_unknown_user_is_refused():
    for check in (
        lambda: validation.directory("out", "~nobody-has-this-name/x"),
        lambda: output_file("out", "~nobody-x/y.csv", ".csv"),
    ):
        with pytest.raises(ValueError, match="out must have the name of a known user after ~. Received: '~nobody-"):
            check()
