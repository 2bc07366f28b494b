"""data2vec: predict what a slower copy of the encoder makes of the record without gaps."""

import math
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ecgscale.encoders.base import Encoder
from ecgscale.objectives.base import LossOutput, ObjectiveParams, objectives
from ecgscale.objectives.masking import MaskedObjective
from ecgscale.objectives.search_space import Choice, FloatRange, IntRange, SearchSpace
from ecgscale.objectives.target import TargetNetwork, hidden_sd, linear_momentum, masked_mean

TargetNorm = Literal["instance", "layer"]


class MaskedDistillationParams(ObjectiveParams):
    """Parameters of `MaskedDistillation`; published values are those of data2vec for speech.

    "fairseq" is data2vec's public code with ``config/audio/pretraining/base_librispeech.yaml``;
    "ECG study" is arXiv 2605.12241 with its code (AI4HealthUOL/ecg-pretraining-strategies).
    """

    mask_probability: float = Field(default=0.65, gt=0, le=1)
    """Steps in all spans as a share of all steps, overlaps counted twice. Published: 6.5 % of the
    steps start a span of 10, which hides 49 % (section 4.2; fairseq). The ECG study's code divides
    .065 by the span once more and hides about 6 %."""
    mask_length: int = Field(default=10, ge=1)
    """Steps of a span, at most half of a record's. Published: 10, which are 200 ms of speech and 83
    ms of the ECG study's records; how long they are here depends on the encoder's steps."""
    top_layers: int = Field(default=8, ge=1)
    """K. Published: 8 of 12 blocks (fairseq; so DinoSR's public code); ECG study: 2 of 4. An
    encoder with fewer suitable blocks gives those it has."""
    target_norm: TargetNorm = "instance"
    """How each block's output is normalised, without parameters: every channel of a record over its
    steps (``instance``, published) or every step over its channels (``layer``, ECG study)."""
    teacher_start: float = Field(default=0.999, ge=0, le=1)
    """tau_0. Published: .999 (fairseq; so DinoSR's public code); ECG study: .9996 throughout. Both
    are made for 100,000s of steps: the teacher forgets what it was at the start only after well
    over 1 / (1 - tau) steps, so shorter trainings want less."""
    teacher_end: float = Field(default=0.9999, ge=0, le=1)
    """tau_e. Published: .9999 (as `teacher_start`)."""
    teacher_anneal: float = Field(default=0.075, ge=0, le=1)
    """Share of the training in which tau rises. Published: the first 30,000 of 400,000 updates
    (fairseq; so DinoSR's public code)."""


class MaskedDistillation(MaskedObjective):
    """What data2vec and DinoSR share: a masked student, and a teacher that follows it.

    A view x of each record has T steps, M of which are hidden (`masking.span_mask`). The student f
    sees a learned embedding in their place, the teacher f' sees the whole view. From f' come the
    last K block outputs of the same shape as the tokens (all blocks of a transformer or an S4; only
    the blocks of the last stage of a CNN), normalised,

        z^k = norm( f'^k(x) )            shape (batch, step, dim),  k = 1 .. K

    and after every step

        theta' <- tau theta' + (1 - tau) theta,     tau from tau_0 to tau_e, linearly

    Departures of both objectives from the published models, all for the sake of any encoder: the
    teacher is a copy of the whole encoder (published: student and teacher share the convolutional
    front and the positional encoding, which is said to be slightly better); block outputs are taken
    after the residual connection (published: before it).
    """

    searched: ClassVar[SearchSpace] = {
        "params.mask_probability": FloatRange(0.1, 0.9),
        "params.mask_length": IntRange(1, 20, log=True),
        "params.top_layers": IntRange(1, 12),
        "params.target_norm": Choice(("instance", "layer")),
        "params.teacher_start": FloatRange(0.9, 0.9999),
    }

    def __init__(
        self, encoder: Encoder, params: MaskedDistillationParams, n_labels: int = 0
    ) -> None:
        super().__init__(encoder, params, n_labels)
        self.mask_embedding = nn.Parameter(torch.rand(encoder.mask_dim))
        self.teacher: TargetNetwork[Encoder] = TargetNetwork(encoder)

    def student(self, encoder: Encoder, views: dict[str, Tensor]) -> Tensor:
        """Return the tokens of the masked views, (batch, step, dim)."""
        tokens: Tensor = encoder(views["view"], views["mask"], self.mask_embedding)
        return tokens

    @torch.no_grad()
    def target_layers(self, views: dict[str, Tensor]) -> Tensor:
        """Return z of the class, (layer, batch, step, dim), in float32."""
        states = same_shape_layers(self.teacher.network.hidden_states(views["view"]))
        layers = torch.stack(states[-self.params.top_layers :]).float()
        return normalise_layers(layers, self.params.target_norm)

    def after_step(self, encoder: Encoder, progress: float) -> None:
        """Let the teacher follow the student."""
        params = self.params
        momentum = linear_momentum(
            params.teacher_start, params.teacher_end, progress, params.teacher_anneal
        )
        self.teacher.update(encoder, momentum)


