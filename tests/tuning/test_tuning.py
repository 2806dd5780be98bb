"""The search space: it contains known networks, and the cost of a point is computed without building its network."""

import dataclasses
import functools
import math

import keras
import keras_tuner
import pytest

import keras_resnet as kr
from keras_resnet import zoo
from keras_resnet.resnet import cost
from keras_resnet.stages import parameters
from keras_resnet.training import RECIPES, Recipe
from keras_resnet.tuning import TUNABLES, TrialResult
from keras_resnet.tuning.design import apply_values
from keras_resnet.tuning.source import IMPORTS, code
from keras_resnet.tuning.space import dimensions_of
from tests.conftest import quick_among

# One row of each family.
FAMILIES = ("ResNet20", "ResNet18", "ResNet50V2", "ResNet50D", "ResNeXt50_32x4d", "WideResNet40_4", "SEResNet18",
            "ECAResNet50D", "ResNetRS50", "ResNet164")  # fmt: skip


def cut(name):
    """A row of the zoo with few blocks: all later blocks of a stage are like its second block."""
    fields = zoo.ROWS[name].fields
    return dataclasses.replace(zoo.ROWS[name], fields={**fields, "depths": (1, 2, 1, 1)[: len(fields["depths"])]})


def hyperparameters(**values):
    hp = keras_tuner.HyperParameters()
    hp.values = values
    return hp


def built(model):
    return parameters(model.layers), kr.macs(model)


@pytest.mark.parametrize("name", zoo.ROWS)
def test_every_row_costs_what_the_zoo_says(name):
    row = zoo.ROWS[name]
    assert cost(row.fields, (row.size, row.size, 3)) == (row.parameters, row.macs)


@pytest.mark.parametrize(
    "fields",
    [
        {"stem": kr.stems.imagenet_zero_padded, "shortcut": kr.shortcuts.subsample_or_project,
         "strides": kr.strides.in_last_block, "ordering": "full_preactivation"},
        {"stem": kr.stems.deep_tiered, "shortcut": kr.shortcuts.project, "ordering": "relu_only_preactivation"},
        {"stem": kr.stems.deep_strided, "ordering": "bn_after_addition", "output_stride": 8},
        {
            "block": functools.partial(
                kr.bottleneck_block, stride_in="1x1", expansion=2, last_conv=kr.layers.biased_conv
            )
        },
        {"block": kr.residual_block, "groups": 2, "base_width": 96, "stem_filters": 24,
         "gate": functools.partial(kr.gates.squeeze_excite, ratio=0.25, divisor=4)},
        {"block": kr.residual_block, "shortcut": kr.shortcuts.zero_pad_both, "ordering": "relu_before_addition"},
    ],
)  # fmt: skip
@pytest.mark.slow
def test_what_no_row_has_costs_what_is_built(fields, cheap_weights):
    fields = {"depths": (1, 2, 2), "filters": (16, 32, 40), "classes": 7, "input_shape": (37, 37, 2), **fields}
    assert cost(fields, (37, 37, 2)) == built(kr.ResNet(**fields))


@pytest.mark.parametrize("name", quick_among(FAMILIES, "ResNet20"))
def test_the_defaults_are_the_base_itself(name, cheap_weights):
    row = zoo.ROWS[name]
    for base in (row, cut(name)):
        space = kr.HyperResNet(
            (row.size, row.size, 3), row.fields.get("classes", 1000), base=base, tune=tuple(TUNABLES)
        )
        design = space.design(hyperparameters())
        assert (design.row.parameters, design.row.macs) == cost(base.fields, (row.size, row.size, 3))
    assert built(space.build(hyperparameters())) == (design.row.parameters, design.row.macs)


