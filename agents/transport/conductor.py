"""Faust's conductor, with its handlers exposed to the pump."""

from collections.abc import Mapping

from faust.transport.conductor import Conductor as BaseConductor
from faust.types import TP
from faust.types.transports import ConsumerCallback


class Conductor(BaseConductor):
    """Router of messages to the agents' channels."""

    @property
    def callbacks(self) -> Mapping[TP, ConsumerCallback]:
        """Handler of each assigned partition's messages."""
        return self._tp_to_callback
