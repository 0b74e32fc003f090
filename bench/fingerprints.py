"""How fast is a fingerprint, and how far does the fast one drift?"""

import io
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from statistics import mean

import imagehash
import numpy as np
from PIL import Image
from tests.pictures import encode, photo, samples, varied_jpegs

from bench.table import Table, Target, Timing, side_by_side
from dhash_service.pictures.fingerprint import EXACT, fingerprint, read_picture

SIZES = {"0.3 MP": (640, 480), "2 MP": (1632, 1224), "12 MP": (4000, 3000)}
WANTED = {"0.3 MP": 1.8, "2 MP": 3.0, "12 MP": 5.0}
FROM_FLOOR = 0.10  # how far from decoding alone, at 12 MP

FILES = {
    "photo, quality 80": (6, 80),  # about 0.12 bytes a pixel at 2 MP
    "noisy photo, quality 90": (12, 90),  # about 0.3: what a camera writes
}
"""Name → (grain, quality). The first one is judged; the more bytes, the more of the time is Huffman decoding,
which every JPEG decoder has to do in full, and the less there is to save."""


def tables(quick: bool) -> list[Table]:
    return [speed(quick), formats(quick), drift(60 if quick else 300)]


def _imagehash(data: bytes) -> object:
    return imagehash.dhash(Image.open(io.BytesIO(data)))


def _decode(data: bytes) -> None:
    """The floor: the reduced luma that the fast fingerprint starts from, decoded and thrown away."""
    image = Image.open(io.BytesIO(data), formats=["JPEG"])
    image.draft("L", (256, 224))
    image.load()


def speed(quick: bool) -> Table:
    """One thread, each file in memory; contestants take turns."""
    rows, targets = [], []
    for kind, (grain, quality) in FILES.items():
        for size, (width, height) in SIZES.items():
            data = encode(photo(width, height, 1, grain=grain), "JPEG", quality=quality)
            repeats = max(5, int((10 if quick else 40) / (width * height / 1e6) ** 0.5))
            times = side_by_side(
                {
                    "imagehash": lambda data=data: _imagehash(data),
                    "decode": lambda data=data: _decode(data),
                    "fast": lambda data=data: fingerprint(data),
                    "thumbnail": lambda data=data: read_picture(data),
                },
                repeats=repeats,
                warm_up=2,
                clock=time.thread_time,
            )
            ratio, over = _ratio(times, "imagehash", "fast"), _ratio(times, "fast", "decode") - 1
            rows.append(
                [
                    f"{kind}, {size}, {len(data) / 1000:,.0f} KB",
                    *(str(times[name]) for name in ("imagehash", "fast", "decode")),
                    f"{ratio:.2f}×",
                    f"{_ratio(times, 'imagehash', 'decode'):.2f}×",
                    f"{over:+.0%}",
                    f"{_ratio(times, 'thumbnail', 'fast') - 1:+.0%}",
                ]
            )
            if kind == next(iter(FILES)):
                wanted = WANTED[size]
                what = f"dhash-64-fast against imagehash.dhash at {size}"
                targets.append(Target(what, f"≥ {wanted}×", f"{ratio:.2f}×", ratio >= wanted))
                if size == "12 MP":
                    what = "dhash-64-fast over decoding alone at 12 MP"
                    targets.append(Target(what, f"≤ {FROM_FLOOR:.0%}", f"{over:.1%}", over <= FROM_FLOOR))
    return Table(
        "How fast is a fingerprint of a JPEG, in one thread?",
        [
            "file",
            "imagehash.dhash",
            "dhash-64-fast",
            "decoding alone",
            "faster",
            "at most",
            "over decoding",
            "thumbnail",
        ],
        rows,
        targets,
        "“at most” is imagehash over decoding alone: what a fingerprint that costs nothing after libjpeg "
        "would reach. “thumbnail” is what read_picture adds: SHA-256, color, and a JPEG. Processor time.",
    )


def _ratio(times: dict[str, Timing], one: str, other: str) -> float:
    return times[one].best / times[other].best


def formats(quick: bool) -> Table:
    """Every format at 1 MP, and both cores together."""
    wanted = {"4:2:0", "progressive", "CMYK", "RGB", "RGBA", "lossy", "still", "raw", "LZW"}
    rows = []
    for sample in samples(photo(1152, 864)):
        if sample.kind not in wanted:
            continue
        times = side_by_side(
            {
                "imagehash": lambda data=sample.data: _imagehash(data),
                "fast": lambda data=sample.data: fingerprint(data),
            },
            repeats=5 if quick else 15,
            clock=time.thread_time,
        )
        rows.append(
            [
                f"{sample.format} {sample.kind}",
                str(times["imagehash"]),
                str(times["fast"]),
                f"{_ratio(times, 'imagehash', 'fast'):.2f}×",
                f"{_threads(lambda data=sample.data: fingerprint(data), 20 if quick else 60):.2f}×",
            ]
        )
    cores = os.cpu_count() or 1
    return Table(
        "And of the other formats, at 1 MP?",
        ["file", "imagehash.dhash", "dhash-64-fast", "faster", f"{cores} threads against 1"],
        rows,
        note="Outside JPEG both algorithms decode in full; there is nothing to save without moving bits.",
    )


def _threads(call: Callable[..., object], times: int) -> float:
    """How many times as many calls a second a thread per core makes."""

    def run(workers: int) -> None:
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(lambda _: call(), range(times)))

    together = side_by_side({"one": lambda: run(1), "all": lambda: run(os.cpu_count() or 1)}, repeats=3)
    return _ratio(together, "one", "all")


def drift(number: int) -> Table:
    """Bits between the fast and the exact fingerprint, beside those that saving once more moves."""
    fast, again, near_ties = [], [], []
    for data in varied_jpegs(number):
        image = Image.open(io.BytesIO(data))
        exact = fingerprint(data, EXACT).value
        fast.append((fingerprint(data).value ^ exact).bit_count())
        again.append((fingerprint(encode(image, "JPEG", quality=75), EXACT).value ^ exact).bit_count())
        cells = np.asarray(image.convert("L").resize((9, 8), Image.Resampling.LANCZOS), np.int16)
        near_ties.append(int((np.abs(np.diff(cells)) <= 1).sum()))
    rows = [
        [name, f"{mean(bits):.2f}", str(max(bits)), f"{sum(bit == 0 for bit in bits) / number:.0%}"]
        for name, bits in (("dhash-64-fast", fast), ("saved once more at quality 75, dhash-64", again))
    ]
    return Table(
        f"How many bits is dhash-64-fast away from dhash-64, over {number} varied JPEGs?",
        ["fingerprint", "mean", "most", "unmoved"],
        rows,
        [
            Target("mean drift", "≤ 0.3 bits", f"{mean(fast):.2f}", mean(fast) <= 0.3),
            Target("largest drift", "≤ 5 bits", str(max(fast)), max(fast) <= 5),
            Target(
                "no more than saving once more",
                f"≤ {mean(again):.2f} and {max(again)}",
                f"{mean(fast):.2f} and {max(fast)}",
                mean(fast) <= mean(again) and max(fast) <= max(again),
            ),
        ],
        "Photos, graphics and pages of text, 0.02 to 4 MP, quality 50 to 97. Per picture "
        f"{mean(near_ties):.1f} of the 64 comparisons are between cells that differ by one level or none; "
        "those are the bits that move.",
    )
