"""Predicting: the same numbers whatever is beside an image, bad files in their place, bounded memory."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from fovea.core.errors import DataError, ModelError
from fovea.data.preprocess import Preprocess
from fovea.evaluation.predicting import Prediction, Predictor

CLASSES = ("apple", "pear", "<script>", "=cmd")
PREPROCESS = Preprocess(input_size=32, crop_pct=1.0)


@pytest.fixture
def predictor(network: nn.Module) -> Predictor:
    return Predictor(network, PREPROCESS, CLASSES, batch=8)


def collected(predictor: Predictor, paths: list[Path]) -> dict[Path, np.ndarray]:
    return {path: result for path, result in predictor.probabilities(paths) if not isinstance(result, DataError)}


def test_an_image_has_the_same_bits_in_any_order_in_a_smaller_set_and_alone(
    predictor: Predictor, photos: list[Path]
) -> None:
    reference = collected(predictor, photos)
    assert list(reference) == photos
    for seed in range(3):
        some = random.Random(seed).sample(photos, 20 + seed)
        for path, result in collected(predictor, some).items():
            assert np.array_equal(result, reference[path])
    for path in photos[:5]:
        assert np.array_equal(collected(predictor, [path])[path], reference[path])


def test_it_says_what_the_network_says(predictor: Predictor, network: nn.Module, photos: list[Path]) -> None:
    batch = PREPROCESS.normalise(np.stack([PREPROCESS.read(path) for path in photos[:3]]))
    with torch.no_grad():
        expected = network.eval()(batch).softmax(dim=1).numpy()
    results = [result for _, result in predictor.probabilities(photos[:3])]
    np.testing.assert_allclose(np.stack(results), expected, atol=1e-6)
    assert np.stack(results).sum(axis=1) == pytest.approx(1, abs=1e-12)


def test_one_image_gives_the_same_from_a_path_bytes_pillow_and_pixels(predictor: Predictor, photos: list[Path]) -> None:
    path = photos[1]  # PNG: the same pixels however it is read
    pixels = np.asarray(Image.open(path).convert("RGB"))
    answers = [predictor.predict(image) for image in (path, str(path), path.read_bytes(), Image.open(path), pixels)]
    assert all(np.array_equal(answer.probabilities, answers[0].probabilities) for answer in answers)
    np.testing.assert_allclose(answers[0].probabilities, collected(predictor, [path])[path], atol=1e-6)


def test_bad_files_come_in_their_place_with_the_reason(predictor: Predictor, photos: list[Path]) -> None:
    folder = photos[0].parent
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "cut.jpg").write_bytes(photos[0].read_bytes()[:300])
    (folder / "text.png").write_text("not an image")
    bad = [folder / name for name in ("empty.jpg", "cut.jpg", "text.png", "absent.jpg")]
    reference = collected(predictor, photos)
    mixed = [*bad, *photos[:9], bad[0], *photos[9:]]
    results = list(predictor.probabilities(mixed))
    assert [path for path, _ in results] == mixed
    assert [path for path, result in results if isinstance(result, DataError)] == [*bad, bad[0]]
    for path, result in results:
        if isinstance(result, DataError):
            assert path.name in result.message
        else:
            assert np.array_equal(result, reference[path])
    assert list(predictor.probabilities([])) == []


def test_only_bad_files_are_answered_before_the_last_is_seen(predictor: Predictor) -> None:
    def endless() -> object:
        while True:
            yield "absent.jpg"

    path, result = next(predictor.probabilities(endless()))  # type: ignore[arg-type]
    assert path == "absent.jpg"
    assert isinstance(result, DataError)


def test_paths_are_taken_as_they_are_needed(predictor: Predictor, photos: list[Path]) -> None:
    taken = []

    def watched() -> object:
        for path in photos * 10:
            taken.append(path)
            yield path

    stream = predictor.probabilities(watched())  # type: ignore[arg-type]
    next(stream)
    assert len(taken) <= 4 * predictor.batch
    stream.close()
    assert len(taken) <= 4 * predictor.batch


def test_an_error_that_is_not_about_the_image_is_not_swallowed(photos: list[Path]) -> None:
    broken = Predictor(nn.Sequential(nn.Flatten(), nn.Linear(7, 4)), PREPROCESS, CLASSES)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        list(broken.probabilities(photos[:1]))


def test_several_labels_stand_alone(network: nn.Module, photos: list[Path]) -> None:
    predictor = Predictor(network, PREPROCESS, CLASSES, multilabel=True, threshold=0.0)
    prediction = predictor.predict(photos[0])
    assert set(prediction.labels) == set(CLASSES)
    assert prediction.probabilities.sum() != pytest.approx(1, abs=1e-3)
    high = Predictor(network, PREPROCESS, CLASSES, multilabel=True, threshold=1.0).predict(photos[0])
    assert high.labels == ()


def test_pixels_of_any_number_come_back_in_order(predictor: Predictor) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (19, 32, 32, 3), dtype=np.uint8)
    whole = predictor.predict_pixels(pixels)
    assert whole.shape == (19, 4)
    assert np.array_equal(whole[17:], predictor.predict_pixels(pixels[17:]))
    assert predictor.predict_pixels(pixels[:0]).shape == (0, 4)
    with pytest.raises(ValueError, match=r"float64 \(19, 32, 32, 3\), expected uint8"):
        predictor.predict_pixels(pixels / 255)


def test_a_model_with_another_number_of_classes_is_refused(network: nn.Module, photos: list[Path]) -> None:
    with pytest.raises(ModelError, match=r"answered \(1, 4\), expected \(1, 2\)"):
        Predictor(network, PREPROCESS, ("a", "b")).predict(photos[0])


def test_too_many_pixels_are_refused_as_in_training(network: nn.Module, photos: list[Path]) -> None:
    with pytest.raises(DataError, match="more than the 10 allowed"):
        Predictor(network, PREPROCESS, CLASSES, max_pixels=10).predict(photos[0])


def test_the_network_is_not_left_in_training_mode(network: nn.Module, photos: list[Path]) -> None:
    predictor = Predictor(network.train(), PREPROCESS, CLASSES)
    first, second = (predictor.predict(photos[0]).probabilities for _ in range(2))
    assert np.array_equal(first, second)  # dropout would differ


def test_a_prediction_tells_its_likeliest_classes() -> None:
    prediction = Prediction(np.array([0.2, 0.5, 0.2, 0.1]), CLASSES)
    assert (prediction.index, prediction.label, prediction.probability) == (1, "pear", 0.5)
    assert prediction.top(3) == [("pear", 0.5), ("apple", 0.2), ("<script>", 0.2)]
    assert prediction.labels == ("pear",)


def test_real_photos_with_a_real_network(shared: Path) -> None:
    import timm

    torch.manual_seed(0)
    model = timm.create_model("mobilenetv2_050", pretrained=False, num_classes=5)
    paths = sorted((shared / "data/grocery/val").rglob("*.jpg"))[:11]
    predictor = Predictor(model, Preprocess(input_size=96), list("abcde"), batch=4)
    reference = collected(predictor, paths)
    assert len(reference) == 11
    assert all(np.array_equal(value, reference[key]) for key, value in collected(predictor, paths[::-2]).items())
