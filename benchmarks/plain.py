"""The bank's types in the usual style: one whole photograph at a time, Pillow, SciPy, scikit-image.

Clear and slow. It is the baseline that `benchmarks/bank.py` times, and the independent reference
against which the tests hold the bank; it shares no code with the bank.
"""

import io
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage
from skimage import color, filters

Photo = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
Random = np.random.Generator

CELL = 80


def to_photo(values: Floats) -> Photo:
    """Round floats in [0, 1] to 8 bits, what lies outside clipped."""
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)


def gaussian_blur(photo: Photo, sigma: float, random: Random) -> Photo:
    return to_photo(ndimage.gaussian_filter(photo / 255, (sigma, sigma, 0), mode="nearest"))


def disk(radius: float, points: int = 101) -> Floats:
    reach = int(np.ceil(radius - 0.5))
    offsets = (np.arange(points) + 0.5) / points - 0.5
    axis = np.arange(-reach, reach + 1)[:, None] + offsets
    squares = axis**2
    inside = squares[:, :, None, None] + squares[None, None] <= radius**2
    kernel = inside.mean((1, 3))
    return kernel / kernel.sum()


def lens_blur(photo: Photo, radius: float, random: Random) -> Photo:
    kernel = disk(radius)[:, :, None]
    return to_photo(ndimage.convolve(photo / 255, kernel, mode="nearest"))


def colour_diffusion(photo: Photo, amount: float, random: Random) -> Photo:
    lab = color.rgb2lab(photo)
    sigma = 1.5 * amount + 2
    for channel in (1, 2):
        blurred = filters.gaussian(lab[..., channel], sigma, mode="nearest")
        lab[..., channel] = blurred * amount
    return to_photo(color.lab2rgb(lab))


def colour_shift(photo: Photo, distance: float, random: Random) -> Photo:
    image = photo / 255
    grey = color.rgb2gray(image)
    down, right = np.gradient(grey)
    edges = ndimage.gaussian_filter(np.hypot(down, right), 4, mode="nearest")
    mask = np.clip((edges - 0.01) / 0.07, 0, 1)
    angle = random.uniform(0, 2 * np.pi)
    shift = (round(distance * np.sin(angle)), round(distance * np.cos(angle)))
    moved = ndimage.shift(image[..., 1], shift, order=0, mode="nearest")
    image[..., 1] += (moved - image[..., 1]) * mask
    return to_photo(image)


def desaturation(photo: Photo, share: float, random: Random) -> Photo:
    hsv = color.rgb2hsv(photo)
    hsv[..., 1] *= share
    return to_photo(color.hsv2rgb(hsv))


def saturation(photo: Photo, factor: float, random: Random) -> Photo:
    lab = color.rgb2lab(photo)
    lab[..., 1:] *= factor
    return to_photo(color.lab2rgb(lab))


def jpeg(photo: Photo, quality: int, random: Random) -> Photo:
    stream = io.BytesIO()
    Image.fromarray(photo).save(stream, "JPEG", quality=quality, subsampling="4:2:0")
    return np.asarray(Image.open(stream, formats=["JPEG"]).convert("RGB"))


def white_noise(photo: Photo, variance: float, random: Random) -> Photo:
    return to_photo(photo / 255 + random.normal(0, np.sqrt(variance), photo.shape))


def colour_noise(photo: Photo, variance: float, random: Random) -> Photo:
    ycbcr = color.rgb2ycbcr(photo)
    ycbcr += random.normal(0, 255 * np.sqrt(variance), photo.shape)
    return to_photo(color.ycbcr2rgb(ycbcr))


def impulse_noise(photo: Photo, share: float, random: Random) -> Photo:
    drawn = random.random(photo.shape[:2])
    noisy = photo.copy()
    noisy[drawn < share / 2] = 0
    noisy[drawn > 1 - share / 2] = 255
    return noisy


def multiplicative_noise(photo: Photo, variance: float, random: Random) -> Photo:
    return to_photo(photo / 255 * (1 + random.normal(0, np.sqrt(variance), photo.shape)))


def denoise(photo: Photo, strength: tuple[float, float], random: Random) -> Photo:
    variance, sigma = strength
    noisy = white_noise(photo, variance, random) / 255
    if random.random() < 0.5:
        return to_photo(ndimage.gaussian_filter(noisy, (sigma, sigma, 0), mode="nearest"))
    size = max(1, round(np.sqrt(12 * sigma**2 + 1)))
    return to_photo(ndimage.uniform_filter(noisy, (size, size, 1), mode="nearest"))


def parabola(values: Floats, middle: float) -> Floats:
    return np.clip(np.polyval(np.polyfit([0, 0.5, 1], [0, middle, 1], 2), values), 0, 1)


