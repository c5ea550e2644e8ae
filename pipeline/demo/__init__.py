"""Demo: an e-commerce log played through a whole stack."""
