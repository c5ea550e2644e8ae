"""Complete status of a home: processes from its files, the rest from Kafka if it answers."""

from confluent_kafka import KafkaException

from pipeline.adapters.avro import RegistryError
from pipeline.adapters.budget_log import read_budgets
from pipeline.adapters.consumer_groups import all_groups
from pipeline.adapters.lag import LagReader
from pipeline.config.compile import Configuration
from pipeline.home.applied_configuration import applied_configuration
from pipeline.home.codec import open_codec
from pipeline.model.budget import BudgetRecord
from pipeline.settings import NoBrokerError, Settings
from pipeline.stack.budgets import campaign_budgets
from pipeline.stack.status import BrokerStatus, StackStatus, process_statuses


def inspect(settings: Settings) -> StackStatus:
    """Return the status. Without a broker, its parts from Kafka are left out; without the schema
    registry, those that need the configuration."""
    home = settings.home.resolve()
    lag: dict[str, int] = {}
    budgets: dict[str, BudgetRecord] = {}
    configuration, problem = None, ""
    try:
        configuration, problem = _find_configuration(settings)
        lag = LagReader(settings.kafka(), all_groups(configuration)).lag()
        if configuration is not None and configuration.budgets:
            budgets = read_budgets(settings.kafka(), open_codec(settings))
    except NoBrokerError:
        problem = "the broker does not run"
    except (KafkaException, TimeoutError) as error:
        problem = f"the broker does not answer: {error}"
    return StackStatus(
        home=str(home),
        broker=_broker(settings),
        configuration=configuration.digest if configuration else None,
        lag=lag,
        processes=process_statuses(home, lag),
        budgets=campaign_budgets(budgets.values()),
        problem=problem,
    )


def _find_configuration(settings: Settings) -> tuple[Configuration | None, str]:
    """Return the configuration in force, and the reason if the schema registry is out of reach."""
    try:
        return applied_configuration(settings), ""
    except RegistryError as error:
        return None, str(error)


def _broker(settings: Settings) -> BrokerStatus:
    if settings.bootstrap_servers is not None:
        return BrokerStatus("external", settings.bootstrap_servers)
    status = settings.broker().status()
    if status is None:
        return BrokerStatus("stopped")
    return BrokerStatus("ready", status.bootstrap, status.pid)