def brighten(photo: Photo, amount: float, random: Random) -> Photo:
    middle = 0.5 + 0.5 * amount
    lab = color.rgb2lab(photo)
    lab[..., 0] = 100 * parabola(lab[..., 0] / 100, middle)
    return to_photo((2 * parabola(photo / 255, middle) + np.clip(color.lab2rgb(lab), 0, 1)) / 3)


def darken(photo: Photo, amount: float, random: Random) -> Photo:
    return to_photo(parabola(photo / 255, 0.5 - 0.5 * amount))


def mean_shift(photo: Photo, amount: float, random: Random) -> Photo:
    return to_photo(photo / 255 + amount * random.choice([-1, 1]))


def contrast(photo: Photo, amount: float, random: Random) -> Photo:
    amount *= random.choice([-1, 1])
    known = [0, 0.3, 0.5, 0.7, 1]
    values = [0, 0.3 - amount / 4, 0.5, 0.7 + amount / 4, 1]
    return to_photo(np.polyval(np.polyfit(known, values, 3), photo / 255))


def sharpen(photo: Photo, amount: float, random: Random) -> Photo:
    lab = color.rgb2lab(photo)
    padded = np.pad(lab[..., 0], 2, mode="edge")
    down = np.gradient(np.gradient(padded, axis=0), axis=0)
    right = np.gradient(np.gradient(padded, axis=1), axis=1)
    lab[..., 0] = np.clip(lab[..., 0] - amount * (down + right)[2:-2, 2:-2], 0, 100)
    return to_photo(color.lab2rgb(lab))


def resize(photo: Photo, factor: float, how: Image.Resampling) -> Photo:
    height, width = photo.shape[:2]
    small = (max(1, int(width / factor)), max(1, int(height / factor)))
    image = Image.fromarray(photo).resize(small, how)
    return np.asarray(image.resize((width, height), how))


def resize_bicubic(photo: Photo, factor: int, random: Random) -> Photo:
    return resize(photo, factor, Image.Resampling.BICUBIC)


def resize_bilinear(photo: Photo, factor: int, random: Random) -> Photo:
    return resize(photo, factor, Image.Resampling.BILINEAR)


def resize_nearest(photo: Photo, factor: int, random: Random) -> Photo:
    return resize(photo, factor, Image.Resampling.NEAREST)


def resize_lanczos(photo: Photo, factor: int, random: Random) -> Photo:
    return resize(photo, factor, Image.Resampling.LANCZOS)


def pixelate(photo: Photo, share: float, random: Random) -> Photo:
    return resize(photo, 1 / share, Image.Resampling.NEAREST)


def colour_blocks(photo: Photo, side: int, random: Random) -> Photo:
    painted = photo.copy()
    for top in range(0, photo.shape[0], CELL):
        for left in range(0, photo.shape[1], CELL):
            row, column = random.integers(
                (top, left), (top + CELL - side + 1, left + CELL - side + 1)
            )
            painted[row : row + side, column : column + side] = random.integers(0, 256, 3)
    return painted


def displaced_patches(photo: Photo, count: int, random: Random) -> Photo:
    moved = photo.copy()
    height, width = photo.shape[:2]
    for _ in range(round(count * height * width / CELL**2)):
        row, column = random.integers(8, height - 24), random.integers(8, width - 24)
        down, right = random.integers(-8, 9, 2)
        patch = photo[row : row + 16, column : column + 16]
        moved[row + down : row + down + 16, column + right : column + right + 16] = patch
    return moved


def jitter(photo: Photo, sigma: float, random: Random) -> Photo:
    """Five passes of a fifth of the variance each, as published."""
    height, width = photo.shape[:2]
    rows, columns = np.mgrid[:height, :width]
    image = photo.astype(np.float64)
    for _ in range(5):
        down, right = random.normal(0, sigma, (2, height, width))
        for channel in range(3):
            image[..., channel] = ndimage.map_coordinates(
                image[..., channel], [rows - down, columns - right], order=3, mode="reflect"
            )
    return to_photo(image / 255)


PLAIN: dict[str, Callable[[Photo, float, Random], Photo]] = {
    function.__name__: function
    for function in (
        gaussian_blur, lens_blur, colour_diffusion, colour_shift, desaturation, saturation, jpeg,
        white_noise, colour_noise, impulse_noise, multiplicative_noise, denoise, brighten, darken,
        mean_shift, resize_bicubic, sharpen, contrast, colour_blocks, pixelate, displaced_patches,
        jitter, resize_bilinear, resize_nearest, resize_lanczos,
    )
}  # fmt: skip
