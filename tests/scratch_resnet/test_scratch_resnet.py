"""The branch from scratch. Truths: torchvision's ResNets, numbers from the article and by hand."""

import dataclasses
import functools
import json
import re
import time

import numpy as np
import psutil
import pytest
import safetensors.torch
import torch
import torchvision
from fake_runs import write_run
from small_recipes import SCRATCH as SMALL

from compare.data import corruptions, dataset
from compare.runs import checkpoint
from compare.runs.record import read_run
from compare.runs.schema import Input, Weights
from compare.system import machine
from compare.system.display import duration
from compare.system.errors import UserError
from compare.training import schedule
from compare.training.limits import limits_in_words
from compare.training.options import ESTIMATE, EXPECTED
from compare.training.progress import Journal
from pretrained import train as pretrained_train
from scratch_resnet import hardware, loop, model, train
from scratch_resnet.batches import Batches
from scratch_resnet.recipe import ARTICLE, RECIPES, TUNED
from scratch_resnet.small_maps import Conv3x3

CPU = torch.device("cpu")


def batches(num_images=96):
    data = dataset.load("digits")
    return Batches(data.train_images, data.train_labels, rows=np.arange(num_images), device=CPU)


@pytest.fixture(autouse=True)
def small_demo(monkeypatch):
    """Let `--demo` be that."""
    monkeypatch.setitem(RECIPES, "demo", SMALL)


def train_one_epoch(network, optimizer, images, *, epoch, recipe=SMALL, **changes):
    recipe = dataclasses.replace(recipe, **{"batch_size": 32} | changes)
    totals = torch.zeros(2, -(-len(images) // recipe.batch_size))
    with Journal().epoch("", len(images)) as bar:
        for _ in loop.train_epoch(network, optimizer, images, totals, recipe=recipe, seed=0, epoch=epoch, bar=bar):
            pass
    return loop.means(totals, len(images))


def test_a_step_with_weights_of_the_classes_is_that_of_the_weighted_mean():
    """By hand: the losses times their images' weights, over the sum of these; what is written down has none."""
    images, weights = batches(), torch.arange(10.0)
    networks = [model.ResNet(channels=(4, 8, 16, 32)) for _ in range(2)]
    networks[1].load_state_dict(networks[0].state_dict())
    sgd = [torch.optim.SGD(network.parameters(), lr=0.1) for network in networks]
    recipe, totals = dataclasses.replace(SMALL, batch_size=96, learning_rate=0.1), torch.zeros(2, 1)
    with Journal().epoch("", len(images)) as bar:
        given = {"recipe": recipe, "seed": 0, "epoch": 1, "bar": bar, "class_weights": weights}
        assert list(loop.train_epoch(networks[0], sgd[0], images, totals, **given)) == [1]
    some, labels = next(images.shuffled(recipe, seed=0, epoch=1))
    log_probabilities = networks[1].train()(some).log_softmax(dim=1)
    losses = -log_probabilities[torch.arange(96), labels]
    ((losses * weights[labels]).sum() / weights[labels].sum()).backward()
    sgd[1].step()
    for ours, by_hand in zip(*(network.parameters() for network in networks), strict=True):
        torch.testing.assert_close(ours, by_hand, rtol=1e-4, atol=1e-6)
    assert totals[0].item() == pytest.approx(losses.sum().item(), rel=1e-5)


@pytest.mark.parametrize("depth", [18, 50])
def test_logits_equal_torchvisions_with_neutral_shortcut_normalisation(depth):
    torch.manual_seed(0)
    theirs = torchvision.models.get_model(f"resnet{depth}", num_classes=10)
    ours = model.ResNet(in_channels=3, depth=depth)
    for module in theirs.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # statistics as after training, not 0 and 1
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    state = ours.state_dict()
    for name, tensor in theirs.state_dict().items():
        if "downsample.1" in name:
            continue
        name = name.replace("conv1.", "stem.0.", 1) if name.startswith("conv1") else name
        name = name.replace("bn1.", "stem.1.", 1) if name.startswith("bn1") else name
        for stage in range(4):
            name = name.replace(f"layer{stage + 1}.", f"stages.{stage}.")
        state[name.replace("downsample.0", "shortcut")] = tensor
    for name in state:  # torchvision's convolutions have no bias
        if ("conv" in name or "shortcut" in name or name == "stem.0.bias") and name.endswith("bias"):
            state[name] = torch.zeros_like(state[name])
    ours.load_state_dict(state)
    for module in theirs.modules():
        if getattr(module, "downsample", None) is not None:
            module.downsample[1] = torch.nn.Identity()
    images = torch.rand(3, 3, 96, 96)
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(images), theirs.eval()(images))


def test_standardised_images_are_those_of_torchvisions_normalize():
    plain, ours = (model.ResNet(in_channels=3, standardised=standardised).eval() for standardised in (False, True))
    plain.load_state_dict(ours.state_dict())  # the means are no weights
    images = torch.rand(3, 3, 64, 64)
    normalised = torchvision.transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))(images)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), plain(normalised))
        plain, ours = (model.ResNet(standardised=standardised).eval() for standardised in (False, True))
        plain.load_state_dict(ours.state_dict())
        torch.testing.assert_close(ours(torch.full((1, 1, 64, 64), 0.449)), plain(torch.zeros(1, 1, 64, 64)))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (1, 2), (2, 1), (3, 3), (2, 4)])
