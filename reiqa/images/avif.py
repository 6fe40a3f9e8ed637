"""An AVIF without its EXIF.

Pillow parses that while it opens a file, and refuses the image where it is damaged. It decides
nothing: how an AVIF is turned, its container says.
"""

import io
import re
from typing import IO

from reiqa.images.parts import Stripped

#: The declaration of an EXIF item ('infe' of version 2 or 3): its numbers, then its kind.
_EXIF_ITEM = re.compile(rb"(infe(?:\x02.{3}.{2}|\x03.{3}.{4}).{2})Exif", re.DOTALL)


def stripped(file: IO[bytes]) -> Stripped:
    """Rename the kind of its EXIF items to one that nobody reads."""
    file.seek(0)
    return Stripped(io.BytesIO(_EXIF_ITEM.sub(rb"\1none", file.read())))
