"""Work ahead in threads: results in order, no more under way than asked for, errors where they belong."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from training.data.ahead import in_order


def test_results_come_in_order_and_few_items_are_taken_ahead() -> None:
    taken: list[int] = []

    def items():
        for number in range(20):
            taken.append(number)
            yield number

    with ThreadPoolExecutor(4) as pool:
        results = in_order(pool, lambda number: number * number, items(), 3)
        assert next(results) == 0
        assert taken == [0, 1, 2, 3]
        assert list(results) == [number * number for number in range(1, 20)]


def test_an_error_comes_in_its_turn() -> None:
    def work(number: int) -> int:
        if number == 2:
            raise ValueError("the third")
        return number

    with ThreadPoolExecutor(2) as pool:
        results = in_order(pool, work, range(5), 4)
        assert [next(results), next(results)] == [0, 1]
        with pytest.raises(ValueError, match="the third"):
            next(results)
