"""Journeys as pure rules: plans from files, and comparison of actual paths with them."""
