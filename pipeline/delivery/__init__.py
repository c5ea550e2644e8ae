"""From the action topics to the customer, at least once, and back as outcomes.

Read `courier.py` (what is done with one action), then `inbox.py` (Kafka) and `process.py`.
"""
