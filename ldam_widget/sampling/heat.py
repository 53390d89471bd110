"""Heat: raise the temperature, hold it and cool again, so that chains leave one mode and settle in another."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.parameters import Parameter

HEAT = Parameter(
    "heat", 1, 100, 1.0, "Multiplies the temperature: hot chains leave their mode, and find another as they cool.",
    unit="× T", log=True,
)  # fmt: skip


@dataclass(frozen=True)
class HeatPulse:
    """Heat as a function of steps: it rises geometrically to `peak`, holds, and falls back to 1.

    The paper's "noisy images that collapse to different naturalistic ones" (section 1).

    Args:
        peak: 1 to 100, times the temperature.
        rise, hold, cool: steps, ≥ 0 and not all 0.

    Raises:
        TypeError, ValueError: an argument of the wrong type or out of range.
    """

    peak: float = 20.0
    rise: int = 50
    hold: int = 100
    cool: int = 350

    def __post_init__(self) -> None:
        HEAT._replace(name="peak").check(self.peak)
        times = (self.rise, self.hold, self.cool)
        if not all(isinstance(time, int) and time >= 0 for time in times) or not sum(times):
            raise ValueError(f"rise, hold and cool must be steps, integers ≥ 0 and not all 0; got {times}")

    @property
    def length(self) -> int:
        """Total number of steps."""
        return self.rise + self.hold + self.cool

    def at(self, step: int) -> float:
        """Heat `step` steps after the start; 1 after the end."""
        if step < self.rise:
            share = (step + 1) / self.rise
        elif step < self.rise + self.hold:
            share = 1.0
        else:
            share = max(0.0, (self.length - 1 - step) / self.cool) if self.cool else 0.0
        return float(self.peak**share)
