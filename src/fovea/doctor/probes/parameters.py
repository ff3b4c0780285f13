"""Faults of what is trained: parameters that no optimiser has, that are frozen, or that were never meant to be."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from fovea.core.wording import counted, listed
from fovea.doctor.describing import has_usual_spread
from fovea.doctor.finding import PROBES, Diagnosis
from fovea.doctor.reading import LEARNT, accuracy_of_steps, poor
from fovea.doctor.record import Mistyped, Network, Parameter, Record

_PART_BATCHES = 20  # in training mode, after which a part of a network is no mere try


@PROBES.register("optimizer-misses-parameters", summary="trainable parameters that no optimiser has")
def optimizer_misses_parameters(record: Record) -> Iterator[Diagnosis]:
    """Trainable parameters of a network that is trained, which a gradient reaches and no optimiser has.

    Of several networks, one without an optimiser may be there to judge another; not where an optimiser has nothing but
    parameters that no gradient reaches.
    """
    idle = any(each.samples and each.idle == each.samples for each in record.optimisers)
    for network in record.networks:
        yield from _put_in_later(record, network)
        own = list(network.parameters.values())
        trained = [each for each in own if each.optimised]
        missed = [each for each in own if each.trainable and each.reached and not each.optimised]
        if not missed or len(record.steps) < 1 or not (trained or idle or len(record.networks) == 1):
            continue
        share = _size(missed) / max(1, _size(own))
        in_lists = [each for each in missed if "[" in each.name]
        on_purpose = bool(trained) and network.pretrained_hint
        yield Diagnosis(
            code="optimizer-misses-parameters",
            confidence=0.5 if on_purpose else 0.95 if not trained or share > 0.02 else 0.8,
            severity="note" if on_purpose else "alarm",
            message=f"the optimiser has none of {counted(len(missed), 'trainable parameter')} of {network.kind} "
            f"({100 * share:.1f} % of its weights), so they never change: "
            f"{listed([each.name for each in missed], limit=3)}"
            + ("; it optimises another network's parameters" if not trained else ""),
            fix="hold modules in nn.ModuleList or nn.ModuleDict: those in a plain list or dict, such as "
            f"{in_lists[0].module}, are not among model.parameters()"
            if in_lists
            else "build the optimiser from model.parameters() after the network is complete (a head that is replaced "
            "later is not in it); to freeze on purpose, set requires_grad to False",
            confirm="every trainable parameter changes in a step",
            evidence={"missed": [each.name for each in missed][:50], "share": round(share, 4)},
            where=record.optimisers[0].where if record.optimisers else None,
        )
        if not trained:
            return  # of k folds, each has a network of its own


def _put_in_later(record: Record, network: Network) -> Iterator[Diagnosis]:
    names = network.put_in_later
    if names and record.optimisers:
        yield Diagnosis(
            code="optimizer-misses-parameters",
            confidence=0.95,
            message=f"{counted(len(names), 'parameter')} of {network.kind} ({listed(names, limit=3)}) were put in "
            "after the training had begun: they get gradients, but the optimiser still has those that they replaced, "
            "so they never change",
            fix="build the optimiser anew after a layer is replaced, or add_param_group its parameters",
            confirm="every trainable parameter changes in a step",
            evidence={"parameters": names[:50]},
            where=record.optimisers[-1].where,
        )


@PROBES.register("frozen-parameters", summary="parameters that never change")
def frozen_parameters(record: Record) -> Iterator[Diagnosis]:
    """Parameters with requires_grad False, or with a gradient and no update."""
    told: list[list[Mistyped]] = []
    for network in record.networks:
        own = list(network.parameters.values())
        yield from _kept_fresh(record, network)
        if not any(each.optimised for each in own):
            continue
        if network.mistyped not in told:  # a part of a network may be called alone, too
            told.append(network.mistyped)
            yield from _mistyped(network)
        stuck = [each for each in own if _stuck(each, _rate(record, each))]
        frozen = [each for each in own if not each.trainable]
        if stuck:
            yield Diagnosis(
                code="frozen-parameters",
                confidence=0.85,
                message=f"{counted(len(stuck), 'parameter')} of {network.kind} have gradients but never change: "
                f"{listed([each.name for each in stuck], limit=3)}",
                fix="give their parameter group a learning rate above 0",
                confirm="their values change in a step",
                evidence={"stuck": [each.name for each in stuck][:50]},
                where=stuck[0].name,
            )
        elif frozen and _size(frozen) > 0.2 * _size(own):
            fresh = [each for each in frozen if has_usual_spread(each)]
            known = len(fresh) > 0.5 * len([each for each in frozen if len(each.shape) > 1])
            harmful = (poor(record) or bool(network.kept_fresh)) and known and not network.pretrained_hint
            harmful = harmful and not accuracy_of_steps(record, last=50) > LEARNT  # random features may do
            yield Diagnosis(
                code="frozen-parameters",
                confidence=0.85 if harmful and poor(record) else 0.65 if harmful else 0.5,
                severity="alarm" if harmful else "note",
                message=f"{100 * _size(frozen) / _size(own):.0f} % of the weights of {network.kind} are frozen "
                f"(requires_grad is False)"
                + (", though they look as if freshly drawn" if harmful else "")
                + (", and the network does not learn" if harmful and poor(record) else ""),
                fix="unfreeze them: requires_grad_(True), before the optimiser is built",
                confirm="training accuracy rises further",
                evidence={"frozen": [each.name for each in frozen][:50]},
                where=frozen[0].name,
            )


def _kept_fresh(record: Record, network: Network) -> Iterator[Diagnosis]:
    """Yield what is frozen though nobody has trained it: new layers of a pretrained network, or a part called alone.

    Such a part need not be meant to learn (random features); one that is set to train, with BatchNorm or dropout, is.
    """
    own = [each for each in network.parameters.values() if len(each.shape) > 1]
    fresh = [each for each in own if each.name in network.kept_fresh]
    part = fresh == own and network.unreached >= _PART_BATCHES and any(each.optimised for each in _all(record))
    if fresh and (part or (network.pretrained_hint and any(each.optimised for each in own))):
        yield Diagnosis(
            code="frozen-parameters",
            confidence=0.75,
            message=f"{listed([each.name for each in fresh], limit=3)} of {network.kind} cannot learn (requires_grad "
            "is False) and are as freshly drawn as they were at the start: what comes after them sees the image "
            "through random weights",
            fix="freeze only what was trained before: requires_grad_(True) for new layers, before the optimiser is "
            "built",
            confirm="they change in a step, and training accuracy rises further",
            evidence={"frozen": [each.name for each in fresh][:50]},
            where=fresh[0].name,
        )


def _all(record: Record) -> Iterator[Parameter]:
    return (each for network in record.networks for each in network.parameters.values())


def _mistyped(network: Network) -> Iterator[Diagnosis]:
    """Yield what was meant to freeze or to free parameters and did not: a module's or a misspelt `requires_grad`."""
    for value in (True, False):
        found = [each for each in network.mistyped if each.value is value]
        if not found:
            continue
        meant = [name for each in found for name in each.parameters]
        first = found[0]
        yield Diagnosis(
            code="frozen-parameters",
            confidence=0.95,
            message=f"{first.name or network.kind}.{first.attribute} = {value} was set, which is no switch of "
            f"PyTorch's and changes nothing: {counted(len(meant), 'parameter')} of {network.kind} "
            + ("stayed frozen" if value else "went on learning, though meant to be frozen"),
            fix=f"call requires_grad_({value}) on the module, or set parameter.requires_grad = {value}",
            confirm="their values change in a step" if value else "their values no longer change",
            evidence={"set_on": [f"{each.name}.{each.attribute}" for each in found][:50], "meant": meant[:50]},
            where=meant[0],
        )


def _stuck(parameter: Parameter, rate: float) -> bool:
    """Whether a parameter never changed though its gradients are not lost in rounding at this learning rate."""
    if not parameter.steps or max(parameter.update) != 0:
        return False
    gradient, weight = float(np.nanmax([*parameter.gradient, 0])), max(parameter.weight)
    return gradient > 1e-4 * weight and (rate == 0 or rate * gradient > 1e-5 * max(weight, 1e-3))


def _rate(record: Record, parameter: Parameter) -> float:
    """Return the learning rate that a parameter's group began with."""
    for optimiser in record.optimisers:
        for group in optimiser.groups:
            if parameter.name in group.names:
                return float(group.settings.get("lr") or 0)
    return math.nan


def _size(parameters: list[Parameter]) -> int:
    return sum(math.prod(each.shape) for each in parameters)
