"""Decisioning stage: choice of the best messages by eligibility, caps and arbitration, recorded."""
