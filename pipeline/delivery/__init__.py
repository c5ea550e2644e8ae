"""Delivery of actions to customers, at least once, and reports of their outcomes.

Read `courier.py` (one action), `channel_adapter.py` (the interface of adapters), then `inbox.py`
(Kafka) and `process.py`.
"""
