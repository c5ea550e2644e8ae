"""Segment memberships of a profile, evaluated for each interaction."""
