"""What a configuration would change, and putting that into effect for customers who do not come."""
