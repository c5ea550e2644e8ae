"""Decisioning stage: what is best to say? Eligibility, caps, arbitration, and the record of why."""
