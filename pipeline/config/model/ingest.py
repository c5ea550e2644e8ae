"""ingest.yaml: files that are taken from folders and SFTP servers."""

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, field

from pipeline.config.model.part import Duration, Name, Part, SecretName

FileKindName: TypeAlias = Literal["csv", "ndjson", "parquet"]
RowKind: TypeAlias = Literal["track", "identify", "page", "screen", "group", "alias", "outcome"]


class SftpServer(Part, frozen=True):
    """Files on an SFTP server. `host_key` is its public key as `ssh-keyscan HOST` prints it
    (`ssh-ed25519 AAAA...`): a server with another key is refused. `private_key` (the key itself, or
    the path of its file), its `passphrase`, and `password` name environment variables of the
    process that reads the files: `${NAME}`."""

    host: Annotated[str, Meta(min_length=1)]
    user: Annotated[str, Meta(min_length=1)]
    host_key: Annotated[str, Meta(min_length=1)]
    path: str = "."
    port: Annotated[int, Meta(ge=1, le=65_535)] = 22
    private_key: SecretName | None = None
    passphrase: SecretName | None = None
    password: SecretName | None = None


class ReadyRule(Part, frozen=True):
    """Rule by which a file is complete. `rest`: its size and time have not changed for `after`.
    `marker`: the file called `marker` exists (`{name}`: the whole name, `{stem}`: up to its first
    dot). `rename`: as soon as its name fits, because its sender writes it under another name."""

    by: Literal["rest", "marker", "rename"] = "rest"
    after: Duration = "5s"
    marker: str = "{name}.done"


class CsvFormat(Part, frozen=True):
    """Form of CSV files. Without `delimiter` it is detected (`,` `;` tab `|`); without `encoding`
    it is UTF-8 or UTF-16. `quote: ""`: quotation marks are ordinary characters. `decimal_comma`:
    numbers are written `1.234,50`. `names`: the columns of files without a header. `skip`: number
    of lines before the header. `escape`: the character before a quotation mark within a cell, where
    it is not doubled (`\\`). `empty`: words of empty cells (`NULL`). `footer`: last rows to leave
    out, by a pattern (RE2) of their whole text, `(TRL|Total).*`; without it a row that looks like a
    footer is a bad row, and with `""` no row is a footer."""

    delimiter: str | None = None
    encoding: str | None = None
    quote: Annotated[str, Meta(max_length=1)] = '"'
    decimal_comma: bool = False
    names: tuple[str, ...] = ()
    skip: Annotated[int, Meta(ge=0)] = 0
    escape: Annotated[str, Meta(max_length=1)] = ""
    empty: tuple[str, ...] = ("\\N",)
    footer: str | None = None


class PgpSecret(Part, frozen=True):
    """Private key of OpenPGP (itself in ASCII armor, or the path of its file) and its passphrase,
    by the environment variables of the process that reads the files: `${NAME}`."""

    key: SecretName
    passphrase: SecretName | None = None


class RowTime(Part, frozen=True):
    """Form of the times in the column that is mapped to `time`: one of `formats`, in the notation
    of `strptime` (`%d/%m/%Y %H:%M`). Without `formats`, times are ISO 8601 or numbers since 1970.
    `zone` (IANA) is that of times without a zone."""

    zone: str = "UTC"
    formats: tuple[str, ...] = ()


PermissionState: TypeAlias = Literal["given", "withdrawn", "bounce", "complaint"]


class Permissions(Part, frozen=True):
    """Meaning of the rows of a consent or suppression list: how customers may be reached.

    A row gives a state for all of `channels` and `purposes`, or for those that its columns
    `permission.channel` and `permission.purpose` name. The state is in the column
    `permission.state`, or else it is `state`. Alternatively, each channel and purpose has a column
    `permission.CHANNEL.PURPOSE` with yes or no in it. `given` and `withdrawn` are consent, as by
    the links in messages: traits `consent.CHANNEL.PURPOSE`. `bounce` (nobody is at this address)
    and `complaint` are the outcomes of these names. `words` are further words for
    the states beside the usual ones (`yes`, `opt-out`, `hard bounce`, `spam`): `{withdrawn: [ja]}`.
    """

    channels: Annotated[tuple[Name, ...], Meta(min_length=1)]
    purposes: Annotated[tuple[Literal["marketing", "service"], ...], Meta(min_length=1)] = (
        "marketing",
    )
    state: PermissionState | None = None
    words: dict[PermissionState, tuple[str, ...]] = field(default_factory=dict)


