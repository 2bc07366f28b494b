"""Chapman-Shaoxing-Ningbo: the 38 labels and the split published with MERL."""

import numpy as np
import pandas as pd

from ecgscale.data.record import SPLITS
from ecgscale.datasets.challenge.statements import csn_labels
from ecgscale.errors import BadInputError
from ecgscale.tasks.base import Label, Targets, Task, TaskMetadata, multi_hot, select, tasks

DATASET = "chapman-shaoxing-ningbo"


@tasks.register("chapman-38")
class Chapman38(Task):
    """38 rhythm and condition labels, exactly as the published split lists have them."""

    metadata = TaskMetadata(
        name="chapman-38",
        version=1,
        title="Chapman-Shaoxing-Ningbo, 38 labels",
        kind="multi-label",
        dataset=DATASET,
        labels=tuple(
            Label(
                name=row["acronym"],
                codes=tuple(row["snomed"].split()),
                description=row["description"],
            )
            for row in csn_labels()
        ),
        selection_rule=(
            "the records in the published lists; two of them (one train, one validation) have none "
            "of the 38 labels and stay, as in the lists"
        ),
        label_rule="the published list has 1 in the label's column (not the header's codes)",
        split_rule="the published train, validation and test lists (a random split of records)",
        patient_key="record name: the data set has one record per patient",
        published_counts={"train": 16_546, "validation": 1_860, "test": 4_620},
        counts_source="rows of the published lists, counted",
        known_issues=(
            "The lists were made by searching each acronym as text in the joined acronyms of a "
            "record, so seven columns also hold records of another label: AF (atrial flutter) "
            "holds every AFIB (1,413 of 4,753 positives), ST every STTC, STDD, STE and STTU (1,184 "
            "of 6,338 have no sinus tachycardia), SA every LVQRSAL (721 of 2,828), AVB the 1AVB, "
            "2AVB, 2AVB1 and 3AVB (737 of 913), VB every AV block (913 of 916), CR every CCR (141 "
            "of 216), 2AVB every 2AVB1 (16 of 38). Counted over all 23,026 rows, each of which "
            "this explains exactly.",
            "Sinus bradycardia (SB, 3,903 of the listed records) is not among the 38 labels, and "
            "no record with SB alone is listed.",
            "A record with any header code outside the data set's own table of condition names is "
            "not listed either: 23,026 of the 45,152 records remain.",
            "The age column of the lists is the number of leads (12 in every row); ages come from "
            "the headers.",
        ),
        licence="CC BY 4.0",
        access="open",
        url="https://physionet.org/content/ecg-arrhythmia/1.0.0/",
        citation=(
            "Zheng, Guo and Chu 2022, A large scale 12-lead electrocardiogram database for "
            "arrhythmia study, PhysioNet, doi:10.13026/wgex-er52; Zheng et al. 2020, Optimal "
            "Multi-Stage Arrhythmia Classification Approach, Scientific Reports 10:2898, "
            "doi:10.1038/s41598-020-59821-7; split: Liu et al. 2024, Zero-Shot ECG Classification "
            "with Multimodal Learning and Test-time Clinical Knowledge Enhancement, ICML, "
            "arXiv:2403.06659"
        ),
    )

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
