"""`kairos send`: a file of interactions, straight to Kafka."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, NoReturn, TypeAlias

import msgspec
import typer
from rich.progress import TimeRemainingColumn

from pipeline.adapters.clock import now_ms
from pipeline.adapters.consumer_groups import are_stages_running
from pipeline.cli.console import JsonOption, out, print_error, print_json
from pipeline.cli.progress_bar import progress_bar
from pipeline.cli.refused_rows import print_refused
from pipeline.cli.sources import named_source
from pipeline.config.compile import Configuration
from pipeline.config.model import Source
from pipeline.config.regex import Pattern, PatternProblem, pattern
from pipeline.home.codec import open_codec
from pipeline.home.pace import Pace, pace_beside_stages
from pipeline.home.records import Records
from pipeline.model.interaction import Interaction
from pipeline.row_files.row import FileFormat, RowFile
from pipeline.row_files.row_ids import RowIds
from pipeline.row_files.row_intake import RowIntake
from pipeline.row_files.rows import open_rows
from pipeline.row_files.sending import FilePublisher, NotDeliveredError, SendReport, send_rows
from pipeline.settings import Settings
from pipeline.stack.configure import ensure_configuration

_FILE_SOURCE = Source(name="file", channel="file", write_key="no key: nobody sends by it")

_LINGER_MS: Final = 20
_PACED_LINGER_MS: Final = 1

_INTERRUPT_EXIT_CODE: Final = 130
"""Exit code after Ctrl-C."""


_FileArgument: TypeAlias = Annotated[
    Path, typer.Argument(help="File in NDJSON, CSV (.csv) or Parquet (.parquet).")
]
_SourceOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Name in sources.yaml of the source of records that do not name one (by `source` "
        "and `channel`, or `writeKey`). Default: a source `file`."
    ),
]
_KeyOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Columns that identify a row, separated by commas: --key "
        "properties.order_id,event. Rows with the same key are then the same row, in any "
        "file."
    ),
]
_FileIdOption: TypeAlias = Annotated[
    str | None,
    typer.Option(help="Name that identifies the file's rows. Default: the file's path."),
]
_EncodingOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Encoding of the file, such as windows-1252. Default: UTF-8 or UTF-16, as detected."
    ),
]
_DelimiterOption: TypeAlias = Annotated[
    str | None,
    typer.Option(help="Delimiter of CSV: one character, or tab. Default: detected (, ; tab |)."),
]
_DecimalCommaOption: TypeAlias = Annotated[
    bool, typer.Option("--decimal-comma", help="Read numbers of CSV in the form 1.234,50.")
]
_FooterOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Pattern of the whole text of footer rows at the end of a CSV file: --footer "
        '"Total.*"; "" for no footer. Default: rows that look like a total are refused.'
    ),
]
_IgnoreOption: TypeAlias = Annotated[
    list[str] | None, typer.Option(help="Column to leave out; may be repeated.")
]
_AtOnceOption: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--at-once",
        help="Send as fast as Kafka accepts; live decisions wait until the stages have "
        "processed the file.",
    ),
]
_CheckOption: TypeAlias = Annotated[bool, typer.Option("--check", help="Only check; send nothing.")]


def run(  # noqa: PLR0913 - one for each option
    file: _FileArgument,
    source: _SourceOption = None,
    key: _KeyOption = None,
    file_id: _FileIdOption = None,
    encoding: _EncodingOption = None,
    delimiter: _DelimiterOption = None,
    decimal_comma: _DecimalCommaOption = False,
    footer: _FooterOption = None,
    ignore: _IgnoreOption = None,
    at_once: _AtOnceOption = False,
    check: _CheckOption = False,
    json: JsonOption = False,
) -> None:
    """Send a file of interactions straight to Kafka, through the gateway's checks.

    A record is an Interaction (it has `kind` and `identifiers`) or a message in Segment's format
    (it has `type`). In CSV and Parquet dotted columns are nested fields: `properties.price`,
    `identifiers.email`; an unknown column is refused, so that none is lost.

    Valid records are sent; the others are reported as FILE:LINE with the column at fault, and the
    exit code is then 1.

    The file is sent at the speed of the stages, so that live decisions are not delayed; unless all
    stages are running, at the speed of Kafka.

    A row that is sent again counts once. It is identified by its own id (`messageId`, `event_id`),
    or by its key columns with `--key`, or else by the file (its full path, or `--file-id`), the
    row's content, and its number among the equal rows of the file. So a file can be sent again
    after a refused row was corrected or removed, and only new rows count; equal rows all count, in
    one file and in two; a moved file is a new one, unless `--file-id` names the old one. A changed
    row is a new one; under the same key or id, the change is refused (`kairos dlq list`). Ids are
    kept for 7 days.
    """
    settings = Settings()
    configuration = ensure_configuration(settings)
    options = _FormatOptions(encoding, delimiter, decimal_comma, footer, ignore or [])
    rows = open_rows(file, options.file_format(settings.gateway_message_bytes))
    origin = _RowOrigin(source, key, file_id or str(file.resolve()))
    intake = origin.intake(configuration, settings.gateway_message_bytes)
    report = _check(rows, intake) if check else _send(rows, intake, settings, at_once=at_once)
    _show(file, report, "would be sent" if check else "sent", as_json=json)
    if report.refused or report.stopped:
        raise typer.Exit(1)


@dataclass(frozen=True, slots=True)
class _FormatOptions:
    """Options of a file's format, as given."""

    encoding: str | None
    delimiter: str | None
    decimal_comma: bool
    footer: str | None
    ignored_columns: list[str]

    def file_format(self, max_bytes: int) -> FileFormat:
        """Return the format of files with records of at most `max_bytes`. Raises BadParameter."""
        return FileFormat(
            max_bytes,
            self.encoding,
            self.delimiter,
            self.decimal_comma,
            ignored_columns=frozenset(self.ignored_columns),
            footer=_footer(self.footer),
        )


