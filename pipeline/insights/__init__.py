"""Figures about the past: attribution, campaigns, journeys, incidents, worth of policies."""
