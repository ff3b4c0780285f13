"""The first rung: a linear head on frozen features of the view that suits the data.

It is cheap, works from a handful of images on, and gives the rungs above it a start. The features of an image are
computed once and kept; what is compared and chosen here is told and recorded.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from fovea.core.errors import Interrupted
from fovea.data.preprocess import Preprocess
from fovea.models.fastforward import FastForward
from fovea.models.heads import set_linear_head
from fovea.training.activations import ActivationStore
from fovea.training.embedding import FEATURES, activation_store, features_forward, frozen_rows, steady_backend
from fovea.training.head import LinearHead, fit_linear_head
from fovea.training.images import readable
from fovea.training.loop import Scores, score_logits
from fovea.training.objective import class_weights
from fovea.training.planning import WORTH_MEASURING_S
from fovea.training.session import Session, SplitData
from fovea.training.views import Judged, candidate_views, compare_views, sample_rows

VIEWS_SHARE = 0.15  # of the first rung's time that comparing views may take, where there is time for more than it
FIT_S = 3.0  # what building a frozen network for a view and fitting heads on a sample takes, about
LARGER = 1.3  # the next view may be of a larger size than the one just timed
HEAD_SHARE = 0.8  # of the time for training that the first rung may take before it goes on with what it has


def train_head(session: Session, train: SplitData, val: SplitData) -> Scores | None:
    """Fit a linear head on frozen features of the view that suits the data; return its validation scores."""
    left_s = session.training_left_s()
    head_time = left_s if left_s < 2 * WORTH_MEASURING_S else HEAD_SHARE * left_s
    began = time.monotonic()

    def late() -> bool:
        return session.stop() or time.monotonic() - began > head_time

    def over() -> bool:
        """Whether validating on the images so far has to do: nothing is left of the budget."""
        return session.stop() or session.training_left_s() < 0

    forwards: dict[int, FastForward] = {}

    def forward_for(view: Preprocess) -> FastForward:
        if view.input_size not in forwards:
            forwards[view.input_size] = features_forward(
                session.working,
                size=view.input_size,
                device=session.fabric.device,
                prefer=preferred_backend(session),
            )
            session.decide("backend", lambda: forwards[view.input_size].name)
        return forwards[view.input_size]

    def needed_for(data: SplitData, view: Preprocess) -> FastForward | None:
        """A network takes seconds to build; where every feature is kept, as for the folds of one training, none is."""
        return None if all_kept(session, data, preprocess=view) else forward_for(view)

    def judge(sample: SplitData, view: Preprocess) -> Judged:
        forward = needed_for(sample, view)
        started = time.monotonic()
        features, rows = frozen_features(
            session, sample, forward=forward, preprocess=view, label="comparing views", stop=session.stop
        )
        features_s = time.monotonic() - started
        head = fit_head(session, features, sample.take(rows), limit_s=20)
        return Judged(head.cv_loss, head.cv_accuracy, features_s)

    try:
        session.preprocess = choose_view(session, train, judge, budget_s=head_time)
        forward = needed_for(train, session.preprocess)
        features, rows = frozen_features(
            session, train, forward=forward, preprocess=session.preprocess, label="features", stop=late
        )
        seen = train.take(rows)
        if len(rows) < len(train):
            why = "you stopped it" if session.stop() else "the budget is short"
            session.choose(f"linear head on {len(rows)} of {len(train)} images", why)
        if not len(rows):
            raise Interrupted("stopped before there was anything to train on", hint="run it again")
        head = fit_head(session, features, seen, limit_s=max(2.0, head_time / 3))
        set_linear_head(session.working, weight=head.weight, bias=head.bias)
        session.choose(
            "linear head on frozen features",
            f"penalty {head.penalty:g} has the lowest cross-validated log loss, {head.cv_loss:.3f}",
        )
        if not len(val):
            return None
        forward = needed_for(val, session.preprocess)
        val_features, val_rows = frozen_features(
            session, val, forward=forward, preprocess=session.preprocess, label="validation features", stop=over
        )
        if not len(val_rows):
            return None
        return score_logits(head.logits(val_features), val.target_tensor(val_rows))
    finally:
        for built in forwards.values():
            built.close()


def preferred_backend(session: Session) -> str | None:
    """Return the frozen forward pass to use if it works here, or None to measure which is fastest.

    Backends differ in the last bits. So the choice is the plan's when there is one, and without a budget it never
    depends on measured time: the same recipe and seed then give the same weights again.
    """
    if chosen := session.plan["decisions"].get("backend"):
        return str(chosen)
    steady = steady_backend(session.fabric.device)
    return steady if steady == "openvino-fp32" or session.clock.budget_s is None else None


def choose_view(
    session: Session, train: SplitData, judge: Callable[[SplitData, Preprocess], Judged], *, budget_s: float
) -> Preprocess:
    """Return the view for the whole climb, from the plan when it is there."""
    data = session.recipe.data
    views = candidate_views(
        session.preprocess,
        fixed_size=data.input_size is not None,
        fixed_resize=data.resize is not None,
        flexible=session.flexible,
    )
    if len(views) == 1 or train.targets.ndim == 2 or len(train) < 2 * len(session.manifest.classes):
        return session.preprocess

    def compare() -> list[dict[str, Any]]:
        began = time.monotonic()
        sample = train.take(sample_rows(train.targets, per_class=6 if budget_s < 120 else 10, seed=session.recipe.seed))

        def go_on(judged: Judged) -> bool:
            """Whether another view can be judged with time left for the features of all images."""
            spent = time.monotonic() - began
            rest_s = LARGER * judged.features_s * (len(train) - len(sample)) / len(sample)
            if session.stop() or (budget_s > 120 and spent > VIEWS_SHARE * budget_s):
                return False
            return spent + judged.features_s + FIT_S + rest_s < budget_s

        return compare_views(views, lambda view: judge(sample, view), go_on=go_on)

    rows = session.decide("views", compare)
    others = "; ".join(f"{row['view']} {row['cv_accuracy']:.1%}" for row in rows[1:])
    session.choose(
        f"view: {rows[0]['view']}",
        f"cross-validated accuracy {rows[0]['cv_accuracy']:.1%} on a sample"
        + (f" (others: {others})" if others else ""),
    )
    return Preprocess.from_dict(rows[0]["preprocess"])


def frozen_features(
    session: Session,
    data: SplitData,
    *,
    forward: FastForward | None,
    preprocess: Preprocess,
    label: str,
    stop: Callable[[], bool],
) -> tuple[np.ndarray, np.ndarray]:
    """Return (features (n, F) float32, row numbers (n,) they belong to) of the frozen network on plain views.

    All images have a row unless `stop` ended it early. Without `forward` they must all be kept already (`all_kept`).
    """
    if forward is None:
        store = feature_store(session, preprocess, backend=session.plan["decisions"]["backend"])
        return store.gather(data.digests), np.arange(len(data))
    images, kept = readable(session, data, preprocess, whole=False)
    features, places = frozen_rows(
        feature_store(session, preprocess, backend=forward.name),
        digests=images.data.digests,
        pixels=lambda rows: session.fabric.to_device(preprocess.normalise(images.plain(rows))),
        forward=forward,
        advance=lambda done, total: session.progress.advance(label, done, total),
        stop=stop,
    )
    return features, kept[places]


def all_kept(session: Session, data: SplitData, *, preprocess: Preprocess) -> bool:
    """Return whether the features of all these images are kept, as the backend that was decided on computes them."""
    backend = session.plan["decisions"].get("backend")
    if backend is None or not len(data):
        return False
    return not feature_store(session, preprocess, backend=backend).missing(data.digests)


def feature_store(session: Session, preprocess: Preprocess, *, backend: str) -> ActivationStore:
    """Return the store of the frozen network's features of plain views."""
    return activation_store(session.loaded, unit=FEATURES, preprocess=preprocess, backend=backend, view="plain")


def fit_head(session: Session, features: np.ndarray, data: SplitData, *, limit_s: float) -> LinearHead:
    """Fit the linear head to training features."""
    classes = len(session.manifest.classes)
    weights = None
    kind = "balanced" if session.settings.sampler != "shuffle" else session.settings.class_weights
    if kind != "none" and data.targets.ndim == 1:
        weights = class_weights(np.bincount(data.targets, minlength=classes), kind)[data.targets]
    return fit_linear_head(
        features,
        data.targets,
        classes=classes,
        groups=data.groups,
        row_weights=weights,
        seed=session.recipe.seed,
        limit_s=limit_s,
    )
