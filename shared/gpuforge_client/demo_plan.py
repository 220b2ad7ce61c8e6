"""What the demo plays: three clusters, and how the nodes are dealt out among them."""

from __future__ import annotations

from dataclasses import dataclass

GPUS_PER_NODE = 8
NODES_A_SECOND = 25.0  # larger fleets report less often: 200 samples/s keep a laptop quiet


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A cluster of the demo and what its nodes are."""

    cluster: str
    region: str
    model: str  # a name that the agent's simulated source knows
    host: str  # what its nodes' names begin with


SITES = (
    Site(cluster="us-east-prod", region="us-east-1", model="H100", host="use1-h100"),
    Site(cluster="eu-west-infer", region="eu-west-1", model="A100", host="euw1-a100"),
    Site(cluster="lab", region="on-prem", model="A6000", host="lab-a6000"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A site with its part of the nodes, at least one."""

    site: Site
    nodes: int

    @property
    def gpus(self) -> int:
        return self.nodes * GPUS_PER_NODE

    @property
    def hostname(self) -> str:
        """What its agent is told: one that plays several nodes numbers them itself."""
        return self.site.host if self.nodes > 1 else self.hostnames[0]

    @property
    def hostnames(self) -> list[str]:
        return [f"{self.site.host}-{number:02}" for number in range(1, self.nodes + 1)]


def shares(nodes: int) -> list[Share]:
    """`nodes` dealt out evenly, the first sites first; a site without a node is left out."""
    each, more = divmod(nodes, len(SITES))
    dealt = [Share(site=site, nodes=each + (place < more)) for place, site in enumerate(SITES)]
    return [share for share in dealt if share.nodes]


def sampling_s(nodes: int) -> float:
    """Seconds between two samples of a GPU, for so many nodes in all."""
    return max(1.0, nodes / NODES_A_SECOND)


def delivery_s(nodes: int) -> float:
    """Seconds between two looks at what is to be delivered, a fraction of the above: the sooner a new fleet
    is there. A look that finds nothing costs nothing."""
    return sampling_s(nodes) / 4
