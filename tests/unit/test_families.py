"""The family of a model string, as NVML writes it and as people do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuforge_controlplane.domain.families import KNOWN_FAMILIES, family_of, pool_family


@pytest.mark.parametrize(
    ("model", "family"),
    [
        # data centre
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H100 80GB", "H100"),
        ("NVIDIA H100 PCIe", "H100"),
        ("NVIDIA H100 NVL", "H100"),
        ("h100", "H100"),
        ("NVIDIA H200", "H200"),
        ("NVIDIA H200 NVL", "H200"),
        ("NVIDIA GH200 480GB", "GH200"),
        ("NVIDIA GH200 144G HBM3e", "GH200"),
        ("NVIDIA H800", "H800"),
        ("NVIDIA H20", "H20"),
        ("NVIDIA B200", "B200"),
        ("NVIDIA GB200", "GB200"),
        ("NVIDIA B300 SXM6 AC", "B300"),
        ("NVIDIA GB300", "GB300"),
        ("NVIDIA A100-SXM4-80GB", "A100"),
        ("NVIDIA A100-PCIE-40GB", "A100"),
        ("A100 80 GB", "A100"),
        ("NVIDIA A800-SXM4-80GB", "A800"),
        ("NVIDIA A10", "A10"),
        ("NVIDIA A10G", "A10G"),
        ("NVIDIA A16", "A16"),
        ("NVIDIA A2", "A2"),
        ("NVIDIA A30", "A30"),
        ("NVIDIA A40", "A40"),
        ("NVIDIA A40-48Q", "A40"),
        ("NVIDIA L4", "L4"),
        ("NVIDIA L40", "L40"),
        ("NVIDIA L40S", "L40S"),
        ("Tesla T4", "T4"),
        ("Tesla V100-SXM2-16GB", "V100"),
        ("Tesla V100S-PCIE-32GB", "V100S"),
        ("Tesla P100-PCIE-16GB", "P100"),
        ("Tesla K80", "K80"),
        # workstation
        ("NVIDIA RTX A6000", "A6000"),
        ("NVIDIA RTX A4000", "A4000"),
        ("NVIDIA RTX 6000 Ada Generation", "RTX 6000 Ada"),
        ("RTX 6000 Ada", "RTX 6000 Ada"),
        ("NVIDIA RTX 4000 SFF Ada Generation", "RTX 4000 SFF Ada"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "RTX PRO 6000"),
        ("Quadro RTX 6000", "RTX 6000"),
        ("Quadro RTX 8000", "RTX 8000"),
        ("NVIDIA TITAN RTX", "TITAN RTX"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("NVIDIA GeForce RTX 3080 Ti", "RTX 3080 Ti"),
        # no family of ours
        ("NVIDIA H1000", None),
        ("AH100", None),
        ("AMD Instinct MI300X", None),
        ("NVIDIA Graphics Device", None),
        ("80GB", None),
        ("", None),
    ],
)
def test_family_of_a_model(model: str, family: str | None) -> None:
    assert family_of(model) == family


@pytest.mark.parametrize("family", KNOWN_FAMILIES)
def test_every_family_names_itself_bare_and_in_full(family: str) -> None:
    assert family_of(family) == family
    assert family_of(f"NVIDIA {family.lower()} 48GB HBM3") == family


def test_no_family_is_listed_twice() -> None:
    assert len(set(KNOWN_FAMILIES)) == len(KNOWN_FAMILIES)


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("AMD Instinct MI300X 192GB", "AMD Instinct MI300X"),
        ("NVIDIA R100-SXM7-288GB", "R100 SXM7"),
        ("NVIDIA", "unknown"),
    ],
    ids=["known", "another vendor", "newer than the list", "nothing to go by"],
)
def test_an_unknown_card_pools_with_its_like(model: str, family: str) -> None:
    assert pool_family(model) == family


@given(st.text(max_size=60))
def test_any_text_has_a_pool(model: str) -> None:
    assert pool_family(model).strip()
