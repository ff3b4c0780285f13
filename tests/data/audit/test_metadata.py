"""Which file properties give the class away, in which words, and what is no shortcut."""

from __future__ import annotations

import numpy as np
import pytest

from fovea.core.findings import Finding
from fovea.data.audit.base import CHECKS, Subject
from fovea.data.audit.metadata import metadata_shortcut

from .subjects import subject


def two_classes(count: int = 100) -> list[int]:
    return [0] * (count // 2) + [1] * (count - count // 2)


def only(found: list[Finding]) -> Finding:
    assert [finding.code for finding in found] == ["metadata-shortcut"]
    return found[0]


def planted(usual: object, other: object, *, share: float, count: int = 100) -> list:
    """Return a value for each of two classes, wrong for 1 - share of the images, in the middle of each class."""
    half = count // 2
    wrong = round((1 - share) * half)
    return [usual] * (half - wrong) + [other] * wrong + [other] * (half - wrong) + [usual] * wrong


def noisy(targets: list[int], *, seed: int = 0, **more: object) -> Subject:
    """Return a subject whose properties all vary, none of them with the class."""
    rng = np.random.default_rng(seed)
    count = len(targets)
    facts = {
        "quality": rng.integers(60, 96, count).astype(float),
        "camera": rng.choice(["Canon EOS", "Nikon D90", "Pixel 7"], count),
        "taken_s": 1.6e9 + rng.random(count) * 1e7,
        "format": rng.choice(["JPEG", "PNG"], count),
        "brightness": rng.random(count),
        "mean_r": rng.random(count),
        "mean_g": rng.random(count),
    }
    table = {
        "width": rng.choice([640, 800, 1024], count),
        "height": rng.choice([480, 600, 768], count),
        "bytes": rng.integers(10_000, 90_000, count),
    }
    paths = [f"{rng.choice(['a', 'b'])}/{target}/{rng.choice(['IMG', 'DSC'])}_{row:05}.jpg"
             for row, target in enumerate(targets)]  # fmt: skip
    return subject(
        targets, classes=[f"class {t}" for t in range(max(targets) + 1)], paths=paths, facts=facts, table=table
    )


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(("classes", "each"), [(2, 15), (2, 200), (20, 12)])
def test_properties_that_vary_by_chance_raise_no_alarm(classes: int, each: int, seed: int) -> None:
    targets = [target for target in range(classes) for _ in range(each)]
    assert metadata_shortcut(noisy(targets, seed=seed)) == []


def test_the_size_in_pixels_is_reported_once_and_in_words() -> None:
    table = {
        "width": planted(640, 1024, share=0.96),
        "height": planted(480, 768, share=0.96),
        "bytes": planted(50_000, 80_000, share=0.96),
    }
    found = only(metadata_shortcut(subject(two_classes(), classes=["fish", "boat"], table=table)))
    assert found.severity == "error"  # gain 0.92
    assert "640×480 → fish in 96 % of 50 images (base rate 50 %)" in found.message
    assert "1024×768 → boat in 96 % of 50 images" in found.message
    assert "right for 96 %, where the commonest class is right for 50 %" in found.message
    assert found.evidence["property"] == "size_px"
    assert found.evidence["gain"] == pytest.approx(0.92)
    assert {item["property"] for item in found.evidence["also"]} >= {"width_px", "height_px", "bytes"}
    assert {"fish/0000.jpg", "boat/0050.jpg"} <= set(found.files)
    assert "one size" in found.fix


def test_a_tendency_is_a_warning_and_no_error() -> None:
    table = {"width": planted(640, 641, share=0.8)}
    found = only(metadata_shortcut(subject(two_classes(), table=table)))
    assert found.severity == "warning"
    assert found.evidence["gain"] == pytest.approx(0.6)


def test_numbers_become_intervals() -> None:
    rng = np.random.default_rng(0)
    quality = np.concatenate([rng.integers(70, 81, 60), rng.integers(88, 99, 60)]).astype(float)
    found = only(metadata_shortcut(subject(two_classes(120), facts={"quality": quality})))
    assert "quality 70 to quality 80 → class 0 in 100 % of 60 images" in found.message
    assert found.message.startswith("the JPEG quality predicts the class almost completely")


def test_one_class_given_away_among_many_is_found_though_the_overall_gain_is_small() -> None:
    targets = [target for target in range(20) for _ in range(30)]
    width = [800 if target == 7 and row % 10 else 640 for row, target in enumerate(targets)]
    found = only(metadata_shortcut(subject(targets, table={"width": width})))
    assert found.evidence["gain"] < 0.2
    assert found.evidence["given_away"] == ["class 7"]
    assert found.message.startswith("the size in pixels gives class 7 away: 800×480 → class 7 in 100 % of 27 images")


def test_a_value_that_half_of_the_classes_share_is_found_though_it_names_none() -> None:
    targets = [target for target in range(20) for _ in range(20)]
    quality = [60.0 if target < 10 else 95.0 for target in targets]
    found = only(metadata_shortcut(subject(targets, facts={"quality": quality})))
    assert found.evidence["gain"] < 0.2 and found.evidence["given_away"] == []
    assert found.message.startswith(
        "the JPEG quality goes with the class: quality 60 → class 0, class 1, class 2 or 7 more"
    )
    assert "in 100 % of 200 images (base rate 50 %)" in found.message
    assert "for 100 % of held-out images it follows from the class" in found.message


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"format": planted("PNG", "JPEG", share=0.9)}, "the file format predicts"),
        ({"mode": planted("L", "RGB", share=0.9)}, "the colour mode predicts"),
        ({"camera": planted("Canon EOS", None, share=0.9)}, "the camera that EXIF names predicts"),
        ({"taken_s": planted(1.5e9, 1.6e9, share=0.9)}, "the time of the exposure predicts"),
    ],
)
def test_each_way_of_storing_is_tried(facts: dict, words: str) -> None:
    found = only(metadata_shortcut(subject(two_classes(), facts=facts)))
    assert found.message.startswith(words)
    assert found.severity == "warning"


