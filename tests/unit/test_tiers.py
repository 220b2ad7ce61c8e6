"""What the suite does about a part of the system that is not there."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.tiers import Part, folders, missing_parts, notice


class Machine:
    """A machine that has `packages`, and where installing either works or does not."""

    def __init__(self, *packages: str, may_install: bool) -> None:
        self.packages = set(packages)
        self.may_install = may_install

    def install(self, packages: Sequence[str]) -> bool:
        if self.may_install:
            self.packages.update(packages)
        return self.may_install

    def part(self, package: str) -> Part:
        return Part(
            name=f"the {package} part",
            needed_by=f"the {package} tests",
            packages=(package,),
            present=lambda: package in self.packages,
        )


@pytest.mark.parametrize(
    ("machine", "missing"),
    [
        (Machine("gcc", "postgresql", may_install=False), []),
        (Machine("gcc", may_install=True), []),
        (Machine("gcc", may_install=False), ["the postgresql part"]),
        (Machine(may_install=False), ["the gcc part", "the postgresql part"]),
    ],
    ids=["all there", "installs", "one missing", "all missing"],
)
def test_missing_parts(machine: Machine, missing: list[str]) -> None:
    parts = [machine.part("gcc"), machine.part("postgresql")]
    assert [part.name for part in missing_parts(parts, machine.install)] == missing


def test_a_package_that_brings_nothing_is_still_missing() -> None:
    part = Part(name="x", needed_by="y", packages=("z",), present=lambda: False)
    assert missing_parts([part], lambda _: True) == [part]


def test_the_notice_names_the_part_the_tests_and_the_line() -> None:
    text = notice([Machine(may_install=False).part("gcc")])
    for words in ("the gcc part", "the gcc tests", "apt-get install -y --no-install-recommends gcc"):
        assert words in text


def test_only_tiers_with_a_test_are_run_cheapest_first(tmp_path: Path) -> None:
    for file in ("system/test_b.py", "unit/deep/test_a.py", "bench/test_c.py", "api/conftest.py"):
        path = tmp_path / "tests" / file
        path.parent.mkdir(parents=True)
        path.touch()
    assert folders(tmp_path) == ["tests/unit", "tests/system"]
