"""Published evidence: one YAML file a publication, with its source and the grade of each number.

`publication` types and reads the files, `records` makes a run record of each model of each
publication, as the tracking store holds them beside a study's own runs.
"""

from ecgscale.literature.publication import (
    FOLDER,
    Grade,
    Publication,
    Row,
    published_rows,
    read_literature,
    read_publication,
)

__all__ = [
    "FOLDER",
    "Grade",
    "Publication",
    "Row",
    "published_rows",
    "read_literature",
    "read_publication",
]
