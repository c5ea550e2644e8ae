"""Interactions from files: the gateway's checks without the gateway, directly to Kafka."""
