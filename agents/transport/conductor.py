"""Faust's conductor, with its handlers in reach of the pump."""

from collections.abc import Mapping

from faust.transport.conductor import Conductor as BaseConductor
from faust.types import TP
from faust.types.transports import ConsumerCallback


class Conductor(BaseConductor):
    """Delivers messages to the channels of the agents."""

    @property
    def callbacks(self) -> Mapping[TP, ConsumerCallback]:
        """What takes the messages of each assigned partition."""
        return self._tp_to_callback