@pytest.mark.slow
def test_the_values_of_resnet50_make_resnet50_of_another_base(cheap_weights):
    space = kr.HyperResNet((224, 224, 3), 1000, base="ResNet34", tune=("depth", "width", "block"))
    values = {f"depth_{stage}": blocks for stage, blocks in enumerate((3, 4, 6, 3), start=2)}
    assert built(space.build(hyperparameters(block="bottleneck", **values))) == (25_557_032, 4_089_184_256)
    grouped = kr.HyperResNet((224, 224, 3), 1000, tune=("groups",))
    resnext = zoo.ROWS["ResNeXt50_32x4d"]
    assert grouped.design(hyperparameters(groups="32x4d")).cost == (resnext.parameters, resnext.macs)


@pytest.mark.parametrize("name", quick_among(TUNABLES, "block"))
def test_every_value_of_every_knob_makes_a_network_of_the_cost_that_was_computed(name, cheap_weights):
    row = zoo.ROWS["ResNet164"]
    base = dataclasses.replace(row, fields={**row.fields, "depths": (1, 2), "filters": (8, 16)})
    space = kr.HyperResNet((32, 32, 3), 10, base=base, tune=(name,))
    defaults = {dimension.name: dimension.default for dimension in space.dimensions}
    costs = {}  # costs of built networks; some dimensions change only the training, so networks are built once
    for dimension in space.dimensions:
        for value in dimension.values:
            gate = {"gate": "squeeze_excite"} if dimension.name == "squeeze_ratio" else {}
            design = apply_values(space.base, space.dimensions, {**defaults, **gate, dimension.name: value})
            fields = repr(design.row.fields)
            if fields not in costs:
                costs[fields] = built(kr.ResNet(**design.row.fields))
            assert design.cost == costs[fields]
            assert (design == space.base) == (value == dimension.default and not gate)


def test_what_depends_on_another_is_there_with_it():
    space = kr.HyperResNet((32, 32, 3), 10, base="ResNet20", tune=("block", "groups", "gate", "optimizer"))
    hp = hyperparameters()
    space.design(hp)
    assert "groups" not in hp
    assert "squeeze_ratio" not in hp
    assert hp["momentum"] == 0.9
    hp = hyperparameters(block="bottleneck", gate="squeeze_excite", optimizer="adamw")
    design = space.design(hp)
    assert hp["groups"] == "1x64d"
    assert hp["squeeze_ratio"] == 1 / 16
    assert "momentum" not in hp
    assert (design.recipe.optimizer, design.recipe.learning_rate) == ("adamw", 1e-3)


def test_a_search_tries_the_optimizer_of_its_recipe_too():
    recipe = kr.training.Recipe(optimizer="adam", learning_rate=0.01)
    space = kr.HyperResNet((32, 32, 3), 10, base="ResNet20", tune=("optimizer",), recipe=recipe)
    design = space.design(hyperparameters())
    assert (design.recipe.optimizer, design.recipe.learning_rate) == ("adam", 0.01)
    design = space.design(hyperparameters(optimizer="lamb"))
    assert (design.recipe.optimizer, design.recipe.learning_rate) == ("lamb", 5e-3)


def test_conditions_on_what_is_not_tuned_are_settled():
    base = kr.HyperResNet((32, 32, 3), 10, base="ResNet20").base
    assert "groups" not in [dimension.name for dimension in dimensions_of(base, ("depth", "width", "groups"))]


def test_a_point_over_the_budget_stands_for_the_nearest_within():
    free = kr.HyperResNet((32, 32, 3), 10, base="ResNet20", tune=("depth", "width"))
    limited = kr.HyperResNet((32, 32, 3), 10, base="ResNet20", tune=("depth", "width"), max_macs=30e6)
    point = {"depth_2": 6, "depth_3": 6, "depth_4": 6, "width_2": 32, "width_3": 64, "width_4": 128}
    assert free.design(hyperparameters(**point)).row.macs > 300e6
    hp = hyperparameters(**point)
    design = limited.design(hp)
    assert 20e6 < design.row.macs <= 30e6  # not smaller than necessary
    assert hp.values == point  # the oracle's values do not change
    assert built(limited.build(hp)) == (design.row.parameters, design.row.macs)
    assert limited.design(hyperparameters(**point)) == design


