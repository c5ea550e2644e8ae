"""`kairos demo`: an e-commerce log played through the whole stack, with simulated customers."""
