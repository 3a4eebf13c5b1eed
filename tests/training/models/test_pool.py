"""The pool of generated images."""

from __future__ import annotations

import torch

from training.models.pool import ImagePool


def numbered(first: int, count: int) -> torch.Tensor:
    return torch.arange(first, first + count, dtype=torch.float32).reshape(-1, 1, 1, 1)


def test_gives_images_back_until_it_is_full() -> None:
    pool = ImagePool(5)

    assert torch.equal(pool.query(numbered(0, 5)), numbered(0, 5))


def test_half_of_the_later_answers_are_older_images() -> None:
    pool = ImagePool(50, seed=3)
    pool.query(numbered(0, 50))

    older = sum(int(pool.query(numbered(n, 1)).item() != n) for n in range(50, 2050))

    assert 920 <= older <= 1080


def test_never_returns_an_image_it_was_not_given_and_forgets_returned_ones() -> None:
    pool = ImagePool(3, seed=1)
    seen = [int(pool.query(numbered(n, 1)).item()) for n in range(200)]

    swapped = [value for n, value in enumerate(seen) if value != n]
    assert swapped
    assert all(value < n for n, value in enumerate(seen) if value != n)
    assert len(swapped) == len(set(swapped))


def test_goes_on_from_its_state() -> None:
    pool, other = ImagePool(4, seed=1), ImagePool(4, seed=9)
    pool.query(numbered(0, 7))

    other.load_state(pool.state(), torch.device("cpu"))

    assert torch.equal(pool.query(numbered(100, 40)), other.query(numbered(100, 40)))
