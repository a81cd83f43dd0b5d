"""Parts of the training images, with so many labels of every class. Truths: sets, counts, and what branches take."""

import sys

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from compare.data import dataset
from compare.data.images import Dataset, balanced_weights, stratified_sample
from compare.system.errors import UserError
from compare.training.options import OVERRIDES
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


@pytest.mark.parametrize(("number", "fraction"), [(100, 0.1), (500, 0.2), (11, 0.1)])
def test_very_unequal_classes_are_split_by_their_shares_and_stay_to_be_trained_on(number, fraction):
    """Classes of one and of two images stay on the training side; of the others each has its share, to an image."""
    counts = np.array([number, 1, 2, 10, number // 2])
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(5), counts)).astype(np.uint8)
    for train, held_out in (
        dataset.split(labels, fraction),
        (np.setdiff1d(np.arange(len(labels)), drawn := stratified_sample(labels, 5, seed=0)), drawn),
    ):
        share = len(held_out) / len(labels)
        of_each = np.bincount(labels[held_out], minlength=5)
        assert (np.bincount(labels[train], minlength=5) > 0).all() and np.abs(of_each - share * counts).max() <= 1
        assert np.sort(np.concatenate([train, held_out])).tolist() == list(range(len(labels)))
    for labels_per_class in (1, 2, 5):
        rows = dataset.subset(labels, labels_per_class, seed=0)
        assert np.bincount(labels[rows]).tolist() == np.minimum(counts, labels_per_class).tolist()


def test_weights_of_the_classes_are_scikit_learns():
    labels = np.repeat([0, 1, 3], [70, 25, 5]).astype(np.uint8)
    theirs = compute_class_weight("balanced", classes=np.array([0, 1, 3]), y=labels)
    ours = balanced_weights(labels, 5)
    assert ours.dtype == np.float32 and ours[[2, 4]].tolist() == [0, 0]  # without images
    np.testing.assert_allclose(ours[[0, 1, 3]], theirs, rtol=1e-6)
    assert ours[labels].mean() == pytest.approx(1)


def test_a_job_knows_them_of_what_it_trains_on_and_the_record_says_so(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    data = data_of(np.repeat([0, 1, 2, 3], [60, 30, 20, 10]).astype(np.uint8))
    monkeypatch.setattr(dataset, "load", lambda *_, **__: data)
    for branch, main, recipes in (
        ("scratch_resnet", scratch_train, SCRATCH),
        ("pretrained", pretrained_train, PRETRAINED),
    ):
        for words, value in (((), "none"), (("--class-weights", "balanced"), "balanced")):
            monkeypatch.setattr(sys, "argv", [branch, "--data", "digits", "--recipe", "tuned", *words])
            job = prepare(branch, main.parse(), recipes, overrides=OVERRIDES, words={})
            assert job.recipe.class_weights == job.record.recipe.class_weights == value
            assert job.record.overrides.get("class_weights", "none") == value
            assert (f"--class-weights {value}" in job.record.command) == (value == "balanced")
            weights = job.class_weights
            if value == "none":
                assert weights is None
                continue
            labels = data.train_labels[job.train_rows]
            assert len(job.validation_rows) == 12  # which count for nothing in it
            np.testing.assert_allclose(
                weights, compute_class_weight("balanced", classes=np.arange(4), y=labels), rtol=1e-6
            )
    with pytest.raises(UserError, match="--class-weights equal"):
        job_of(monkeypatch, "scratch_resnet", scratch_train, SCRATCH, "--class-weights", "equal")


def test_a_seed_of_a_draw_that_is_not_made_is_refused(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="--subset-seed 1, and all labels are taken"):
        job_of(monkeypatch, "scratch_resnet", scratch_train, SCRATCH, "--recipe", "tuned", "--subset-seed", "1")
