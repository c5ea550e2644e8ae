"""Learner: folds decisions into evidence about treatments, and publishes snapshots of it."""
