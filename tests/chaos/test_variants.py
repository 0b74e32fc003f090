"""Every faulty release can be made of the source as it is."""

import shutil
from pathlib import Path

import pytest
from chaos.plan import Variant
from chaos.variants import ROOT, SERVICE, SPOILS


@pytest.mark.parametrize("variant", Variant, ids=lambda variant: variant.value)
def test_a_faulty_release_is_made_of_this_source(variant: Variant, tmp_path: Path) -> None:
    shutil.copytree(ROOT / SERVICE, tmp_path / SERVICE, ignore=shutil.ignore_patterns("__pycache__"))
    SPOILS[variant](tmp_path)  # raises where it is no longer found
