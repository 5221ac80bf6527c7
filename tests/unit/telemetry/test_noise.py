from __future__ import annotations

import math
import random
import secrets
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise

import opendp.prelude as dp
import pytest

from edgeapp.config import CountingConfig, LineConfig, PrivacyConfig, ZoneConfig
from edgeapp.telemetry.budget import LEVELS, plan
from edgeapp.telemetry.noise import discrete_laplace, half_width, standard_deviation, tail

dp.enable_features("contrib")

DRAWS = 20_000
NEVER = 1e-9  # how seldom a right sampler may fail: once in a billion runs
SCALES = [Fraction(1, 3), Fraction(1), Fraction(5, 2), Fraction(20, 3), Fraction(1237, 100)]


def probability(scale: Fraction, value: int) -> float:
    q = math.exp(-1 / scale)
    return (1 - q) / (1 + q) * q ** abs(value)


def chance_of_misfit(draws: list[int], scale: Fraction) -> float:
    """How often exact draws would fit as badly as these: a chi-square test against the exact probabilities.

    The values from ±last on share a cell, of at least 20 expected draws. The 2 · last degrees of freedom are even, so
    the chance is a finite sum.
    """
    last = 1
    while tail(scale, last) / 2 * len(draws) >= 20:
        last += 1
    expected = {value: probability(scale, value) * len(draws) for value in range(-last + 1, last)}
    expected[last] = expected[-last] = tail(scale, last - 1) / 2 * len(draws)
    found = Counter(max(-last, min(last, draw)) for draw in draws)
    half = sum((found[value] - wanted) ** 2 / wanted for value, wanted in expected.items()) / 2
    return sum(math.exp(-half + k * math.log(half) - math.lgamma(k + 1)) for k in range(last))


def opendp_draws(scale: Fraction) -> list[int]:
    domain, metric = dp.vector_domain(dp.atom_domain(T=int)), dp.l1_distance(T=int)
    draws: list[int] = dp.m.make_laplace(domain, metric, scale=float(scale))([0] * DRAWS)
    return draws


@pytest.mark.parametrize("scale", SCALES)
def test_the_draws_have_the_exact_distribution(scale: Fraction) -> None:
    assert chance_of_misfit([discrete_laplace(scale) for _ in range(DRAWS)], scale) > NEVER


@pytest.mark.parametrize("scale", SCALES)
def test_the_test_for_the_distribution_accepts_the_sampler_of_opendp(scale: Fraction) -> None:
    assert chance_of_misfit(opendp_draws(scale), scale) > NEVER


def continuous(scale: float) -> float:
    return random.expovariate(1 / scale) - random.expovariate(1 / scale)


def with_zero_twice(scale: Fraction) -> int:
    """Forgets to draw again where the sign makes -0."""
    q = math.exp(-1 / scale)
    size = math.floor(math.log(1 - random.random()) / math.log(q))
    return random.choice((-1, 1)) * size


PLANTED: dict[str, Callable[[Fraction], int]] = {
    "half the scale": lambda scale: discrete_laplace(scale / 2),
    "a scale 10 % too small": lambda scale: discrete_laplace(scale * Fraction(9, 10)),
    "only upwards": lambda scale: abs(discrete_laplace(scale)),
    "zero twice as often": with_zero_twice,
    "rounded down instead of to nearest": lambda scale: math.floor(continuous(float(scale))),
    "cut at three scales": lambda scale: max(-round(3 * scale), min(round(3 * scale), discrete_laplace(scale))),
}


@pytest.mark.parametrize("bug", PLANTED)
def test_the_test_for_the_distribution_finds_a_planted_bug(bug: str) -> None:
    scale = Fraction(5, 2)
    assert chance_of_misfit([PLANTED[bug](scale) for _ in range(DRAWS)], scale) < NEVER


def test_successive_draws_are_independent() -> None:
    scale = Fraction(5, 2)
    draws = [discrete_laplace(scale) for _ in range(DRAWS)]
    correlation = sum(a * b for a, b in pairwise(draws)) / DRAWS / standard_deviation(scale) ** 2
    assert abs(correlation) < 7 / math.sqrt(DRAWS)  # a normal value beyond 7: 3e-12


