"""Intake of messages by HTTP and from files: each becomes an Interaction or a refusal.

Read `segment_api.py` (a message in Segment's format), then the modules it uses, one per field.
"""
