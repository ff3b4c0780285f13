"""Several models as one: means and votes with known numbers, each image read once for each way of reading."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fovea.core.errors import DataError
from fovea.data.preprocess import Preprocess
from fovea.evaluation.ensemble import Ensemble, combine
from fovea.evaluation.predicting import Predictor

CLASSES = ("apple", "pear", "<script>", "=cmd")
PREPROCESS = Preprocess(input_size=32, crop_pct=1.0)


def variant(network: nn.Module, seed: int) -> nn.Module:
    """The same network with another classifier."""
    import copy

    other = copy.deepcopy(network)
    torch.manual_seed(seed)
    nn.init.normal_(other[-1].weight)  # type: ignore[index, arg-type]
    return other


@pytest.fixture
def members(network: nn.Module) -> list[Predictor]:
    ways = (PREPROCESS, PREPROCESS, replace(PREPROCESS, input_size=48))
    return [Predictor(variant(network, seed), way, CLASSES, batch=8) for seed, way in enumerate(ways)]


def test_the_mean_and_the_vote_of_toy_probabilities() -> None:
    says = np.array([[[0.6, 0.4, 0.0]], [[0.5, 0.2, 0.3]], [[0.0, 0.9, 0.1]]])
    np.testing.assert_allclose(combine(says, "average"), [[1.1 / 3, 0.5, 0.4 / 3]], atol=1e-15)
    # two votes for the first class, one for the second, and one divided by the mean
    np.testing.assert_allclose(combine(says, "vote"), [[(2 + 1.1 / 3) / 4, 1.5 / 4, 0.4 / 12]], atol=1e-15)
    assert combine(says, "average").argmax() == 1 and combine(says, "vote").argmax() == 0
    with pytest.raises(ValueError, match="how is 'median'; expected one of"):
        combine(says, "median")


def test_a_draw_goes_to_the_higher_mean() -> None:
    says = np.array([[[0.6, 0.4]], [[0.1, 0.9]]])
    assert combine(says, "vote").argmax() == 1
    assert combine(says[:, :, ::-1], "vote").argmax() == 0
    four = np.array([[[0.9, 0.1, 0]], [[0.9, 0.1, 0]], [[0.4, 0.6, 0]], [[0.4, 0.6, 0]]])
    assert combine(four, "vote").argmax() == 0


def test_votes_sum_to_one_and_the_most_votes_win_whatever_the_means() -> None:
    says = np.random.default_rng(0).dirichlet(np.full(5, 0.3), (7, 400))
    together = combine(says, "vote")
    assert together.sum(axis=1) == pytest.approx(1, abs=1e-12)
    votes = np.eye(5)[says.argmax(axis=2)].sum(axis=0)
    rank = votes + says.mean(axis=0) / 2
    assert (together.argmax(axis=1) == rank.argmax(axis=1)).all()


def test_with_several_labels_the_majority_gives_a_label_and_a_draw_goes_by_the_mean() -> None:
    for models in (2, 3, 4, 5):
        says = np.random.default_rng(models).random((models, 500, 3))
        given = combine(says, "vote", threshold=0.5) >= 0.5
        votes = (says >= 0.5).sum(axis=0)
        majority = np.where(2 * votes == models, says.mean(axis=0) >= 0.5, 2 * votes > models)
        assert (given == majority).all()


@pytest.mark.parametrize("how", ["average", "vote"])
def test_an_ensemble_says_what_its_members_say_together(members: list[Predictor], photos: list[Path], how: str) -> None:
    together = dict(Ensemble(members, how=how).probabilities(photos))
    alone = [dict(member.probabilities(photos)) for member in members]
    for path in photos:
        each = np.stack([answers[path] for answers in alone])[:, None]
        assert np.array_equal(together[path], combine(each, how)[0])
    one = Ensemble(members, how=how).predict(photos[0])
    np.testing.assert_allclose(one.probabilities, together[photos[0]], atol=1e-6)
    assert one.classes == CLASSES


def test_an_image_is_read_once_for_each_way_of_reading(
    members: list[Predictor], photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Preprocess.read
    sizes: list[int] = []

    def counted(self: Preprocess, image: object, **options: int) -> np.ndarray:
        sizes.append(self.input_size)
        return read(self, image, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Preprocess, "read", counted)
    assert len(list(Ensemble(members).probabilities(photos))) == 37
    assert (sizes.count(32), sizes.count(48)) == (37, 37)


def test_bad_files_come_in_their_place(members: list[Predictor], photos: list[Path]) -> None:
    photos[3].write_bytes(b"")
    answers = list(Ensemble(members).probabilities(photos))
    assert [path for path, _ in answers] == photos
    assert [isinstance(answer, DataError) for _, answer in answers].index(True) == 3
    with pytest.raises(DataError, match="empty"):
        Ensemble(members).predict(photos[3])


def test_members_must_be_of_the_same_classes(members: list[Predictor], network: nn.Module) -> None:
    other = Predictor(network, PREPROCESS, ("a", "b", "c", "d"))
    with pytest.raises(ValueError, match="4 members; expected at least one, and all of the same classes"):
        Ensemble([*members, other])
    with pytest.raises(ValueError, match="0 members"):
        Ensemble([])
    with pytest.raises(ValueError, match="how is 'best'"):
        Ensemble(members, how="best")
