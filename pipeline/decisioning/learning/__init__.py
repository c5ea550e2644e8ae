"""Learning: evidence about treatments, and draws of choices by it."""
