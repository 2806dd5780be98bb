"""Options that several commands share, and those that are the fields of a recipe."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer

from keras_resnet._internal.validation import known
from keras_resnet.training.recipe import Recipe, recipe_of
from keras_resnet.training.recipes import RECIPES

DATA_HELP = (
    "Where the images come from: [bold]digits[/bold] (scikit-learn's 1,797 handwritten digits, no download), "
    "[bold]idx:DIR[/bold] (files in MNIST's format), [bold]tfds:NAME[/bold] (TensorFlow Datasets), "
    "[bold]folder:DIR[/bold] (one folder per class, with or without train and test above them), "
    "[bold]tfrecord:DIR[/bold] (TFRecord files as ImageNet's)."
)
ON_CORRUPT_HELP = "What to do about a file that is no readable image."
AGAIN = ("size", "weights", "freeze_until", "on_corrupt")  # what a recipe.json repeats, if it is not typed
Name = Annotated[str, typer.Argument(metavar="NAME", help="A model, as `keras-resnet models` lists them.")]
Model = Annotated[
    str,
    typer.Argument(
        metavar="RUN|NAME", help="A directory that `train` left, a .keras file, or a model's name with --weights."
    ),
]
Size = Annotated[int | None, typer.Option(help="Side of the images in pixels.", show_default="what the model is for")]

Weights = Annotated[
    str | None,
    typer.Option(
        metavar="TAG",
        help="Published weights, as `keras-resnet models --weights` lists them, hf://timm/MODEL, or a file.",
    ),
]

Like = Annotated[
    str | None,
    typer.Option(metavar="TAG", help="Of a file of your own: the published weights whose form and input it has."),
]

OnCorrupt = Annotated[str, typer.Option(metavar="stop|skip", help=ON_CORRUPT_HELP)]
RecipeName = Annotated[
    str,
    typer.Option(
        "--recipe", help="A recipe, as `keras-resnet recipes` lists them, or a run's recipe.json, to train as it was."
    ),
]


def with_recipe_fields(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command an option for each field of a recipe; those that were typed arrive as its `changes`."""
    fields = {field.name: field for field in dataclasses.fields(Recipe)}
    types = get_type_hints(Recipe)
    signature = inspect.signature(command, eval_str=True)
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_option(types[name], field))
        for name, field in fields.items()
    ]
    own = [parameter for name, parameter in signature.parameters.items() if name != "changes"]

    @functools.wraps(command)
    def wrapped(**values: Any) -> None:
        typed = {name: values.pop(name) for name in fields}
        command(changes={name: value for name, value in typed.items() if value not in (None, [])}, **values)

    wrapped.__signature__ = inspect.Signature(own + options)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {parameter.name: parameter.annotation for parameter in own + options}
    return wrapped


def _option(kind: Any, field: dataclasses.Field[Any]) -> Any:
    repeated = get_origin(kind) is tuple
    help = field.metadata["help"] + (" Repeat the option for several." if repeated else "")
    taken = list[get_args(kind)[0]] if repeated else kind  # type: ignore[misc]
    return Annotated[taken | None, typer.Option(help=help, show_default=False, rich_help_panel="Fields of the recipe")]


def task_from(name: str) -> dict[str, Any]:
    """What a run's `recipe.json` says beside the recipe, such as the size of the images; of other recipes nothing."""
    content = json.loads(Path(name).read_text()) if name.endswith(".json") else {}
    return {field: value for field, value in content.items() if field in AGAIN} if "recipe" in content else {}


def recipe_from(name: str, changes: dict[str, Any]) -> Recipe:
    """The recipe of a name, or in a JSON file, with some fields changed.

    Raises:
        ValueError: there is no such recipe, or a value is out of its range.
    """
    if name.endswith(".json"):
        content = json.loads(Path(name).read_text())
        recipe = recipe_of(content.get("recipe", content))
    else:
        recipe = RECIPES[known("recipe", name, RECIPES, "keras-resnet recipes")]
    lists = {field: tuple(value) for field, value in changes.items() if isinstance(value, list)}
    return dataclasses.replace(recipe, **{**changes, **lists})
