"""Records that travel between the stages, their ids, and what a step may return."""
