"""The dashboard's sources: types by the route table, tests in Node, a lock file for everybody."""

import importlib.util
import json
import re
from types import ModuleType

import pytest

from gpuforge_controlplane.api.openapi import describe
from gpuforge_controlplane.api.routes import ROUTES
from tests.conftest import require
from tests.dashboard import LOCK, PACKAGES, SOURCES, run_node
from tests.tiers import NPM_PACKAGES

MOST_JS = 60_000  # bytes gzipped


@pytest.fixture(scope="session")
def api_types() -> ModuleType:
    spec = importlib.util.spec_from_file_location("api_types", SOURCES / "api_types.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.timeout(180)
def test_the_sources_agree_with_the_contract_as_it_is_now(api_types: ModuleType) -> None:
    """The types are written anew from the route table, so a contract that changed is seen here."""
    require(NPM_PACKAGES)
    (SOURCES / "src" / "api" / "schema.ts").write_text(api_types.generate(describe(ROUTES)))
    checked = run_node(PACKAGES / "typescript" / "bin" / "tsc", "--noEmit")
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.timeout(180)
def test_vitest() -> None:
    require(NPM_PACKAGES)
    done = run_node(PACKAGES / "vitest" / "vitest.mjs", "run", "--reporter=dot")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_types_say_what_the_schemas_say(api_types: ModuleType) -> None:
    schemas = {
        "Job": {
            "type": "object",
            "required": ["id", "tenant"],
            "properties": {
                "id": {"type": "integer"},
                "tenant": {"anyOf": [{"$ref": "#/components/schemas/Tenant"}, {"type": "null"}]},
                "state": {"enum": ["a", "b"]},
                "counts": {"type": "object", "additionalProperties": {"type": "number"}},
                "rows": {"type": "array", "items": {"type": ["string", "null"]}},
            },
        }
    }
    written = api_types.generate({"components": {"schemas": schemas}, "paths": {}})
    for line in (
        "id: number;",
        "tenant: Tenant | null;",
        'state?: "a" | "b";',
        "counts?: Record<string, number>;",
        "rows?: (string | null)[];",
    ):
        assert f"  {line}\n" in written


def test_the_lock_file_is_of_no_registry_and_of_every_machine() -> None:
    text = LOCK.read_text()
    packages = json.loads(text)["packages"]
    assert not re.search(r'"resolved"|registry\.|npmjs', text)
    assert sum("cpu" in package for package in packages.values()) >= 15
    assert all("integrity" in package for name, package in packages.items() if name)


def test_no_tab_needs_more_script_than_that(built_dashboard: None) -> None:
    built = SOURCES.parent / "gpuforge_controlplane" / "_ui" / "assets"
    index, *tabs = sorted(built.glob("*.js.gz"), key=lambda file: not file.name.startswith("index-"))
    assert index.stat().st_size + max((tab.stat().st_size for tab in tabs), default=0) <= MOST_JS