def test_images_without_exif_are_told_apart_from_those_with() -> None:
    taken = [1.5e9 + 1e6 * row for row in range(50)] + [None] * 50
    found = only(metadata_shortcut(subject(two_classes(), facts={"taken_s": taken})))
    assert "none → class 1 in 100 % of 50 images" in found.message
    assert "2017-07-14" in found.message


def test_a_pattern_in_the_file_name_counts_but_the_name_of_the_class_does_not() -> None:
    targets = two_classes()
    names = ["Golden-Delicious", "Äpfel rot"]
    own = [f"train/Obst/{names[t]}/{names[t]}_{row:03}.jpg" for row, t in enumerate(targets)]
    assert metadata_shortcut(subject(targets, classes=names, paths=own)) == []
    source = [f"train/{names[t]}/{'IMG' if t else 'DSC'}_{row:03}.jpg" for row, t in enumerate(targets)]
    found = only(metadata_shortcut(subject(targets, classes=names, paths=source)))
    assert found.severity == "warning"
    assert "IMG_000 → Äpfel rot in 100 % of 50 images" in found.message


def test_a_code_that_each_class_has_of_its_own_is_a_note() -> None:
    targets = [target for target in range(3) for _ in range(40)]
    paths = [f"{'abc'[t]}/{['qrx', 'wuz', 'mok'][t]}_{row:03}.jpg" for row, t in enumerate(targets)]
    found = only(metadata_shortcut(subject(targets, classes=["rose", "tulip", "daisy"], paths=paths)))
    assert found.severity == "note"
    assert "a code that each class has of its own" in found.message


def test_folders_above_the_class_are_a_shortcut_only_where_classes_share_them() -> None:
    targets = two_classes()
    taxonomy = [f"{['Fruit/Apple', 'Fruit/Pear'][t]}/{['Gala', 'Anjou'][t]}/{row}.jpg" for row, t in enumerate(targets)]
    assert metadata_shortcut(subject(targets, classes=["Gala", "Anjou"], paths=taxonomy)) == []
    site = planted("site A", "site B", share=0.9)
    shared = [f"{site[row]}/{['Gala', 'Anjou'][t]}/{row}.jpg" for row, t in enumerate(targets)]
    found = only(metadata_shortcut(subject(targets, classes=["Gala", "Anjou"], paths=shared)))
    assert "site A → Gala in 90 % of 50 images" in found.message


