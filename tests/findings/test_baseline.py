"""Logistic regression on the pixels. Truths: scikit-learn, and images that tell their class."""

import dataclasses

import numpy as np
import pytest
import threadpoolctl
from fake_runs import write_run
from sklearn.linear_model import LogisticRegression

from compare.data import dataset
from compare.data.images import Dataset
from compare.findings import baseline
from compare.findings.metrics import paired_answers
from compare.runs import record


@pytest.fixture
def lines():
    """600 images of three classes, 300, 200 and 100: one bright line tells the class."""
    labels = np.repeat([0, 1, 2], [300, 200, 100]).astype(np.uint8)
    images = np.zeros((600, 28, 28, 1), np.uint8)
    images[np.arange(600), 3 * labels] = 255
    return Dataset("lines", "lines", ("a", "b", "c"), images, labels, images[::-1], labels[::-1])


@pytest.fixture
def fitted(monkeypatch):
    """The labels of everything that is fitted."""
    seen, fit = [], LogisticRegression.fit
    monkeypatch.setattr(LogisticRegression, "fit", lambda self, x, y: seen.append(y.tolist()) or fit(self, x, y))
    return seen


def test_it_learns_from_as_many_images_as_it_is_told_the_same_each_time(lines, fitted):
    first, again = (baseline.logistic_regression(lines, np.arange(600), 30) for _ in range(2))
    assert first[0].tolist() == lines.test_labels.tolist() and first[1] == 30
    assert fitted[0] == fitted[1] and np.bincount(fitted[0]).tolist() == [15, 10, 5]
    assert again[0].tolist() == first[0].tolist()
    assert baseline.logistic_regression(lines, np.arange(0, 600, 2), 1000)[1] == 300  # there are no more
    predicted, num_images = baseline.logistic_regression(lines, np.arange(300), 30)  # of one class alone
    assert set(predicted) == {0} and num_images == 30


def test_it_computes_with_one_thread_as_more_round_otherwise(lines, monkeypatch):
    pools, fit = [], LogisticRegression.fit
    monkeypatch.setattr(
        LogisticRegression, "fit", lambda *of: pools.extend(threadpoolctl.threadpool_info()) or fit(*of)
    )
    with threadpoolctl.threadpool_limits(2):
        baseline.logistic_regression(lines, np.arange(600), 30)
    assert pools and {pool["num_threads"] for pool in pools} == {1}


def test_large_images_in_many_classes_are_fewer(lines, monkeypatch):
    monkeypatch.setattr(baseline, "MOST_WORK", 50 * 784 * 3 + 5)
    assert baseline.logistic_regression(lines, np.arange(600), 600)[1] == 50
    larger = np.repeat(np.repeat(lines.train_images, 2, axis=1), 2, axis=2)  # brought back to 28×28
    large = dataclasses.replace(lines, train_images=larger, test_images=larger[::-1])
    assert baseline.logistic_regression(large, np.arange(600), 600)[1] == 50


def test_every_run_has_that_of_its_own_number_of_labels(tmp_path):
    """Its images are the runs' own subset, and as many as they trained on; seeds share the first one's."""
    digits = dataset.load("digits")
    runs = [
        record.read_run(write_run(tmp_path / f"{count} {seed}", data="digits", num_test=None, labels=count, seed=seed))
        for count, seed in ((5, 3), (20, 3), (5, 4))
    ]
    for run in runs:
        run.record.data.num_train = 10 * run.record.data.labels_per_class
    few, many, other = baseline.baselines(runs, digits)
    assert (few.num_images, many.num_images) == (50, 200) and few.accuracy == other.accuracy < many.accuracy
    rows = dataset.subset(digits.train_labels, 5, seed=3)
    inputs, test_inputs = (of.reshape(len(of), -1) / 255 for of in (digits.train_images[rows], digits.test_images))
    theirs = LogisticRegression(C=0.1, max_iter=2000).fit(inputs, digits.train_labels[rows])
    predicted = theirs.predict(test_inputs)
    assert few.accuracy == pytest.approx((predicted == digits.test_labels).mean(), abs=0.01)
    right = runs[0].test_probabilities.argmax(axis=1) == digits.test_labels
    assert few.paired.points_ahead == pytest.approx(100 * (right.mean() - few.accuracy))
    assert few.is_beaten and not baseline.Baseline(0.5, 1, paired_answers(right, right)).is_beaten
    assert baseline.baselines(runs, None) == [None] * 3


def test_a_run_that_does_not_say_how_many_images_it_had_is_beside_one_of_all_but_those_set_apart(tmp_path):
    digits = dataclasses.replace(dataset.load("digits"), validation_rows=np.arange(0, 1297, 2))
    run = record.read_run(write_run(tmp_path / "run", data="digits", num_test=None))
    run.record.data.num_train = None
    assert baseline.baselines([run], digits)[0].num_images == 648
