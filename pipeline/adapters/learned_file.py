"""Writer of learned.yaml, with one line of evidence per treatment."""

from pathlib import Path
from typing import Final

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from pipeline.config import canonical
from pipeline.config.model import Learned

_WIDTH: Final = 200
_COMMENT: Final = """\
Written by `kairos models snapshot`: the learner's evidence about each treatment. Decisions use it
where `learning` in policies.yaml is frozen, and are the same from run to run.
"""


def write_learned(path: Path, learning: Learned) -> None:
    """Write or replace the file at `path`. Raises OSError."""
    rows = []
    for evidence in learning.evidence:
        row = CommentedMap(canonical.explicit_fields(evidence))
        row.fa.set_flow_style()
        rows.append(row)
    document = CommentedMap({"number": learning.number, "evidence": rows})
    document.yaml_set_start_comment(_COMMENT)
    yaml = YAML()
    yaml.width = _WIDTH
    with path.open("w", encoding="utf-8") as file:
        yaml.dump(document, file)
