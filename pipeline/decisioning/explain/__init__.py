"""Why a decision is as it is, in words, and what would have to be otherwise."""

from pipeline.decisioning.explain.explanation import Explanation, explain
from pipeline.decisioning.explain.rerun import run_again

__all__ = ["Explanation", "explain", "run_again"]
