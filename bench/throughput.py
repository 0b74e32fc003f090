"""How many pictures a second are fingerprinted, on one core and on all, beside what others would use?"""

import io
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import median

import imagehash
import numpy as np
from PIL import Image
from tests.pictures import encode, photo

from bench.table import Table
from dhash_service.pictures.fingerprint import EXACT, FAST, fingerprint

Hash = Callable[[bytes], object]

CORES = os.cpu_count() or 1
SIZES = {"0.3 MP": (640, 480), "2 MP": (1632, 1224), "12 MP": (4000, 3000)}


@dataclass(frozen=True, slots=True)
class File:
    """A picture as it lies on a disk."""

    name: str
    data: bytes
    megapixels: float


def tables(quick: bool) -> list[Table]:
    contestants, absent = peers()
    rows = []
    for file in files(quick):
        rates = {name: in_turns(file, contestants, threads, quick) for name, threads in THREADS.items()}
        for name in contestants:
            one, every = rates["one"][name], rates["every"][name]
            rows.append(
                (
                    file.name,
                    name,
                    f"{median(one):,.0f} ± {spread(one):.0%}",
                    f"{median(every):,.0f} ± {spread(every):.0%}",
                    f"{median(every) / median(rates['every']['imagehash.dhash']):.2f}×",
                )
            )
    return [
        Table(
            "Fingerprints a second, from the file's bytes in memory",
            ("file", "by", "one thread", f"{CORES} threads", "against imagehash, all cores"),
            rows,
            note="The OpenCV recipes and PDQ give other bits than dhash. “Decoding alone” decodes what "
            f"dhash-64-fast decodes and throws it away.{absent}",
        )
    ]


THREADS = {"one": 1, "every": CORES}


def files(quick: bool) -> list[File]:
    """A photo as JPEG in three sizes, and in the other usual formats at 2 MP."""
    sizes = {"2 MP": SIZES["2 MP"]} if quick else SIZES
    drawn = {name: photo(width, height, 1, grain=6) for name, (width, height) in sizes.items()}
    jpegs = [
        File(f"JPEG, {name}", encode(picture, "JPEG", quality=80), picture.width * picture.height / 1e6)
        for name, picture in drawn.items()
    ]
    others = ("WEBP",) if quick else ("PNG", "WEBP", "TIFF")
    return jpegs + [File(f"{format}, 2 MP", encode(drawn["2 MP"], format), 2.0) for format in others]


def peers() -> tuple[dict[str, Hash], str]:
    """Ours and whichever others are installed (`make bench` installs them all)."""
    contestants: dict[str, Hash] = {
        "decoding alone": _decode,
        "dhash-64-fast": lambda data: fingerprint(data, FAST),
        "dhash-64": lambda data: fingerprint(data, EXACT),
        "imagehash.dhash": lambda data: imagehash.dhash(Image.open(io.BytesIO(data))),
    }
    absent = []
    try:
        import cv2

        # The recipe of tutorials, and the same with OpenCV's own way to decode at a quarter of the size.
        cv2.setNumThreads(1)
        contestants["OpenCV recipe"] = lambda data: _opencv(data, cv2.IMREAD_GRAYSCALE)
        contestants["OpenCV recipe, reduced"] = lambda data: _opencv(data, cv2.IMREAD_REDUCED_GRAYSCALE_4)
    except ImportError:
        absent.append("OpenCV")
    try:
        import pdqhash

        contestants["PDQ (256 bits)"] = lambda data: pdqhash.compute(
            np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        )
    except ImportError:
        absent.append("pdqhash")
    return contestants, f" Not installed, so not measured: {', '.join(absent)}." if absent else ""


def _decode(data: bytes) -> None:
    image = Image.open(io.BytesIO(data))
    image.draft("L", (256, 224))  # does nothing but for JPEG
    image.load()


def _opencv(data: bytes, flags: int) -> object:
    import cv2

    gray = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    assert gray is not None
    cells = cv2.resize(gray, (9, 8), interpolation=cv2.INTER_AREA)
    return np.packbits(cells[:, 1:] > cells[:, :-1])


def in_turns(
    file: File, contestants: dict[str, Hash], threads: int, quick: bool
) -> dict[str, Sequence[float]]:
    """Pictures a second of each contestant, over rounds in which they take turns."""
    calls = max(threads, round((6 if quick else 20) * threads / max(file.megapixels, 1)))
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    with ThreadPoolExecutor(threads) as pool:
        for round_ in range(4 if quick else 8):
            for name, call in contestants.items():
                begin = time.perf_counter()
                list(pool.map(lambda _, call=call: call(file.data), range(calls)))
                if round_:  # the first one warms up
                    rates[name].append(calls / (time.perf_counter() - begin))
    return dict(rates)


def spread(rates: Sequence[float]) -> float:
    """Half the distance between the quartiles, as a share of the median."""
    low, high = np.quantile(rates, (0.25, 0.75))
    return float((high - low) / 2 / median(rates))
