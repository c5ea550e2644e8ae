"""Ranking by figures that are sums of fractions."""


def rank_key(figure: float) -> float:
    """Return the figure to nine digits, so that sums added in another order are equal."""
    return float(f"{figure:.9g}")
