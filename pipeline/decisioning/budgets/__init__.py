"""Budgets and stock: accounts of spending, and the shadow price that paces it. Pure."""
