"""Budgets and stock: accounts of what is spent, and the price that makes them last. Pure."""
