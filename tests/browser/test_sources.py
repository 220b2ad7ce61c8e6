"""The dashboard's sources: types by the route table, tests in Node, a lock file for everybody."""

import importlib.util
import json
import re
from types import ModuleType
from typing import Any

import pytest

from gpuforge_controlplane.api.openapi import describe
from gpuforge_controlplane.api.routes import ROUTES
from tests.browser.screen import TABS
from tests.conftest import require
from tests.dashboard import LOCK, PACKAGES, SOURCES, run_node
from tests.tiers import NPM_PACKAGES

MOST_JS = 60_000  # bytes gzipped
BUILT = SOURCES.parent / "gpuforge_controlplane" / "_ui"


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


@pytest.fixture(scope="session")
def manifest(built_dashboard: None) -> dict[str, dict[str, Any]]:
    """Vite's own: each script with those that it imports."""
    return dict(json.loads((BUILT / ".vite" / "manifest.json").read_text()))


def source_of(manifest: dict[str, dict[str, Any]], tab: str) -> str:
    (source,) = {f"src/tabs/{tab}.tsx", f"src/tabs/{tab}/index.tsx"} & manifest.keys()
    return source


def needed(manifest: dict[str, dict[str, Any]], tab: str) -> set[str]:
    """The scripts of the page and of one tab, those that it asks for later included."""
    tabs = {source_of(manifest, name or "overview") for name in TABS}
    modules, waiting = set[str](), ["index.html", source_of(manifest, tab)]
    while waiting:
        module = waiting.pop()
        if module in modules:
            continue
        modules.add(module)
        waiting += manifest[module].get("imports", [])
        # what the page asks for later is the other tabs
        waiting += [each for each in manifest[module].get("dynamicImports", []) if each not in tabs]
    return {manifest[module]["file"] for module in modules}


@pytest.mark.parametrize("tab", [name or "overview" for name in TABS])
def test_no_tab_needs_more_script_than_that(manifest: dict[str, dict[str, Any]], tab: str) -> None:
    sizes = {file: (BUILT / f"{file}.gz").stat().st_size for file in needed(manifest, tab)}
    assert len(sizes) >= 3, "the page, what all tabs share, and the tab"
    assert sum(sizes.values()) <= MOST_JS, sizes


def test_the_map_waits_for_no_chart(manifest: dict[str, dict[str, Any]]) -> None:
    """What the overview imports at once is without the library that draws charts."""
    at_once = [manifest["src/tabs/overview.tsx"], manifest["index.html"]]
    assert not [name for module in at_once for name in module["imports"] if "uplot" in name.lower()]


def test_the_overviews_scripts_come_along_with_the_page(manifest: dict[str, dict[str, Any]]) -> None:
    """Not after the page's own have run; and few: a browser asks for six things at a time."""
    page = (BUILT / "index.html").read_text()
    overview = manifest["src/tabs/overview.tsx"]
    at_once = {overview["file"], *(manifest[name]["file"] for name in overview["imports"])}
    assert [file for file in at_once if f'./{file}"' not in page] == []
    assert len(at_once | {manifest["index.html"]["file"]}) <= 4
