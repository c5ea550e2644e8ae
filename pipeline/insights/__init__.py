"""Figures about what happened: attribution of conversions, and the worth of another policy."""