def test_the_randomness_is_the_kernels_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def asking(bound: int) -> int:
        asked.append(bound)
        return draw(bound)

    draw = secrets.randbelow
    monkeypatch.setattr(secrets, "randbelow", asking)
    random.seed(1)
    before = random.getstate()
    value = discrete_laplace(Fraction(20, 3))
    assert type(value) is int
    assert asked[0] == 20
    assert random.getstate() == before


@pytest.mark.parametrize("scale", [Fraction(0), Fraction(-1, 2)])
def test_a_scale_that_is_not_above_zero_is_refused(scale: Fraction) -> None:
    with pytest.raises(ValueError, match="scale: expected above 0, found"):
        discrete_laplace(scale)


@pytest.mark.parametrize("scale", SCALES)
def test_the_figures_are_those_of_the_probabilities(scale: Fraction) -> None:
    far = math.ceil(60 * scale) + 1
    values = range(-far, far + 1)
    variance = sum(value**2 * probability(scale, value) for value in values)
    assert standard_deviation(scale) == pytest.approx(math.sqrt(variance))
    for size in (0, 1, 5):
        beyond = sum(probability(scale, value) for value in values if abs(value) > size)
        assert tail(scale, size) == pytest.approx(beyond, abs=1e-15)


@pytest.mark.parametrize("coverage", [0.01, 0.5, 0.95, 0.999999])
@pytest.mark.parametrize("scale", [*SCALES, Fraction(1, 50), Fraction(100_000, 7)])
def test_the_half_width_is_the_smallest_that_covers(scale: Fraction, coverage: float) -> None:
    width = half_width(scale, coverage)
    assert tail(scale, width) <= 1 - coverage
    assert width == 0 or tail(scale, width - 1) > 1 - coverage


def test_a_day_count_with_all_of_an_epsilon_of_one_is_within_seven_nineteen_times_of_twenty() -> None:
    assert half_width(1 / Fraction(2, 5), 0.95) == 7


COUNTING = CountingConfig(
    lines=(LineConfig(name="door", start=(0, 0.5), end=(1, 0.5)),),
    zones=(ZoneConfig(name="shelf", polygon=((0, 0), (1, 0), (1, 1))),),
)


@pytest.mark.parametrize("guarantee", ["track", "duration"])
def test_opendp_finds_the_same_epsilon_for_each_release_and_no_more_than_the_budget_in_all(guarantee: str) -> None:
    privacy = PrivacyConfig(guarantee=guarantee, epsilon_per_day=1.0)  # type: ignore[arg-type]
    planned = plan(privacy, COUNTING, ("person", "dog"))
    total = 0.0
    for release in (each for level in LEVELS for each in planned.releases(level)):
        space = dp.vector_domain(dp.atom_domain(T=int)), dp.l1_distance(T=int)
        mechanism = dp.m.make_laplace(*space, scale=float(release.scale))
        found = mechanism.map(release.sensitivity)
        assert found == pytest.approx(float(release.epsilon), rel=1e-12)
        total += found
    assert total == pytest.approx(1.0, rel=1e-12)


@pytest.mark.parametrize("privacy", [PrivacyConfig(), PrivacyConfig(guarantee="duration", max_rows=4, segments=2)])
def test_opendp_finds_the_same_sensitivity_for_a_histogram(privacy: PrivacyConfig) -> None:
    """opendp's distance between two lists of rows counts those to take away and those to add."""
    is_event = privacy.guarantee == "duration"
    rows = 2 * 4 * 2 * 2 if is_event else 1  # taken away and added · rows · appearances · chunks
    domain = dp.vector_domain(dp.atom_domain(T=int))
    histogram = dp.t.make_count_by_categories(domain, dp.symmetric_distance(), categories=list(range(10)), TOA=int)
    for level in LEVELS:
        for release in plan(privacy, COUNTING, ("person", "dog")).releases(level):
            assert release.sensitivity == histogram.map(rows)
