"""What a page in a browser shows."""

import base64
import io

import numpy as np
from PIL import Image


def pixels(page) -> np.ndarray:
    """RGB of the plane on show, [row, column, 3]."""
    url = page.evaluate("document.querySelector('canvas.plane').toDataURL('image/png')")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))).convert("RGB"))
