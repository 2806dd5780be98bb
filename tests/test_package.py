"""The package: the cost of its import, its public names, its structure, its metadata and its README."""

import ast
import configparser
import inspect
import re
import traceback
from pathlib import Path

import keras
import pytest

import keras_resnet as kr
from tests import needs, processes
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()
PAGES = "\n".join([README, *(page.read_text() for page in sorted((ROOT / "docs").glob("*.md")))])


def readme_commands():
    """The two commands for a new machine, by the name in the comment in front of them."""
    blocks = re.findall(r"<!-- (main-job|tests) -->\n```sh\n(.*?)\n```", README, re.S)
    return dict(blocks)


def main_command():
    """The command of the main job, without the installation."""
    return readme_commands()["main-job"].replace("\\\n", " ").split("&&")[-1].strip()


@pytest.mark.processes
def test_importing_the_package_loads_nothing_heavy():
    heavy = {"keras", "tensorflow", "tensorflow_datasets", "keras_tuner", "matplotlib", "sklearn", "jax", "torch"}
    code = f"import sys, keras_resnet; print([m for m in sys.modules if m.partition('.')[0] in {heavy}])"
    assert processes.printed(processes.fresh("-c", code)).strip() == "[]"


@pytest.mark.slow
@pytest.mark.processes
def test_every_module_can_be_the_first_that_is_imported():
    modules = sorted(
        str(path.relative_to(ROOT).with_suffix("")).replace("/", ".").removesuffix(".__init__")
        for path in (ROOT / "keras_resnet").rglob("*.py")
    )
    code = (
        "import importlib, sys\n"
        "for module in sys.argv[1:]:\n"
        "    for name in [name for name in sys.modules if name.startswith('keras_resnet')]: del sys.modules[name]\n"
        "    importlib.import_module(module)\n"
    )
    processes.printed(processes.python("-c", code, *modules))


@pytest.mark.slow
@pytest.mark.processes
def test_building_a_model_loads_neither_data_sets_nor_the_tuner():
    code = (
        "import sys, keras_resnet as kr; kr.ResNet20(); kr.data.load('digits', 'test')\n"
        "print([m for m in ('tensorflow_datasets', 'keras_tuner', 'keras_resnet.training') if m in sys.modules])"
    )
    assert processes.printed(processes.python("-c", code)).strip() == "[]"


def test_every_public_name_is_there_and_documented():
    for name in kr.__all__:
        assert getattr(kr, name).__doc__, name
    assert dir(kr) == kr.__all__


@pytest.mark.parametrize(
    ("name", "hint"), [("resnet50", "ResNet50[?]$"), ("ResNet49", "ResNet"), ("residual_blok", "residual_block")]
)
def test_an_unknown_name_is_answered_with_the_nearest(name, hint):
    with pytest.raises(AttributeError, match=f"module 'keras_resnet' has no attribute '{name}'. Did you mean {hint}"):
        getattr(kr, name)


USER = """
import keras_resnet as kr
reveal_type(kr.ResNet50)
kr.ResNet50(include_top=False, groups=32, classes="ten")
kr.residual_blok
kr.data.load("digits")
"""
SKIPPED = (
    "h5py",
    "huggingface_hub",
    "keras",
    "numpy",
    "PIL",
    "requests",
    "rich",
    "sklearn",
    "tensorflow",
    "typer",
)


@pytest.mark.slow
@pytest.mark.processes
@needs.package("mypy")
def test_type_checkers_see_the_signatures(tmp_path):
    (tmp_path / "user.py").write_text(USER)
    # Reading the types of other packages takes most of a minute, and this test does not need them.
    (tmp_path / "mypy.ini").write_text(
        "[mypy]\nignore_missing_imports = true\nfollow_imports = silent\n"
        f"[mypy-{','.join(f'{name}.*' for name in SKIPPED)}]\nfollow_imports = skip\nfollow_imports_for_stubs = true\n"
    )
    options = ("--config-file", tmp_path / "mypy.ini", "--cache-dir", tmp_path / "cache")
    # In its own process: objects that mypy leaves in memory slow down garbage collection in all later tests by seconds.
    report = processes.fresh("-m", "mypy", *options, tmp_path / "user.py").stdout
    lines = [line.partition(": ")[2] for line in report.splitlines()]
    assert "keras_resnet.constructor.Constructor" in lines[0]
    assert 'Argument "classes" to "__call__" of "Constructor" has incompatible type "str"; expected "int"' in lines[1]
    assert 'Module has no attribute "residual_blok"' in lines[2]
    assert 'Missing positional argument "split" in call to "load"' in lines[3]


IMPORT_ROWS = (
    ("_internal",),
    ("complexity", "orderings"),
    ("layers", "strides", "classes", "stages"),
    ("shortcuts", "gates", "stems", "inputs"),
    ("blocks",),
    ("weights",),
    ("resnet",),
    ("constructor",),
    ("cifar",),
    ("zoo",),
    ("runtime",),
    ("plots",),
    ("data",),
    ("explain",),
    ("evaluation",),
    ("export",),
    ("training",),
    ("tuning",),
    ("detection",),
    ("cli",),
    ("__main__",),
)


def test_imports_run_one_way():
    """A file imports only from rows of `IMPORT_ROWS` above its own row: `orderings` may import `_internal`."""
    level = {name: number for number, names in enumerate(IMPORT_ROWS) for name in names}
    for path in sorted((ROOT / "keras_resnet").rglob("*.py")):
        part = path.relative_to(ROOT / "keras_resnet").parts[0].removesuffix(".py")
        if part == "__init__":
            continue
        for found in re.findall(r"^\s*from keras_resnet(?:\.(\w+))?[\w.]* import ([\w, ]+)", path.read_text(), re.M):
            modules = [found[0]] if found[0] else [name.split()[0] for name in found[1].split(",")]
            for module in modules:
                assert module == part or level[module] < level[part], f"{path} imports {module}"


