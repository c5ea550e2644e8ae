"""Sort key for figures that are sums of fractions."""


def rank_key(figure: float) -> float:
    """Return the figure rounded to nine digits, so that the order of its sum does not change
    ranks."""
    return float(f"{figure:.9g}")
