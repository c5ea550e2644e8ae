"""Complete status of a home: processes from its files, the rest from Kafka if it answers."""

from confluent_kafka import KafkaException

from pipeline.adapters.consumer_groups import all_groups
from pipeline.adapters.lag import LagReader
from pipeline.home.applied_configuration import applied_configuration
from pipeline.settings import NoBrokerError, Settings
from pipeline.stack.status import BrokerStatus, StackStatus, process_statuses


def inspect(settings: Settings) -> StackStatus:
    """Return the status; without a broker, leave out what only it knows."""
    home = settings.home.resolve()
    lag: dict[str, int] = {}
    configuration = None
    try:
        configuration = applied_configuration(settings)
        lag = LagReader(settings.kafka(), all_groups(configuration)).lag()
    except (NoBrokerError, KafkaException, TimeoutError):
        pass
    digest = configuration.digest if configuration else None
    return StackStatus(str(home), _broker(settings), digest, lag, process_statuses(home, lag))


def _broker(settings: Settings) -> BrokerStatus:
    if settings.bootstrap_servers is not None:
        return BrokerStatus("external", settings.bootstrap_servers)
    running = settings.broker().status()
    if running is None:
        return BrokerStatus("stopped")
    return BrokerStatus("ready", running.bootstrap, running.pid)
