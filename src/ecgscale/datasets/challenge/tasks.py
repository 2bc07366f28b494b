"""Chapman-Shaoxing-Ningbo: the 38 labels and the split published with MERL."""

from pathlib import Path

import numpy as np
import pandas as pd

from ecgscale.data.record import SPLITS
from ecgscale.datasets import described_tasks
from ecgscale.datasets.challenge.statements import csn_labels
from ecgscale.errors import BadInputError
from ecgscale.tasks.base import Label, Targets, Task, multi_hot, select, tasks

LABELS = tuple(
    Label(name=row["acronym"], codes=tuple(row["snomed"].split()), description=row["description"])
    for row in csn_labels()
)
METADATA = described_tasks(Path(__file__).with_name("challenge-tasks.yaml"), {"chapman-38": LABELS})


@tasks.register("chapman-38")
class Chapman38(Task):
    """38 rhythm and condition labels, exactly as the published split lists have them."""

    metadata = METADATA["chapman-38"]

    @classmethod
    def targets(cls, records: pd.DataFrame) -> Targets:
        """Select the records that a published list assigns to a split; see `Task.targets`.

        Raises
        ------
        BadInputError
            If a listed record has a split label that is not one of the 38.
        """
        names = cls.metadata.label_names
        columns = {name: column for column, name in enumerate(names)}
        listed = records["split"].isin(SPLITS).to_numpy()
        for record, labels in records.loc[listed, ["record_id", "split_labels"]].itertuples(
            index=False
        ):
            unknown = [label for label in labels if label not in columns]
            if unknown:
                raise BadInputError(
                    f"task {cls.metadata.name}: split label {unknown[0]!r} of record {record} is "
                    f"not one of its {len(names)} labels"
                )
        y = multi_hot(records["split_labels"], columns, len(names))
        split = np.where(listed, records["split"], "").astype(np.str_)
        return select(records, listed, split, y)
