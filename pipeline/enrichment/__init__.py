"""Enrichment stage: the unified profile of a customer, folded from shards."""
