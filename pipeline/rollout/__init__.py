"""Rollout of a configuration: its plan, its back-fill, and the re-evaluation of profiles."""
