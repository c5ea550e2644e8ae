"""Explanation of a decision in words: its reasons, and the smallest change that flips it."""

from pipeline.decisioning.explain.explanation import Explanation, explain
from pipeline.decisioning.explain.rerun import run_again

__all__ = ["Explanation", "explain", "run_again"]
