"""Systems to compare, each with its processes, topics and traffic."""

import subprocess
import sys
import uuid
import venv
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final, Protocol

from pipeline.adapters.config_log import open_configuration_log
from pipeline.config.model import Bundle
from pipeline.flow import STAGES
from pipeline.home.codec import open_codec
from pipeline.home.topics import ensure_topics
from pipeline.rules.token import TokenKey
from pipeline.settings import Settings
from pipeline.stack.plan import ALL, adapter_name, worker_name
from tests.benchmarks import adapters, configurations
from tests.benchmarks.load import MeasuredTraffic
from tests.benchmarks.processes import Process, Program, running
from tests.benchmarks.rig import Rig
from tests.benchmarks.traffic import HopTraffic, InteractionTraffic

_HOPS: Final = Path(__file__).parent / "hops"
_QUIX_LOCK: Final = _HOPS / "quix.lock"


@dataclass(frozen=True, slots=True)
class Arrangement:
    """Running system, and its traffic."""

    processes: Sequence[Process]
    traffic: MeasuredTraffic

    @property
    def pids(self) -> dict[str, int]:
        return {process.program.name: process.child.pid for process in self.processes}


class System(Protocol):
    """System whose hops or stages can be measured."""

    def running(self, rig: Rig, processes: int) -> "Iterator[Arrangement]": ...


@dataclass(frozen=True, slots=True)
class Hops:
    """Script of `hops/`; `python` is the interpreter with its dependencies."""

    script: str
    python: Callable[[], Path]

    def programs(self, rig: Rig, prefix: str, processes: int) -> Iterator[Program]:
        for hops in ("0,1,2,3",) if processes == 1 else ("0", "1", "2", "3"):
            folder = rig.home / prefix
            folder.mkdir(exist_ok=True)
            yield Program(
                f"{self.script}-{hops}",
                (
                    *(str(self.python()), str(_HOPS / f"{self.script}.py")),
                    *("--bootstrap", rig.bootstrap, "--prefix", prefix, "--hops", hops),
                    *("--partitions", str(rig.partitions), "--folder", str(folder)),
                ),
            )

    @contextmanager
    def running(self, rig: Rig, processes: int) -> Iterator[Arrangement]:
        prefix = f"{self.script}.{uuid.uuid4().hex[:8]}"
        topics = [f"{prefix}.t{number}" for number in range(5)]
        rig.make_topics([*topics, *(f"{topic}.changelog" for topic in topics)])
        programs = tuple(self.programs(rig, prefix, processes))
        with running(programs, rig.home, rig.environment) as running_processes:
            yield Arrangement(running_processes, HopTraffic(prefix))
        rig.drop_topics(prefix)


@dataclass(frozen=True, slots=True)
class Stages:
    """Kairos itself: the four agents by a configuration in which each interaction causes an action.

    Topics and state stay for the next run; customers are new in each run.
    """

    bundle: Callable[[], Bundle]
    channel: str

    @contextmanager
    def running(self, rig: Rig, processes: int) -> Iterator[Arrangement]:
        apply_bundle(rig.settings, self.bundle())
        programs = tuple(worker_programs(rig, processes))
        codec = open_codec(rig.settings)
        traffic = InteractionTraffic(codec, configurations.EVENT, (self.channel,))
        with running(programs, rig.home, rig.environment) as running_processes:
            yield Arrangement(running_processes, traffic)


@dataclass(frozen=True, slots=True)
class Adapters:
    """Adapter of one kind, and the gateway that receives its outcomes."""

    kind: str

    @contextmanager
    def running(self, rig: Rig, processes: int) -> Iterator[Arrangement]:
        adapter = Program(
            "adapter",
            rig.kairos_command("adapter", self.kind),
            announced_name=adapter_name(self.kind),
        )
        gateway = Program(
            "gateway", rig.kairos_command("gateway", "--port", "0"), announced_name="gateway"
        )
        token_key = TokenKey(rig.settings.signing_secret())
        with adapters.running_receiver(self.kind) as receiver:
            apply_bundle(rig.settings, receiver.bundle())
            codec = open_codec(rig.settings)
            traffic = adapters.ActionTraffic(codec, token_key, receiver)
            environment = {**rig.environment, **receiver.variables}
            with running((gateway, adapter), rig.home, environment) as running_processes:
                yield Arrangement(running_processes, traffic)


def worker_programs(rig: Rig, processes: int) -> Iterator[Program]:
    """Yield the programs of the four agents, in one process or in four."""
    for agent in (ALL,) if processes == 1 else [stage.name for stage in STAGES]:
        yield Program(
            agent, rig.kairos_command("worker", agent), announced_name=worker_name(agent, "0")
        )


def apply_bundle(settings: Settings, bundle: Bundle) -> None:
    """Put the bundle in force, with the topics that it needs."""
    ensure_topics(settings, [channel.name for channel in bundle.channels.channels])
    with open_configuration_log(settings.kafka(), open_codec(settings)) as log:
        log.apply(bundle, "bench")


def _our_python() -> Path:
    return Path(sys.executable)


def _install_quix_python() -> Path:
    """Install Quix Streams once per lock file; return its Python."""
    digest = sha256(_QUIX_LOCK.read_bytes()).hexdigest()[:12]
    folder = Settings().cache_dir / "bench" / f"quix-{digest}"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        venv.create(folder, with_pip=True, clear=True)
        options = ("--quiet", "--disable-pip-version-check", "--require-hashes", "--no-deps")
        subprocess.run([python, "-m", "pip", "install", *options, "-r", _QUIX_LOCK], check=True)
        (folder / "ready").touch()
    return python


SYSTEMS: Final[Mapping[str, Hops | Stages | Adapters]] = {
    "floor": Hops("floor", _our_python),
    "faust": Hops("stock_faust", _our_python),
    "quix": Hops("quix", _install_quix_python),
    "trivial": Hops("kairos_hops", _our_python),
    "demo": Stages(configurations.demo_bundle, "email"),
    "large": Stages(configurations.large_bundle, "push"),
    "catalog": Stages(configurations.catalog_bundle, "push"),
    **{kind: Adapters(kind) for kind in adapters.KINDS},
}
"""Systems by name; all but the first three are Kairos."""

DESCRIPTIONS: Final[Mapping[str, str]] = {
    "floor": "confluent-kafka loops, the minimum cost of four hops with state",
    "faust": "stock Faust, four chained agents",
    "quix": "Quix Streams, four hops",
    "trivial": "Kairos' transport and tables, four agents with nothing to do",
    "demo": "Kairos, the four stages with deploy/demo",
    "large": "Kairos, the four stages with 100 segments and 50 offers",
    "catalog": "Kairos, the four stages with a catalogue of 2,500 items, 200 of them eligible",
    "webhook, email, sms, push, pos": (
        "Kairos' adapters, from actions to a local receiver that answers at once, and "
        "their outcomes"
    ),
}
"""Descriptions of the systems."""


@dataclass(frozen=True, slots=True)
class SystemChoice:
    """System in one process or in four, written `demo` or `demo:4`."""

    name: str
    processes: int

    @classmethod
    def parse(cls, text: str) -> "SystemChoice":
        """Parse the written form. Raises ValueError for an unknown system."""
        name, _, processes = text.partition(":")
        if name not in SYSTEMS or processes not in ("", "1", "4"):
            raise ValueError(
                f"{text!r}: give one of {', '.join(SYSTEMS)}, with :4 for four processes"
            )
        return cls(name, int(processes or 1))

    def __str__(self) -> str:
        return self.name if self.processes == 1 else f"{self.name}:{self.processes}"