FeedName: TypeAlias = Literal[
    "interaction-studio-users",
    "interaction-studio-transactions",
    "interaction-studio-email-events",
    "interaction-studio-segments",
    "interaction-studio-segment-lists",
]


class Watch(Part, frozen=True):
    """Files in a `folder` (an absolute path) or on an SFTP server: those with a name that fits
    `pattern` (`*.csv`) and none of `excludes`. They are looked for at the interval `every`, taken
    in the order of their names once `ready`, and moved to `done/`, or to `failed/`.

    `format` follows from the name if it is missing; `.gz` and `.zip` (of one file) are unpacked,
    `.pgp`, `.gpg` and `.asc` are decrypted by `pgp`. A file has at most `max_bytes`, also unpacked;
    content of more than 64 MiB is at most `max_ratio` times as large as its file.

    `source` names the files' source in sources.yaml, whose channel, trust, clock and property names
    count. `columns` maps each column (in NDJSON: field, with dots): `identifiers.NAMESPACE`,
    `properties.NAME`, `traits.NAME`, `lists.NAME`, `context.url` (ip, user_agent, url, referrer,
    locale, timezone, `campaign.NAME`, `consent.NAME`), `time`, `name`, `kind`, `id`, `channel`,
    `delete` or `ignore`. `"attribute:*": traits.*` is for all columns with that beginning. Without
    `columns` they are named as for `kairos send`. `kind` and `name` count for every row without its
    own. `feed` is a mapping that comes with Kairos, to which `columns` adds.

    With `permissions` the rows are a consent or suppression list; columns may be
    `permission.state`, `permission.channel`, `permission.purpose`, `permission.CHANNEL.PURPOSE`. A
    statement counts once, however often it is repeated, in a later file too if it has a `time`;
    without one it counts as of the time when its file is taken.

    With `replaces` each file is a whole list, named by the properties that all of its rows have
    (`segment: Gold club`): each row has `properties.operation: add`, and each customer who was in
    the list's last file and is missing in this one gets a row with `remove`. A bad row fails the
    file.

    With `catalog` each file is a whole table of that catalogue, with the columns that the catalogue
    names: its items replace the previous ones, as `kairos config apply` would.

    A row whose `delete` column has one of the values in `delete` clears the traits in its file's
    columns; it does not erase the customer, as `kairos profile forget` does.

    A row is identified by the content of its file and its line, or by the columns in `key`, named
    as in an interaction (`properties.order_id`). Where more than the share `max_bad` of a file's
    rows are bad, no row is sent, and the file is moved to `failed/`.
    """

    watch: Name
    source: Name
    folder: str | None = None
    sftp: SftpServer | None = None
    pattern: Annotated[str, Meta(min_length=1)] | None = None
    excludes: tuple[str, ...] = ()
    every: Duration = "10s"
    ready: ReadyRule = field(default_factory=ReadyRule)
    format: FileKindName | None = None
    feed: FeedName | None = None
    catalog: Name | None = None
    permissions: Permissions | None = None
    replaces: bool = False
    kind: RowKind | None = None
    name: str | None = None
    columns: dict[str, str] = field(default_factory=dict)
    csv: CsvFormat = field(default_factory=CsvFormat)
    time: RowTime = field(default_factory=RowTime)
    pgp: PgpSecret | None = None
    delete: tuple[str, ...] = ()
    key: tuple[str, ...] = ()
    max_bad: Annotated[float, Meta(ge=0, le=1)] = 0.5
    max_bytes: Annotated[int, Meta(ge=1)] = 10_000_000_000
    max_ratio: Annotated[float, Meta(ge=1)] = 500.0


class Ingest(Part, frozen=True):
    """ingest.yaml"""

    watches: tuple[Watch, ...] = ()
