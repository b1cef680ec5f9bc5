"""Rates from counters."""

from pathlib import Path

import pytest

from hostmetrics.history import Count, History
from hostmetrics.procfs import NANOSECONDS

SECOND = NANOSECONDS
HOUR = 3600 * SECOND


def add(history: History, at: int, **counters: int) -> int:
    counts = {key: Count(cpu_ns, 0) for key, cpu_ns in counters.items()}
    return history.add(at * SECOND, counts, HOUR)


def test_a_rate_goes_back_as_far_as_the_window() -> None:
    history = History(":memory:", "boot")
    for at, cpu in ((0, 0), (10, 9 * SECOND), (20, 10 * SECOND), (30, 15 * SECOND)):
        add(history, at, a=cpu)
    rate = history.rates(30 * SECOND, {"a": Count(15 * SECOND, 0)}, 20 * SECOND)["a"]
    assert (rate.cpu_ns, rate.span_ns) == (6 * SECOND, 20 * SECOND)
    assert rate.nanocores == 300_000_000


def test_the_first_sample_has_no_rate() -> None:
    history = History(":memory:", "boot")
    add(history, 10, a=5)
    assert history.rates(10 * SECOND, {"a": Count(5, 0)}, HOUR) == {}


def test_what_began_since_the_last_sample_began_at_zero() -> None:
    history = History(":memory:", "boot")
    add(history, 10, a=5)
    add(history, 20, a=5, young=SECOND, old=SECOND)
    counts = {"young": Count(SECOND, 16 * SECOND), "old": Count(SECOND, 3 * SECOND)}
    rates = history.rates(20 * SECOND, counts, HOUR)
    assert set(rates) == {"young"}, "how fast the old one rises nobody knows"
    assert (rates["young"].cpu_ns, rates["young"].span_ns) == (SECOND, 4 * SECOND)


def test_what_came_later_is_measured_from_when_it_was_first_seen() -> None:
    history = History(":memory:", "boot")
    add(history, 0, a=0)
    add(history, 10, a=0, b=0)
    add(history, 20, a=0, b=SECOND)
    rate = history.rates(20 * SECOND, {"b": Count(SECOND, 0)}, HOUR)["b"]
    assert rate.span_ns == 10 * SECOND


def test_a_counter_never_falls() -> None:
    history = History(":memory:", "boot")
    add(history, 0, a=9)
    add(history, 1, a=5)
    assert history.rates(SECOND, {"a": Count(5, 0)}, HOUR)["a"].nanocores == 0


def test_old_samples_are_forgotten_and_numbers_go_on(tmp_path: Path) -> None:
    history = History(tmp_path / "h.db", "boot")
    numbers = [history.add(at * SECOND, {"a": Count(at, 0)}, 5 * SECOND) for at in range(20)]
    assert numbers == sorted(set(numbers))
    rate = history.rates(19 * SECOND, {"a": Count(19, 0)}, HOUR)["a"]
    assert rate.span_ns == 5 * SECOND
    history.close()


def test_a_restart_goes_on_and_another_boot_begins_anew(tmp_path: Path) -> None:
    file = tmp_path / "h.db"
    first = History(file, "boot")
    number = add(first, 0, a=0)
    first.close()

    second = History(file, "boot")
    assert add(second, 10, a=SECOND) > number
    assert second.rates(10 * SECOND, {"a": Count(SECOND, 0)}, HOUR)["a"].nanocores == 100_000_000
    second.close()

    third = History(file, "another boot")
    assert add(third, 20, a=SECOND) > number
    assert third.rates(20 * SECOND, {"a": Count(SECOND, 0)}, HOUR) == {}
    third.close()


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    import sqlite3

    (tmp_path / "h.db").write_text("no database, but long enough to look like something\n" * 50, encoding="utf-8")
    with pytest.raises(sqlite3.DatabaseError):
        History(tmp_path / "h.db", "boot")
