"""The user's images."""

from .folder import PictureFolder
from .images import Images, fingerprint, images_of
from .pictures import PictureError, read_picture
from .real_images import RealImages

__all__ = ["Images", "PictureError", "PictureFolder", "RealImages", "fingerprint", "images_of", "read_picture"]
