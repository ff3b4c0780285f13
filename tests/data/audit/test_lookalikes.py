"""The nearest few: all of them where every pair is compared, nearly all where cells save the work."""

from __future__ import annotations

import numpy as np
import pytest

from fovea.data.audit import lookalikes
from fovea.data.audit.lookalikes import nearest


def clustered(count: int, *, size: int, dimensions: int = 128, spread: float = 0.25, seed: int = 0) -> np.ndarray:
    """Unit vectors in families of `size` around random centres, in random order."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(count // size, dimensions))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    vectors = np.repeat(centres, size, axis=0) + rng.normal(0, spread / dimensions**0.5, (count, dimensions))
    vectors = vectors[rng.permutation(count)]
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def brute(vectors: np.ndarray, queries: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    cosines = queries @ vectors.T
    np.fill_diagonal(cosines, -2)
    rows = np.argsort(-cosines, axis=1, kind="stable")[:, :count]
    return rows, np.take_along_axis(cosines, rows, axis=1)


def test_below_the_limit_it_is_the_brute_force_answer() -> None:
    vectors = clustered(3000, size=5)  # more than one block
    rows, cosines = nearest(vectors, count=6)
    expected, how_near = brute(vectors, vectors, 6)
    assert rows.dtype == np.int64 and cosines.dtype == np.float32
    assert np.allclose(cosines, how_near, atol=1e-5)
    assert (rows == expected).mean() > 0.999  # ties aside


@pytest.mark.parametrize("exact", [50, 1000])
def test_a_query_may_be_a_variant_of_its_vector_but_never_finds_its_own(
    exact: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookalikes, "EXACT", exact)
    some = clustered(150, size=3)
    vectors = np.concatenate([some, some[:, ::-1]])  # each with its mirror image

    def mirror(asked: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(asked[:, ::-1])

    rows, cosines = nearest(vectors, count=3, variant=mirror)
    assert (rows[:, 0] == (np.arange(300) + 150) % 300).all() and np.allclose(cosines[:, 0], 1, atol=1e-5)
    rows, _ = nearest(vectors, count=3)
    assert not (rows == np.arange(300)[:, None]).any()


@pytest.mark.parametrize("seed", [0, 1])
def test_beyond_the_limit_nineteen_in_twenty_neighbours_are_found(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr(lookalikes, "EXACT", 500)
    vectors = clustered(4000, size=4, seed=seed)
    rows, cosines = nearest(vectors, count=3, seed=seed)
    expected, _ = brute(vectors, vectors, 3)
    found = np.mean(
        [len(set(one) & set(other)) / 3 for one, other in zip(rows.tolist(), expected.tolist(), strict=True)]
    )
    assert found >= 0.95
    assert (np.diff(cosines, axis=1) <= 0).all()  # best first
    assert np.allclose(cosines[:, 0], (vectors * vectors[rows[:, 0]]).sum(axis=1), atol=1e-5)
    assert not (rows == np.arange(4000)[:, None]).any()
    assert all(len(set(row)) == 3 for row in rows.tolist())  # no neighbour twice, though cells are looked into by turns


def test_it_repeats_itself_and_compares_far_fewer_than_all_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookalikes, "EXACT", 500)

    def share(vectors: np.ndarray) -> float:
        """Of all pairs, those that are compared."""
        tasks = lookalikes._work(lookalikes.torch.from_numpy(vectors), lambda some: some, 0)
        return sum(len(askers) * len(members) for askers, members in tasks) / len(vectors) ** 2

    vectors = clustered(8000, size=4)
    assert share(vectors) < 0.6 * share(vectors[:2000]) < 0.6  # as one over the root of the number, or nearly
    assert np.array_equal(nearest(vectors, count=2)[0], nearest(vectors, count=2)[0])


def test_many_equal_vectors_are_no_trap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookalikes, "EXACT", 100)
    vectors = np.repeat(np.eye(2, 128, dtype=np.float32), 500, axis=0)  # a thousand images, but two pictures
    rows, cosines = nearest(vectors, count=4)
    assert (rows >= 0).all() and np.allclose(cosines, 1)
    assert ((rows < 500) == (np.arange(1000) < 500)[:, None]).all()


@pytest.mark.parametrize("total", [0, 1, 3])
def test_where_there_are_too_few_the_places_stay_empty(total: int) -> None:
    vectors = np.eye(total, 128, dtype=np.float32)
    rows, cosines = nearest(vectors, count=6)
    assert rows.shape == cosines.shape == (total, 6)
    assert ((rows >= 0).sum(axis=1) == max(total - 1, 0)).all()
    assert (rows[:, max(total - 1, 0) :] == -1).all()


@pytest.mark.parametrize("limit", [100, 12_000])
def test_progress_grows_to_its_total(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(lookalikes, "EXACT", limit)
    told: list[tuple[int, int]] = []
    vectors = clustered(3000, size=3)
    nearest(vectors, count=2, advance=lambda done, total: told.append((done, total)))
    done = [count for count, _ in told]
    assert done == sorted(done) and len(done) > 1
    assert done[-1] == told[-1][1] == told[0][1]