def test_small_feature_maps_are_convolved_as_pytorch_does(size, stride):
    ours = Conv3x3(5, 4, kernel_size=3, stride=stride, padding=1).to(memory_format=torch.channels_last)
    x = torch.randn(3, 5, *size, requires_grad=True)
    upstream = None
    seen = []
    for convolve in (ours, lambda x: torch.nn.functional.conv2d(x, ours.weight, ours.bias, stride, padding=1)):
        y = convolve(x)
        upstream = torch.randn_like(y) if upstream is None else upstream
        seen.append([y, *torch.autograd.grad(y, [x, ours.weight, ours.bias], upstream)])
    torch.testing.assert_close(*seen)


def test_the_trick_for_small_maps_changes_no_weight():
    torch.manual_seed(1)
    plain, fast = model.ResNet(), loop.new_model(10, seed=1, device=CPU)
    assert sum(isinstance(layer, Conv3x3) for layer in fast.modules()) == 16
    assert all(map(torch.equal, plain.state_dict().values(), fast.state_dict().values()))
    images = torch.rand(4, 1, 28, 28)
    torch.testing.assert_close(plain(images), fast(images), rtol=1e-4, atol=1e-4)


def num_parameters_by_hand(num_blocks, *, num_channels, num_classes, bottleneck):
    def layer(size, inputs, outputs, norm=True):  # filters, biases; scale and offset
        return size * size * inputs * outputs + outputs + 2 * outputs * norm

    total, inputs = layer(7, num_channels, 64), 64
    for stage, blocks in enumerate(num_blocks):
        width = 64 * 2**stage
        outputs = 4 * width if bottleneck else width
        for _ in range(blocks):
            if bottleneck:
                total += layer(1, inputs, width) + layer(3, width, width) + layer(1, width, outputs)
            else:
                total += layer(3, inputs, width) + layer(3, width, width)
            total += layer(1, inputs, outputs, norm=False) if inputs != outputs else 0
            inputs = outputs
    return total + inputs * num_classes + num_classes


@pytest.mark.parametrize(
    ("depth", "num_blocks"),
    [(18, (2, 2, 2, 2)), (34, (3, 4, 6, 3)), (50, (3, 4, 6, 3)), (101, (3, 4, 23, 3)), (152, (3, 8, 36, 3))],
)
def test_sizes_of_all_depths_by_hand_and_torchvisions(depth, num_blocks):
    with torch.device("meta"):  # shapes alone
        ours = [model.ResNet(10, 1, depth), model.ResNet(1000, 3, depth)]
        theirs = torchvision.models.get_model(f"resnet{depth}")
    bottleneck = depth >= 50
    sizes = [model.num_parameters(one) for one in ours]
    for size, (num_channels, num_classes) in zip(sizes, ((1, 10), (3, 1000)), strict=True):
        assert size == num_parameters_by_hand(
            num_blocks, num_channels=num_channels, num_classes=num_classes, bottleneck=bottleneck
        )
    assert sizes[0] == 11_178_378 or depth != 18  # as the article's text has it
    num_biases = sum(layer.out_channels for layer in theirs.modules() if isinstance(layer, torch.nn.Conv2d))
    num_shortcut_norms = 2 * ((256 + 512 + 1024 + 2048) if bottleneck else (128 + 256 + 512))
    assert sizes[1] == model.num_parameters(theirs) + num_biases - num_shortcut_norms
    deep = dataclasses.replace(RECIPES["article"], depth=depth)
    assert train.num_bytes(deep, num_classes=1000, num_channels=3) == (3 * 12 + 4) * sizes[1]


