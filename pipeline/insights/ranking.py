"""Ranking by figures that are sums of fractions."""


def rank_key(figure: float) -> float:
    """Return the figure to nine digits, so that sums which were added in another order tie."""
    return float(f"{figure:.9g}")
