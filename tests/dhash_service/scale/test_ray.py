"""The example of docs/scale.md runs on Ray, where that is installed."""

import re
from pathlib import Path

import pytest

from dhash_service.pictures.fingerprint import NEW, read_picture
from tests.dhash_service.scale.making import rows_at

pytestmark = pytest.mark.system
DOCUMENT = Path(__file__).parents[3] / "docs" / "scale.md"


def test_the_example_gives_the_bare_function_s_values(tmp_path: Path, pictures: list[bytes]) -> None:
    ray = pytest.importorskip("ray")
    (example,) = re.findall(r"```python\n(import ray\n.*?)```", DOCUMENT.read_text(), re.DOTALL)
    urls = []
    for number, data in enumerate(pictures):
        (tmp_path / f"{number}.jpg").write_bytes(data)
        urls.append(str(tmp_path / f"{number}.jpg"))
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        exec(example, {"urls": urls, "out": str(tmp_path / "out")})
    finally:
        ray.shutdown()
    found = {str(row["name"]): row["hash"] for row in rows_at(str(tmp_path / "out"))}
    values = [read_picture(data, NEW).fingerprint.value for data in pictures]
    assert found == dict(zip(urls, values, strict=True))