def test_shape_walk_and_flops():
    parts = list(model.shape_walk(model.ResNet(), 224))
    shapes = [shape for _, shape, _, _ in parts]
    theirs, expected = torchvision.models.resnet18(num_classes=10), []
    for name in ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4", "fc"):
        theirs.get_submodule(name).register_forward_hook(lambda *seen: expected.append(tuple(seen[2].shape)))
    theirs.eval()(torch.zeros(1, 3, 224, 224))
    assert shapes == [*expected[:8], (1, 512), expected[8]]
    assert [shape[2] for shape in shapes[:4]] == [112, 112, 112, 56]  # as the article prints them
    assert sum(num_parameters for _, _, num_parameters, _ in parts) == 11_178_378
    # the first layer by hand: 64 filters of 7·7 on 112·112 places, two operations each
    assert parts[0][3] == 2 * 64 * 49 * 112 * 112
    assert model.flops_per_image(model.ResNet(), 96) == pytest.approx(0.637e9, rel=0.001)


@pytest.mark.parametrize(
    ("depth", "widths", "size"), [(18, (64, 128, 256, 512), "11,178,378"), (50, (256, 512, 1024, 2048), "23,541,130")]
)
def test_describe_prints_the_walk(run_main, depth, widths, size):
    code, out, _ = run_main(train, "--describe", "--depth", depth)
    assert code == 0
    shapes = [re.findall(r" (\d+(?:×\d+)+) ", line) for line in out.splitlines()]
    stages = [f"{width}×{side}×{side}" for width, side in zip(widths, (56, 28, 14, 7), strict=True)]
    walk = ["64×112×112"] * 3 + ["64×56×56", *stages, f"{widths[-1]}", "10"]
    assert shapes == [[], *([f"1×{shape}"] for shape in walk), []] and size in out.splitlines()[-1]


@pytest.mark.parametrize(("mode", "value"), [("schedule", "constnat"), ("precision", "float16"), ("depth", 20)])
def test_a_misspelt_mode_is_refused(mode, value):
    with pytest.raises(ValueError, match=rf"{mode} {value!r} in recipe demo, not one of \("):
        dataclasses.replace(SMALL, **{mode: value})


def test_a_deeper_network_on_coloured_oblong_images(run_main, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "seconds_an_image", lambda *_, **__: (np.full(2, 0.001), np.full(2, 0.001)))
    digits = dataset.load("digits")
    coloured = {  # 28 high and 26 wide, each channel seen from another place
        name: np.concatenate([images[:80, :, 2:], images[:80, :, :-2], images[:80, :, 1:-1]], axis=3)
        for name in ("train_images", "test_images")
        for images in [getattr(digits, name)]
    }
    labels = {name: getattr(digits, name)[:80] for name in ("train_labels", "test_labels")}
    monkeypatch.setattr(dataset, "load", lambda *_, **__: dataclasses.replace(digits, **coloured, **labels))
    monkeypatch.setitem(RECIPES, "demo", dataclasses.replace(SMALL, validation_fraction=0.5, horizontal_flip=True))
    monkeypatch.setattr(loop, "ResNet", functools.partial(model.ResNet, channels=(8, 16, 32, 64)))
    words = ("--demo", "--epochs", 1, "--depth", 50, "--out", tmp_path / "run")
    code, _, err = run_main(train, *words)
    assert code == 0, err
    run = read_run(tmp_path / "run")
    assert run.record.model.name == "ResNet-50" and run.record.overrides["depth"] == 50
    assert run.record.seen.channels == "RGB" and run.seen_test.shape == (5, 28, 28, 3)
    assert run.record.data.image_shape == [28, 26, 3] and "--depth 50" in run.record.command


