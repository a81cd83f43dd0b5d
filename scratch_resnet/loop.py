"""A training in PyTorch: its epochs, an epoch's steps, and what they need. It begins with `train_epochs`."""

import itertools
import math
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compare.system import processes
from compare.training import estimate, schedule
from compare.training.job import Job
from compare.training.limits import diverged
from compare.training.looking import Looked
from compare.training.progress import EpochBar
from scratch_resnet import hardware, several
from scratch_resnet.batches import Batches
from scratch_resnet.model import ResNet
from scratch_resnet.recipe import ARTICLE, Recipe
from scratch_resnet.small_maps import fast_on_small_maps


def train_epochs(
    job: Job[Recipe],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    train_batches: Batches,
    watched_batches: Batches | None,
) -> Tensor | None:
    """Train the epochs that are left, from within the one under way on, each with its row and its checkpoint.

    Args:
        job: whose epochs.
        model, optimizer: are changed.
        train_batches: the images to train on.
        watched_batches: those that are predicted after every epoch, if any.

    Returns:
        The logits of the watched images after the last epoch, float32 (num_images, num_classes); None where no epoch
        was left, or nothing is watched.

    Raises:
        UserError: a loss is not finite, or a checkpoint cannot be written.
        KeyboardInterrupt: a signal asked to stop.
    """
    recipe = job.recipe
    num_steps = math.ceil(len(train_batches) / recipe.batch_size)
    class_weights = weights_of_classes(job, train_batches.device)
    logits = None
    for epoch in job.epochs_left:
        start = time.perf_counter() - job.seconds_under_way
        totals = torch.zeros(2, num_steps, device=train_batches.device)
        begin = int(job.under_way.get("steps", 0))
        if begin:  # resumed within it
            totals.copy_(torch.from_numpy(job.under_way["totals"]))
        with job.stopping.finishing(), job.epoch_bar(epoch, len(train_batches)) as bar:
            steps = train_epoch(
                model,
                optimizer,
                train_batches,
                totals,
                recipe=recipe,
                seed=job.seed,
                epoch=epoch,
                bar=bar,
                begin=begin,
                class_weights=class_weights,
            )
            for num_done in steps:
                if several.must_keep(job):
                    job.keep(
                        checkpoint_arrays(model, optimizer),
                        {"steps": np.array(num_done), "totals": totals.cpu().numpy()},
                        seconds=time.perf_counter() - start,
                    )
        training_seconds = time.perf_counter() - start
        logits = watched = None
        if watched_batches is not None:
            logits = infer(model, watched_batches, recipe=recipe)
            watched = evaluate(logits, watched_batches.labels)
        job.end_epoch(
            train=means(totals, len(train_batches)),
            watched=watched,
            num_images=len(train_batches),
            learning_rate=learning_rate(recipe, epoch, num_steps - 1, num_steps),
            training_seconds=training_seconds,
            seconds=time.perf_counter() - start,
            arrays=checkpoint_arrays(model, optimizer),
        )
    return logits


def weights_of_classes(job: Job[Recipe], device: torch.device) -> Tensor | None:
    """What an image of each class counts in the mean over a batch, float32 (num_classes,); None where all count
    alike."""
    return None if job.class_weights is None else torch.from_numpy(job.class_weights).to(device)


def train_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Batches,
    totals: Tensor,
    *,
    recipe: Recipe,
    seed: int,
    epoch: int,
    bar: EpochBar,
    begin: int = 0,
    class_weights: Tensor | None = None,
) -> Iterator[int]:
    """Train on every image once.

    Args:
        model, optimizer: are changed.
        batches: the training images.
        totals: float32, (2, num_steps), on the device: here each step writes its loss, in nats, summed over its
            images, and how many of them were right; both before the step, and the loss without label smoothing and
            weights.
        recipe, seed, epoch: of the batches, and of the learning rate.
        bar: is kept up to date.
        begin: how many steps were done already.
        class_weights: what an image of each class counts in the mean over a batch, float32 (num_classes,); None where
            all count alike.

    Yields:
        After every step, how many are done.

    Raises:
        UserError: the loss is not finite; noticed within half a second.
    """
    model.train()
    num_steps = totals.shape[1]
    for step, (images, labels) in enumerate(batches.shuffled(recipe, seed=seed, epoch=epoch, begin=begin), begin):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(recipe, epoch, step, num_steps)
        with hardware.autocast(recipe, batches.device):
            logits = model(images)  # (batch, num_classes)
        loss = several.mean_loss(logits, labels, class_weights=class_weights, label_smoothing=recipe.label_smoothing)
        optimizer.zero_grad()
        loss.backward()
        # Kept on the device: reading a number in every step would make the device wait for Python.
        totals[0, step] = F.cross_entropy(logits.detach(), labels, reduction="sum")
        totals[1, step] = (logits.detach().argmax(dim=1) == labels).sum()
        several.add_up(model, totals[:, step])
        optimizer.step()

        if processes.is_first() and (bar.due() or step + 1 == num_steps):
            num_seen = min(recipe.batch_size * (step + 1), len(batches))
            so_far, accuracy = means(totals, num_seen)
            if not math.isfinite(so_far):
                at = int(torch.nonzero(~totals[0].isfinite())[0])
                raise diverged(
                    f"the loss of step {at + 1:,} of {num_steps:,} in epoch {epoch} is {totals[0, at]:g}, "
                    f"at a learning rate of {learning_rate(recipe, epoch, at, num_steps):.3g}",
                    f"start anew with a smaller --learning-rate than {recipe.learning_rate:g}",
                )
            bar.show(num_seen, so_far, accuracy)
        yield step + 1


