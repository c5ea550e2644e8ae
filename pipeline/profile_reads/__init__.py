"""Reads of profiles for people: one person, all of them, now or as of a time."""
