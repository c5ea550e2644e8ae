"""Sort key for figures that are sums of fractions."""


def rank_key(figure: float) -> float:
    """Return the figure rounded to nine significant digits, so that the order in which its
    fractions are added does not change ranks."""
    return float(f"{figure:.9g}")
