"""Embeddings of recordings as they come: any rate, any order of leads, in mV.

The same steps as from a source's file to an endpoint, by the same functions: what `ingest` does to
a recording (`ecgscale.data.preprocess`), then what `ecgscale.evaluation.embed` does to a stored
one. MLflow loads encoders through this module (`_load_pyfunc`).
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from ecgscale import encoders
from ecgscale.data.amplitude import checked_amplitude
from ecgscale.data.normalise import normalise
from ecgscale.data.preprocess import STEP, keep, process, quantise, saturation_notes
from ecgscale.data.recipe import Recipe
from ecgscale.data.record import Record, canonical_lead
from ecgscale.data.sources.base import QuarantineError
from ecgscale.encoders.base import CONFIG, WEIGHTS, Encoder, model_digest, read_config
from ecgscale.errors import BadInputError
from ecgscale.evaluation.embed import Embeddings, input_leads
from ecgscale.runs.pointer import Pointer

if TYPE_CHECKING:
    import pandas as pd

BATCH = 64
"""Recordings that are embedded at once."""
COLUMNS = ("signal", "fs", "leads")
"""Of a table of recordings: samples (lead by lead, mV), rate (Hz), names of the leads."""
PROJECT = "ECGSCALE_PROJECT"
"""Environment variable that names the project's folder; by default the working directory's."""


def embed_records(
    encoder: Encoder,
    records: Iterable[Record],
    recipe: Recipe,
    lead: str,
    device: torch.device | str = "cpu",
) -> Embeddings:
    """Embed recordings as their sources deliver them.

    Parameters
    ----------
    encoder
        Moved to `device`; in evaluation mode afterwards.
    records
        Leads that the recipe has and a recording lacks are zero, as those that a source lacks; flat
        leads are kept.
    recipe, lead
        As for `ecgscale.evaluation.embed.embed_store`.

    Returns
    -------
    array
        Shape (record, dim), float32.

    Raises
    ------
    BadInputError
        If a recording is too short, has samples that are not finite, none of the recipe's leads, or
        amplitudes that cannot be mV; the message names it.
    """
    signals = [_prepared(encoder, record, recipe, lead) for record in records]
    encoder = encoder.to(device).eval()
    parts: list[Embeddings] = [np.empty((0, encoder.embed_dim), np.float32)]
    with torch.inference_mode():
        for start in range(0, len(signals), BATCH):
            signal = torch.from_numpy(np.stack(signals[start : start + BATCH])).to(device)
            parts.append(encoder.embed(normalise(signal, recipe)).float().cpu().numpy())
    return np.concatenate(parts)


def _prepared(
    encoder: Encoder, record: Record, recipe: Recipe, lead: str
) -> npt.NDArray[np.float32]:
    """Return what a store would give of a recording, shape (lead, time), mV."""
    there = tuple(name for name in recipe.leads if name in record.leads)
    if not there:
        raise BadInputError(
            f"recording {record.record_id} has the leads {', '.join(record.leads)}, none of "
            f"{', '.join(recipe.leads)}"
        )
    try:
        kept, _ = keep(record, recipe, "keep", there)
        checked_amplitude(record, kept, there)
        samples, cut = quantise(process(kept[np.newaxis], record.fs, recipe))
        saturation_notes(int(cut[0]), samples.size)
    except QuarantineError as problem:
        said = f"recording {record.record_id} cannot be embedded: {problem.reason}"
        raise BadInputError(f"{said} ({problem.detail})") from problem
    wanted = input_leads(encoder, there, recipe, lead)
    signal = np.zeros((len(wanted), recipe.n_samples), np.float32)
    for place, name in enumerate(wanted):
        if name in there:
            signal[place] = samples[0, there.index(name)].astype(np.float32) * np.float32(STEP)
    return signal


@dataclass(frozen=True)
class RawEmbedder:
    """An encoder that takes raw recordings; what `mlflow.pyfunc.load_model` gives.

    Attributes
    ----------
    encoder, recipe, lead
        As for `embed_records`.
    """

    encoder: Encoder
    recipe: Recipe
    lead: str

    def predict(
        self, model_input: "pd.DataFrame", params: dict[str, Any] | None = None
    ) -> Embeddings:
        """Embed the recordings of a table.

        Parameters
        ----------
        model_input
            A row per recording. ``signal``: its samples in mV, a list or array per lead, of one
            length. ``fs``: Hz. ``leads``: names of the leads, in the order of `signal`.
        params
            None are known.

        Returns
        -------
        array
            Shape (recording, dim), float32.

        Raises
        ------
        BadInputError
            If a column is missing, or a recording cannot be embedded; it is named by its row.
        """
        absent = [name for name in COLUMNS if name not in model_input]
        if absent:
            raise BadInputError(f"the recordings have no column {', '.join(absent)}")
        rows = zip(model_input.index, *(model_input[name] for name in COLUMNS), strict=True)
        records = (_record(str(at), signal, fs, leads) for at, signal, fs, leads in rows)
        return embed_records(self.encoder, records, self.recipe, self.lead)


def _record(name: str, signal: Any, fs: float, leads: Sequence[str]) -> Record:
    try:
        samples = np.stack([np.asarray(row, np.float32) for row in signal])
    except ValueError as error:
        raise BadInputError(f"recording {name}: its leads differ in length, or are none") from error
    if samples.ndim != 2 or len(samples) != len(leads):
        raise BadInputError(f"recording {name} has {len(samples)} signals and {len(leads)} leads")
    if not fs > 0:
        raise BadInputError(f"recording {name} has the rate {fs:g} Hz")
    names = tuple(canonical_lead(str(lead)) for lead in leads)
    return Record(name, name, samples, float(fs), names)


def load_pointed(pointer: Pointer) -> RawEmbedder:
    """Load the encoder that a pointer names.

    It is looked for in the project that `PROJECT` names, else in the working directory and above.

    Raises
    ------
    BadInputError
        If it is not there, or not what the pointer was made for.
    """
    directory = _directory(pointer)
    absent = [name for name in (CONFIG, WEIGHTS) if not (directory / name).is_file()]
    if absent:
        raise BadInputError(f"{directory} has no {absent[0]}: run `dvc pull {pointer.path}`")
    config = read_config(directory)
    found = {
        "weights": (model_digest(directory), pointer.model_digest),
        "preprocessing": (config["recipe"].get("digest"), pointer.recipe_digest),
    }
    for what, (here, wanted) in found.items():
        if here != wanted:
            raise BadInputError(
                f"{directory} holds other {what} (digest {str(here)[:12]}) than this model "
                f"({wanted[:12]}): the cell was trained again; check out the commit whose "
                f"dvc.lock names them (trained at {pointer.git_commit[:12]}), then `dvc pull "
                f"{pointer.path}`"
            )
    recipe = {key: value for key, value in config["recipe"].items() if key != "digest"}
    return RawEmbedder(encoders.load(directory), Recipe(**recipe), pointer.lead)


def _directory(pointer: Pointer) -> Path:
    stated = os.environ.get(PROJECT)
    here = Path.cwd()
    places = [Path(stated)] if stated else [here, *here.parents]
    for place in places:
        if (place / pointer.path).is_dir():
            return place / pointer.path
    raise BadInputError(
        f"{pointer.path} is not in {places[0]}: run `dvc pull {pointer.path}` in the project, and "
        f"load the model there (or set {PROJECT} to its folder)"
    )


def _load_pyfunc(path: str) -> RawEmbedder:
    """Load what MLflow holds, as its ``python_function`` flavour asks for."""
    return load_pointed(Pointer.read(Path(path)))
