"""Surveys of real images: what drives each unit of a network."""

from .crops import Crops
from .histogram import Histogram
from .results import Survey
from .running import Surveying, survey
from .statistics import TopImage
from .units import UnitRow, UnitTable

__all__ = ["Crops", "Histogram", "Survey", "Surveying", "TopImage", "UnitRow", "UnitTable", "survey"]
