"""Transition kernels, one per file."""

from .algorithm1 import Algorithm1
from .baoab import BAOAB
from .ghmc import GHMC
from .leimkuhler_matthews import LeimkuhlerMatthews
from .mala import MALA
from .regularised_ascent import RegularisedAscent
from .ula import ULA

__all__ = ["BAOAB", "GHMC", "MALA", "ULA", "Algorithm1", "LeimkuhlerMatthews", "RegularisedAscent"]
