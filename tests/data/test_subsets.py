"""Parts of the training images, with so many labels of every class. Truths: sets, counts, and what branches take."""

import sys

import numpy as np
import pytest

from compare.data import dataset
from compare.data.images import Dataset
from compare.system.errors import UserError
from compare.training.preparation import prepare
from pretrained import train as pretrained_train
from pretrained.recipe import RECIPES as PRETRAINED
from scratch_resnet import train as scratch_train
from scratch_resnet.recipe import RECIPES as SCRATCH

LABELS = np.random.default_rng(0).permutation(np.repeat([0, 1, 2, 3], [50, 60, 70, 7])).astype(np.uint8)


def data_of(labels, validation_rows=None) -> Dataset:
    images = np.zeros((len(labels), 4, 4, 1), np.uint8)
    return Dataset(
        name="made-up",
        title="Made up",
        class_names=("a", "b", "c", "d"),
        train_images=images,
        train_labels=labels,
        test_images=images[:8],
        test_labels=labels[:8],
        validation_rows=validation_rows,
    )


def test_subsets_are_balanced_and_each_has_all_of_the_smaller_ones():
    before = set()
    for number in (1, 5, 20, 50, 1000):
        rows = dataset.subset(LABELS, number, seed=3)
        assert np.bincount(LABELS[rows]).tolist() == [min(number, count) for count in (50, 60, 70, 7)]
        assert (np.diff(rows) > 0).all() and before <= set(rows.tolist())
        before = set(rows.tolist())
    assert before == set(range(len(LABELS)))


def test_another_seed_draws_others():
    assert set(dataset.subset(LABELS, 5, seed=0)) != set(dataset.subset(LABELS, 5, seed=1))


def test_the_validation_images_come_out_of_them():
    data = data_of(LABELS)
    train, validation = dataset.train_and_validation(data, 0.1, labels_per_class=40, subset_seed=2)
    everything = np.sort(np.concatenate([train, validation]))
    assert everything.tolist() == dataset.subset(LABELS, 40, seed=2).tolist()
    assert not set(train) & set(validation) and np.bincount(LABELS[validation]).tolist() == [4, 4, 4, 1]


@pytest.mark.parametrize(("number", "held_out"), [(19, False), (20, True)])
def test_with_too_few_for_two_of_every_class_nothing_is_held_out(number, held_out):
    train, validation = dataset.train_and_validation(data_of(LABELS), 0.1, labels_per_class=number)
    assert bool(len(validation)) == held_out
    assert len(train) + len(validation) == 3 * number + 7


def test_what_the_source_sets_apart_is_not_among_them():
    apart = np.arange(0, len(LABELS), 2)
    train, validation = dataset.train_and_validation(data_of(LABELS, apart), 0.1, labels_per_class=20)
    assert not set(np.concatenate([train, validation])) & set(apart)


def test_more_than_any_class_has_are_refused():
    with pytest.raises(UserError, match=r"--labels-per-class 71, and no class of Made up has more than 70"):
        dataset.train_and_validation(data_of(LABELS), 0.1, labels_per_class=71)


def job_of(monkeypatch, branch, main, recipes, *words):
    monkeypatch.setattr(sys, "argv", [branch, "--data", "digits", *words])
    return prepare(branch, main.parse(), recipes, overrides={"batch_size": "--batch-size"}, words={})


def test_every_strategy_gets_the_same_images(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    jobs = [
        job_of(monkeypatch, branch, main, recipes, "--recipe", recipe, "--labels-per-class", "30", "--seed", "4")
        for branch, main, recipes, recipe in (
            ("scratch_resnet", scratch_train, SCRATCH, "tuned"),
            ("pretrained", pretrained_train, PRETRAINED, "frozen"),
            ("pretrained", pretrained_train, PRETRAINED, "fine-tuned"),
        )
    ]
    assert len({job.record.data.split_fingerprint for job in jobs}) == 1
    for job in jobs:
        data = job.record.data
        assert (data.labels_per_class, data.subset_seed, data.labels_a_class) == (30, 4, [30, 30])
        assert (data.num_train, data.num_validation, job.watched) == (270, 30, "validation")
        assert "--labels-per-class 30 --subset-seed 4" in job.record.command


def test_the_seed_of_the_draw_is_its_own_where_it_is_said(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    words = ("--recipe", "tuned", "--labels-per-class", "10")
    one = job_of(monkeypatch, "scratch_resnet", scratch_train, SCRATCH, *words, "--seed", "1", "--subset-seed", "0")
    other = job_of(monkeypatch, "scratch_resnet", scratch_train, SCRATCH, *words, "--seed", "0")
    assert one.train_rows.tolist() == other.train_rows.tolist() and one.watched is None


def test_a_few_images_come_as_often_as_the_least_number_of_steps_asks(monkeypatch, tmp_path):
    """600 steps in ten epochs are 60 in each: 100 images in batches of 100 come 60 times."""
    monkeypatch.chdir(tmp_path)
    words = ("--recipe", "tuned", "--labels-per-class", "10")
    job = job_of(monkeypatch, "scratch_resnet", scratch_train, SCRATCH, *words)
    assert job.recipe.batch_size == 100 and job.recipe.least_steps == 600
    assert np.unique(job.rows_of_epoch(10), return_counts=True)[1].tolist() == [60] * 100
    assert job.repeats_in_words(10) == ", each image 60 times an epoch"
    job.recipe = SCRATCH["article"]
    assert job.rows_of_epoch(5).tolist() == job.train_rows.tolist() and job.repeats_in_words(5) == ""


@pytest.mark.parametrize("labels", [5, 10, 30, 100, 132])
def test_no_training_takes_fewer_than_the_least_number_of_steps_or_many_more(monkeypatch, tmp_path, labels):
    """Counted in batches, of which the last of an epoch may be smaller."""
    monkeypatch.chdir(tmp_path)
    words = ("--labels-per-class", str(labels))
    scratch = job_of(monkeypatch, "scratch_resnet", scratch_train, SCRATCH, "--recipe", "tuned", *words)
    tuned = job_of(monkeypatch, "pretrained", pretrained_train, PRETRAINED, "--recipe", "fine-tuned", *words)
    for job, num_epochs in ((scratch, scratch.recipe.num_epochs), (tuned, tuned.recipe.num_unfrozen_epochs)):
        num_steps = num_epochs * -(-len(job.rows_of_epoch(num_epochs)) // job.recipe.batch_size)
        one_more = num_epochs * (len(job.train_rows) / job.recipe.batch_size + 1)
        assert job.recipe.least_steps <= num_steps < job.recipe.least_steps + one_more


def test_a_seed_of_a_draw_that_is_not_made_is_refused(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="--subset-seed 1, and all labels are taken"):
        job_of(monkeypatch, "scratch_resnet", scratch_train, SCRATCH, "--recipe", "tuned", "--subset-seed", "1")