class Data2vecParams(MaskedDistillationParams):
    """Parameters of `Data2vec`."""

    beta: float = Field(default=0.0, ge=0)
    """Where smooth L1 turns from square to line; 0 is L2 everywhere. Published: L2 for speech, 2
    for images, 4 for text (sections 4.1 to 4.3); ECG study: 1."""


@objectives.register("data2vec")
class Data2vec(MaskedDistillation):
    """data2vec.

    With the student's token f_t, the targets z^k of `MaskedDistillation` and a linear map A,

        y_t = 1/K sum_k z^k_t
        p_t = A f_t                                                     shape (batch, step, dim)
        L   = mean_{t in M} dim^{-1/2} sum_c l(p_tc - y_tc)
        l(e) = e^2                                                      beta = 0, as in speech
        l(e) = e^2 / (2 beta)  if |e| <= beta,  else  |e| - beta / 2      beta > 0

    The mean runs over the hidden steps of all records. The factor dim^{-1/2} is not in the paper
    but in its public code (fairseq, ``data2vec_audio``) and in the ECG study's, and is kept. A is a
    linear layer, as in fairseq; the ECG study puts an S4 layer there.
    """

    Params: ClassVar[type[ObjectiveParams]] = Data2vecParams
    reference: ClassVar[str] = (
        "Baevski et al., data2vec: A General Framework for Self-supervised Learning in Speech, "
        "Vision and Language, ICML 2022, arXiv 2202.03555"
    )

    def __init__(self, encoder: Encoder, params: Data2vecParams, n_labels: int = 0) -> None:
        super().__init__(encoder, params, n_labels)
        self.head = nn.Linear(encoder.embed_dim, encoder.embed_dim)

    def loss(self, encoder: Encoder, views: dict[str, Tensor]) -> LossOutput:
        """Return L, with the spread of targets and predictions over the hidden steps as parts.

        `target_sd` is also the published alarm (training stops below .1); `record_sd` is the spread
        of targets between records at the same step, which alone falls when tokens tell only where
        they are.
        """
        mask = views["mask"]
        target = self.target_layers(views).mean(dim=0)
        prediction = self.head(self.student(encoder, views)).float()
        loss = masked_mean(regression_error(prediction, target, self.params.beta), mask)
        parts = {
            "target_sd": hidden_sd(target, mask),
            "prediction_sd": hidden_sd(prediction.detach(), mask),
            "record_sd": target.std(dim=0, correction=0).mean(),
        }
        return LossOutput(loss, parts)


def same_shape_layers(states: list[Tensor]) -> list[Tensor]:
    """Return those block outputs that have the shape of the last, the tokens."""
    return [state for state in states if state.shape == states[-1].shape]


def normalise_layers(layers: Tensor, norm: TargetNorm) -> Tensor:
    """Bring block outputs to mean 0 and variance 1, without parameters.

    Parameters
    ----------
    layers
        Shape (layer, batch, step, dim).
    norm
        ``instance``: each channel over the steps of its record; ``layer``: each step over its
        channels. A constant stays 0.
    """
    if norm == "layer":
        return F.layer_norm(layers, layers.shape[-1:])
    normalised = F.instance_norm(layers.flatten(0, 1).transpose(1, 2)).transpose(1, 2)
    return normalised.reshape(layers.shape)


def regression_error(prediction: Tensor, target: Tensor, beta: float) -> Tensor:
    """Return ``dim^{-1/2} sum_c l`` of `Data2vec`: twice (batch, step, dim) to (batch, step)."""
    if beta == 0:
        error = F.mse_loss(prediction, target, reduction="none")
    else:
        error = F.smooth_l1_loss(prediction, target, reduction="none", beta=beta)
    total: Tensor = error.sum(dim=-1)
    return total / math.sqrt(error.shape[-1])
