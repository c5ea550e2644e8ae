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
from pipeline.config.model import Catalog
from pipeline.decisioning.model_manifest import ModelManifest, PolicyValue
from pipeline.home.table_engine import table_engine
from pipeline.settings import Settings
from pipeline.training.limits import LeakError, UntrainableError
from pipeline.training.model_folder import StoredModel, TrainedModel, write_model
from pipeline.training.propensity import TrainingRequest, train_propensity
from pipeline.training.recipes import RECIPES, RecipeLimits, RecipeRow, learn_recipes
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
WindowOption = Annotated[str, typer.Option(help="Time within which the goal must be reached.")]
OutOption = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="Folder of models; default: HOME/models."),
]
ExcludeOption = Annotated[
    list[str] | None,
    typer.Option(help="Trait or derived value that must not be a feature; may be repeated."),
]


@app.command()
def propensity(  # noqa: PLR0913 - a command's options
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the model.")],
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

    Features are the facts about the customer at the decision, and the candidate's names. The test
    set has later messages than the training set, to other customers. The model is not used until
    `kairos models promote`.
    """
    if re.fullmatch(NAME_PATTERN, name) is None:
        fail(f"{name!r} is not a name: use letters, digits, - and _")
    if goal not in _OUTCOMES:
        fail(f"--goal {goal}: is none of {', '.join(_OUTCOMES)}")
    request = TrainingRequest(
        name, MessageGoal(goal, _window_ms(window)), frozenset(exclude or ()), now_ms()
    )
    settings = Settings()
    try:
        with (
            open_replayed(interactions, decisions, table_engine(settings)) as dataset,
            _training_status(),
        ):
            model = train_propensity(dataset, request)
    except (ReplayedDataError, UntrainableError, LeakError) as error:
        fail(str(error))
    print_model(_store(model, folder or settings.home / "models"), json)


@app.command()
def score(
    name: Annotated[str, typer.Argument(metavar="SCORE", help="Name of a score in profile.yaml.")],
    config: Annotated[Path, typer.Option(metavar="DIR", help="Folder of configuration.")],
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
    definition = next((entry for entry in bundle.profile.scores if entry.name == name), None)
    if definition is None or definition.goal is None:
        fail(f"{config}/profile.yaml: there is no score {name!r} with a goal")
    settings = Settings()
    try:
        with (
            open_replayed(interactions, engine=table_engine(settings)) as dataset,
            _training_status(),
        ):
            model = train_score(dataset, definition, now_ms())
    except (ReplayedDataError, UntrainableError, LeakError) as error:
        fail(str(error))
    stored_model = _store(model, folder or settings.home / "models")
    model_path = definition.model or f"models/{name}.txt"
    with _written_to(config / model_path):
        (config / model_path).parent.mkdir(parents=True, exist_ok=True)
        (config / model_path).write_text(model.text)
    print_model(stored_model, json)
    if not json:
        hint = (
            ""
            if definition.model
            else f": write `model: {model_path}` at the score in profile.yaml"
        )
        out.print(f"written to {config / model_path}{hint}", soft_wrap=True)


@app.command()
def recipes(
    catalog: Annotated[
        str, typer.Argument(metavar="CATALOG", help="Name of a catalogue with `events`.")
    ],
    config: Annotated[Path, typer.Option(metavar="DIR", help="Folder of configuration.")],
    interactions: SegmentedOption,
    min_customers: Annotated[
        int,
        typer.Option("--least", min=1, help="Minimum number of customers who had a pair."),
    ] = 3,
    max_items: Annotated[
        int,
        typer.Option(
            "--most", min=1, max=1_000, help="Maximum number of related items for each item."
        ),
    ] = 20,
    json: JsonOption = False,
) -> None:
    """Learn which items of a catalogue to offer: those bought or viewed together, those that most
    often resolved a subject, popular and similar ones.

    The table is written into the configuration's folder, to the path in the catalogue's `recipes`
    (or recipes/CATALOG.csv), and is used once that folder is applied.
    """
    bundle = load(config)
    if isinstance(bundle, list):
        fail("; ".join(map(str, bundle)))
    definition = next((entry for entry in bundle.catalogs if entry.catalog == catalog), None)
    if definition is None:
        names = ", ".join(entry.catalog for entry in bundle.catalogs) or "none"
        fail(f"{config}/catalogs: there is no catalogue {catalog!r}; there are {names}")
    rows = _learn_recipes(definition, interactions, RecipeLimits(min_customers, max_items))
    table_path = definition.recipes or f"recipes/{catalog}.csv"
    with _written_to(config / table_path):
        write_recipes(config / table_path, map(astuple, rows))
    counts = {
        recipe: len({row.item for row in rows if row.recipe == recipe and row.item})
        for recipe in RECIPES
    }
    if json:
        print_json({"file": str(config / table_path), "rows": len(rows), "recipes": counts})
        return
    print_table(f"recipes of {catalog}", ["recipe", "items"], list(counts.items()))
    hint = "" if definition.recipes else f": write `recipes: {table_path}` in the catalogue"
    out.print(f"written to {config / table_path}{hint}", soft_wrap=True)


def _learn_recipes(catalog: Catalog, interactions: Path, limits: RecipeLimits) -> list[RecipeRow]:
    try:
        with (
            open_replayed(interactions, engine=table_engine(Settings())) as dataset,
            _training_status(),
        ):
            return learn_recipes(catalog, dataset.interactions(), limits)
    except (ReplayedDataError, UntrainableError) as error:
        fail(str(error))


def _store(model: TrainedModel, folder: Path) -> StoredModel:
    with _written_to(folder):
        return write_model(model, folder)


@contextmanager
def _written_to(path: Path) -> Iterator[None]:
    """End the command if `path` cannot be written to."""
    try:
        yield
    except OSError as error:
        fail(f"{path} cannot be written: {error.strerror}")


def print_model(stored_model: StoredModel, json: bool) -> None:
    """Print where a model was written, its training data and its results in the test."""
    if json:
        print_json({"folder": str(stored_model.folder), **_manifest_fields(stored_model.manifest)})
        return
    print_manifest(stored_model.manifest)
    out.print(f"written to {stored_model.folder}", soft_wrap=True)
    if stored_model.manifest.kind == "propensity":
        out.print(f"`kairos models promote {stored_model.manifest.name}` puts it to use")


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
            *("-" if figure is None else f"{figure:.4f}" for figure in astuple(estimate)),
        )
        for name, estimate in (
            ("as it ran", policy.ran),
            ("greedy, IPS", policy.ips),
            ("greedy, SNIPS", policy.snips),
            ("greedy, DR", policy.dr),
        )
    ]
    title = (
        f"value per slot, slots without a message included ({policy.n:,} drawn slots, "
        f"effective sample size {policy.ess:,.0f})"
    )
    print_table(title, ["policy", "value", "low", "high"], rows)


def _manifest_fields(manifest: ModelManifest) -> dict[str, object]:
    return {name: getattr(manifest, name) for name in manifest.__struct_fields__}


def _window_ms(text: str) -> int:
    try:
        return duration_ms(text)
    except ValueError as error:
        fail(f"--window: {error}")


def _training_status() -> Status:
    return err.status("training")
