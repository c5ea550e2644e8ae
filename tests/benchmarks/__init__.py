"""Kairos compared with its peers and with the least that Kafka costs; run by `kairos bench`.

Read `command.py` (measurements), `systems.py` (systems to compare), `load.py` (open-loop load and
its latencies), `figures.py` (statistics). `hops/` has the four-hop pipelines: `floor.py` is the
least that four hops with state can cost, `stock_faust.py` and `quix.py` are peers, `kairos_hops.py`
is Kairos' transport and tables with steps that do nothing.
"""
