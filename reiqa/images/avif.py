"""Remove EXIF from AVIF files.

Pillow parses EXIF when opening a file and rejects the image if it is damaged. EXIF is not needed,
because the container of an AVIF specifies the orientation.
"""

import io
import re
from typing import IO

from reiqa.images.parts import Stripped

#: The declaration of an EXIF item ('infe' of version 2 or 3): ids, then the item type.
_EXIF_ITEM = re.compile(rb"(infe(?:\x02.{3}.{2}|\x03.{3}.{4}).{2})Exif", re.DOTALL)


def stripped(file: IO[bytes]) -> Stripped:
    """Change the type of EXIF items to an unknown one, so that readers ignore them."""
    file.seek(0)
    return Stripped(io.BytesIO(_EXIF_ITEM.sub(rb"\1none", file.read())))
