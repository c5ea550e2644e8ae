"""`kairos train`: models from replayed topics."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import typer
from msgspec.structs import astuple
from rich.status import Status

from pipeline.adapters.catalog_table import write_recipes
from pipeline.adapters.clock import now_ms
from pipeline.adapters.config_files import load
from pipeline.cli.console import JsonOption, err, fail, out, print_json, print_table
from pipeline.cli.times import iso
from pipeline.conditions.duration import duration_ms
from pipeline.conditions.parse import NAME_PATTERN
from pipeline.decisioning.model_manifest import ModelManifest, PolicyValue
from pipeline.home.table_engine import table_engine
from pipeline.settings import Settings
from pipeline.training.limits import LeakError, UntrainableError
from pipeline.training.model_folder import StoredModel, TrainedModel, write_model
from pipeline.training.propensity import TrainingRequest, train_propensity
from pipeline.training.recipes import RECIPES, RecipeLimits, learn_recipes
from pipeline.training.replayed_data import MessageGoal, ReplayedDataError, open_replayed
from pipeline.training.score import train_score

app = typer.Typer()

_OUTCOMES: Final = ("conversion", "click", "impression", "dismiss")

SegmentedOption = Annotated[
    Path,
    typer.Option(
        "--interactions",
        metavar="DIR",
        help="Folder of `kairos replay --topic interactions.segmented`.",
    ),
]
WindowOption = Annotated[str, typer.Option(help="Time within which the goal must come.")]
OutOption = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="Folder of models; default: HOME/models."),
]
ExcludeOption = Annotated[
    list[str] | None, typer.Option(help="A trait or derived value that must not be a feature.")
]


@app.command()
def propensity(  # noqa: PLR0913 - a command's options
    name: Annotated[str, typer.Argument(metavar="NAME", help="The model's name.")],
    decisions: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder of `kairos replay --topic decisions`.")
    ],
    interactions: SegmentedOption,
    goal: Annotated[str, typer.Option(help=f"Outcome to predict: {', '.join(_OUTCOMES)}.")] = (
        "conversion"
    ),
    window: WindowOption = "7d",
    exclude: ExcludeOption = None,
    folder: OutOption = None,
    json: JsonOption = False,
) -> None:
    """Train a model of the probability that a message reaches its goal.

    Features are the facts that the decision knew of the customer, and the candidate's names. The
    test set has later messages to other customers than the training set. The model is not used
    before `kairos models promote`.
    """
    if re.fullmatch(NAME_PATTERN, name) is None:
        fail(f"{name!r} is no name: use letters, digits, - and _")
    if goal not in _OUTCOMES:
        fail(f"--goal {goal}: is none of {', '.join(_OUTCOMES)}")
    asked = TrainingRequest(
        name, MessageGoal(goal, _window_ms(window)), frozenset(exclude or ()), now_ms()
    )
    settings = Settings()
    try:
        with (
            open_replayed(interactions, decisions, table_engine(settings)) as replayed,
            _training_status(),
        ):
            trained = train_propensity(replayed, asked)
    except (ReplayedDataError, UntrainableError, LeakError) as error:
        fail(str(error))
    print_model(_store(trained, folder or settings.home / "models"), json)


@app.command()
def score(
    name: Annotated[str, typer.Argument(metavar="SCORE", help="A score in profile.yaml.")],
    config: Annotated[Path, typer.Option(metavar="DIR", help="The folder of configuration.")],
    interactions: SegmentedOption,
    folder: OutOption = None,
    json: JsonOption = False,
) -> None:
    """Train a score of the profile for the goal that profile.yaml declares.

    An example is the last interaction of a customer's day, with the score's features at that time.
    The model is written into the configuration's folder too, to the path in `model` (or
    models/SCORE.txt), and is used once that folder is applied.
    """
    bundle = load(config)
    if isinstance(bundle, list):
        fail("; ".join(map(str, bundle)))
    wanted = next(
        (configured for configured in bundle.profile.scores if configured.name == name), None
    )
    if wanted is None or wanted.goal is None:
        fail(f"{config}/profile.yaml: there is no score {name!r} with a goal")
    settings = Settings()
    try:
        with (
            open_replayed(interactions, engine=table_engine(settings)) as replayed,
            _training_status(),
        ):
            trained = train_score(replayed, wanted, now_ms())
    except (ReplayedDataError, UntrainableError, LeakError) as error:
        fail(str(error))
    stored = _store(trained, folder or settings.home / "models")
    served = wanted.model or f"models/{name}.txt"
    with _written_to(config / served):
        (config / served).parent.mkdir(parents=True, exist_ok=True)
        (config / served).write_text(trained.text)
    print_model(stored, json)
    if not json:
        named = "" if wanted.model else f": write `model: {served}` at the score in profile.yaml"
        out.print(f"written to {config / served}{named}", soft_wrap=True)


@app.command()
def recipes(
    catalog: Annotated[str, typer.Argument(metavar="CATALOG", help="A catalogue with `events`.")],
    config: Annotated[Path, typer.Option(metavar="DIR", help="The folder of configuration.")],
    interactions: SegmentedOption,
    least: Annotated[int, typer.Option(min=1, help="Customers who must have had a pair.")] = 3,
    most: Annotated[int, typer.Option(min=1, max=1_000, help="Related items of each.")] = 20,
    json: JsonOption = False,
) -> None:
    """Learn which items of a catalogue go together: bought, viewed, resolving, popular, similar.

    The table is written into the configuration's folder, to the path in the catalogue's `recipes`
    (or recipes/CATALOG.csv), and is used once that folder is applied.
    """
    bundle = load(config)
    if isinstance(bundle, list):
        fail("; ".join(map(str, bundle)))
    wanted = next(
        (configured for configured in bundle.catalogs if configured.catalog == catalog), None
    )
    if wanted is None:
        names = ", ".join(configured.catalog for configured in bundle.catalogs) or "none"
        fail(f"{config}/catalogs: there is no catalogue {catalog!r}; there are {names}")
    try:
        with (
            open_replayed(interactions, engine=table_engine(Settings())) as replayed,
            _training_status(),
        ):
            rows = learn_recipes(wanted, replayed.interactions(), RecipeLimits(least, most))
    except (ReplayedDataError, UntrainableError) as error:
        fail(str(error))
    served = wanted.recipes or f"recipes/{catalog}.csv"
    with _written_to(config / served):
        write_recipes(config / served, map(astuple, rows))
    learned = {
        recipe: len({row.item for row in rows if row.recipe == recipe and row.item})
        for recipe in RECIPES
    }
    if json:
        print_json({"file": str(config / served), "rows": len(rows), "recipes": learned})
        return
    print_table(f"recipes of {catalog}", ["recipe", "for"], list(learned.items()))
    named = "" if wanted.recipes else f": write `recipes: {served}` in the catalogue"
    out.print(f"written to {config / served}{named}", soft_wrap=True)


def _store(trained: TrainedModel, folder: Path) -> StoredModel:
    with _written_to(folder):
        return write_model(trained, folder)


@contextmanager
def _written_to(place: Path) -> Iterator[None]:
    """End the command where the place cannot be written to."""
    try:
        yield
    except OSError as error:
        fail(f"{place} cannot be written: {error.strerror}")


def print_model(stored: StoredModel, json: bool) -> None:
    """Print the path of a model and its quality."""
    if json:
        print_json({"folder": str(stored.folder), **_plain(stored.manifest)})
        return
    print_manifest(stored.manifest)
    out.print(f"written to {stored.folder}", soft_wrap=True)
    if stored.manifest.kind == "propensity":
        out.print(f"`kairos models promote {stored.manifest.name}` puts it to use")


def print_manifest(manifest: ModelManifest) -> None:
    """Print a model's training data and its results in the test."""
    data, quality = manifest.data, manifest.metrics
    out.print(
        f"{manifest.label}: {manifest.kind}, {len(manifest.features)} features\n"
        f"{data.examples:,} examples from {iso(data.since)} to {iso(data.until)}, "
        f"{data.positives:,} reached the goal, {data.customers:,} customers\n"
        f"test on {quality.examples:,} later examples of other customers: "
        f"log loss {quality.log_loss:.4f} (by the mean rate: {quality.base_log_loss:.4f}), "
        f"AUC {'-' if quality.auc is None else format(quality.auc, '.4f')}, "
        f"calibration error {quality.calibration_error:.4f}",
        soft_wrap=True,
    )
    if quality.policy is not None:
        _print_policy(quality.policy)


def _print_policy(policy: PolicyValue) -> None:
    rows = [
        (
            name,
            *("-" if figure is None else f"{figure:.4f}" for figure in (of.value, of.low, of.high)),
        )
        for name, of in (
            ("as it ran", policy.ran),
            ("greedy, IPS", policy.ips),
            ("greedy, SNIPS", policy.snips),
            ("greedy, DR", policy.dr),
        )
    ]
    title = (
        f"value per slot, nothing said included ({policy.n:,} drawn slots, "
        f"effective sample size {policy.ess:,.0f})"
    )
    print_table(title, ["policy", "value", "low", "high"], rows)


def _plain(manifest: ModelManifest) -> dict[str, object]:
    return {name: getattr(manifest, name) for name in manifest.__struct_fields__}


def _window_ms(text: str) -> int:
    try:
        return duration_ms(text)
    except ValueError as error:
        fail(f"--window: {error}")


def _training_status() -> Status:
    return err.status("training")