def learning_rate(recipe: Recipe, epoch: int, step: int, num_steps: int) -> float:
    """The step size of a step, counted from 0, of an epoch of so many, counted from 1."""
    progress = (epoch - 1 + step / num_steps) / recipe.num_epochs
    return schedule.learning_rate(recipe.schedule, recipe.learning_rate, progress)


def means(totals: Tensor, num_images: int) -> tuple[float, float]:
    """The mean loss in nats an image and the accuracy as a fraction, over an epoch as it went, of what `train_epoch`
    wrote down for its first `num_images`."""
    loss_sum, num_correct = totals.cpu().double().sum(dim=1).tolist()
    return loss_sum / num_images, num_correct / num_images


@torch.inference_mode()
def infer(model: nn.Module, batches: Batches, *, recipe: Recipe) -> Tensor:
    """The logits of all images in their own order, float32 (num_images, num_classes), on the device."""
    model.eval()
    batch_size = 4 * recipe.batch_size  # without gradients it needs less memory than a step of training
    parts = []
    with hardware.autocast(recipe, batches.device):
        for images, _ in batches.in_order(
            batch_size,
            image_size=recipe.image_size,
            centre_crop=recipe.centre_crop,
            which=several.share(0, len(batches)),
        ):
            logits = model(images)
            if recipe.mirrored_predictions:
                logits = (logits + model(images.flip(3))) / 2
            parts.append(logits)
    return several.joined(torch.cat(parts), len(batches))


@torch.inference_mode()
def look(model: ResNet, batches: Batches, *, recipe: Recipe) -> Looked:
    """Predict all images in their own order, in float32 whatever the network was trained in, and look inside it: what
    is averaged and weighed to each logit is, place by place, where the network looked."""
    model.eval()
    parts = []
    for images, _ in batches.in_order(
        4 * recipe.batch_size, image_size=recipe.image_size, centre_crop=recipe.centre_crop
    ):
        maps = model.maps(images)  # (batch, num_features, height, width)
        if recipe.mirrored_predictions:
            maps = (maps + model.maps(images.flip(3)).flip(3)) / 2
        features = maps.mean(dim=(2, 3))  # (batch, num_features)
        logits = model.fc(features)
        weights = model.fc.weight - model.fc.weight.mean(dim=0)  # what all classes share changes no probability
        weights = weights[logits.argmax(dim=1)]  # (batch, num_features), of the predicted class
        looked = torch.einsum("bfhw,bf->bhw", maps, weights)
        parts.append([array.cpu().numpy() for array in (logits.softmax(dim=1), features, looked)])
    return Looked(*map(np.concatenate, zip(*parts, strict=True)))


def evaluate(logits: Tensor, labels: Tensor) -> tuple[float, float]:
    """The mean loss in nats an image, and the accuracy as a fraction, of logits (num_images, num_classes)."""
    loss = F.cross_entropy(logits, labels)
    accuracy = (logits.argmax(dim=1) == labels).float().mean()
    return loss.item(), accuracy.item()


def probabilities(logits: Tensor) -> np.ndarray:
    """The class probabilities of logits, float32 (num_images, num_classes)."""
    return logits.softmax(dim=1).cpu().numpy()


def new_model(
    num_classes: int, *, num_channels: int = 1, recipe: Recipe = ARTICLE, seed: int, device: torch.device
) -> ResNet:
    """The recipe's network, initialised by PyTorch's defaults from `seed`, on the device."""
    torch.manual_seed(seed)
    model = fast_on_small_maps(ResNet(num_classes, num_channels, recipe.depth, standardised=recipe.standardised))
    # channels_last is a layout, not another network: 1.1 times faster on CPUs with AVX-512, and what tensor cores want
    return several.normalised_together(model.to(device).to(memory_format=torch.channels_last))


