"""Large pictures go over links of any kind, simulated: which way is found, and what does looking for it cost?"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

import pytest

from ldam_widget.widget.link import Link

Trip = Callable[[bool, random.Random], float]


def near(raw: bool, chance: random.Random) -> float:
    """To compress takes longer than to send; the machine is busy now and then."""
    return (0.05 if raw else 0.12) * chance.uniform(0.7, 1.6)


def far(raw: bool, chance: random.Random) -> float:
    """500 kB take a second, 100 kB a fifth of one."""
    return (1.1 if raw else 0.3) * chance.uniform(0.8, 1.3)


def alike(raw: bool, chance: random.Random) -> float:
    return 0.1 * chance.uniform(0.7, 1.6)


def run(
    trip: Trip, seconds: float, link: Link, start: float = 0.0, first: int = 1, chance: int = 0
) -> tuple[list[bool], float, int]:
    """Two frames are in flight at any time; returns whether each was sent raw, the time, and the next frame number."""
    draws, now = random.Random(chance), start
    ways: list[bool] = []
    out: list[tuple[int, float, float]] = []
    answered = 0, float("nan")
    seq = first
    while now < start + seconds:
        if len(out) == 2:
            sent, at, ends = out.pop(0)
            now = max(now, ends)
            answered = sent, now - at
        raw = link.choose(seq, now, answered)
        ways.append(raw)
        out.append((seq, now, max(now, out[-1][2] if out else now) + trip(raw, draws) / 2))
        seq += 1
    return ways, now, seq


def test_a_near_page_is_sent_pictures_as_they_are() -> None:
    ways, *_ = run(near, 60, Link())
    assert sum(ways) > 0.9 * len(ways)


def test_exact_pictures_are_kept_where_both_ways_are_as_quick() -> None:
    shares = [sum(ways) / len(ways) for ways, *_ in (run(alike, 600, Link(), chance=seed) for seed in range(10))]
    assert sum(share > 0.5 for share in shares) > 5


def test_a_far_page_is_spared_them() -> None:
    ways, *_ = run(far, 600, Link())
    assert sum(ways[:30]) <= 10  # the first trial ends with the first frame that takes so long
    assert sum(ways) < 0.02 * len(ways)


def test_trials_grow_rare_where_nothing_is_won() -> None:
    ways, *_ = run(alike, 1800, Link())
    trials = sum(a != b for a, b in itertools.pairwise(ways)) / 2
    assert 3 <= trials <= 30  # less than one a minute


def test_another_link_is_noticed() -> None:
    """A laptop is taken from the office to a train, and back."""
    link = Link()
    _, now, seq = run(near, 60, link)
    assert link.raw
    ways, now, seq = run(far, 120, link, now, seq)
    assert not ways[-1]
    ways, *_ = run(near, 700, link, now, seq)
    assert ways[-1]


@pytest.mark.parametrize("answered", [(0, float("nan")), (3, 0.1)])
def test_without_answers_nothing_is_tried(answered: tuple[int, float]) -> None:
    link = Link()
    assert not any(link.choose(seq, seq, answered) for seq in range(4, 200))
