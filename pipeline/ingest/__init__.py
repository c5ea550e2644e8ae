"""Interactions from files: the gateway's checks without the gateway, straight to Kafka."""
