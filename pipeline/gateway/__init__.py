"""HTTP API: Segment's API, decisions while the customer waits, outcomes, health.

Read `app.py` (every route), then `collect.py`, `decide.py` and `outcomes.py`.
"""
