"""Enrichment stage: what do we know? The unified profile, folded from shards."""