def test_epoch_figures_are_means_over_images():
    """With a learning rate of 0 the epoch's loss is that of the untrained network, however the batches fall."""
    network = loop.new_model(10, seed=0, device=CPU)
    images = batches(80)
    optimizer = loop.new_optimizer(network, SMALL)
    still = {"learning_rate": 0.0, "label_smoothing": 0.3}  # which is not counted
    loss, accuracy = train_one_epoch(network, optimizer, images, epoch=1, batch_size=80, **still)
    network.train()
    logits = network(next(images.in_order(80, image_size=28))[0])
    assert loss == pytest.approx(torch.nn.functional.cross_entropy(logits, images.labels).item(), rel=1e-4)
    assert accuracy == (logits.argmax(dim=1) == images.labels).float().mean()
    uneven = train_one_epoch(network, optimizer, images, epoch=1, batch_size=48, **still)
    assert 0 <= uneven[1] <= 1 and (uneven[1] * 80) == pytest.approx(round(uneven[1] * 80), abs=1e-4)


def test_mirrored_predictions_are_the_mean_over_both_sides():
    network = loop.new_model(10, seed=0, device=CPU)
    images = dataset.load("digits").train_images[:8]
    images, mirrored = (Batches(side, np.zeros(8, int), device=CPU) for side in (images, images[:, :, ::-1]))
    one, other = (loop.infer(network, side, recipe=SMALL) for side in (images, mirrored))
    both = loop.infer(network, images, recipe=dataclasses.replace(SMALL, mirrored_predictions=True))
    torch.testing.assert_close(both, (one + other) / 2)
    assert (one - other).abs().max() > 1e-3


def test_it_learns():
    network = loop.new_model(10, seed=0, device=CPU)
    optimizer = loop.new_optimizer(network, SMALL)
    images = batches(64)
    for epoch in range(1, 9):
        _, accuracy = train_one_epoch(network, optimizer, images, epoch=epoch)
    assert accuracy > 0.95  # 64 images can be learned by heart
    logits = loop.infer(network, images, recipe=SMALL)
    assert loop.probabilities(logits).sum(axis=1) == pytest.approx(np.ones(64), abs=1e-5)


def test_bfloat16_where_the_processor_computes_in_it():
    capable = any(torch.cpu.get_capabilities().get(name) for name in ("avx512_bf16", "amx_bf16"))
    assert machine.processor_computes_in_bfloat16() == capable
    assert hardware.precision(TUNED, CPU) == ("bfloat16" if capable else "float32")
    assert hardware.precision(ARTICLE, CPU) == "float32"


def test_the_optimizer_is_adam():
    """As the article has it: fused, and with a weight decay of 0, it takes the steps of PyTorch's plain Adam."""
    networks = [loop.new_model(10, seed=0, device=CPU) for _ in range(2)]
    optimizers = [loop.new_optimizer(networks[0], ARTICLE), torch.optim.Adam(networks[1].parameters(), lr=0.001)]
    for _ in range(3):
        for ours, theirs in zip(*(network.parameters() for network in networks), strict=True):
            ours.grad = torch.randn_like(ours)
            theirs.grad = ours.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for ours, theirs in zip(*(network.parameters() for network in networks), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)


def test_weight_decay_spares_biases_and_normalisation():
    optimizer = loop.new_optimizer(model.ResNet(), dataclasses.replace(SMALL, weight_decay=0.1))
    decayed, spared = optimizer.param_groups
    assert decayed["weight_decay"] == 0.1 and spared["weight_decay"] == 0.0
    # a stem, four stages of four 3×3 convolutions, three shortcuts, a linear layer; each with a bias or normalised
    assert len(decayed["params"]) == 1 + 16 + 3 + 1 and all(p.ndim > 1 for p in decayed["params"])
    assert len(spared["params"]) == 21 + 2 * 17


def test_one_cycle_is_pytorchs():
    recipe = dataclasses.replace(SMALL, schedule="one-cycle", learning_rate=0.1)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=1000, final_div_factor=1e9)
    for step in range(1000):  # theirs is highest at step 299 and ends with step 999
        progress = 0.3 * step / 299 if step < 299 else 0.3 + 0.7 * (step - 299) / 700
        ours = schedule.learning_rate("one-cycle", recipe.learning_rate, progress)
        assert ours == pytest.approx(theirs.get_last_lr()[0], rel=1e-6, abs=1e-9)
        optimizer.step()
        if step < 999:
            theirs.step()
    assert schedule.learning_rate("constant", ARTICLE.learning_rate, 0.9) == 0.001


