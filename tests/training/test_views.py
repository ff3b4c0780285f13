"""The view of an image: which are compared, in which order, and which wins."""

from __future__ import annotations

import numpy as np

from fovea.data.preprocess import Preprocess
from fovea.training.views import Judged, candidate_views, compare_views, describe_view, sample_rows

BASE = Preprocess(input_size=224, crop_pct=0.875)


def test_the_weights_own_view_comes_first_and_what_the_recipe_fixes_stays() -> None:
    views = candidate_views(BASE, fixed_size=False, fixed_resize=False, flexible=True)
    assert views[0] == BASE
    assert {view.input_size for view in views} == {224, 256}
    assert {view.resize for view in views} == {"crop", "squash"}
    assert candidate_views(BASE, fixed_size=True, fixed_resize=True, flexible=True) == [BASE]
    fixed = candidate_views(BASE, fixed_size=False, fixed_resize=False, flexible=False)
    assert {view.input_size for view in fixed} == {224}


def test_the_search_follows_the_better_crop_to_the_larger_size() -> None:
    seen: list[str] = []

    def judge(view: Preprocess) -> Judged:
        seen.append(describe_view(view))
        return Judged(view.crop_pct - view.input_size / 1000, 0.5, 1.0)

    views = candidate_views(BASE, fixed_size=False, fixed_resize=False, flexible=True)
    rows = compare_views(views, judge, go_on=lambda judged: len(seen) < 4)
    assert seen[:3] == ["224 px, centre 87.5%", "224 px, centre 75%", "256 px, centre 75%"]
    assert rows[0]["view"] == "256 px, centre 75%"
    assert Preprocess.from_dict(rows[0]["preprocess"]).crop_pct == 0.75


def test_a_sample_has_every_class_alike() -> None:
    targets = np.repeat(np.arange(60), np.arange(60) + 5)
    rows = sample_rows(targets, per_class=6, seed=0)
    counts = np.bincount(targets[rows], minlength=60)
    assert len(rows) == 360
    assert counts.min() >= 5
    assert counts.max() <= 7
    assert len(set(rows.tolist())) == len(rows)
    assert sample_rows(np.zeros(50, dtype=int), per_class=6, seed=0).tolist() == list(range(50))
