"""What is best to say: eligibility, caps, arbitration, and the record of why."""
