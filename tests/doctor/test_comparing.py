"""What a script compares with labels: labels that nobody else tells, answers that are not the scores', wrong shapes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from fovea.doctor.comparing import read_comparison
from fovea.doctor.watching import Doctor, watch

from .loops import alarms, digits, epoch_by_hand, network, sgd

SCORES = torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 0.5], [0.0, 0.2, 0.1], [0.3, 0.1, 0.2]])
LABELS = torch.tensor([0, 1, 2, 0])
Evaluate = Callable[[nn.Module, torch.Tensor, torch.Tensor], object]


def by_hand(evaluate: Evaluate, *, binary: bool = False, epochs: int = 3, sigmoid: bool = False) -> Doctor:
    """Train on tensors without a loader, and evaluate as somebody would who needs no loss for it."""
    torch.manual_seed(0)
    images, labels = digits()
    model = network()
    if binary:
        labels = (labels % 2).float()
        model[-1] = nn.Sequential(nn.Linear(64, 1), nn.Flatten(0), *[nn.Sigmoid()] * sigmoid)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    loss_of = functional.cross_entropy
    if binary:
        loss_of = functional.binary_cross_entropy if sigmoid else functional.binary_cross_entropy_with_logits
    with Doctor(strict=True) as doctor:
        for _ in range(epochs):
            model.train()
            for rows in torch.randperm(1200).split(40):
                optimizer.zero_grad()
                loss_of(model(images[rows]), labels[rows]).backward()
                optimizer.step()
            model.eval()
            with torch.no_grad():
                evaluate(model, images[1200:], labels[1200:])
    return doctor


def at_once(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> object:
    return (model(images).argmax(1) == labels).float().mean().item()


def errors(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> object:
    return sum(
        int(torch.ne(labels[start : start + 100], model(images[start : start + 100]).argmax(1)).sum())
        for start in range(0, len(images), 100)
    )


def gathered(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> object:
    answers = torch.cat([model(batch).argmax(1) for batch in images.split(100)])
    return answers.eq(labels).float().mean().item()


@pytest.mark.parametrize("evaluate", [at_once, errors, gathered])
def test_labels_of_an_evaluation_by_hand_are_learnt_from_its_comparison(evaluate: Evaluate) -> None:
    doctor = by_hand(evaluate)
    assert [(each.images, each.judged) for each in doctor.record.rounds] == [(597, 597)] * 3
    last = doctor.record.rounds[-1]
    assert last.accuracy > 0.9 and last.confusion is not None and last.confusion.sum() == 597
    assert doctor.healthy, doctor.text()


def test_a_second_sigmoid_in_the_metric_is_named() -> None:
    """The question that fovea began with: the loss is low, and accuracy sits at 50 %."""

    def rounded(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> object:
        return (torch.round(torch.sigmoid(model(images))) == labels).float().mean()

    doctor = by_hand(rounded, binary=True, sigmoid=True)
    assert alarms(doctor)[:1] == ["decision-threshold"], doctor.text()
    found = doctor.findings[0]
    assert found.evidence["shown"] < 0.55 and found.evidence["of_scores"] > 0.85
    assert "all of a batch being the same" in found.message and "test_comparing.py:" in str(found.where)


def test_raw_scores_cut_as_if_they_were_probabilities_are_named_where_it_costs() -> None:
    def above(limit: float) -> Evaluate:
        return lambda model, images, labels: ((model(images) > limit).float() == labels).sum()

    assert alarms(by_hand(above(3.0), binary=True))[:1] == ["decision-threshold"]
    assert not alarms(by_hand(above(0.0), binary=True))
    assert not alarms(by_hand(above(0.5), binary=True))  # hardly costs anything


def test_a_comparison_of_shapes_that_do_not_fit_is_named() -> None:
    def kept(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> object:
        return (model(images).argmax(1, keepdim=True) == labels).float().mean()

    doctor = by_hand(kept)
    assert alarms(doctor)[:1] == ["metric-wrong"], doctor.text()
    assert "(597, 1) with (597,)" in doctor.findings[0].message


def test_other_comparisons_of_labels_say_nothing() -> None:
    def pairs(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> object:
        model(images)
        partner = labels[torch.randperm(len(labels))]
        same = labels[:, None] == labels[None, :]  # which pairs are of one class, for a metric loss
        return same, partner == labels, labels == 3, labels.eq(labels)

    for binary in (False, True):
        doctor = by_hand(pairs, binary=binary)
        assert not doctor.record.compared or doctor.record.compared[0].spread == 0
        assert not alarms(doctor), doctor.text()


def test_comparisons_give_what_they_gave_and_are_left_as_they_were() -> None:
    before = torch.Tensor.__eq__, torch.Tensor.eq, torch.eq, torch.Tensor.__ne__
    with watch():
        assert torch.eq(LABELS, LABELS).all() and (torch.tensor([0, 1, 1, 0]) == LABELS).tolist() == [1, 1, 0, 1]
        assert (LABELS == 1).sum() == 1 and (LABELS != LABELS).sum() == 0 and LABELS != "a word"
    assert before == (torch.Tensor.__eq__, torch.Tensor.eq, torch.eq, torch.Tensor.__ne__)


@pytest.mark.parametrize("swapped", [False, True])
def test_which_side_has_the_labels_is_found_out(swapped: bool) -> None:
    pair = (SCORES.argmax(1), LABELS)
    found = read_comparison(SCORES, None, *(pair[::-1] if swapped else pair))
    assert found is not None and found.labels.tolist() == LABELS.tolist()
    assert (found.right, found.of_scores, found.answers, found.cut, found.spread) == (3, 3, 2, None, False)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (LABELS, torch.tensor([3, 4, 5, 9])),  # neither is what the scores say
        (SCORES.argmax(1), torch.tensor([0, 1, 2, 7])),  # no class of these
        (SCORES.argmax(1).float(), torch.tensor([0.0, 0.5, 1.0, 0.0])),
        (LABELS[:3], LABELS[:3]),
    ],
)
def test_what_is_no_comparison_of_answers_is_left_alone(one: torch.Tensor, other: torch.Tensor) -> None:
    assert read_comparison(SCORES, None, one, other) is None


def test_answers_to_yes_and_no_are_a_cut_of_the_scores_or_something_else() -> None:
    scores, labels = torch.tensor([0.9, 0.8, 0.2, 0.1]), torch.tensor([1.0, 1.0, 0.0, 0.0])
    ones = read_comparison(scores, labels, torch.ones(4), labels)
    assert ones is not None and (ones.right, ones.of_scores, ones.answers, ones.cut) == (2, 4, 1, True)
    mixed = read_comparison(scores, labels, labels, torch.tensor([0.0, 1.0, 0.0, 1.0]))
    assert mixed is not None and mixed.cut is False


def test_the_best_five_of_each_before_the_loss_take_no_labels_away() -> None:
    """ImageNet's accuracy(), with a comparison of (5, B) that comes before the loss has told the labels."""

    def top_five(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> object:
        for part, truths in zip(images.split(100), labels.split(100), strict=True):
            scores = model(part)
            best = scores.topk(5, 1)[1].t()
            best.eq(truths.view(1, -1).expand_as(best)).sum()
            functional.cross_entropy(scores, truths)
        return None

    doctor = by_hand(top_five)
    assert [(each.images, each.judged) for each in doctor.record.rounds] == [(597, 597)] * 3


def with_prototypes(*, sign: int) -> Doctor:
    """Train embeddings towards fixed directions of the classes by a loss of one's own, and count right answers."""
    torch.manual_seed(0)
    images, labels = digits()
    directions = torch.linalg.qr(torch.randn(16, 16))[0][:10]
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 16))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    train = DataLoader(TensorDataset(images[:1200], labels[:1200]), batch_size=40, shuffle=True)
    held = DataLoader(TensorDataset(images[1200:], labels[1200:]), batch_size=100)
    with Doctor(strict=True) as doctor:
        for _ in range(8):
            for batch, truths in train:
                optimizer.zero_grad()
                (sign * functional.cosine_similarity(model(batch), directions[truths]).mean()).backward()
                optimizer.step()
            with torch.no_grad():
                for batch, truths in held:
                    assert ((model(batch) @ directions.T).argmax(1) == truths).ndim == 1
    return doctor


def test_answers_that_are_worse_than_any_guess_tell_of_a_wrong_sign() -> None:
    doctor = with_prototypes(sign=1)
    assert alarms(doctor) == ["loss-sign"], doctor.text()
    assert doctor.findings[0].evidence["accuracy"] < 0.02 and "test_comparing.py:" in str(doctor.findings[0].where)
    assert not alarms(with_prototypes(sign=-1))


def test_the_lowest_score_taken_for_the_answer_is_named() -> None:
    images, labels = digits()
    model, held = network(), DataLoader(TensorDataset(images[1200:], labels[1200:]), batch_size=100)
    optimizer = sgd(model)
    with Doctor(strict=True) as doctor:
        for _ in range(3):
            epoch_by_hand(model, optimizer, images[:1200], labels[:1200])
            model.eval()
            with torch.no_grad():
                for batch, truths in held:
                    assert (model(batch).argmin(1) == truths).ndim == 1
    assert alarms(doctor)[:1] == ["metric-wrong"], doctor.text()
    assert doctor.findings[0].evidence["shown"] < 0.1 < 0.8 < doctor.findings[0].evidence["of_scores"]