def test_checkpoint_goes_on_bit_for_bit():
    recipe = dataclasses.replace(
        SMALL,
        schedule="one-cycle",
        num_epochs=2,
        horizontal_flip=True,
        shift_pixels=2,
        image_size=32,
        precision="bfloat16",
    )

    def new():
        network = loop.new_model(10, seed=0, device=CPU)
        return network, loop.new_optimizer(network, recipe)

    def trained(network, optimizer, *epochs):
        for epoch in epochs:
            figures = train_one_epoch(network, optimizer, batches(), epoch=epoch, recipe=recipe)
        return figures, loop.checkpoint_arrays(network, optimizer)

    expected_figures, expected = trained(*new(), 1, 2)
    _, arrays = trained(*new(), 1)
    begun = new()
    loop.restore(*begun, {name: np.array(array, order="C") for name, array in arrays.items()})
    figures, got = trained(*begun, 2)
    assert figures == expected_figures
    assert got.keys() == expected.keys() and len(got) > 200
    assert all(np.array_equal(got[name], expected[name]) for name in got)


def test_an_unfinished_run_is_resumed_to_the_same_end(run_main, tmp_path, monkeypatch):
    """The command, interrupted after the first of two epochs, ends with the bytes of one that was not."""
    monkeypatch.setitem(RECIPES, "demo", dataclasses.replace(SMALL, num_epochs=2, validation_fraction=0.8))
    monkeypatch.setattr(loop, "seconds_an_image", lambda *_, **__: (np.full(2, 0.001), np.full(2, 0.001)))
    monkeypatch.setattr(corruptions, "STRENGTHS", {"shift": (1, 3)})
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    code, out, _ = run_main(train, "--demo", "--robustness", "--out", whole)
    assert code == 0 and f"complete, in {whole}" in out
    log = (whole / "log.txt").read_text()  # goes where the run goes, and does not tell where it was
    assert log.endswith("scratch_resnet: complete\n") and str(tmp_path) not in log

    evaluate, calls = loop.evaluate, []

    def evaluate_once(*words):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return evaluate(*words)

    monkeypatch.setattr(loop, "evaluate", evaluate_once)
    code, out, _ = run_main(train, "--demo", "--robustness", "--out", cut)
    assert code == 130 and f"--resume {cut}" in out
    assert not (cut / "record.json").exists()
    monkeypatch.setattr(loop, "evaluate", evaluate)
    assert run_main(train, "--resume", cut)[0] == 0

    assert (cut / "predictions.npz").read_bytes() == (whole / "predictions.npz").read_bytes()
    assert (cut / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    records = [json.loads((folder / "record.json").read_text()) for folder in (whole, cut)]
    figures = [[{k: v for k, v in row.items() if "second" not in k} for row in r["history"]] for r in records]
    assert figures[0] == figures[1] and len(figures[0]) == 2
    run = read_run(whole)  # the validation split is kept as it was after the last epoch
    of_truth = run.validation_probabilities[np.arange(len(run.validation_labels)), run.validation_labels]
    assert -np.log(of_truth).mean() == pytest.approx(figures[0][-1]["validation_loss"], rel=1e-4)
    data = dataset.load("digits")
    assert run.validation_labels.tolist() == data.train_labels[dataset.split(data.train_labels, 0.8)[1]].tolist()
    assert records[0]["command"] == records[1]["command"]
    assert not list(cut.glob("checkpoint*"))

    # what the finished network says of the corrupted images, loaded by PyTorch alone; and what it saw
    data, run = dataset.load("digits"), read_run(cut)
    network = model.ResNet()
    network.load_state_dict(safetensors.torch.load_file(cut / "model.safetensors"))
    assert run.robustness_predicted.shape == (1, 2, 500)
    for amount, predicted in zip((1, 3), run.robustness_predicted[0], strict=True):
        images = torch.from_numpy(corruptions.corrupt(data.test_images, "shift", amount)).permute(0, 3, 1, 2) / 255
        with torch.inference_mode():
            assert (network.eval()(images).argmax(dim=1).numpy() == predicted).mean() > 0.99
    robustness = run.record.robustness
    assert (robustness.strengths, robustness.num_images) == ({"shift": [1, 3]}, 500)
    assert run.record.seconds.robustness > 0 and "--robustness" in run.record.command
    assert run.record.seen == Input(channels="grey", lowest=[0.0], highest=[1.0])
    assert np.array_equal(run.seen_test, data.test_images[:5, ..., 0])
    training, _ = dataset.split(data.train_labels, 0.8)
    assert np.array_equal(run.seen_training, data.train_images[training[:5], ..., 0])
    sizes = {"num_parameters": 11_178_378, "num_trainable_parameters": 11_178_378}
    network = {"name": "ResNet-18", "start": "random", "trained": "all", "depth": 18, "backbone": None, **sizes}
    assert network.items() <= run.record.model.model_dump().items()
    assert run.record.weights == Weights(kind="none")


def test_the_estimate_has_the_corrupted_images(run_main, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "seconds_an_image", lambda *_, **__: (np.full(2, 0.001), np.full(2, 0.001)))
    # five epochs on 1,167 images and 130 watched, then 500 test images, 30 copies of each, and a look at 500 and 1,000
    for words, seconds in (((), 8), (("--robustness",), 23)):
        code, out, _ = run_main(train, "--demo", "--check", *words, "--out", tmp_path / "run")
        assert code == 0 and f"about {seconds} s, by" in out
    # what a comparison adds up has the time in as well that a training takes until its first step
    monkeypatch.setenv(EXPECTED, json.dumps([[1.0, 1.0]] * 6))  # which a check does not go by
    monkeypatch.setenv(ESTIMATE, "10 all")  # beside the training that the words tell of: the same with other labels
    before = time.time() - psutil.Process().create_time()
    _, out, _ = run_main(train, "--demo", "--labels-per-class", 20, "--check", "--out", tmp_path / "run")
    after = time.time() - psutil.Process().create_time()
    told = [json.loads(line.removeprefix(ESTIMATE)) for line in out.splitlines() if line.startswith(ESTIMATE)]
    # 5 times 180 images and 20 that are watched, 5 times 100 without, 5 times 1,297; then 500, and a look at these and
    # at 1,000 that were trained on, or all: a thousandth each
    for one, seconds in zip(told, (2.18, 1.6, 8.485), strict=True):
        assert one["data"] == dataset.load("digits").fingerprint
        assert np.sum(one["epochs"], axis=0).tolist() == pytest.approx([seconds, seconds]) and len(one["epochs"]) == 6
        ages = [number - seconds for number in one["seconds"]]
        assert before - 1 < ages[0] == ages[1] < after + 1


def test_what_a_check_has_measured_is_not_measured_again(run_main, tmp_path, monkeypatch):
    monkeypatch.setitem(RECIPES, "demo", SMALL)
    monkeypatch.setattr(loop, "seconds_an_image", lambda *_, **__: pytest.fail("measured"))
    monkeypatch.setenv(EXPECTED, json.dumps([[60.0, 60.0]] * SMALL.num_epochs + [[9.0, 9.0]]))
    code, out, _ = run_main(train, "--demo", "--out", tmp_path / "run")
    total = 60 * SMALL.num_epochs + 9
    assert code == 0 and f"about {duration(total)}, by" in out


def test_robustness_is_settled_when_a_run_begins(run_main, tmp_path):
    code, _, err = run_main(train, "--resume", tmp_path, "--robustness")
    assert code == 2 and "--resume together with --robustness" in err


@pytest.mark.parametrize("module", [train, pretrained_train])
def test_more_epochs_for_a_finished_run_are_refused_with_the_reason(run_main, tmp_path, module):
    folder = write_run(tmp_path / "run", branch=module.__name__.partition(".")[0])
    before = {path: path.read_bytes() for path in folder.iterdir()}
    code, out, err = run_main(module, "--resume", folder, "--epochs", "20")
    assert code == 2 and out == "" and "--resume together with --epochs 20" in err
    assert "holds a complete run" in err and "start a new one with --epochs 20: " in err and "no optimizer's" in err
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_a_batch_of_one_small_image_is_refused_before_training(run_main, tmp_path):
    code, _, err = run_main(train, "--demo", "--batch-size", 53, "--out", tmp_path / "run")  # 1167 = 22 · 53 + 1
    assert code == 2 and "one batch is a single image" in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
        type("ResourceExhaustedError", (Exception,), {})("when allocating a tensor"),
        RuntimeError("RESOURCE_EXHAUSTED: failed to allocate"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"),
    ],
)
def test_out_of_memory_ends_with_the_articles_hint(error):
    with (
        pytest.raises(UserError, match="make the batch smaller") as caught,
        limits_in_words(SMALL, exit_code=1, smaller="the batch"),
    ):
        raise error
    assert caught.value.exit_code == 1