def test_a_frame_counts_and_a_plain_background_does_not() -> None:
    rng = np.random.default_rng(0)
    grey = rng.integers(60, 256, (100, 64, 64), dtype=np.uint8)
    rims = dict.fromkeys(("rim_left", "rim_top", "rim_right", "rim_bottom"), [4 / 64] * 50 + [0.0] * 50)
    framed = grey.copy()
    framed[:50, :4] = framed[:50, -4:] = framed[:50, :, :4] = framed[:50, :, -4:] = 0
    found = only(metadata_shortcut(subject(two_classes(), grey=framed, facts=rims)))
    assert "dark border left and top and right and bottom → class 0 in 100 % of 50 images" in found.message
    object_on_black = np.zeros_like(grey)
    object_on_black[:, 4:-4, 20:40] = 200  # touches the line inside the border over a part of its length
    assert metadata_shortcut(subject(two_classes(), grey=object_on_black, facts=rims)) == []


def test_mean_colour_is_a_note_because_oranges_are_orange() -> None:
    red = [0.7 + 0.001 * row for row in range(50)] + [0.4 + 0.001 * row for row in range(50)]
    found = only(metadata_shortcut(subject(two_classes(), facts={"mean_r": red})))
    assert found.severity == "note"
    assert "what the classes look like" in found.message


def test_more_bytes_for_more_detail_are_a_note_and_more_bytes_for_nothing_are_a_warning() -> None:
    rng = np.random.default_rng(0)
    detail = np.concatenate([rng.uniform(0.01, 0.02, 100), rng.uniform(0.04, 0.08, 100)])
    bytes_by_detail = (1e6 * detail * rng.uniform(0.95, 1.05, 200)).astype(int)
    grass = subject(two_classes(200), facts={"detail": detail}, table={"bytes": bytes_by_detail})
    found = only(metadata_shortcut(grass))
    assert (found.severity, found.evidence["property"]) == ("note", "bytes_per_pixel")
    detail = rng.uniform(0.01, 0.08, 200)
    doubled = (1e6 * detail * np.repeat([1, 2], 100) * rng.uniform(0.95, 1.05, 200)).astype(int)
    found = only(metadata_shortcut(subject(two_classes(200), facts={"detail": detail}, table={"bytes": doubled})))
    assert found.severity == "warning"


def test_copies_of_a_few_images_prove_nothing() -> None:
    widths = [600 + 10 * (row // 25) for row in range(100)]
    copies = [row // 25 for row in range(100)]  # four images, 25 copies of each
    assert metadata_shortcut(subject(two_classes(), table={"width": widths}, copies=copies)) == []
    assert metadata_shortcut(subject(two_classes(), table={"width": widths}))


def test_labels_of_multilabel_data_are_tried_one_by_one() -> None:
    targets = [[0, 1] if row % 2 else [0] for row in range(80)]
    width = [640 + 160 * (row % 2) for row in range(80)]
    data = subject(targets, classes=["sky", "kite"], multilabel=True, table={"width": width})
    found = only(metadata_shortcut(data))
    assert "800×480 → kite in 100 % of 40 images" in found.message
    assert "640×480 → no kite in 100 %" in found.message


@pytest.mark.parametrize("targets", [[], [0], [0, 1], [0] * 50, [0] * 49 + [1]])
def test_too_little_to_tell_gives_nothing(targets: list[int]) -> None:
    data = subject(targets, classes=["a", "b"], table={"width": list(range(100, 100 + len(targets)))})
    assert CHECKS["metadata-shortcut"].build(data) == []


def test_unknown_numbers_are_no_fault() -> None:
    data = subject(
        two_classes(),
        facts=dict.fromkeys(["quality", "taken_s", "brightness", "detail", "mean_r", "rim_left"], None),
        table={"width": [None] * 100, "bytes": [None] * 100},
    )
    assert metadata_shortcut(data) == []
