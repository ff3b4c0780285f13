"""How parameters move: norms of weights, gradients and updates at samples, how gradients are spread, and which of them
were never cleared.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer

from fovea.doctor.describing import named_parameters
from fovea.doctor.magnitudes import shares, thinned
from fovea.doctor.record import NAN, Network
from fovea.doctor.tensors import read_all

_WATCHED = 3  # parameters by which uncleared gradients are told
_COARSE = (torch.bfloat16, torch.float16)


class WeightWatch:
    """Knows optimisers and parameters by identity."""

    def __init__(self) -> None:
        self.names: dict[int, tuple[int, str]] = {}  # id of a parameter -> place of its network, name there
        self._parameters: dict[int, torch.Tensor] = {}  # by their ids, which they must keep
        self.optimizers: list[Optimizer] = []  # as they were met
        self._before: list[tuple[torch.Tensor, torch.Tensor]] = []  # parameter, its values before the step
        # of each optimiser: parameter, gradient, its version after the step
        self._used: dict[int, list[tuple[torch.Tensor, torch.Tensor, int]]] = {}
        self._arrived: set[int] = set()  # optimisers that the last backward has given gradients

    def learn_names(self, network: nn.Module, place: int) -> None:
        """Learn the names of the parameters of the network at a place of the record."""
        for name, parameter in named_parameters(getattr(network, "_orig_mod", network)):
            self.names.setdefault(id(parameter), (place, name))
            self._parameters.setdefault(id(parameter), parameter)

    def place_of(self, module: nn.Module, networks: Sequence[Network]) -> int | None:
        """Return the place of a network that is known already and has the same weights, if a module is but a wrapper.

        It need not have those that are not trained: timm's task holds a teacher too, where its evaluation does not.
        """
        found = [self.names.get(id(parameter)) for parameter in module.parameters()]
        known = [each for each in found if each is not None]
        if len(known) < len(found) or len({place for place, _ in known}) != 1:
            return None
        place = known[0][0]
        parameters = networks[place].parameters
        trained = [each for each in parameters.values() if each.optimised] or [
            each for each in parameters.values() if each.trainable
        ]
        return place if {each.name for each in trained} <= {name for _, name in known} else None

    def put_in_later(self, network: nn.Module) -> list[str]:
        """Return the parameters that a network was given after it was met, and that get gradients but no steps."""
        stepped = {id(parameter) for optimizer in self.optimizers for parameter in _parameters(optimizer)}
        return [
            name
            for name, parameter in named_parameters(getattr(network, "_orig_mod", network))
            if id(parameter) not in stepped
            and id(parameter) not in self.names
            and parameter.requires_grad
            and parameter.grad is not None
            and bool(parameter.grad.any())
        ]

    def reach(self, networks: Sequence[Network]) -> None:
        """Note which of the parameters that no optimiser has a gradient has reached: copies that average have none."""
        for key, (place, name) in self.names.items():
            parameter = networks[place].parameters[name]
            if not parameter.optimised and not parameter.reached:
                parameter.reached = self._parameters[key].grad is not None

    def meet(self, optimizer: Optimizer) -> bool:
        """Return whether an optimiser is met for the first time."""
        if any(known is optimizer for known in self.optimizers):
            return False
        self.optimizers.append(optimizer)
        return True

    def place(self, optimizer: Optimizer) -> int:
        """Return the number of an optimiser that was met."""
        return next(place for place, known in enumerate(self.optimizers) if known is optimizer)

    def before(self, optimizer: Optimizer) -> None:
        """Keep the parameters' values before a step."""
        self._before = [
            (parameter, parameter.detach().clone())
            for parameter in _parameters(optimizer)
            if parameter.requires_grad and id(parameter) in self.names
        ]

    def after(self, optimizer: Optimizer, networks: list[Network], *, step: int) -> tuple[str, str] | None:
        """Write the norms of weights, gradients and updates; return kind and name of what is not finite, or None."""
        if not self._before:
            return None
        old = [values for _, values in self._before]
        unmoved = {
            place: _unmoved(parameter, old[place])
            for place, (parameter, _) in enumerate(self._before)
            if parameter.dtype in _COARSE and parameter.grad is not None
        }
        weight = torch.stack(torch._foreach_norm(old)).tolist()
        torch._foreach_sub_(old, [parameter.detach() for parameter, _ in self._before])  # in place: no further copy
        update = torch.stack(torch._foreach_norm(old)).tolist()
        placed = [place for place, (parameter, _) in enumerate(self._before) if parameter.grad is not None]
        gradient = [NAN] * len(old)
        if placed:
            norms = torch._foreach_norm([_dense(self._before[place][0].grad) for place in placed])
            for place, norm in zip(placed, torch.stack([norm.float() for norm in norms]).tolist(), strict=True):
                gradient[place] = norm if norm == norm else math.inf
        spreads = self._spread([place for place in placed if self._before[place][0].ndim > 1])
        bad: tuple[str, str] | None = None
        for place, (parameter, _) in enumerate(self._before):
            owner, name = self.names[id(parameter)]
            trace = networks[owner].parameters[name]
            trace.steps.append(step)
            trace.gradient.append(gradient[place])
            trace.weight.append(weight[place])
            trace.update.append(update[place])
            if place in unmoved:
                trace.unmoved.append(unmoved[place])
            if place in spreads:
                trace.gradients.add(step, spreads[place])
            if bad is None and place in placed and gradient[place] - gradient[place] != 0:
                bad = ("gradient of", name)
            elif bad is None and update[place] - update[place] != 0:
                bad = ("parameter", name)
        self._before = []
        return bad

    def _spread(self, places: Sequence[int]) -> dict[int, np.ndarray]:
        """Return how the gradients of the parameters at these places are spread over magnitudes."""
        some = read_all([thinned(_dense(self._before[place][0].grad)) for place in places])
        return dict(zip(places, shares(some), strict=True))

    def arrive(self) -> None:
        """A backward has ended: note which optimisers have gradients now."""
        self._arrived = {place for place, optimizer in enumerate(self.optimizers) if _is_pulled(optimizer)}

    def cleared(self, optimizer: Optimizer) -> bool:
        """Whether an optimiser that is about to step has lost all gradients that the backward had given it."""
        place = self.place(optimizer)
        had = place in self._arrived
        self._arrived.discard(place)
        return had and not _is_pulled(optimizer)

    def remember(self, optimizer: Optimizer) -> None:
        """Remember gradients that this step used."""
        used = self._used[self.place(optimizer)] = []
        for parameter in _parameters(optimizer):
            if isinstance(parameter.grad, torch.Tensor) and not parameter.grad.is_sparse:
                used.append((parameter, parameter.grad, parameter.grad._version))
                if len(used) == _WATCHED:
                    break

    def stale(self) -> set[int]:
        """Return the optimisers whose gradients of their last step are still there, untouched and not zero."""
        return {
            place
            for place, used in self._used.items()
            if used
            and all(
                parameter.grad is gradient and gradient._version == version and bool(gradient.any())
                for parameter, gradient, version in used
            )
        }


def _is_pulled(optimizer: Optimizer) -> bool:
    """Whether any parameter of an optimiser has a gradient that is not zero."""
    return any(each.grad is not None and bool(_dense(each.grad).any()) for each in _parameters(optimizer))


def _unmoved(parameter: torch.Tensor, before: torch.Tensor) -> float:
    """Return the share of the values with gradients that are what they were before."""
    pulled = _dense(parameter.grad) != 0
    return float((pulled & (parameter.detach() == before)).sum() / pulled.sum().clamp_min(1))


def _parameters(optimizer: Optimizer) -> list[torch.Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _dense(gradient: torch.Tensor | None) -> torch.Tensor:
    assert gradient is not None
    return gradient.to_dense() if gradient.is_sparse else gradient
