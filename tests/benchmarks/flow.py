"""`kairos bench flow`: cost of an interaction in process, without Kafka and RocksDB.

A stage gets all inputs of a round at once, so that steps, codec and rows are timed separately, with
only a loop around them; rows and order are those of a stage in a process of its own. All offers
compete for each interaction, which makes it more expensive than a usual one.
"""

import gc
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

import msgspec

from agents.idempotence import Row
from pipeline.adapters.avro import Codec, recorded_versions
from pipeline.config import model
from pipeline.config.compile import Configuration, compile_bundle
from pipeline.flow import STAGES, Stage
from pipeline.model import topics
from pipeline.model.outcome import Emit, Forward, Ok, Redirect
from pipeline.rules import Rules
from pipeline.rules.token import TokenKey
from tests.benchmarks import configurations
from tests.benchmarks.traffic import CUSTOMERS, InteractionTraffic

_WARM_ROUNDS: Final = 10
_BEGIN_MS: Final = 1_700_000_000_000
_INTERVAL_MS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Size:
    """Size of a configuration: number of each kind of part."""

    segments: int
    metrics: int
    offers: int


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of one interaction in microseconds, medians over rounds of 1,000: the stages' steps by
    name; `decode` and `encode`: all that the stages read and write as Avro; `rows`: their rows."""

    size: Size
    steps: dict[str, float]
    decode: float
    encode: float
    rows: float

    @property
    def total(self) -> float:
        """Cost of all steps."""
        return sum(self.steps.values())


def measure(sizes: Sequence[Size], rounds: int, say: Callable[[str], None]) -> list[Cost]:
    """Measure each size of configuration."""
    costs = []
    for size in sizes:
        say(f"{size.segments} segments, {size.metrics} metrics, {size.offers} offers")
        costs.append(_cost(size, rounds))
    return costs


def _cost(size: Size, rounds: int) -> Cost:
    bundle = configurations.make_bundle(size.segments, size.metrics, size.offers)
    runs = _Runs(_compile(bundle))
    for _ in range(_WARM_ROUNDS):
        runs.run_round()
    costs = [_run_undisturbed(runs.run_round) for _ in range(rounds)]

    def median_cost(kind: str) -> float:
        return median(cost[kind] for cost in costs)

    steps = {stage.name: median_cost(stage.name) for stage in STAGES}
    return Cost(size, steps, median_cost("decode"), median_cost("encode"), median_cost("rows"))


def _run_undisturbed(run_round: Callable[[], dict[str, float]]) -> dict[str, float]:
    """Run a round without garbage collections, since a round keeps all its records, unlike a
    worker."""
    gc.collect()
    gc.disable()
    try:
        return run_round()
    finally:
        gc.enable()


def _compile(bundle: model.Bundle) -> Configuration:
    config = compile_bundle(bundle)
    assert isinstance(config, Configuration), config
    return config


class _Runs:
    """Four stages with their rows, and customers who return in every round."""

    def __init__(self, config: Configuration) -> None:
        self._rules = Rules(config, TokenKey("bench"), 300_000)
        self._codec = Codec(recorded_versions())
        self._traffic = InteractionTraffic(self._codec, configurations.EVENT, ("push",))
        self._rows: dict[str, dict[str, Any]] = defaultdict(dict)
        self._next_index = 0

    def run_round(self) -> dict[str, float]:
        """Let every customer interact once; return the cost (µs per interaction) by kind of
        work."""
        begin, self._next_index = self._next_index, self._next_index + CUSTOMERS
        inputs = [self._interaction(index) for index in range(begin, self._next_index)]
        seconds_by_kind: defaultdict[str, float] = defaultdict(float)
        for stage in STAGES:
            inputs = self._run(stage, inputs, seconds_by_kind)
        return {kind: seconds * 1e6 / CUSTOMERS for kind, seconds in seconds_by_kind.items()}

    def _interaction(self, index: int) -> Emit:
        interaction = self._traffic.interaction(index, _BEGIN_MS + index * _INTERVAL_MS)
        return Emit(topics.INTERACTIONS, interaction.identifiers[0].key, interaction)

    def _run(
        self, stage: Stage, inputs: list[Emit], seconds_by_kind: defaultdict[str, float]
    ) -> list[Emit]:
        """Run one stage over all inputs and its own control records; return its outputs."""
        outputs: list[Emit] = []
        while inputs:
            emits: list[Emit] = []
            begin_s = time.perf_counter()
            for emit in inputs:
                emits.extend(self._step(stage, emit))
            seconds_by_kind[stage.name] += time.perf_counter() - begin_s
            self._time_codec(inputs, emits, seconds_by_kind)
            inputs = [emit for emit in emits if emit.topic in stage.inputs]
            outputs += [emit for emit in emits if emit.topic in _INPUTS - set(stage.inputs)]
        seconds_by_kind["rows"] += self._time_rows(stage)
        return outputs

    def _step(self, stage: Stage, record: Emit) -> tuple[Emit, ...]:
        rows = self._rows[stage.name]
        outcome = stage.step(record.key, record.value, rows.get(record.key), self._rules)
        match outcome:
            case Ok(state, emits):
                rows[record.key] = state
                return emits
            case Redirect(emit):
                return (emit,)
            case Forward(emits):
                return emits
        return ()

    def _time_codec(
        self, inputs: list[Emit], emits: list[Emit], seconds_by_kind: defaultdict[str, float]
    ) -> None:
        """Decode inputs and encode outputs, as a stage does."""
        records = [(emit.topic, self._codec.encode(emit.topic, emit.value)) for emit in inputs]
        begin_s = time.perf_counter()
        for topic, data in records:
            assert data is not None
            self._codec.decode(topic, data)
        seconds_by_kind["decode"] += time.perf_counter() - begin_s
        begin_s = time.perf_counter()
        for emit in emits:
            self._codec.encode(emit.topic, emit.value)
        seconds_by_kind["encode"] += time.perf_counter() - begin_s

    def _time_rows(self, stage: Stage) -> float:
        """Return the seconds to read and write every row of the stage once."""
        encode = msgspec.msgpack.Encoder().encode
        decode = msgspec.msgpack.Decoder(Row[stage.state]).decode  # type: ignore[name-defined]
        rows = [encode(Row(state)) for state in self._rows[stage.name].values()]
        begin_s = time.perf_counter()
        for data in rows:
            encode(decode(data))
        return (time.perf_counter() - begin_s) * CUSTOMERS / len(rows)


_INPUTS: Final = frozenset(topic for stage in STAGES for topic in stage.inputs)
