"""What are they now? Memberships, evaluated for each interaction."""