def private_names(path):
    """The private attributes that a file reads or sets, except attributes of `self` and `cls`."""
    tree = ast.parse(path.read_text())
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not node.attr.startswith("__")
        and not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"))
    }


def private_keras_names():
    """The private names in the source files of the Keras classes that this package uses."""
    x = keras.Input((2,))
    kinds = (
        type(keras.Model(x, x)),
        keras.Sequential,
        keras.layers.Layer,
        keras.layers.Lambda,
        keras.KerasTensor,
        keras.callbacks.TensorBoard,
    )
    kinds += (keras.optimizers.Optimizer, keras.optimizers.Lamb, keras.optimizers.LossScaleOptimizer)
    sources = {inspect.getsourcefile(kind) for base in kinds for kind in base.__mro__ if "keras" in kind.__module__}
    used = {name for source in sources for name in private_names(Path(source))}
    defined = (re.findall(r"(?:self\.|def )(_[a-z]\w+)", Path(source).read_text()) for source in sources)
    return used.union(*defined)


def test_one_file_touches_what_is_private_in_keras():
    """Other files read no private names of Keras, and their subclasses of Keras classes do not redefine any."""
    keras_names = private_keras_names()
    assert {"_inbound_nodes", "_nodes_by_depth", "_compile_config", "_momentums"} <= keras_names
    for path in sorted((ROOT / "keras_resnet").rglob("*.py")):
        if path.name == "keras_graph.py" or "tuning" in path.parts:  # `tuning` works with the classes of KerasTuner
            continue
        text = path.read_text()
        assert private_names(path) & keras_names == set(), path
        if re.search(r"^class \w+\(keras\.", text, re.M):
            assert set(re.findall(r"self\.(_[a-z]\w+)", text)) & keras_names == set(), path


def test_files_stay_short():
    lengths = {path: len(path.read_text().splitlines()) for path in (ROOT / "keras_resnet").rglob("*.py")}
    assert {str(path): length for path, length in lengths.items() if length > 400} == {}


def test_metadata_is_in_setup_cfg():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    assert config["metadata"]["name"] == "keras-resnet-zoo"
    required = set(re.findall(r"^([\w-]+)", config["options"]["install_requires"], re.M))
    assert {
        "tensorflow",
        "keras",
        "tensorflow-datasets",
        "keras-tuner",
        "tensorboard",
        "importlib_resources",
    } <= required
    assert {"h5py", "safetensors", "huggingface_hub", "requests", "ml_dtypes"} <= required
    assert (ROOT / "LICENSE").read_text().lstrip().startswith("Apache License")
    assert (ROOT / "keras_resnet" / "py.typed").exists()
    data = {name: patterns.split() for name, patterns in config["options.package_data"].items()}
    assert data == {
        "keras_resnet": ["py.typed", "*.csv"],
        "keras_resnet.export": ["kit_files/*", "kit_files/config/*"],
        "keras_resnet.weights": ["*.csv", "shipped/*.safetensors"],
    }
    assert kr.__version__ in (ROOT / "CHANGELOG.md").read_text()


def test_the_readme_has_its_two_commands():
    assert set(readme_commands()) == {"main-job", "tests"}
    assert main_command().endswith("keras-resnet train ResNet20 --data digits --out runs/digits")


@pytest.mark.slow
def test_the_python_in_the_readme_runs(tmp_path, monkeypatch, cheap_weights):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^(?!<!-- needs (?:weights|a detector) -->)[^\n]*\n```python\n(.*?)```", PAGES, re.S | re.M)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`((?:[A-Z]\w*Net\w*\d\w*))`", PAGES))))
def test_the_models_in_the_readme_exist(name):
    assert name in kr.list_models() or name == "CifarResNet"


def test_the_readme_is_short_and_its_links_lead_somewhere():
    assert len(README.splitlines()) <= 150
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "BENCHMARKS.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_contributing_draws_the_whole_house():
    """CONTRIBUTING.md names each file of the package, and no other file."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    tree = text[text.index("keras_resnet/\n") : text.index("tests/    ")]
    named = set(re.findall(r"[\w.]+\.(?:py|csv)\b", tree))
    files = {path.name for path in (ROOT / "keras_resnet").rglob("*.py")} - {"__init__.py", "__main__.py"}
    readers = {path.name for path in (ROOT / "keras_resnet" / "weights" / "readers").glob("*.py")}
    inside = {path.name for folder in ("cli", "data/augment") for path in (ROOT / "keras_resnet" / folder).glob("*.py")}
    assert named - files == {"checkpoints.csv", "detectors.csv"}
    assert files - named <= readers | inside


def test_five_calls_lead_from_a_name_to_a_convolution(monkeypatch):
    """`ResNet50`, `ResNet`, `bottleneck_block`, `_residual`, `conv`, as in the drawing in CONTRIBUTING.md."""

    def convolution(*arguments, **options):
        if options["name"] == "conv2_block1_1_conv":
            frames = [frame for frame in traceback.extract_stack() if "/keras_resnet/" in frame.filename]
            raise InterruptedError(", ".join(frame.name for frame in frames))
        return original(*arguments, **options)

    original = keras.layers.Conv2D
    monkeypatch.setattr(keras.layers, "Conv2D", convolution)
    with pytest.raises(InterruptedError, match="^build, ResNet, bottleneck_block, _residual, conv$"):
        kr.ResNet50(input_shape=(32, 32, 3))