def test_a_point_that_is_no_network_stands_for_one():
    space = kr.HyperResNet((32, 32, 3), 10, base="ResNet20", tune=("width",))
    narrowing = hyperparameters(width_2=32, width_3=16, width_4=64)  # shortcuts of option A cannot reduce channels
    assert space.design(narrowing).field("filters") == (16, 16, 64)
    narrowing = hyperparameters(width_2=16, width_3=8, width_4=128)
    assert space.design(narrowing).field("filters") == (8, 8, 128)  # other values do not change


def test_forms_change_where_the_smallest_sizes_are_not_enough():
    space = kr.HyperResNet((64, 64, 3), 10, base="ResNet50", tune=("depth", "stem", "gate"), max_macs=150e6)
    design = space.design(hyperparameters(stem="cifar", gate="squeeze_excite"))
    assert design.field("stem") is not kr.stems.cifar
    assert design.field("gate") is kr.gates.squeeze_excite


def test_hyperparameters_of_ones_own_are_kept_to(tmp_path):
    space = kr.HyperResNet((32, 32, 3), 10, base="ResNet20", tune=("depth",), max_macs=40e6)
    hp = keras_tuner.HyperParameters()
    hp.Fixed("depth_2", 6)
    assert space.design(hp).field("depths")[0] == 6
    hp = keras_tuner.HyperParameters()
    for stage in (2, 3, 4):
        hp.Fixed(f"depth_{stage}", 6)
    with pytest.raises(
        keras_tuner.errors.FailedTrialError, match="must allow a network within max_params=None, max_macs=40000000"
    ):
        space.design(hp)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"max_macs": 1e5}, r"max_macs must be at least [\d,]{7}, the value of .* Received: max_macs=100,000"),
        ({"max_params": 1000}, "max_params must be at least .* Received: max_params=1,000"),
        ({"max_macs": 0}, r"max_macs must be in \[1, inf\). Received: max_macs=0"),
        ({"tune": ("depth", "witdh")}, "unknown name in tune.* Did you mean width.*Received: 'witdh'"),
        ({"tune": ("groups",)}, "tune must name something that can be tuned in ResNet20"),
        ({"base": "ResNet21"}, "unknown model.*ResNet20"),
        ({"recipe": "one_cylce"}, "unknown recipe.*one_cycle"),
        ({"recipe": "timm_a3"}, "recipe must have no train_sizes"),
        ({"base": dataclasses.replace(zoo.ROWS["ResNet20"], fields={"gate": lambda x, name: x})},
         "gate must be one of efficient_channel_attention, squeeze_excite"),
        ({"base": "ResNet50", "input_shape": (28, 28, 1)}, "input_shape must have sides of at least 32"),
        ({"input_shape": (28, 32, 1)}, r"input_shape must be \(side, side, channels\)"),
        ({"classes": 1}, "classes must be an integer of at least 2"),
    ],
)  # fmt: skip
def test_what_cannot_be_searched_is_refused(limits, message):
    options = {"input_shape": (32, 32, 3), "classes": 10, "base": "ResNet20", "tune": ("depth", "width"), **limits}
    with pytest.raises(ValueError, match=message):
        kr.HyperResNet(options.pop("input_shape"), options.pop("classes"), **options)


@pytest.mark.parametrize("argument", [{"tune": "depth"}, {"max_macs": "50M"}, {"base": 50}])
def test_what_is_of_the_wrong_type_is_refused(argument):
    with pytest.raises(TypeError, match=f"{next(iter(argument))} must be"):
        kr.HyperResNet((32, 32, 3), 10, **argument)


def test_a_recipe_of_ones_own_is_what_trials_train_by():
    recipe = dataclasses.replace(
        RECIPES["one_cycle"], stochastic_depth=0.1, loss="binary_crossentropy", learning_rate=0.1
    )
    space = kr.HyperResNet((32, 32, 3), 10, base="ResNet20", recipe=recipe, tune=("drop", "learning_rate"))
    design = space.design(hyperparameters(learning_rate_factor=2.0, drop_rate=0.25))
    assert design.recipe == dataclasses.replace(recipe, learning_rate=0.2)
    assert design.row.fields["stochastic_depth"] == 0.1
    assert design.row.fields["drop_rate"] == 0.25
    assert design.row.fields["classifier_activation"] == "sigmoid"


