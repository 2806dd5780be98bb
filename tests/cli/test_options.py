"""Options that several commands share."""

import click.testing
import pytest
import typer

from keras_resnet.cli.options import with_own_file


def typed(*arguments):
    """What a command gets from these options, and the output."""
    got = []

    @with_own_file
    def command(*, own):
        got.append(own)

    app = typer.Typer()
    app.command()(command)
    result = click.testing.CliRunner().invoke(typer.main.get_command(app), list(arguments))
    return got, result


@pytest.mark.parametrize(
    ("arguments", "own"),
    [
        ([], {}),
        (["--mean", "0.5,0.4,0.3", "--std", "0.25"], {"mean": (0.5, 0.4, 0.3), "std": (0.25, 0.25, 0.25)}),
        (["--like", "zoo", "--state", "encoder_k"], {"like": "zoo", "state": "encoder_k"}),
        (["--crop-pct", "0.9", "--interpolation", "bicubic"], {"crop_pct": 0.9, "interpolation": "bicubic"}),
    ],
)
def test_what_the_user_typed_of_a_file_of_weights_is_passed_by_name(arguments, own):
    assert typed(*arguments)[0] == [own]


def test_a_text_for_numbers_is_answered_with_what_to_type():
    got, result = typed("--mean", "a,b")
    assert got == []
    assert "one number or three with commas, such as 0.5,0.5,0.5" in " ".join(result.output.replace("│", " ").split())
