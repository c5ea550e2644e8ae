"""Synthetic bank with known truth: customers, their lives, and how they react."""
