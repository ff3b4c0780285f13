"""Faults of the optimiser: gradients not cleared, learning rate, momentum, decay, schedule."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from fovea.core.wording import counted, percent
from fovea.doctor.finding import PROBES, Diagnosis
from fovea.doctor.reading import (
    LEARNT,
    accuracy_of_steps,
    chance_loss,
    chance_spread,
    label_shares,
    losses_of_steps,
    main_rounds,
    poor,
    pretrained,
    round_rate,
    several_tasks,
    smooth,
    start_and_end,
)
from fovea.doctor.record import Optimiser, Record

_LEFT = 0.4  # of the weights' size
_MUCH_DECAY = 0.01  # hundred times the usual
_WAY = 0.1  # of their own size, that weights go at most: freshly drawn ones need more to learn anything
_LEAST_SAMPLES = 2  # steps that were looked at
_UNMOVED = 0.5  # of the values of 16-bit weights that have gradients
_CLIMBING = 0.3  # of the rate that a schedule climbs to
_RECOVERED = 0.35  # of the loss of guessing: who gets there after a leap has learnt
_USUAL = 1e-3  # of the weights, by a step (cs231n, "Ratio of weights:updates")
_LOW = 0.03  # of its peak, to which a learning rate falls in the first third only if the schedule has the wrong unit


@PROBES.register("missing-zero-grad", summary="gradients that pile up over steps")
def missing_zero_grad(record: Record) -> Iterator[Diagnosis]:
    """The first backward after a step finds the gradients that the step has used, untouched; or they go too early."""
    for place, optimiser in enumerate(record.optimisers):
        if optimiser.cleared >= _LEAST_SAMPLES and optimiser.cleared >= 0.9 * (optimiser.samples - 1):
            yield _cleared_too_early(optimiser)
            return
        steps = [step for step in record.steps if step.optimiser == place][1:]
        stale = sum(step.stale_gradients for step in steps)
        if len(steps) < 2 or stale < 0.5 * len(steps):
            continue
        yield Diagnosis(
            code="missing-zero-grad",
            confidence=0.97,
            message=f"gradients are not cleared between steps: in {stale} of {len(steps)} steps the backward pass "
            "added to gradients that the step before had already used",
            fix="call optimizer.zero_grad() once for every step, before backward",
            confirm="the norm of the gradient no longer grows from step to step",
            evidence={"stale_steps": stale, "steps": len(steps)},
            where=optimiser.where,
        )
        return


def _cleared_too_early(optimiser: Optimiser) -> Diagnosis:
    return Diagnosis(
        code="missing-zero-grad",
        confidence=0.95,
        message=f"gradients are cleared between the backward pass and the step: in {optimiser.cleared} of "
        f"{optimiser.samples} steps that were looked at they had come, and were gone when {optimiser.kind} was to use "
        "them",
        fix="call optimizer.zero_grad() before backward or after step, not between them",
        confirm="weights change with each step",
        evidence={"cleared": optimiser.cleared, "samples": optimiser.samples},
        where=optimiser.where,
    )


@PROBES.register("learning-rate-high", summary="steps that overshoot")
def learning_rate_high(record: Record) -> Iterator[Diagnosis]:
    """The loss rises above where it began or leaps, while updates are large against the weights.

    Healthy updates are about 1e-3 of the weights (cs231n, "Ratio of weights:updates"). A training that leaps and then
    comes far below guessing is told with a note.
    """
    values = losses_of_steps(record)
    values = values[np.isfinite(values)]
    ratio = _update_ratio(record)
    if len(values) < 5 or not record.optimisers or several_tasks(record):  # a second task begins with a loss of its own
        return
    first, last = start_and_end(record)
    shares = label_shares(record)
    guess = chance_loss(shares) if shares is not None else first
    by_chance = 0.0
    if shares is not None:
        by_chance = 3 * chance_spread(shares, float(np.median([step.images for step in record.steps])))
        first = min(first, float(values[0]))  # the steps right after may be those that leap
    early = float(np.max(smooth(values[: max(10, len(values) // 5)], 2)))
    blown = early > 2.5 * max(first, guess) + by_chance or last > 1.5 * max(first, guess)
    stuck = last > 0.9 * guess and (shares is not None or len(record.optimisers) == 1)  # adversaries hold each other
    leapt = float(values[: max(10, len(values) // 5)].max()) > 2 * max(float(values[0]), guess)
    rate = max(record.optimisers[0].lr, default=math.nan)
    if blown:
        ratio = max(ratio, _update_ratio(record, samples=1))  # units that the first steps kill no longer move
    large = ratio > (0.02 if leapt else 0.05)
    if not (blown and ratio > 0.01) and not (large and stuck):
        return
    if shares is None and last < 0.5 * first:
        return  # it leapt where it began near its goal, as losses of numbers may, and has come far below that
    yield Diagnosis(
        code="learning-rate-high",
        confidence=0.85 if blown and large else 0.7 if ratio > 0.05 else 0.55,
        severity="note" if last < _RECOVERED * guess or accuracy_of_steps(record, last=50) > LEARNT else "alarm",
        message=f"a step changes the weights by {_told(ratio)} (0.1 % is usual) and the loss "
        + (
            f"leaps to {early:.3g} from {first:.3g}"
            if blown
            else f"stays at {last:.3g}, no better than guessing ({guess:.3g})"
        )
        + f"; the learning rate is {rate:g}",
        fix=f"lower the learning rate to {_better(rate, ratio, most=rate / 2):g}"
        + (", where a step changes the weights by 0.1 %" if math.isfinite(ratio) else "")
        + ", or warm it up",
        confirm="the loss falls without leaps",
        evidence={"lr": rate, "update_ratio": ratio, "first_loss": first, "early_peak": early, "last_loss": last},
        where=_first_group(record.optimisers[0]),
    )


@PROBES.register("learning-rate-low", summary="steps too small to get anywhere")
def learning_rate_low(record: Record) -> Iterator[Diagnosis]:
    """Updates are tiny against the weights and the loss falls slowly and steadily."""
    if len(record.steps) < 20 or not record.optimisers or not record.optimisers[0].lr:
        return
    ratio = _update_ratio(record)
    first, last = start_and_end(record)
    shares = label_shares(record)
    guess = chance_loss(shares) if shares is not None else first
    if not (math.isfinite(ratio) and math.isfinite(last)) or last < 0.5 * guess:
        return
    nowhere = ratio < 3e-4 and ratio * len(record.steps) < _WAY and poor(record) and not pretrained(record)
    if not (ratio < 1e-4 or nowhere):
        return
    rates = record.optimisers[0].lr
    if max(rates) > 50 * float(np.median(rates)) or (pretrained(record) and ratio > 1e-6):
        return  # the schedule took it down, which is another fault; or fine-tuning, which is gentle
    yield Diagnosis(
        code="learning-rate-low",
        confidence=0.8 if ratio < 2e-5 else 0.6,
        message=f"a step changes the weights by {_told(ratio)} (0.1 % is usual) and the loss has only come from "
        f"{first:.3g} to {last:.3g} in {counted(len(record.steps), 'step')}; the learning rate is {max(rates):g}",
        fix=f"raise the learning rate to about {_better(max(rates), ratio, least=2 * max(rates)):g}, where a step "
        "changes the weights by 0.1 %; by steps of ten if that is far",
        confirm="the loss falls faster within the first hundred steps",
        evidence={"lr": max(rates), "update_ratio": ratio, "first_loss": first, "last_loss": last},
        where=_first_group(record.optimisers[0]),
    )


def _told(share: float) -> str:
    """Return a share in percent with two digits, without an exponent where it is large.

    >>> _told(0.00012), _told(5.93)
    ('0.012 %', '593 %')
    """
    return f"{100 * share:.2g} %" if share < 0.995 else f"{100 * share:,.0f} %"


def _better(rate: float, ratio: float, *, least: float = 0.0, most: float = math.inf) -> float:
    """Return the learning rate at which a step changes the weights by 0.1 %, rounded; a tenth if that is unknown."""
    wanted = rate * _USUAL / ratio if math.isfinite(ratio) and ratio > 0 else rate / 10
    return round_rate(min(max(wanted, least), most)) if rate > 0 else rate


def _update_ratio(record: Record, *, samples: int = 8) -> float:
    """Return the median over weights of the size of their updates against their own, at the highest learning rate.

    Over the first samples; what a warm-up held back is added.
    """
    rates = record.optimisers[0].lr if record.optimisers else []
    highest = max(rates, default=0.0)
    ratios = []
    for network in record.networks:
        for each in network.parameters.values():
            if len(each.shape) < 2 or not each.steps:
                continue
            taken = list(zip(each.steps, each.update, each.weight, strict=True))[:samples]
            found = [
                u / w * (highest / rates[step] if len(record.optimisers) == 1 and step < len(rates) else 1.0)
                for step, u, w in taken
                if w > 0 and math.isfinite(u) and (step >= len(rates) or rates[step] > 0)
            ]
            if found:
                ratios.append(float(np.median(found)))
    return float(np.median(ratios)) if ratios else math.nan


def _first_group(optimiser: Optimiser) -> str:
    where = "" if optimiser.where is None else f", {optimiser.where}"
    return f"{optimiser.kind}, parameter group 0{where}"


@PROBES.register("momentum-high", summary="momentum of 0.99 and more")
def momentum_high(record: Record) -> Iterator[Diagnosis]:
    """So much momentum averages over more than a hundred steps and overshoots in short trainings."""
    for optimiser in record.optimisers:
        settings = optimiser.groups[0].settings if optimiser.groups else {}
        betas = settings.get("betas") or (0.0,)
        momentum = max(float(settings.get("momentum") or 0), float(betas[0]))
        if momentum >= 0.985:
            harmful = poor(record) or _waves(record)
            yield Diagnosis(
                code="momentum-high",
                confidence=0.8 if harmful else 0.5,
                severity="alarm" if harmful or momentum >= 0.995 else "note",
                message=f"momentum is {momentum:g}: a step goes on for about {1 / max(1e-9, 1 - momentum):.0f} more, "
                f"and the effective learning rate is {1 / max(1e-9, 1 - momentum):.0f} times the one that is set",
                fix="set momentum (the first of betas) to 0.9",
                confirm="the loss no longer swings over tens of steps",
                evidence={"momentum": momentum},
                where=_first_group(optimiser),
            )


def _waves(record: Record) -> bool:
    """Whether the loss rises well above its lowest for many steps in a row."""
    values = smooth(losses_of_steps(record), 5)
    return len(values) > 20 and float(np.median(values[len(values) // 2 :])) > 1.5 * float(values.min()) + 0.1


@PROBES.register("weight-decay-high", summary="weight decay that outweighs the gradient")
def weight_decay_high(record: Record) -> Iterator[Diagnosis]:
    """The pull of the decay against that of the data, over weights; or weights that all shrink without one."""
    if not any(float(group.settings.get("weight_decay") or 0) for each in record.optimisers for group in each.groups):
        yield from _shrunk(record)
        return
    for optimiser in record.optimisers:
        for group in optimiser.groups:
            decay = float(group.settings.get("weight_decay") or 0)
            if decay <= 0:
                continue
            apart = optimiser.kind in ("AdamW", "NAdam") or bool(group.settings.get("decoupled_weight_decay"))
            pulls, shrunk = [], []
            for network in record.networks:
                for name in group.names:
                    each = network.parameters.get(name)
                    if each is None or len(each.shape) < 2 or len(each.steps) < 2:
                        continue
                    pulls += [decay * w / g for w, g in zip(each.weight, each.gradient, strict=True) if g > 0]
                    shrunk.append(each.weight[-1] / max(each.weight[0], 1e-12))
            if not pulls:
                continue
            pull, shrinkage = float(np.median(pulls)), float(np.median(shrunk))
            rate = optimiser.lr[0] if optimiser.lr else 0
            strong = decay * rate * len(record.steps) > 1.0 if apart else pull > 1.0 and decay >= 1e-3
            strong |= decay >= _MUCH_DECAY and shrinkage < _LEFT
            if strong and (shrinkage < 0.7 or poor(record)):
                yield Diagnosis(
                    code="weight-decay-high",
                    confidence=0.8,
                    message=f"weight decay of {decay:g} pulls the weights to zero {pull:.2g} times as hard as the data "
                    f"pulls them anywhere; they have shrunk to {100 * shrinkage:.0f} % of their size",
                    fix="lower weight_decay to 1e-4 (SGD, Adam) or 0.01 to 0.05 (AdamW)",
                    confirm="the norms of the weights stay or grow",
                    evidence={"weight_decay": decay, "pull": pull, "shrinkage": shrinkage},
                    where=_first_group(optimiser),
                )
                return


def _shrunk(record: Record) -> Iterator[Diagnosis]:
    """A penalty that is part of the loss leaves no trace but weights that all lose most of their size."""
    for network in record.networks:
        weights = [each for each in network.parameters.values() if len(each.shape) > 1 and len(each.steps) >= 5]
        left = [each.weight[-1] / max(each.weight[0], 1e-12) for each in weights]
        if len(left) >= 2 and float(np.median(left)) < _LEFT and max(left) < 1 and len(record.steps) >= 50:
            yield Diagnosis(
                code="weight-decay-high",
                confidence=0.7,
                message=f"the weights of {network.kind} have shrunk to {100 * float(np.median(left)):.0f} % of their "
                "size, though the optimiser decays none: a penalty on them in the loss outweighs the data",
                fix="lower the penalty by a factor of ten and more, or leave it to the optimiser (weight_decay=1e-4)",
                confirm="the norms of the weights stay or grow",
                evidence={"left": float(np.median(left)), "weights": len(left)},
                where=max(weights, key=lambda each: each.weight[0] / max(each.weight[-1], 1e-12)).name,
            )
            return


@PROBES.register("schedule-unit", summary="a schedule that is over long before the training")
def schedule_unit(record: Record) -> Iterator[Diagnosis]:
    """The learning rate falls by far within the first part of the training and stays down: the unit is wrong.

    Or it climbs so slowly that it never gets near what it was to climb to.
    """
    for optimiser in record.optimisers:
        rates = np.array(optimiser.lr)
        if len(rates) < 20 or rates.max() <= 0:
            continue
        yield from _climbs_for_ever(record, optimiser, rates)
        peak = int(rates.argmax())
        tiny = np.flatnonzero(rates < 1e-3 * rates.max())
        tiny = tiny[tiny > peak]
        changes = len(optimiser.lr_set_at)
        rounds = sum(loader.rounds for loader in record.loaders if loader.phase == "train")  # each may be made anew
        rounds = rounds or len(main_rounds(record))  # where batches are cut by hand
        early = len(tiny) and tiny[0] < 0.5 * len(rates) and rates[tiny[0] :].max() < 0.01 * rates.max()
        low = np.flatnonzero(rates[peak:] <= _LOW * rates.max()) + peak
        in_the_first_third = rounds >= 3 and len(low) and low[0] - peak < len(rates) / 3
        early = early or bool(in_the_first_third and rates[low[0] :].max() <= 2 * _LOW * rates.max())
        turns = _turns(rates)
        epoch = len(rates) / max(rounds, 1)
        within_epoch = turns and len(rates) / (turns + 1) < 0.5 * epoch  # cycles on purpose take epochs
        wraps = changes > 3 * max(rounds, 1) and turns >= 4 and rates.min() < 0.05 * rates.max() and within_epoch
        if early or (wraps and changes > 0.5 * len(rates)):
            at = int(low[0]) if len(low) else int(optimiser.lr_set_at[0])
            yield Diagnosis(
                code="schedule-unit",
                confidence=0.85 if early else 0.6,
                message=f"the learning rate changes after single steps ({changes} times in {len(rates)} steps) and "
                + (
                    f"has fallen to {percent(float(rates[at] / rates.max()), digits=1)} of its peak by step {at}"
                    if early
                    else "runs through several cycles"
                )
                + ": the schedule is made for epochs but stepped for batches",
                fix="call scheduler.step() once an epoch, or give the schedule the number of steps",
                confirm="the learning rate reaches its end at the end of the training",
                evidence={
                    "changes": changes,
                    "steps": len(rates),
                    "first_lr": float(rates[0]),
                    "last_lr": float(rates[-1]),
                },
                where=_first_group(optimiser),
            )


def _climbs_for_ever(record: Record, optimiser: Optimiser, rates: np.ndarray) -> Iterator[Diagnosis]:
    """A warm-up that counts steps, moved on once an epoch, or one that is longer than the training."""
    rounds = len(main_rounds(record))
    settings = optimiser.groups[0].settings if optimiser.groups else {}
    goal = settings.get("max_lr") or settings.get("initial_lr")  # OneCycleLR's, and that of any other schedule
    changes = len(optimiser.lr_set_at)
    if not isinstance(goal, float) or rates.max() >= _CLIMBING * goal or (np.diff(rates) < 0).any():
        return
    by_epochs = 2 <= changes <= rounds and rounds >= 3
    if record.error or record.cut_short or not (by_epochs or changes > max(50, 0.5 * len(rates))):
        return
    yield Diagnosis(
        code="schedule-unit",
        confidence=0.85,
        message=f"the learning rate climbs {'once an epoch' if by_epochs else 'all the time'} and after "
        f"{counted(len(rates), 'step')} is still at {percent(float(rates[-1] / goal), digits=1)} of {goal:.3g}: "
        + (
            "the schedule is made for steps but moved on by epochs"
            if by_epochs
            else "the warm-up outlasts the training"
        ),
        fix="call scheduler.step() after each optimizer.step(), or count the warm-up in epochs"
        if by_epochs
        else "warm up for a twentieth of the training's steps",
        confirm="the learning rate reaches its top within the first tenth of the training",
        evidence={"last_lr": float(rates[-1]), "goal": goal, "changes": changes, "epochs": rounds},
        where=_first_group(optimiser),
    )


def _turns(rates: np.ndarray) -> int:
    """Return how often a curve turns from falling to rising or back."""
    slope = np.sign(np.diff(rates))
    slope = slope[slope != 0]
    return int((slope[1:] != slope[:-1]).sum())


@PROBES.register(
    "amp-underflow", summary="steps that a gradient scaler skips, or that 16-bit weights are too coarse for"
)
def amp_underflow(record: Record) -> Iterator[Diagnosis]:
    """More than one step in twenty is skipped, after the scale has had time to settle.

    Or weights are kept in 16 bits, where a step smaller than half of the last bit (1/512 of a weight in bfloat16)
    leaves them as they are: Micikevicius et al. 2018, "Mixed precision training", section 3.1.
    """
    total = record.skipped_steps + len(record.steps)
    if total >= 20 and record.skipped_steps > max(5, 0.05 * total):
        yield Diagnosis(
            code="amp-underflow",
            confidence=0.8,
            message=f"the gradient scaler skipped {record.skipped_steps} of {total} steps, since gradients were not "
            "finite in 16 bits",
            fix="use bfloat16 instead of float16, or lower the learning rate; unscale before clipping",
            confirm="no more than one step in a hundred is skipped",
            evidence={"skipped": record.skipped_steps, "steps": total, "accuracy": accuracy_of_steps(record)},
        )
    coarse = [
        (float(np.mean(each.unmoved)), network)
        for network in record.networks
        for each in network.parameters.values()
        if len(each.unmoved) >= _LEAST_SAMPLES and len(each.shape) > 1
    ]
    if coarse and (share := float(np.median([each for each, _ in coarse]))) > _UNMOVED:
        yield Diagnosis(
            code="amp-underflow",
            confidence=0.9,
            message=f"weights of {coarse[0][1].kind} are kept in 16 bits, and {percent(share)} of their values stay "
            "as they are in a step though they have gradients: the step is smaller than their last bit",
            fix="keep the weights in float32 and compute in 16 bits by torch.autocast",
            confirm="all values with gradients change in a step",
            evidence={"unmoved": share, "weights": len(coarse)},
        )