@dataclass(frozen=True, slots=True)
class _RowOrigin:
    """Options of the origin and identity of rows: the source's name, the key columns (separated by
    commas), and the file's name."""

    source: str | None
    key: str | None
    file_id: str

    def intake(self, configuration: Configuration, max_bytes: int) -> RowIntake:
        """Return the intake of rows; ends the command if there is no such source."""
        keys = tuple(name.strip() for name in self.key.split(",")) if self.key else ()
        return RowIntake(
            configuration,
            named_source(configuration, self.source) or _FILE_SOURCE,
            max_bytes,
            now_ms(),
            RowIds(self.file_id, keys),
        )


def _footer(text: str | None) -> Pattern | None:
    if text is None:
        return None
    footer = pattern(text)
    if isinstance(footer, PatternProblem):
        raise typer.BadParameter(f"--footer: {footer.reason}")
    return footer


def _send(rows: RowFile, intake: RowIntake, settings: Settings, *, at_once: bool) -> SendReport:
    kafka, codec = settings.kafka(), open_codec(settings)
    is_paced = not at_once and are_stages_running(kafka)
    publisher = FilePublisher(kafka, codec, _PACED_LINGER_MS if is_paced else _LINGER_MS)
    take: Callable[[Interaction], None] = publisher.put
    if is_paced:
        take = _pace_puts(
            publisher, pace_beside_stages(Records(settings, codec), publisher.producer)
        )
    with progress_bar(TimeRemainingColumn()) as bar:
        task = bar.add_task("sending", total=rows.size)
        try:
            report = send_rows(
                rows.rows(), intake, take, lambda count: bar.update(task, completed=count)
            )
            publisher.finish()
        except KeyboardInterrupt:
            bar.stop()
            _end_after_interrupt(publisher)
        bar.update(task, completed=rows.size)
    return report


def _pace_puts(publisher: FilePublisher, pace: Pace) -> Callable[[Interaction], None]:
    def take(interaction: Interaction) -> None:
        publisher.put(interaction)
        pace.step()

    return take


def _end_after_interrupt(publisher: FilePublisher) -> NoReturn:
    """Report the records sent so far, once Kafka has those in flight; a second Ctrl-C does not
    wait."""
    with suppress(KeyboardInterrupt, NotDeliveredError):
        publisher.finish()
    print_error(
        f"interrupted: {publisher.delivery_count:,} interactions are in Kafka. Send the same file "
        "again to go on: what arrived counts once"
    )
    raise typer.Exit(_INTERRUPT_EXIT_CODE)


def _check(rows: RowFile, intake: RowIntake) -> SendReport:
    def ignore(_: Interaction) -> None:
        return

    with progress_bar(TimeRemainingColumn()) as bar:
        task = bar.add_task("checking", total=rows.size)
        return send_rows(
            rows.rows(), intake, ignore, lambda count: bar.update(task, completed=count)
        )


def _show(file: Path, report: SendReport, verb: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"file": str(file), **msgspec.structs.asdict(report)})
    else:
        _print(file, report, verb)


def _print(file: Path, report: SendReport, verb: str) -> None:
    print_refused(str(file), report)
    out.print(f"{report.sent:,} interactions {verb}, {report.refused:,} refused")
