"""Faust transport over confluent-kafka (librdkafka), fast and without loss.

An input's offset is committed only after all records produced up to its acknowledgement have been
delivered; the tables' stores are put on disk with the changelog offset of the same cut.
"""
