"""Journeys as pure rules: the plan that a file defines, and how actual paths compare with it."""
