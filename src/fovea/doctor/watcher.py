"""Follows a training from what the senses tell, and writes the record.

The senses say: a batch was loaded, a network was called, a loss was computed, a backward began and ended, a step began
and ended. From the order of these the watcher tells training from evaluation: what a backward reached was training.
Most steps are only counted; samples, ever further apart and only while the doctor has used less than its share of the
time, are looked at layer by layer. No random number is drawn and no tensor of the training is changed.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from fovea.doctor import describing
from fovea.doctor.comparing import Comparisons, read_comparison
from fovea.doctor.handed import Handed
from fovea.doctor.layers import LayerWatch
from fovea.doctor.looking import Looking
from fovea.doctor.pace import Pace
from fovea.doctor.pending import Forward, LossCall, sorted_out, whose_scores
from fovea.doctor.record import NonFinite, Optimiser, Phase, Place, Record, Sigmoid
from fovea.doctor.senses.places import calling_place
from fovea.doctor.shown import Figures
from fovea.doctor.tensors import (
    find_given_labels,
    find_inputs,
    find_labels,
    find_places,
    find_scores,
    tensors_of,
)
from fovea.doctor.weights import WeightWatch
from fovea.doctor.writing import Writing

_PENDING = 64  # calls without a backward that are waited for
_LABEL_BATCHES = 400
_SIGMOIDS = 100  # calls of a line
_COMPARED = 1_000_000  # elements of tensors that are compared, beyond which they are no answers


class Watcher:
    """Owns the record of one training.

    Args:
        share: of the time that samples may take.
        strict: let faults of the doctor itself through, for tests.
    """

    def __init__(self, *, share: float = 0.02, strict: bool = False) -> None:
        self.record = Record()
        self.strict = strict
        self.in_backward = False  # layers that run now do so a second time: activations were not kept
        self.pace = Pace(self.record, share=share)
        self._handed = Handed()
        self.files = self._handed.files
        self._writing = Writing(self.record, self.pace, self.files)
        self._looking = Looking(self)
        self._step_ended = self.pace.began
        self._layers = LayerWatch()
        self._weights = WeightWatch()
        self._networks: dict[int, int] = {}  # id of a module -> place in the record
        self._kept: list[Any] = []  # what ids above belong to must not be freed
        self._loaders: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
        self._forwards: list[Forward] = []
        self._losses: list[LossCall] = []
        self._in_network = False  # whether one is running
        self._inside = 0  # losses that were called before the running call of a network began
        self._turn = 0  # grows with each step and each start of a loader: one evaluation lies within one turn
        self._comparisons = Comparisons(self.record, self.pace)
        self._stale: set[int] = set()  # optimisers that the first backward of this step found with used gradients
        self._figures = Figures(self.record)
        self._stops: list[tuple[Callable[[int], bool], type[BaseException]]] = []

    def looking(self) -> Looking:
        """Return the guard within which a sense calls the watcher."""
        return self._looking

    def when(self, enough: Callable[[int], bool], stop: type[BaseException]) -> None:
        """Raise `stop` after a step for whose number `enough` says so."""
        self._stops.append((enough, stop))

    def expect(
        self,
        model: nn.Module | None,
        optimizers: Iterable[Optimizer],
        loaders: Mapping[Phase, DataLoader[Any] | None],
    ) -> None:
        """Take down what somebody says will take part, before it does."""
        if model is not None:
            self._network(model)
        for optimizer in optimizers:
            self._optimiser(optimizer, None)
        for phase, loader in loaders.items():
            if loader is not None:
                place = self._meet_loader(loader)
                self.record.loaders[place].phase = phase
                self._writing.told_loaders.add(place)

    def trouble(self, error: Exception) -> None:
        """Note that something could not be observed."""
        self.not_seen(f"{type(error).__name__}: {error}")

    def not_seen(self, what: str) -> None:
        """Note in words what could not be observed."""
        if what not in self.record.unseen and len(self.record.unseen) < 20:
            self.record.unseen.append(what)

    def finish(self) -> Record:
        """Settle what is pending and return the record."""
        with self._looking:
            self._settle()
            self._assign()
            self._look_at_ends()
            if self.record.steps and not any(step.images for step in self.record.steps):
                self.not_seen("the network in training: within a compiled function there are no hooks")
            self.record.seconds = time.perf_counter() - self.pace.began
            self._layers.finish(self.record.networks, step=self.pace.steps)
        return self.record

    def _look_again(self) -> None:
        """Before another stage of a training, networks may have got a new head, and parameters been set free."""
        for module in self._kept:
            place = self._networks.get(id(module))
            if place is None:
                continue
            now, network = describing.network(module, self._weights.names), self.record.networks[place]
            network.parameters.update(now.parameters)
            network.layers.update({name: each for name, each in now.layers.items() if name not in network.layers})
            self._weights.learn_names(module, place)
            self._layers.learn_names(module, place)
            for name, parameter in describing.named_parameters(module):
                if name in network.parameters:
                    network.parameters[name].trainable |= parameter.requires_grad

    def _look_at_ends(self) -> None:
        """Find out whether running statistics of evaluated networks ever moved, and what was set that is no switch."""
        for module in self._kept:
            network = self.record.networks[self._networks[id(module)]] if id(module) in self._networks else None
            if network is None:
                continue
            network.kept_fresh = describing.kept_fresh(module, network)
            network.mistyped = describing.mistyped_switches(module)
            network.put_in_later = self._weights.put_in_later(module)
            if network.evaluated:
                network.fresh_norms = describing.fresh_norms(module)

    # -- what the senses tell ---------------------------------------------------------------------------------------

    def round_begins(self, loader: DataLoader[Any]) -> None:
        """A DataLoader is iterated from its start."""
        self.record.loaders[self._meet_loader(loader)].rounds += 1
        self._settle_without_backward()
        self._handed.begins(self._loaders[loader])
        self._turn += 1

    def _meet_loader(self, loader: DataLoader[Any]) -> int:
        """Return the place of a loader in the record: that of one like it, where each evaluation makes its own."""
        place = self._loaders.get(loader)
        if place is None:
            self._kept += [loader.dataset, loader.sampler]  # not the loader, whose workers it would keep
            facts = describing.loader(loader)
            place = next((each for each, known in enumerate(self.record.loaders) if known.is_like(facts)), None)
            if place is None:
                place = len(self.record.loaders)
                self.record.loaders.append(facts)
            self._loaders[loader] = place
        return place

    def loaded(self, loader: DataLoader[Any], batch: Any) -> None:
        """A DataLoader hands out a batch."""
        place, labels = self._loaders.get(loader), find_labels(batch)
        self._handed.add(tensors_of([batch]), labels, place, self.pace.steps)
        if place is not None and self.record.loaders[place].moves and not self.record.loaders[place].places:
            self.record.loaders[place].places = find_places(batch)
        if place is None or labels is None or labels.ndim != 1:
            return
        facts = self.record.loaders[place]
        if len(facts.label_batches) < _LABEL_BATCHES and not labels.is_floating_point():
            facts.label_batches.append(labels.detach().cpu().numpy().astype(np.int64))

    def forward_begins(self, module: nn.Module) -> None:
        """A module is called from outside any other."""
        self._inside = len(self._losses)
        self._in_network = self._is_network(module)

    def layer_begins(self, module: nn.Module, args: Any) -> None:
        """At a sample: a module within a network is called."""
        self._layers.begins(module, args)

    def layer(self, module: nn.Module, output: Any) -> None:
        """At a sample: a module within a network has put something out."""
        if torch.is_grad_enabled() or module.training:
            self._layers.seen(module, output, step=self.pace.steps)

    def forward(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        """A module was called from outside any other."""
        self._in_network = False
        if not isinstance(module, nn.Module) or not self._is_network(module):
            return
        own = self._losses[self._inside :]  # a model may compute its loss itself
        self._settle_without_backward()
        place = self._network(module)
        scores, inputs = find_scores(output), find_inputs(args, kwargs)
        if scores is None and inputs is not None and next(tensors_of([output]), None) is not None:
            scores = inputs.new_empty((len(inputs), 0))  # it puts out nothing but its loss
        if scores is None:
            return
        self.record.networks[place].out_dim = scores.shape[-1] or None if scores.ndim == 2 else None
        self._layers.given(module, inputs, self.record.networks, place, step=self.pace.steps)
        inner = next((each for each in own if each.target is not None and len(each.scores) == len(scores)), None)
        labels = find_given_labels(module, args, kwargs, len(scores)) if inner is None else inner.target
        training = describing.in_training(module)
        call = Forward(
            inputs=None if inputs is None else inputs.detach(),
            scores=scores.detach(),
            labels=labels,
            network=place,
            training=training,
            minds_mode=training and describing.minds_mode(module),
            grad=any(each.requires_grad for each in tensors_of([output])),
            batches=self._handed.given(inputs, step=self.pace.steps),
            turn=self._turn,
            step=self.pace.steps,
        )
        if labels is not None:
            self._writing.told(call)
        for each in tensors_of([output]):  # the loss too, if it computes one: the scores beside it may be copies
            if each.requires_grad:
                each.register_hook(lambda gradient: call.reach())
        self._forwards.append(call)

    def loss(self, name: str, given: dict[str, Any], value: torch.Tensor) -> None:
        """A loss function was called."""
        scores, target = given["input"], given.get("target")
        call = LossCall(
            name=name,
            scores=scores.detach(),
            target=target.detach() if isinstance(target, torch.Tensor) else None,
            reduction=str(given.get("reduction", "mean")),
            value=value.detach(),
            where=calling_place(),
            grad=value.requires_grad,
            turn=self._turn,
            step=self.pace.steps,
        )
        if value.requires_grad:
            value.register_hook(call.reach_with)
        self._losses.append(call)
        judged = None if self._in_network else whose_scores(self._forwards, call.scores)
        if judged is not None and call.target is not None and len(judged.scores) == len(call.scores):
            judged.labels = call.target
            self._writing.told(judged)

    def compared(self, one: torch.Tensor, other: torch.Tensor) -> None:
        """Two tensors were compared for equality: perhaps the answers of the last call of a network and its labels."""
        if not self._forwards or self._in_network or max(one.numel(), other.numel()) > _COMPARED:
            return
        call = self._forwards[-1]
        if one.numel() != len(call.scores):
            if one.ndim == 1 and one.shape == other.shape:  # not the best five of each, whose loss may still be told
                self._settle_without_backward()
                self._writing.compared(one, other)
            return
        call.settle()
        if call.labels is not None and self._comparisons.enough():
            return
        found = read_comparison(call.scores, call.labels, one, other)
        if found is None:
            return
        if call.labels is None:
            call.labels = found.labels
            self._writing.told(call)
        self._comparisons.add(found, call.scores, (one, other))

    def sigmoid(self, values: torch.Tensor) -> None:
        """A sigmoid was taken without gradients."""
        where = None if self._in_network else calling_place()
        if where is None or not values.numel():
            return
        known = next((each for each in self.record.sigmoids if each.where == where), None)
        if known is None:
            known = Sigmoid(where)
            self.record.sigmoids.append(known)
        if known.calls < _SIGMOIDS:
            known.calls += 1
            known.values += values.numel()
            low, high = torch.aminmax(values)
            known.of_probabilities += bool(low >= 0) and bool(high <= 1)

    def printed(self, line: str) -> None:
        """Somebody's code has printed a line."""
        self._figures.add(line, step=self.pace.steps)

    def backward_begins(self) -> None:
        """Gradients are about to be computed."""
        if self._writing.step.batches == 0:
            self._stale = self._weights.stale()

    def backward_ends(self, tensors: list[torch.Tensor]) -> None:
        """Gradients have been computed: what they reached was training."""
        self._writing.step.batches += 1
        if tensors and all(each.numel() == 1 for each in tensors):
            value = sum(float(each.detach()) for each in tensors)
            self._writing.backward(value, [call for call in self._losses if call.reached])
        if self.pace.sampling:
            self._weights.arrive()
            if len(tensors) == 1:
                self._writing.graph(tensors[0])
        self._settle_passed()

    def step_begins(self, optimizer: Optimizer) -> None:
        """An optimiser is about to change its parameters; in a closure, forward and backward may still follow."""
        facts = self._optimiser(optimizer, calling_place)
        lr = float(optimizer.param_groups[0]["lr"])
        if facts.lr and facts.lr[-1] != lr:
            facts.lr_set_at.append(len(facts.lr))
        facts.lr.append(lr)
        if self.pace.sampling:
            self._weights.reach(self.record.networks)
            facts.samples += 1
            facts.idle += all(each.grad is None for group in optimizer.param_groups for each in group["params"])
            facts.cleared += self._weights.cleared(optimizer)
            self._weights.before(optimizer)

    def _optimiser(self, optimizer: Optimizer, where: Callable[[], Place | None] | None) -> Optimiser:
        """Return what is known of an optimiser; when it is met for the first time, describe it."""
        if self._weights.meet(optimizer):
            self._look_again()
            self.record.optimisers.append(describing.optimiser(optimizer))
            self._assign()
        facts = self.record.optimisers[self._weights.place(optimizer)]
        if facts.where is None and where is not None:
            facts.where = where()
        return facts

    def _assign(self) -> None:
        """Find out which parameters which optimiser has: networks and parameter groups may come late."""
        networks = [network.parameters for network in self.record.networks]
        for optimizer, facts in zip(self._weights.optimizers, self.record.optimisers, strict=True):
            describing.assign(optimizer, facts, self._weights.names, networks)

    def step_ends(self, optimizer: Optimizer) -> None:
        """An optimiser has changed its parameters."""
        if self.pace.sampling:
            bad = self._weights.after(optimizer, self.record.networks, step=self.pace.steps)
            if bad is not None and self.record.nonfinite is None:
                self.record.nonfinite = NonFinite(self.pace.steps, *bad)
        step = self._writing.step
        step.optimiser = self._weights.place(optimizer)
        step.stale_gradients = step.optimiser in self._stale
        self._stale.discard(step.optimiser)
        self._weights.remember(optimizer)
        now = time.perf_counter()
        step.seconds, self._step_ended = now - self._step_ended, now
        self.record.steps.append(step)
        self._writing.next_step()
        self._turn += 1
        if self.pace.sampling:
            self._blame(self._layers.write(self.record.networks), step=self.pace.steps)
        self.pace.step_taken()
        for enough, stop in self._stops:
            if enough(self.pace.steps):
                raise stop

    def _blame(self, layer: str | None, *, step: int) -> None:
        """A layer's output comes before the loss, the gradients and the weights that it spoils in the same step."""
        known = self.record.nonfinite
        if layer is not None and (known is None or (known.step == step and known.what != "input")):
            self.record.nonfinite = NonFinite(step, "output of", layer)

    def scaled_by(self, scale: Callable[[], float]) -> None:
        """A gradient scaler is in use, which multiplies losses."""
        self._writing.scale = scale

    def step_skipped(self) -> None:
        """A gradient scaler has left a step out, since a gradient was not finite."""
        self.record.skipped_steps += 1
        self._writing.next_step()

    # -- how it is told apart ---------------------------------------------------------------------------------------

    def _is_network(self, module: nn.Module) -> bool:
        """Whether a module has parameters: losses are modules too."""
        return id(module) in self._networks or next(module.parameters(), None) is not None

    def _network(self, module: nn.Module) -> int:
        """Return the network's place in the record; when it is met for the first time, describe it."""
        place = self._networks.get(id(module))
        if place is None:
            self._kept.append(module)
            place = self._weights.place_of(module, self.record.networks)
            network = describing.network(module, self._weights.names)
            if place is None:
                place = len(self.record.networks)
                self.record.networks.append(network)
                self._weights.learn_names(module, place)
                self._layers.learn_names(module, place)
                self._assign()
            self._networks[id(module)] = place
            for kind in describing.compiled_parts(module):
                self.not_seen(f"the layers within {kind}, which is compiled")
        return place

    def _settle_without_backward(self) -> None:
        """What had no gradient was evaluation; too much of what waits for a backward was evaluation too."""
        for call in [call for call in self._forwards if not call.grad]:
            self._writing.evaluated(call)
        self._forwards = [call for call in self._forwards if call.grad]
        for loss in [loss for loss in self._losses if not loss.grad]:
            self._writing.evaluated_loss(loss)
        self._losses = [loss for loss in self._losses if loss.grad]
        while len(self._forwards) > _PENDING:
            self._writing.evaluated(self._forwards.pop(0))
        while len(self._losses) > _PENDING:
            self._writing.evaluated_loss(self._losses.pop(0))

    def _settle_passed(self) -> None:
        """After a backward, write down what it has reached and what it was the second one to pass over."""
        settled, self._forwards = sorted_out(self._forwards)
        for call in settled:
            (self._writing.trained if call.reached else self._writing.evaluated)(call)
        done, self._losses = sorted_out(self._losses)
        for loss in done:
            (self._writing.trained_loss if loss.reached else self._writing.evaluated_loss)(loss)

    def _settle(self) -> None:
        """Write down all that is pending."""
        for call in self._forwards:
            (self._writing.trained if call.reached else self._writing.evaluated)(call)
        for loss in self._losses:
            (self._writing.trained_loss if loss.reached else self._writing.evaluated_loss)(loss)
        self._forwards, self._losses = [], []
