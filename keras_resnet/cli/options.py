"""Options that several commands share, and the options for the fields of a recipe."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer

from keras_resnet._internal.json_files import read_object
from keras_resnet._internal.validation import known, printable
from keras_resnet.cli import completion
from keras_resnet.training.recipe import AnyRecipe, BaseRecipe, Recipe, recipe_of, with_tuples
from keras_resnet.training.recipes import RECIPES

DATA_HELP = (
    "Source of the images: [bold]digits[/bold] (scikit-learn's 1,797 handwritten digits, no download), "
    "[bold]idx:DIR[/bold] (files in MNIST's format), [bold]tfds:NAME[/bold] (TensorFlow Datasets), "
    "[bold]folder:DIR[/bold] (one folder for each class, in DIR itself or in DIR/train, DIR/val and DIR/test), "
    "or [bold]tfrecord:DIR[/bold] (TFRecord files with the same features as ImageNet's)."
)
SPLIT_HELP = (
    "Images to use: train, val, test, or all. all is for folder:DIR with the classes in DIR itself, and for tfrecord: "
    "with a glob."
)
ON_CORRUPT_HELP = (
    "What to do if an image cannot be read. stop: end with an error that names the file. skip: leave the image out and "
    "log a warning that names the file."
)
# A typed option replaces the value of the file.
_FROM_RECIPE_FILE = ("size", "weights", "freeze_until", "on_corrupt", "teacher")
_NAME: Mapping[str, Any] = {
    "metavar": "NAME",
    "help": "Name of a model. `keras-resnet models` lists all names.",
    "autocompletion": completion.models,
}
Name = Annotated[str, typer.Argument(**_NAME)]
OptionalName = Annotated[
    str | None, typer.Argument(**_NAME, show_default="required; with --resume-from the model of that run")
]
Model = Annotated[
    str,
    typer.Argument(
        metavar="RUN|NAME",
        help="Directory that `keras-resnet train` wrote, a .keras file, or, with --weights, the name of a model.",
        autocompletion=completion.models,
    ),
]
Size = Annotated[
    int | None, typer.Option(help="Side of the square images in pixels.", show_default="the model's default size")
]
SizeWithWeights = Annotated[
    int | None,
    typer.Option(
        "--size",
        help="Only with --weights: side of the square images in pixels.",
        show_default="the size at which the weights were measured",
    ),
]

Weights = Annotated[
    str | None,
    typer.Option(
        metavar="TAG",
        help="Weights to load: a tag that `keras-resnet models --weights` lists, hf://timm/MODEL, or the path of a "
        "file of weights.",
    ),
]

OnCorrupt = Annotated[str, typer.Option(metavar="stop|skip", help=ON_CORRUPT_HELP)]
OnCorruptOfRun = Annotated[
    str | None,
    typer.Option(metavar="stop|skip", help=ON_CORRUPT_HELP, show_default="the value of the run, otherwise stop"),
]
ModelOption = Annotated[
    str,
    typer.Option(
        help="Directory that `keras-resnet train` wrote, a .keras file, or with --weights the name of a model."
    ),
]
_RECIPE: Mapping[str, Any] = {
    "help": "Name of a recipe, which `keras-resnet recipes` lists, or the path of a run's recipe.json, to train in the "
    "same way again.",
    "autocompletion": completion.recipes,
}
RecipeName = Annotated[str, typer.Option("--recipe", **_RECIPE)]
OptionalRecipeName = Annotated[
    str | None,
    typer.Option("--recipe", show_default="one_cycle; with --resume-from the recipe of that run", **_RECIPE),
]


def _numbers(text: str) -> tuple[float, ...]:
    """One number, or several with commas between them; a single one is that of all channels."""
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(
            f"type one number or three with commas, such as 0.5,0.5,0.5. Received: {text}"
        ) from None
    return numbers * 3 if len(numbers) == 1 else numbers


def _own_file(kind: Any, metavar: str, help: str, **options: Any) -> Any:
    panel = "Only for your own file of weights: what it does not say itself"
    option = typer.Option(metavar=metavar, help=help, show_default=False, rich_help_panel=panel, **options)
    return Annotated[kind | None, option]


# The arguments of `keras_resnet.weights.like`, with "like" in place of its `tag`.
OWN_FILE: Mapping[str, Any] = {
    "like": _own_file(
        str,
        "TAG",
        "Tag of the published weights whose network form and preprocessing the file has. zoo: the network of the zoo "
        "as it is.",
    ),
    "state": _own_file(
        str,
        "NAME",
        "Set of weights, if the file has several: the key in a torch checkpoint, such as state_dict_ema, or what the "
        "names have in front, such as encoder_k; '.' for the one with nothing in front.",
    ),
    "mean": _own_file(
        tuple, "R,G,B", "Mean of the pixels / 255: one number for each channel, or one for all.", parser=_numbers
    ),
    "std": _own_file(tuple, "R,G,B", "Standard deviation of the pixels / 255, as --mean.", parser=_numbers),
    "crop_pct": _own_file(float, "FRACTION", "Part of the image that the crop for evaluation keeps, in [0.25, 1]."),
    "interpolation": _own_file(str, "bilinear|bicubic", "Interpolation of the resizing for evaluation."),
}


def with_own_file(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the options for a user's own file of weights to a command.

    Args:
        command: function with an argument `own`, which gets what the user typed, by name.

    Returns:
        The command, whose signature has these options instead of `own`.
    """
    return _with_options(command, "own", OWN_FILE)