@pytest.mark.parametrize("name", quick_among(FAMILIES, "ResNet20"))
def test_the_line_of_python_builds_the_same_network(name, cheap_weights):
    row = cut(name)
    scope = {}
    exec(IMPORTS, scope)
    model = eval(code(row.fields), scope)
    assert parameters(model.layers) == cost(row.fields, (row.size, row.size, 3))[0]


def test_the_space_is_as_large_as_the_issue_of_depth_and_width_asks():
    space = kr.HyperResNet((224, 224, 3), 1000)
    values = {dimension.name: dimension.values for dimension in space.dimensions}
    assert all({1, depth} < set(values[f"depth_{stage}"]) for stage, depth in enumerate((3, 4, 6, 3), start=2))
    assert all(len(values[f"width_{stage}"]) == 9 for stage in (2, 3, 4, 5))


def test_the_stages_of_a_network_are_told_where_its_row_leaves_them_to_the_defaults():
    fields = kr.HyperResNet((64, 64, 3), 10, base="ResNet18", tune=("depth",)).base.row.fields
    assert TrialResult("0", 0.5, {}, {}, {}, fields).stages == [(2, 64), (2, 128), (2, 256), (2, 512)]


@pytest.mark.slow
def test_the_weights_that_a_trial_begins_with_are_of_the_seed():
    space = kr.HyperResNet((32, 32, 1), 10, base=cut("ResNet20"), tune=("optimizer",))
    first, second = (space.build(hyperparameters()).get_weights() for _ in range(2))
    assert all((one == other).all() for one, other in zip(first, second, strict=True))


def test_a_whole_number_in_a_recipe_is_a_value_among_fractions():
    space = kr.HyperResNet((32, 32, 1), 10, base="ResNet20", tune=("optimizer",), recipe=Recipe(momentum=0))
    assert space.design(hyperparameters(momentum=0.9)).recipe.momentum == 0.9


def test_a_default_recipe_is_one_of_the_table():
    assert kr.HyperResNet((32, 32, 3), 10, base="ResNet20").base.recipe == Recipe()


@pytest.mark.slow
def test_models_that_are_built_are_plain_keras():
    model = kr.HyperResNet((32, 32, 1), 10, base=cut("ResNet20"), tune=("gate",)).build(
        hyperparameters(gate="squeeze_excite")
    )
    assert all(type(layer).__module__.startswith("keras.") for layer in model.layers)
    assert isinstance(model, keras.Model)


def test_arguments_of_a_block_that_change_no_cost_are_no_error():
    fields = {"depths": (1,), "filters": (8,)}
    plain = cost(fields, (32, 32, 3))
    assert cost({**fields, "block": functools.partial(kr.bottleneck_block, last_gamma="ones")}, (32, 32, 3)) == plain
    biased = functools.partial(kr.bottleneck_block, last_conv=functools.partial(kr.layers.conv, bias="zeros"))
    assert cost({**fields, "block": biased}, (32, 32, 3)).parameters == plain.parameters + 32
    for argument in ("conv", "last_conv"):
        other = functools.partial(kr.bottleneck_block, **{argument: lambda *arguments, **options: None})
        with pytest.raises(ValueError, match=f"^{argument} must be one of biased_conv, conv, conv_same, whose cost is"):
            cost({**fields, "block": other}, (32, 32, 3))


def test_the_pareto_front_has_no_nan_and_names_its_metrics():
    points = ((1, math.nan), (5, 0.8), (math.nan, 0.9), (9, 0.7))
    trials = [TrialResult("0", 0.5, {"macs": cost, "val_accuracy": gain}, {}, {}, {}) for cost, gain in points]
    assert [trial.metrics["macs"] for trial in kr.tuning.pareto_front(trials)] == [5]
    with pytest.raises(ValueError, match="unknown metric of a trial; .* Did you mean macs.* Received: 'mac'"):
        kr.tuning.pareto_front(trials, "mac")