def test_a_real_want_of_memory_is_recognised_and_nothing_else():
    with (
        pytest.raises(UserError, match="make the batch smaller"),
        limits_in_words(SMALL, exit_code=2, smaller="the batch"),
    ):
        torch.empty(1 << 50, dtype=torch.uint8)
    with (
        pytest.raises(RuntimeError, match="same number of dimensions|size of tensor"),
        limits_in_words(SMALL, exit_code=2, smaller="the batch"),
    ):
        torch.ones(2) + torch.ones(3)


@pytest.mark.parametrize("lacks", [lambda: torch.empty(1, device="mps"), lambda: float64_on_apples_gpu()])
def test_an_operation_that_a_device_lacks_is_said_in_words(lacks):
    with (
        pytest.raises(UserError, match="lacks an operation") as caught,
        limits_in_words(SMALL, exit_code=1, smaller="the batch"),
    ):
        lacks()
    assert len(caught.value.came) < 400 and "--device cpu" in caught.value.advice


def test_what_apples_gpu_lacks_is_said_with_the_variable_that_helps():
    """As PyTorch says it, in MPSFallback.mm."""
    said = (
        "The operator 'aten::_linalg_eigh' is not currently implemented for the MPS device. If you want this op to be "
        "considered for addition please comment on an issue. As a temporary fix, you can set the environment variable "
        "`PYTORCH_ENABLE_MPS_FALLBACK=1` to use the CPU as a fallback for this op."
    )
    with pytest.raises(UserError) as caught, limits_in_words(SMALL, exit_code=1, smaller="the batch"):
        raise NotImplementedError(said)
    assert "the device lacks an operation: The operator 'aten::_linalg_eigh' is not" in caught.value.came
    assert "PYTORCH_ENABLE_MPS_FALLBACK=1" in caught.value.advice and "--device cpu" in caught.value.advice


