"""Faust transport over confluent-kafka (librdkafka): near Kafka's own speed, nothing lost.

An offset is committed only after every record produced before it was acknowledged has been
delivered; the tables' stores are put on disk with the changelog offset of the same cut.
"""
