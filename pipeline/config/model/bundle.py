"""Folder of configuration as a whole."""

from msgspec import field

from pipeline.config.model.campaigns import Campaign
from pipeline.config.model.catalogs import Catalog
from pipeline.config.model.channels import Channels
from pipeline.config.model.identity import Identity
from pipeline.config.model.ingest import Ingest
from pipeline.config.model.learned import Learned
from pipeline.config.model.part import Part
from pipeline.config.model.policies import Policies
from pipeline.config.model.profile import ProfileRules
from pipeline.config.model.providers import Provider
from pipeline.config.model.segments import Segment
from pipeline.config.model.sources import Sources


class Bundle(Part, frozen=True):
    """Whole folder, of which `kairos config apply` makes one immutable record."""

    sources: Sources
    identity: Identity
    channels: Channels
    profile: ProfileRules = field(default_factory=ProfileRules)
    policies: Policies = field(default_factory=Policies)
    segments: tuple[Segment, ...] = ()
    campaigns: tuple[Campaign, ...] = ()
    ingest: Ingest = field(default_factory=Ingest)
    providers: tuple[Provider, ...] = ()
    catalogs: tuple[Catalog, ...] = ()
    learned: Learned | None = None
