"""Attribution by brute force: inverses of full matrices, and all orders in which players join."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import pairwise, permutations
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.insights.paths import PathRow


def channels_of(rows: Sequence[PathRow]) -> list[str]:
    return sorted({channel for row in rows for channel in row.path})


def removal_effects_by_matrix(
    rows: Sequence[PathRow], order: int, amount: Callable[[PathRow], float]
) -> dict[str, float]:
    """Return the share of `amount` that is lost without each channel, from an inverse of the matrix
    without the channel's states."""
    flow: defaultdict[tuple[object, object], float] = defaultdict(float)
    gain: defaultdict[object, float] = defaultdict(float)
    departures: defaultdict[object, float] = defaultdict(float)
    for row in rows:
        size = min(order, len(row.path))
        windows = [row.path[end - size : end] for end in range(size, len(row.path) + 1) if size]
        states: list[object] = ["begin"]
        for window in windows:
            if window != states[-1]:
                states.append(window)
        journeys = row.conversions + row.nulls
        for state, next_state in pairwise(states):
            flow[state, next_state] += journeys
        for state in states:
            departures[state] += journeys
        gain[states[-1]] += amount(row)
    names = [state for state, journeys in departures.items() if journeys]
    index_of = {state: index for index, state in enumerate(names)}
    steps = np.zeros((len(names), len(names)))
    for (state, next_state), journeys in flow.items():
        if journeys:
            steps[index_of[state], index_of[next_state]] += journeys / departures[state]
    gains = np.array([gain[state] / departures[state] for state in names])

    def worth(removed_channel: str | None) -> float:
        remaining = [
            index_of[state] for state in names if state == "begin" or removed_channel not in state
        ]
        inverse = np.linalg.inv(np.eye(len(remaining)) - steps[np.ix_(remaining, remaining)])
        return float(inverse[remaining.index(index_of["begin"])] @ gains[remaining])

    worth_of_all = worth(None)
    return {channel: 1.0 - worth(channel) / worth_of_all for channel in channels_of(rows)}


def shapley_values_by_permutations(
    players: Sequence[str], worth: Callable[[frozenset[str]], float]
) -> dict[str, float]:
    """Return the mean of each player's contributions, over every order of joining."""
    contributions: defaultdict[str, float] = defaultdict(float)
    orders = list(permutations(players))
    for order in orders:
        for place, player in enumerate(order):
            earlier_players = frozenset(order[:place])
            contributions[player] += worth(earlier_players | {player}) - worth(earlier_players)
    return {player: contributions[player] / len(orders) for player in players}


def write_csv(file: Path, lines: Sequence[str]) -> Path:
    file.write_text("".join(f"{line}\n" for line in lines))
    return file


def write_parquet(file: Path, rows: Sequence[dict[str, object]]) -> Path:
    pq.write_table(pa.Table.from_pylist(list(rows)), file)
    return file
