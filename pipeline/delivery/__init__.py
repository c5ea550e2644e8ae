"""Delivery of actions to customers, at least once, and report of their outcomes.

Read `courier.py` (one action), `channel_adapter.py` (the seam to a channel), then `inbox.py`
(Kafka) and `process.py`.
"""
