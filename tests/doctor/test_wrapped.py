"""What libraries put around a training: loaders that fetch ahead, modules around modules, functions bound before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler, TensorDataset

from fovea.doctor.watching import Doctor

from .loops import alarms, digits, network, sgd

Pair = tuple[torch.Tensor, torch.Tensor]


def data(first: int = 0, end: int = 320) -> TensorDataset:
    values, labels = digits()
    return TensorDataset(values[first:end], labels[first:end])


def one_ahead(loader: DataLoader[Any]) -> Iterator[Pair]:
    """Fetch the next batch before the current one is used, as accelerate and timm do."""
    current = None
    for following in loader:
        if current is not None:
            yield current
        current = following
    yield current  # type: ignore[misc]


def all_at_once(loader: DataLoader[Any]) -> Iterator[Pair]:
    yield from list(loader)


def by_hand(scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """A cross-entropy that is none of PyTorch's functions: who watches is told no labels."""
    return -scores.log_softmax(dim=1)[torch.arange(len(labels)), labels].mean()


@pytest.mark.parametrize("fetch", [iter, one_ahead, all_at_once])
@pytest.mark.parametrize("moved", [lambda images: images, torch.clone], ids=["as loaded", "copied"])
def test_labels_are_those_of_the_batch_that_the_network_is_given(
    fetch: Callable[[DataLoader[Any]], Iterator[Pair]], moved: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    model = network(dropout=0.0)
    optimizer = sgd(model)
    right, judged = [], 0
    with Doctor(strict=True) as doctor:
        for _ in range(2):
            for images, labels in fetch(DataLoader(data(), batch_size=32, shuffle=True)):
                scores = model(moved(images))
                by_hand(scores, labels).backward()
                optimizer.step()
                optimizer.zero_grad()
                right.append(int((scores.argmax(1) == labels).sum()))
            model.eval()
            with torch.no_grad():
                for images, labels in fetch(DataLoader(data(1200, 1520), batch_size=32)):
                    judged += int((model(moved(images)).argmax(1) == labels).sum())
            model.train()
    assert [step.right for step in doctor.record.steps] == right
    assert sum(each.right for each in doctor.record.rounds) == judged
    assert [(each.images, each.judged) for each in doctor.record.rounds] == [(320, 320)] * 2
    assert sorted({str(each.phase) for each in doctor.record.loaders}) == ["eval", "train"]


def test_labels_are_unknown_where_the_batch_cannot_be_told() -> None:
    model = network(dropout=0.0)
    optimizer = sgd(model)
    with Doctor(strict=True) as doctor:
        for images, labels in one_ahead(DataLoader(data(), batch_size=32, shuffle=True)):
            by_hand(model(2 * images - 1), labels).backward()
            optimizer.step()
            optimizer.zero_grad()
        with torch.no_grad():
            model(2 * digits()[0][:32])  # of no loader, as long as a batch
    assert {step.right for step in doctor.record.steps} == {-1}
    assert [each.judged for each in doctor.record.rounds] == [0]


class Task(nn.Module):
    """Computes network and loss in one, as timm's tasks do; its own mode is never set."""

    def __init__(self, model: nn.Module, teacher: nn.Module) -> None:
        super().__init__()
        self.model, self.teacher = model, teacher.requires_grad_(False)

    def forward(self, images: torch.Tensor, target: torch.Tensor) -> dict[str, torch.Tensor]:
        scores = self.model(images)
        return {"loss": by_hand(scores, target), "output": scores}


@pytest.mark.parametrize("first", ["task", "network"])
def test_a_module_around_the_network_is_the_same_network(first: str) -> None:
    model = network()
    task = Task(model, nn.Linear(2, 2))
    optimizer = sgd(model)
    with Doctor(strict=True) as doctor:
        for epoch in range(3):
            model.train()
            for images, labels in one_ahead(DataLoader(data(0, 960), batch_size=32, shuffle=True)):
                if first == "task" or epoch:
                    task(images + 0, labels)["loss"].backward()
                    optimizer.step()
                    optimizer.zero_grad()
            model.eval()
            with torch.inference_mode():
                for images, labels in DataLoader(data(1200, 1500), batch_size=100):
                    cross_entropy(model(images), labels)
    seen = doctor.record
    assert all(step.right >= 0 and step.images == 32 and not step.eval_mode for step in seen.steps)
    assert [(each.judged, each.training_mode) for each in seen.rounds] == [(300, 0)] * 3
    prefix = "model." if first == "task" else ""
    parameters = [each for one in seen.networks for each in one.parameters.values() if each.trainable]
    assert len(parameters) == len(list(model.parameters()))
    assert all(each.optimised and each.steps for each in parameters)
    assert f"{prefix}0.weight" in seen.networks[0].parameters
    assert alarms(doctor) == []


def test_the_mode_is_that_of_the_trained_layers() -> None:
    body, head = network(), nn.Linear(10, 10)
    whole = nn.Sequential(body, head)
    body.requires_grad_(False)
    images, labels = digits()
    optimizer = torch.optim.SGD(whole.parameters(), lr=0.01)
    with Doctor(strict=True) as doctor:
        for trained, left in ((head, body), (body, head)):  # a frozen body is in evaluation mode on purpose
            left.requires_grad_(False)
            trained.requires_grad_(True)
            whole.train()
            body.eval()
            cross_entropy(whole(images[:32]), labels[:32]).backward()
            optimizer.step()
    assert [step.eval_mode for step in doctor.record.steps] == [False, True]


def test_a_function_that_was_bound_before_is_heard() -> None:
    code, scores = functional.cross_entropy.__code__, torch.zeros(2, 3)
    with Doctor(strict=True) as doctor:
        assert functional.cross_entropy is cross_entropy
        cross_entropy(scores, torch.tensor([0, 1]), label_smoothing=0.1)
        with pytest.raises(IndexError, match="Target 7 is out of bounds"):
            cross_entropy(scores, torch.tensor([0, 7]))
    cross_entropy(scores, torch.tensor([0, 1]))
    assert cross_entropy.__code__ is code
    assert [(each.name, each.calls) for each in doctor.record.losses] == [("cross_entropy", 1)]
    assert str(doctor.record.losses[0].where).startswith("tests/doctor/test_wrapped.py:")


def test_layers_that_run_again_in_the_backward_pass_are_no_evaluation() -> None:
    blocks = nn.ModuleList([nn.Sequential(nn.Linear(64, 64), nn.ReLU()), nn.Linear(64, 10)])

    class Saving(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = blocks

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            hidden = images.flatten(1)
            for block in self.blocks:
                hidden = checkpoint(block, hidden, use_reentrant=False)
            return hidden

    model = Saving()
    optimizer = sgd(model)
    images, labels = digits()
    with Doctor(strict=True) as doctor:
        for start in range(0, 320, 32):
            optimizer.zero_grad()
            cross_entropy(model(images[start : start + 32]), labels[start : start + 32]).backward()
            optimizer.step()
    assert [step.images for step in doctor.record.steps] == [32] * 10
    assert len(doctor.record.networks) == 1 and doctor.record.rounds == []


def test_a_backward_pass_of_several_losses_at_once() -> None:
    model = network(dropout=0.0)
    optimizer = sgd(model)
    images, labels = digits()
    with Doctor(strict=True) as doctor:
        scores = model(images[:32])
        torch.autograd.backward([by_hand(scores, labels[:32]), scores.square().mean()])
        optimizer.step()
    expected = float((by_hand(scores, labels[:32]) + scores.square().mean()).detach())
    assert doctor.record.steps[0].loss == pytest.approx(expected, rel=1e-5)
    assert (doctor.record.steps[0].batches, doctor.record.steps[0].images) == (1, 32)


@pytest.mark.parametrize("sampler", [RandomSampler, SequentialSampler])
def test_a_loader_that_was_given_its_batches_is_described_by_them(sampler: Any) -> None:
    loader = DataLoader(data(), batch_sampler=BatchSampler(sampler(data()), 16, drop_last=True))
    with Doctor(strict=True) as doctor:
        next(iter(loader))
    seen = doctor.record.loaders[0]
    assert (seen.shuffled, seen.batch_size) == (sampler is RandomSampler, 16)


def test_a_sum_that_is_divided_by_its_number_is_a_mean() -> None:
    images, labels = digits()
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for scaled, divisor, expected in ((False, 64, "mean"), (True, 64, "mean"), (False, 1, "sum"), (True, 1, "sum")):
        model = network(dropout=0.0)
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-9)
        with Doctor(strict=True) as doctor:
            for start in (0, 32):  # two batches, and one step of 64 images
                scores = model(images[start : start + 32])
                loss = cross_entropy(scores, labels[start : start + 32], reduction="sum") / divisor
                (scaler.scale(loss) if scaled else loss).backward()
            optimizer.step()
            model.eval()
            with torch.no_grad():
                cross_entropy(model(images[1000:1050]), labels[1000:1050], reduction="sum")
        assert doctor.record.losses[0].reduction == expected
        assert doctor.record.steps[0].loss == pytest.approx(2.3 if expected == "mean" else 32 * 2.3, rel=0.2)
        assert doctor.record.rounds[0].loss == pytest.approx(2.3, rel=0.3)


class Averaging(nn.Module):
    """Holds the network and an average of it that nobody trains, as timm's task does."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.average = model, network()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.model(images)


def test_a_copy_that_no_gradient_reaches_needs_no_optimiser() -> None:
    images, labels = digits()
    for missed in (False, True):
        task = Averaging(network())
        optimizer = sgd(task.model if not missed else task.model[0])
        with Doctor(strict=True) as doctor:
            for start in range(0, 320, 32):
                optimizer.zero_grad()
                cross_entropy(task(images[start : start + 32]), labels[start : start + 32]).backward()
                optimizer.step()
                with torch.no_grad():
                    task.average.eval()(images[1200:1210])
        told = [finding.message for finding in doctor.findings if finding.code == "optimizer-misses-parameters"]
        assert len(told) == missed
        assert all("12 trainable parameters" not in each and "average" not in each for each in told)


def test_a_compiled_network_within_a_module_that_has_no_length() -> None:
    class Unsized(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = network()

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.net(images)

    model = Unsized()
    task = Task(torch.compile(model, backend="eager"), nn.Linear(2, 2))  # type: ignore[arg-type]
    optimizer = sgd(model)
    images, labels = digits()
    with Doctor(strict=True) as doctor:
        for start in range(0, 96, 32):
            task(images[start : start + 32], labels[start : start + 32])["loss"].backward()
            optimizer.step()
    assert [step.images for step in doctor.record.steps] == [32] * 3
    assert doctor.record.unseen == ["the layers within Unsized, which is compiled"]


def test_loaders_that_are_made_anew_are_one_and_pictures_come_from_all_of_an_evaluation() -> None:
    images, labels = digits()
    order = labels[600:].argsort()  # as a folder of folders
    held = TensorDataset(images[600:][order], labels[600:][order])
    model = network().eval()
    with Doctor(strict=True) as doctor, torch.no_grad():
        for _ in range(2):
            for batch, target in DataLoader(held, batch_size=100):
                cross_entropy(model(batch), target)
    assert [(each.rounds, each.images) for each in doctor.record.loaders] == [(2, 1197)]
    assert set(doctor.record.galleries["eval"].labels) == set(range(10))


def test_tokens_that_attention_lets_meet_are_not_said_to_see_a_patch_only() -> None:
    class Attending(nn.Module):
        """A vision transformer whose attention is a function, as in Hugging Face's and timm's."""

        def __init__(self) -> None:
            super().__init__()
            self.patches = nn.Conv2d(1, 16, 2, stride=2)
            self.query, self.key, self.value, self.head = (nn.Linear(16, each) for each in (16, 16, 16, 10))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            tokens = self.patches(images).flatten(2).transpose(1, 2)  # (B, C, H, W) -> (B, N, C)
            met = functional.scaled_dot_product_attention(self.query(tokens), self.key(tokens), self.value(tokens))
            return self.head(met.mean(dim=1))

    model = Attending()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    with Doctor(strict=True) as doctor:
        for images, labels in DataLoader(data(), batch_size=32):
            optimizer.zero_grad()
            cross_entropy(model(images), labels).backward()
            optimizer.step()
    assert "receptive-field" not in [finding.code for finding in doctor.findings]


def test_networks_within_transforms_are_said_to_be_unseen_in_one_sentence() -> None:
    values, labels = digits()
    model = network(dropout=0.0).eval()
    weights = {name: each.detach() for name, each in model.named_parameters()}

    def loss(given: dict[str, torch.Tensor], image: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        scores = torch.func.functional_call(model, given, (image[None],))
        assert (scores.argmax(1) == label[None]).shape == (1,)
        return functional.cross_entropy(functional.dropout(scores, 0.1, training=False), label[None])

    of_each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))
    alone = of_each(weights, values[:8], labels[:8])
    with Doctor() as doctor:
        watched = of_each(weights, values[:8], labels[:8])
    assert all(torch.equal(alone[name], watched[name]) for name in alone)
    assert doctor.record.unseen == [
        "networks within a transform of torch.func (vmap, grad ...): it gives them no values"
    ]
    assert doctor.text().splitlines()[1] == f"not seen: {doctor.record.unseen[0]}"