def test_what_nobody_has_written_is_no_lack_of_the_device():
    with pytest.raises(NotImplementedError), limits_in_words(SMALL, exit_code=1, smaller="the batch"):
        torch.nn.Module()(1)


def float64_on_apples_gpu():
    raise TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64.")


def test_a_run_is_resumed_only_as_it_was_begun(run_main, tmp_path, monkeypatch):
    """What gives other bits, or other rules, is refused by name; and where nothing is said, it is as it was begun."""
    monkeypatch.setattr(loop, "seconds_an_image", lambda *_, **__: (np.full(2, 0.001), np.full(2, 0.001)))
    with monkeypatch.context() as interrupted:
        interrupted.setattr(loop, "evaluate", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert run_main(train, "--demo", "--epochs", 1, "--out", tmp_path / "run")[0] == 130

    def refusal(change):
        with monkeypatch.context() as changed:
            change(changed)
            code, _, err = run_main(train, "--resume", tmp_path / "run")
            assert code == 2 and "what to do: " in err
            return err

    said = refusal(lambda changed: changed.setattr(hardware, "precision", lambda *_: "bfloat16"))
    assert "begun with precision float32, and here it would be bfloat16" in said
    said = refusal(lambda changed: changed.setenv("OMP_NUM_THREADS", "2"))
    assert "begun with num_threads 1, and here it would be 2" in said and "unset OMP_NUM_THREADS" in said
    said = refusal(lambda changed: changed.setenv("ATEN_CPU_CAPABILITY", "default"))
    assert "begun with environment {" in said and "'ATEN_CPU_CAPABILITY': 'default'" in said
    said = refusal(lambda changed: changed.setattr(machine, "source_sha256", lambda: "0" * 64))
    assert "the program has changed since the run in" in said and "git checkout" in said

    monkeypatch.delenv("OMP_NUM_THREADS")
    assert run_main(train, "--resume", tmp_path / "run")[0] == 0
    assert read_run(tmp_path / "run").record.num_threads == 1


def test_a_paused_training_shows_what_it_computed_beside_the_time_that_passed(run_main, tmp_path, monkeypatch):
    evaluate, write, computed = loop.evaluate, checkpoint.write, []

    def paused(*words):
        time.sleep(2)
        found = evaluate(*words)
        computed.append(time.process_time())
        return found

    def written_at_length(*words):  # before the epoch, and after it: neither is of its time
        end = time.process_time() + 0.5
        while time.process_time() < end:
            pass
        write(*words)
        computed.append(time.process_time())

    monkeypatch.setattr(checkpoint, "write", written_at_length)
    monkeypatch.setattr(loop, "seconds_an_image", lambda *_, **__: (np.full(2, 0.001), np.full(2, 0.001)))
    monkeypatch.setattr(loop, "evaluate", paused)
    assert run_main(train, "--demo", "--epochs", 1, "--out", tmp_path / "run")[0] == 0
    run = read_run(tmp_path / "run")
    (row,) = run.record.history
    begin, end, _ = computed
    assert row.processor_seconds == pytest.approx(end - begin, abs=0.2)
    assert 0 < row.processor_seconds < row.seconds - 1.9
    assert run.record.processor_seconds == row.processor_seconds


def test_in_half_precision_logits_are_not_rounded():
    network = loop.new_model(10, seed=0, device=CPU).eval()
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        logits = network(torch.rand(8, 1, 32, 32))
    assert logits.dtype == torch.float32 and not torch.equal(logits, logits.bfloat16().float())


def test_a_gpu_that_is_not_there_is_refused():
    with pytest.raises(UserError, match="sees 0 CUDA GPUs"):
        hardware.choose_device("cuda:1")
    with pytest.raises(UserError, match="sees 0 CUDA GPUs"):
        hardware.choose_device("cuda:99999999999")
    assert hardware.choose_device("auto") == CPU


def test_apples_gpu_is_taken_where_pytorch_has_it(monkeypatch):
    with pytest.raises(UserError, match="--device mps, but PyTorch .* sees 0 GPUs of Apple's here"):
        hardware.choose_device("mps")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert hardware.choose_device("auto") == hardware.choose_device("mps") == torch.device("mps")
    assert hardware.choose_device("cpu") == CPU
    assert hardware.precision(dataclasses.replace(TUNED, precision="bfloat16"), torch.device("mps")) == "float32"


def test_intels_gpu_is_taken_where_pytorch_has_it(monkeypatch):
    with pytest.raises(UserError, match="--device xpu, but PyTorch .* sees 0 GPUs of Intel's here"):
        hardware.choose_device("xpu")
    xpu = torch.device("xpu")
    monkeypatch.setattr(torch.xpu, "device_count", lambda: 1)
    monkeypatch.setattr(torch.xpu, "get_device_name", lambda device: f"Arc, {device}")
    assert hardware.choose_device("auto") == hardware.choose_device("xpu") == xpu
    assert hardware.device_name(xpu) == "Arc, xpu"
    for natively, precision in ((False, "float32"), (True, "bfloat16")):
        monkeypatch.setattr(
            torch.xpu, "is_bf16_supported", lambda including_emulation, it=natively: it or including_emulation
        )
        assert hardware.precision(dataclasses.replace(TUNED, precision="bfloat16"), xpu) == precision


def test_a_training_that_diverges_is_stopped_before_its_record(run_main, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "seconds_an_image", lambda *_, **__: (np.full(2, 0.001), np.full(2, 0.001)))
    monkeypatch.setattr(loop, "train_epoch", lambda *_, **__: [])
    monkeypatch.setattr(loop, "evaluate", lambda *_: (float("nan"), 0.1))
    code, _, err = run_main(train, "--demo", "--epochs", 1, "--out", tmp_path / "run")
    assert code == 1 and "the validation loss of epoch 1 is nan" in err and "--learning-rate" in err
    monkeypatch.setattr(loop, "evaluate", lambda *_: (0.5, 0.9))
    monkeypatch.setattr(loop, "probabilities", lambda *_: np.full((500, 10), np.nan))
    code, _, err = run_main(train, "--demo", "--epochs", 1, "--out", tmp_path / "other")
    assert code == 1 and "probabilities are not numbers" in err
    assert not list(tmp_path.rglob("record.json"))
    assert "not numbers" in (tmp_path / "other" / "log.txt").read_text()


def test_an_error_that_nobody_foresaw_is_told_in_words_too(run_main, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError("the driver is asleep")

    monkeypatch.setattr(loop, "seconds_an_image", fail)
    code, _, err = run_main(train, "--demo", "--out", tmp_path / "run")
    assert code == 1 and err.startswith("error: OSError: the driver is asleep") and "what to do" in err
    assert not (tmp_path / "run").exists()