def new_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The article's Adam, with PyTorch's defaults but for the step size. Weight decay is AdamW's (I. Loshchilov and
    F. Hutter, 2017, arXiv 1711.05101), for matrices and filters alone; without it AdamW is Adam."""
    weights = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.ndim == 1]  # biases, normalisation
    groups = [{"params": weights, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=True)


def seconds_expected(job: Job[Recipe], *, training: np.ndarray, predicting: np.ndarray) -> list[np.ndarray]:
    """The seconds of every epoch that is left, and of what follows them, as pairs (`estimate`), by those that training
    on one image and predicting one take."""
    num_watched = 0 if job.watched is None else len(job.watched_images[2])
    epoch = len(job.rows_of_epoch(job.recipe.num_epochs)) * training + num_watched * predicting / several.number()
    after = (job.num_more_test_images + job.num_looked_at + job.num_corrupted_images) * predicting
    return [epoch] * len(job.epochs_left) + [after]


def seconds_an_image(batches: Batches, num_classes: int, *, recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
    """What training on one image takes, and what predicting one takes, as pairs, by some steps of a network that is
    thrown away."""
    device = batches.device
    many, _ = next(batches.in_order(4 * recipe.batch_size, image_size=recipe.image_size))
    model = new_model(num_classes, num_channels=many.shape[1], recipe=recipe, seed=0, device=device)
    optimizer = new_optimizer(model, recipe)
    few = itertools.chain.from_iterable(batches.shuffled(recipe, seed=0, epoch=epoch) for epoch in itertools.count(1))

    def train() -> None:
        images, labels = next(few)
        with hardware.autocast(recipe, device):
            logits = model(images)
        optimizer.zero_grad()
        several.mean_loss(logits, labels, class_weights=None, label_smoothing=0.0).backward()
        several.add_up(model, torch.zeros(2, device=device))
        optimizer.step()
        hardware.wait_for(device)

    def predict() -> None:
        with torch.inference_mode(), hardware.autocast(recipe, device):
            model(many)
        hardware.wait_for(device)

    batch_size = min(recipe.batch_size, len(batches))
    seconds = 3.0 if several.number() == 1 else 0.0  # as many steps in every process: the fewest
    training = estimate.measured(train, num_images=batch_size, seconds=seconds, warm_up=2)
    model.eval()
    predicting = estimate.measured(predict, num_images=len(many), seconds=0.5)
    return training, (1 + recipe.mirrored_predictions) * predicting


def trial_step(
    batches: Batches, num_classes: int, *, recipe: Recipe, seed: int, class_weights: Tensor | None
) -> Callable[[float], float]:
    """A step of a network that is thrown away, as `train_epoch` does it but at the learning rate that it is given; it
    gives the loss that it learned by, nats an image."""
    device = batches.device
    model = new_model(num_classes, num_channels=batches.num_channels, recipe=recipe, seed=seed, device=device).train()
    optimizer = new_optimizer(model, recipe)
    drawn = itertools.chain.from_iterable(
        batches.shuffled(recipe, seed=seed, epoch=epoch) for epoch in itertools.count(1)
    )

    def step(rate: float) -> float:
        images, labels = next(drawn)
        for group in optimizer.param_groups:
            group["lr"] = rate
        with hardware.autocast(recipe, device):
            logits = model(images)  # (batch, num_classes)
        loss = F.cross_entropy(logits, labels, weight=class_weights, label_smoothing=recipe.label_smoothing)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def checkpoint_arrays(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, np.ndarray]:
    """The network and the optimizer's state as arrays, by name."""
    arrays = {f"model/{name}": tensor for name, tensor in model.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        arrays |= {f"optimizer/{index}/{name}": tensor for name, tensor in state.items()}
    return {name: tensor.cpu().numpy() for name, tensor in arrays.items()}


def restore(model: nn.Module, optimizer: torch.optim.Optimizer, arrays: dict[str, np.ndarray]) -> None:
    """Put back what `checkpoint_arrays` gave."""
    model_state: dict[str, Tensor] = {}
    optimizer_state: dict[int, dict[str, Tensor]] = {}
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for path, array in arrays.items():
        kind, _, name = path.partition("/")
        tensor = torch.from_numpy(array)
        if kind == "model":
            model_state[name] = tensor
        if kind != "optimizer":
            continue
        index, _, name = name.partition("/")
        parameter = parameters[int(index)]
        if tensor.shape == parameter.shape:  # the fused optimizer takes it that both lie alike in memory
            tensor = torch.empty_like(parameter).copy_(tensor)
        optimizer_state.setdefault(int(index), {})[name] = tensor
    model.load_state_dict(model_state)
    optimizer.load_state_dict({"state": optimizer_state, "param_groups": optimizer.state_dict()["param_groups"]})
