"""Training of models from replayed topics."""
