"""What the demo plays: the nodes are dealt out, named as the agent names them, and paced."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from gpuforge_agent.app import _hosts
from gpuforge_agent.config import AgentSettings
from gpuforge_agent.host import Host
from gpuforge_client.demo_plan import NODES_A_SECOND, SITES, delivery_s, sampling_s, shares


@pytest.mark.parametrize(
    ("nodes", "dealt"),
    [
        pytest.param(12, [4, 4, 4], id="the default"),
        pytest.param(13, [5, 4, 4], id="one over"),
        pytest.param(14, [5, 5, 4], id="two over"),
        pytest.param(2, [1, 1], id="a site without a node is left out"),
        pytest.param(1, [1], id="one"),
    ],
)
def test_nodes_are_dealt_out_evenly(nodes: int, dealt: list[int]) -> None:
    assert [share.nodes for share in shares(nodes)] == dealt


@given(some.integers(1, 1000))
def test_every_node_is_played_once_and_none_is_added(nodes: int) -> None:
    names = [name for share in shares(nodes) for name in share.hostnames]
    assert len(names) == len(set(names)) == nodes


@pytest.mark.parametrize("nodes", [3, 6, 300], ids=["one each", "two each", "a hundred each"])
def test_names_are_the_ones_the_agent_gives(nodes: int) -> None:
    """The demo waits for these hostnames: the agent makes them."""
    for share in shares(nodes):
        this = Host(hostname=share.hostname, cpu_cores=1, ram_gb=1, agent_version="1")
        settings = AgentSettings(source="simulated", simulated_nodes=share.nodes)
        assert [host.hostname for host in _hosts(this, settings)] == share.hostnames


def test_every_model_is_one_the_agent_plays() -> None:
    for site in SITES:
        AgentSettings.model_validate({"simulated_model": site.model})


@given(some.integers(1, 1000))
def test_a_large_fleet_reports_less_often_and_never_looks_dead(nodes: int) -> None:
    assert nodes / sampling_s(nodes) <= NODES_A_SECOND * 1.001
    assert 1.0 <= sampling_s(nodes) < 90.0
    assert delivery_s(nodes) < sampling_s(nodes)
