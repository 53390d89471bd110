"""`watch` as a callback of a training framework; the framework itself is imported only when its callback is made.

Nothing that goes wrong in the picture stops a training: it becomes an `LDAMWarning`, and the training goes on.
"""

from .accelerate import accelerate
from .huggingface import huggingface
from .lightning import lightning

__all__ = ["accelerate", "huggingface", "lightning"]
