"""Backtest of files through the stages, without Kafka: decisions, segments, profiles as Parquet."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from msgspec import Struct
from msgspec.structs import asdict

from pipeline.adapters.config_artifacts import store_files
from pipeline.adapters.config_files import load
from pipeline.adapters.rocks import temporary_rows
from pipeline.config.compile import Configuration, compile_bundle
from pipeline.config.model import Source
from pipeline.home.load_rules import load_rules
from pipeline.insights.policy_worth import PolicyWorth
from pipeline.model.budget import BudgetStatus
from pipeline.profile_reads.as_of import member_profiles
from pipeline.profile_reads.export import export_all
from pipeline.replay.input_files import InputReport, OpenFile, TimedLog, read_file
from pipeline.replay.outputs import OutputTables
from pipeline.replay.playing import LogPlayer
from pipeline.row_files.row_ids import RowIds
from pipeline.row_files.row_intake import RowIntake
from pipeline.rules import Rules
from pipeline.settings import Settings


class NoInteractionsError(Exception):
    """Raised when no row of the input is an interaction; the message has the first fault."""


class ConfigurationError(Exception):
    """Raised when the folder has errors; the message lists them."""


class DeadLetters(Struct, frozen=True):
    """Number of records that a stage could not process, for a reason."""

    stage: str
    reason: str
    count: int


class BacktestTotals(Struct, frozen=True):
    """Numbers of rows of each table, and of the records left out.

    `short`: decisions in which a budget or stock excluded a candidate. `budgets`: budgets of
    campaigns at the end. `after_until`: interactions after the end; `outcomes_left_out`: outcomes
    of messages that were not sent. `decision_hash` is equal for equal decisions; `until`: the log's
    time at the end (epoch ms).
    """

    after_until: int
    outcomes_left_out: int
    dead_letters: tuple[DeadLetters, ...]
    decisions: int
    actions: int
    segments: int
    profiles: int
    identifiers: int
    memberships: int
    until: int
    decision_hash: str
    short: int
    budgets: tuple[BudgetStatus, ...]


class BacktestReport(BacktestTotals, frozen=True, kw_only=True):
    """Input of a backtest with its totals; `config`: the configuration's digest; `worth`: the
    configuration's worth by a log of actual decisions, if there is one."""

    files: tuple[InputReport, ...]
    interactions: int
    refused: int
    config: str
    worth: PolicyWorth | None = None


@dataclass(frozen=True, slots=True)
class BacktestInput:
    """Open files; `source`: source of rows that name none. `until` (epoch ms): the end of the log,
    inclusive; None: its last interaction."""

    files: tuple[OpenFile, ...]
    source: Source
    until: int | None
    max_bytes: int
    now_ms: int


@dataclass(frozen=True, slots=True)
class BacktestProgress:
    """Callbacks of a running backtest. `on_read` gets the bytes or rows read of a file;
    `on_interaction` the number of interactions played, and of all."""

    on_read: Callable[[OpenFile, int], None]
    on_interaction: Callable[[int, int], None]


def load_folder_rules(folder: Path, settings: Settings) -> Rules:
    """Load the rules of a folder of configuration, and store its artifacts.

    Raises ConfigurationError.
    """
    bundle = load(folder)
    if isinstance(bundle, list):
        raise ConfigurationError("; ".join(map(str, bundle)))
    config = compile_bundle(bundle)
    assert isinstance(config, Configuration), config  # `load` has checked it
    store_files(bundle, folder, settings.kept_artifacts())
    return load_rules(config, settings)


def backtest(
    inputs: BacktestInput, rules: Rules, out: Path, progress: BacktestProgress
) -> BacktestReport:
    """Play the files through the stages and write the tables into `out`.

    The tables appear when all are complete. Raises UnreadableError and NoInteractionsError for
    files without interactions, and OSError if `out` cannot be written.
    """
    with temporary_rows() as rows:
        log = TimedLog(rows)
        files = tuple(_read(file, inputs, rules, log, progress) for file in inputs.files)
        if not len(log):
            raise NoInteractionsError(_explain_emptiness(files))
        out.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=out, prefix=".backtest-") as temporary_folder:
            totals = _play(log, inputs.until, rules, Path(temporary_folder), progress)
            for table in sorted(Path(temporary_folder).iterdir()):
                table.replace(out / table.name)
    return BacktestReport(
        files=files,
        interactions=len(log),
        refused=sum(file.refused for file in files),
        config=rules.config.digest,
        **asdict(totals),
    )


def _read(
    file: OpenFile, inputs: BacktestInput, rules: Rules, log: TimedLog, progress: BacktestProgress
) -> InputReport:
    ids = RowIds(str(file.path.resolve()))
    intake = RowIntake(
        rules.config, inputs.source, inputs.max_bytes, inputs.now_ms, ids, is_log=True
    )
    return read_file(file, intake, log, lambda count: progress.on_read(file, count))


def _play(
    log: TimedLog, until: int | None, rules: Rules, folder: Path, progress: BacktestProgress
) -> BacktestTotals:
    excluded_count = 0
    with OutputTables(folder) as tables:
        player = LogPlayer(rules, tables.write)
        for number, interaction in enumerate(log, 1):
            if until is not None and interaction.received_at > until:
                excluded_count = len(log) - number + 1
                break
            player.play(interaction)
            progress.on_interaction(number, len(log))
        if until is not None:
            player.advance(until)
    end_ms = player.now_ms or 0
    traits = rules.config.bundle.profile.traits
    counts = export_all(member_profiles(player.flow, end_ms), traits, folder)
    dead_letters = sorted(player.dead_letters.items())
    return BacktestTotals(
        after_until=excluded_count,
        outcomes_left_out=player.outcomes_left_out,
        dead_letters=tuple(DeadLetters(*source, count) for source, count in dead_letters),
        decisions=len(tables.fingerprint),
        actions=tables.actions.row_count,
        segments=tables.segments.row_count,
        **asdict(counts),
        until=end_ms,
        decision_hash=tables.fingerprint.hexdigest(),
        short=tables.short_decisions,
        budgets=player.budgets.report(end_ms),
    )


def _explain_emptiness(files: tuple[InputReport, ...]) -> str:
    for file in files:
        for row in file.first:
            place = (
                f"{file.file}:{row.line}: {row.field}" if row.field else f"{file.file}:{row.line}"
            )
            return f"no row is an interaction; the first: {place}: {row.message}"
    return "there are no interactions in " + ", ".join(file.file for file in files)