def with_recipe_fields(command: Callable[..., None], kind: type[BaseRecipe] = Recipe) -> Callable[..., None]:
    """Adds an option for each field of a recipe to a command.

    Args:
        command: function with an argument `changes`, which gets the fields that the user typed, by name.
        kind: the class of the recipe.

    Returns:
        The command, whose signature has these options instead of `changes`.
    """
    types = get_type_hints(kind)
    fields = {field.name: _option(types[field.name], field) for field in dataclasses.fields(kind)}
    return _with_options(command, "changes", fields)


def _with_options(command: Callable[..., None], argument: str, annotations: Mapping[str, Any]) -> Callable[..., None]:
    """A command with options in place of an argument, which gets those that the user typed, by name."""
    signature = inspect.signature(command, eval_str=True)
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in annotations.items()
    ]
    parameters = [parameter for name, parameter in signature.parameters.items() if name != argument]

    @functools.wraps(command)
    def wrapped(**values: Any) -> None:
        typed = {name: values.pop(name, None) for name in annotations}
        command(**{argument: {name: value for name, value in typed.items() if value not in (None, [])}}, **values)

    wrapped.__signature__ = inspect.Signature(parameters + options)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters + options}
    return wrapped


def _option(kind: Any, field: dataclasses.Field[Any]) -> Any:
    repeated = get_origin(kind) is tuple
    help = field.metadata["help"] + (" Repeat the option for several values." if repeated else "")
    option_type = list[get_args(kind)[0]] if repeated else kind  # type: ignore[misc]
    return Annotated[
        option_type | None, typer.Option(help=help, show_default=False, rich_help_panel="Fields of the recipe")
    ]


def settings_from(
    resume_from: Path | None, name: str | None, data: str | None, recipe: str | None, changes: dict[str, Any]
) -> tuple[str, str, Recipe, dict[str, Any]]:
    """The settings of a training: name of the model, data source, recipe, and the options that `task_from` returns.

    Args:
        resume_from: directory of a run, which gives what is None of the next three; None: the user must type the first
            two.
        name, data, recipe: what the user typed.
        changes: new values of fields of the recipe, by name.

    Raises:
        ValueError: `name` or `data` is missing, the run has no readable recipe.json, or `recipe_from` raises one.
    """
    if resume_from is None:
        for missing, example in ((name, "NAME must be typed, for example ResNet20"), (data, "data must be typed")):
            if missing is None:
                raise ValueError(f"{example}, unless --resume-from gives a run. Received: none")
        recipe = recipe or "one_cycle"
        return str(name), str(data), recipe_from(recipe, changes), task_from(recipe)
    path = resume_from / "recipe.json"
    if not path.is_file():
        raise ValueError(
            "resume_from must be the directory of a run, with recipe.json. "
            f"Received: {printable(resume_from)}, without it"
        )
    content = read_object(path)
    if not all(isinstance(content.get(key), kind) for key, kind in (("model", str), ("data", str), ("recipe", dict))):
        raise ValueError(f"{printable(path)} must have model, data and recipe. Received: {list(content)!r:.200}")
    if "epochs" in changes:  # else `iterations` of the run would replace it
        changes = {"iterations": 0, **changes}
    longer = recipe_from(recipe or str(path), changes)
    return name or content["model"], data or content["data"], longer, task_from(str(path))


def task_from(name: str) -> dict[str, Any]:
    """The options besides the recipe that a run's `recipe.json` holds, such as the size of the images.

    Args:
        name: name of a recipe or path of a JSON file. A name, and a file that holds only a recipe, give no options.
    """
    content = read_object(Path(name)) if name.endswith(".json") else {}
    return (
        {field: value for field, value in content.items() if field in _FROM_RECIPE_FILE} if "recipe" in content else {}
    )


def recipe_from(name: str, changes: dict[str, Any]) -> Recipe:
    """A recipe with some fields changed.

    Args:
        name: name of a recipe, or path of a JSON file: a run's `recipe.json`, or a file with the fields of a recipe.
        changes: new values of fields, by name.

    Raises:
        ValueError: there is no such recipe, the file cannot be read, or a value is outside its range.
    """
    return changed(read_recipe(name, RECIPES, recipe_of, "keras-resnet recipes"), changes)


def read_recipe(
    name: str, table: Mapping[str, AnyRecipe], of_fields: Callable[[Any], AnyRecipe], listed_by: str
) -> AnyRecipe:
    """The recipe of a table, or that in a JSON file.

    Args:
        name: name of a recipe, or path of a JSON file: a run's `recipe.json`, or a file with the fields of a recipe.
        table: the recipes by name.
        of_fields: function from the fields in a file to a recipe.
        listed_by: the command that lists the table.

    Raises:
        ValueError: there is no such recipe, or the file cannot be read.
    """
    if not name.endswith(".json"):
        return table[known("value of --recipe", name, table, listed_by)]
    content = read_object(Path(name))
    try:
        return of_fields(content.get("recipe", content))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{name} must hold the fields of a recipe. Received: {error}") from error


def changed(recipe: AnyRecipe, changes: Mapping[str, Any]) -> AnyRecipe:
    """A recipe with the fields that the user typed; several values of an option are a list."""
    return dataclasses.replace(recipe, **with_tuples(changes))
