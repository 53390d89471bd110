"""What is known about the density of the samples."""

from __future__ import annotations

from ..core.target import Target
from ..network.first_pass import findings
from ..parametrizations.natural import NaturalCoordinates
from .settings import FIXED_CHANGES, Settings


def _is_confined(settings: Settings) -> bool:
    """Whether exp(E/T) can be normalised, as far as is known without knowing the network."""
    held = any(settings.params[r.name] > 0 for r in settings.regularizers if getattr(r, "confines", False))
    return settings.coordinates.white or settings.coordinates.bounds is not None or held


def has_law(settings: Settings, heat: float) -> bool:
    """Whether there is a density that the kernel is known to sample."""
    if settings.fixed.leaky or findings(settings.fixed.view).draws:
        return False
    return settings.kernel.calibrated and settings.temperature * heat > 0 and _is_confined(settings)


def law_note(settings: Settings, target: Target, step: int) -> str:
    """One line on what is known about the law of the samples.

    Args:
        target: at the temperature of the displayed samples.
        step: of the chains.
    """
    if settings.fixed.leaky:
        return f"the backward pass leaks (slope {settings.fixed.leaky:g}): no known law"
    if findings(settings.fixed.view).draws:
        return "the same image gives different activations from call to call: no known law"
    if settings.kernel.calibrated and settings.temperature * settings.heat(step) == 0:
        return "no law at T = 0: the chains climb to a maximum"
    if settings.kernel.calibrated and not _is_confined(settings):
        return "no law: nothing confines unbounded pixels. Give a pixel_range, raise L2, or use a natural prior"
    note = settings.kernel.note(target, step)
    if isinstance(settings.coordinates, NaturalCoordinates) and settings.coordinates.squashed:
        note += "; the picture is z, squashed into its range"
    if any(settings.params[r.name] > 0 and not getattr(r, "has_energy", True) for r in settings.regularizers):
        note += "; the density of the denoiser is as its network estimates it"
    if settings.transforms is not None:
        fixed, fresh = f"over {FIXED_CHANGES} fixed transforms", "over transforms drawn at each step"
        how = fixed if settings.energy_needed else fresh
        note += f"; f is averaged {how}: {settings.transforms}"
    return "neurons are left out: " + note if settings.neurons_left_out else note
