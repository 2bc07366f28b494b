"""HuBERT: predict the cluster of hidden steps; clusters are refitted as the encoder learns."""

from itertools import pairwise
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ecgscale.encoders.base import Encoder
from ecgscale.objectives.base import LossOutput, ObjectiveParams, objectives
from ecgscale.objectives.kmeans import kmeans, nearest
from ecgscale.objectives.masking import MaskedObjective
from ecgscale.objectives.search_space import FloatRange, IntRange, SearchSpace
from ecgscale.objectives.target import TargetNetwork, masked_mean

POWER_FLOOR = 1e-4
"""Least power of a band: a wave of 1 % of the record's standard deviation, below which is noise."""

LEAST_SD = 1e-2
"""Least standard deviation of a feature: one that never changes (a flat lead's) stays small."""

REFRESH_CHUNK = 64
"""Records described at once when clusters are fitted."""


class HubertParams(ObjectiveParams):
    """Parameters of `Hubert`."""

    clusters: tuple[int, ...] = Field(default=(128, 256), min_length=1)
    """Size of each codebook. Published: 128 and 256 (arXiv 2605.12241, HuBERT++); 100, then 500
    (HuBERT); 100 to 300, then 500 to 1,000 (HuBERT-ECG's scripts)."""
    alpha: float = Field(default=0.75, ge=0, le=1)
    """Weight of hidden steps against seen ones. Published: .75 (HuBERT++); 1 (HuBERT, HuBERT-ECG).
    """
    temperature: float = Field(default=0.1, gt=0)
    """tau. Published: .1 (HuBERT, section III-E; HuBERT-ECG's code)."""
    mask_probability: float = Field(default=0.8, gt=0, le=1)
    """Share of steps hidden if spans did not overlap. Published: .8, 8 % of steps start a span of
    10 (HuBERT, section IV-C); .65 (HuBERT++'s code); .33 (HuBERT-ECG)."""
    mask_length: int = Field(default=10, ge=1)
    """Steps of a span, at most half of all. Published: 10 (HuBERT, HuBERT++'s code); 1
    (HuBERT-ECG, whose steps are .64 s)."""
    iterations: int = Field(default=2, ge=1)
    """How often clusters are fitted. Published: 2 (HuBERT Base), up to 3 (HuBERT-ECG's code)."""
    layer: float = Field(default=0.5, gt=0, le=1)
    """Depth of the block whose output is clustered. Published: block 6 of 12 (HuBERT Base)."""
    projection_dim: int = Field(default=256, ge=1)
    """Width of projections and codewords. Published: 256 (HuBERT Base; HuBERT-ECG Small, Base)."""
    window: int = Field(default=64, ge=8)
    """Samples that the features of the first iteration see at least. Published: 64 samples at
    100 Hz (HuBERT-ECG)."""
    kmeans_iterations: int = Field(default=20, ge=1)
    """Rounds of k-means. HuBERT's code allows 100 of mini-batches and stops early."""
    kmeans_points: int = Field(default=16_384, ge=1)
    """Most steps that clusters are fitted to, drawn evenly from the records; 64 for each of 256
    clusters."""


@objectives.register("hubert")
class Hubert(MaskedObjective):
    """HuBERT: masked prediction of cluster ids.

    Spans of an augmented view are hidden behind a learned mask embedding. From the tokens h of its
    steps, shape (batch, step, dim), each of C codebooks gives a distribution over its k_c clusters,

        p_c(z | h_t) = softmax_z( cos(A_c h_t, e_cz) / tau ),   A_c: dim -> `projection_dim`,

    with learned codewords e. With M the hidden steps of the batch and z_ct the cluster of step t in
    the view as it was before hiding,

        L = sum_c ( alpha mean_{t in M} -log p_c(z_ct | h_t)
                    + (1 - alpha) mean_{t not in M} -log p_c(z_ct | h_t) ).

    **Where clusters come from.** `refresh` fits each codebook by k-means to steps of whole records,
    before `iterations` equally spaced steps of the training, the first of them step 0. Between two
    fits nothing of it changes.

    - First fit: `spectral_features` of each step's own samples, each feature brought to mean 0 and
      SD 1. Steps shorter than `window` are described by the `window` samples around their middle.
    - Later fits: the output of a middle block of a frozen copy of the encoder as it is then,
      brought to unit length. It is the first block from `layer` on whose output has the shape of
      the tokens, so one of the last stage in a CNN that strides in every stage.

    Codewords start anew with each fit (as in HuBERT-ECG's code): cluster ids of two fits have
    nothing in common. Before any fit the codebooks are random points, so that `loss` can be called.

    **The first features.** Published for speech are 13 mel cepstral coefficients with differences.
    The mel scale is the ear's, and power says nothing about a wave's sign, on which lead axes and
    repolarisation depend. HuBERT-ECG's code offers 39 of these (of a single frame per step, so that
    the 26 differences are zero), 16 statistics of samples and spectrum, or 13 and 16 of them. Here
    a lead has mean, minimum, maximum and the log power of octave bands, finest where an ECG has
    most power.

    **Departures.** One run, one optimizer: HuBERT starts a new network in each iteration. The
    mask's spans are counted as `ecgscale.objectives.masking.span_mask` says. HuBERT++ (arXiv
    2605.12241, public code AI4HealthUOL/ecg-pretraining-strategies) lends its codebook sizes and
    alpha, not its clustering: there prototypes follow an EMA teacher online, ids are soft
    (Sinkhorn-Knopp) and a perceptron predicts them. The unit length of clustered outputs is that
    of HuBERT-ECG and HuBERT++; HuBERT's code leaves them as they are.

    The FLOPs of a run are counted before the first fit, without the frozen copy's forward pass.
    """

    Params: ClassVar[type[ObjectiveParams]] = HubertParams
    reference: ClassVar[str] = (
        "Hsu et al., HuBERT, IEEE/ACM TASLP 2021, arXiv 2106.07447; for ECG: Coppola et al., "
        "HuBERT-ECG, doi:10.1101/2024.11.14.24317328; HuBERT++, arXiv 2605.12241"
    )
    searched: ClassVar[SearchSpace] = {
        "params.mask_probability": FloatRange(0.2, 0.9),
        "params.mask_length": IntRange(1, 20, log=True),
        "params.alpha": FloatRange(0.5, 1.0),
        "params.temperature": FloatRange(0.05, 0.5, log=True),
    }

    features_mean: Tensor
    features_sd: Tensor

    def __init__(self, encoder: Encoder, params: HubertParams, n_labels: int = 0) -> None:
        super().__init__(encoder, params, n_labels)
        width = params.projection_dim
        self.step_samples = encoder.step_samples
        self.iteration = 0
        self.mask_embedding = nn.Parameter(torch.rand(encoder.mask_dim))
        self.projections = nn.ModuleList(nn.Linear(self.embed_dim, width) for _ in params.clusters)
        self.codewords = nn.ParameterList(torch.empty(k, width) for k in params.clusters)
        self._reset_codewords()
        n_features = encoder.params.in_channels * features_per_lead(self._window)
        self.register_buffer("features_mean", torch.zeros(n_features))
        self.register_buffer("features_sd", torch.ones(n_features))
        for index, k in enumerate(params.clusters):
            self.register_buffer(f"spectral_centroids_{index}", torch.randn(k, n_features))
            if params.iterations > 1:
                self.register_buffer(f"hidden_centroids_{index}", torch.zeros(k, self.embed_dim))
        self.teacher = TargetNetwork(encoder) if params.iterations > 1 else None
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of everything but the frozen copy, which is always evaluated."""
        super().train(mode)
        if self.teacher is not None:
            # Batch norm with statistics of the batch would make a step's cluster depend on others.
            self.teacher.eval()
        return self

    def get_extra_state(self) -> Tensor:
        """Return the number of fits so far: it decides what `loss` computes, so the host has it."""
        return torch.tensor(self.iteration)

    def set_extra_state(self, state: Tensor) -> None:
        """Take the number of fits from a checkpoint."""
        self.iteration = int(state)

    def loss(self, encoder: Encoder, views: dict[str, Tensor]) -> LossOutput:
        """Return L of `Hubert`.

        Parts are, as means over the codebooks: the share of hidden steps whose cluster is the most
        probable, and the perplexity (exp of the entropy) of targets and of predictions, which is 1
        if all steps fall into one cluster.
        """
        view, mask = views["view"], views["mask"]
        targets = self.targets(view)  # of the view that is not hidden
        tokens = encoder(view, mask, self.mask_embedding)
        alpha = self.params.alpha
        losses, parts = [], []
        for logits, target in zip(self._logits(tokens), targets, strict=True):
            error = F.cross_entropy(logits.transpose(1, 2), target, reduction="none")
            seen = masked_mean(error, ~mask)
            losses.append(alpha * masked_mean(error, mask) + (1 - alpha) * seen)
            choice = logits.detach().argmax(dim=-1)
            k = logits.shape[-1]
            hits = masked_mean((choice == target).float(), mask)
            parts.append(torch.stack([hits, perplexity(target, k), perplexity(choice, k)]))
        accuracy, targeted, predicted = torch.stack(parts).mean(dim=0)
        named = {"target_perplexity": targeted, "prediction_perplexity": predicted}
        return LossOutput(torch.stack(losses).sum(), {"masked_accuracy": accuracy, **named})

    @torch.no_grad()
    def targets(self, view: Tensor) -> list[Tensor]:
        """Return the cluster of every step in each codebook: (batch, lead, time) to (batch, step).

        Distances are in float32: in bf16 the nearest of hundreds of centroids is often another.
        """
        features = self._scaled(self._features(view))
        with torch.autocast(view.device.type, enabled=False):
            return [nearest(features, centroids) for centroids in self._centroids()]

    def refresh_steps(self, steps: int) -> tuple[int, ...]:
        """Return the steps that start the `iterations`, equally spaced."""
        iterations = self.params.iterations
        return tuple(dict.fromkeys(steps * index // iterations for index in range(iterations)))

    @torch.no_grad()
    def refresh(self, encoder: Encoder, signal: Tensor) -> None:
        """Fit the codebooks: to hand-made features first, then to the encoder's own."""
        self.iteration += 1
        # Momentum 0 makes the copy the encoder of this moment; the first fit does not look at it.
        if self.teacher is not None and self.iteration > 1:
            self.teacher.update(encoder, momentum=0.0)
        points = self._points(signal)
        if self.iteration == 1:
            self.features_mean.copy_(points.mean(dim=0))
            self.features_sd.copy_(points.std(dim=0, correction=0).clamp_min(LEAST_SD))
        points = self._scaled(points)
        for centroids in self._centroids():
            centroids.copy_(kmeans(points, len(centroids), self.params.kmeans_iterations))
        self._reset_codewords()

    @property
    def _window(self) -> int:
        return max(self.step_samples, int(self.params.window))

    def _centroids(self) -> list[Tensor]:
        kind = "hidden" if self.iteration > 1 else "spectral"
        count = len(self.params.clusters)
        return [self.get_buffer(f"{kind}_centroids_{index}") for index in range(count)]

    def _features(self, view: Tensor) -> Tensor:
        """Describe every step as this iteration does: (batch, step, feature), float32."""
        if self.teacher is None or self.iteration < 2:
            with torch.autocast(view.device.type, enabled=False):
                return spectral_features(view.float(), self.step_samples, self._window)
        states = self.teacher.network.hidden_states(view)
        first = max(round(self.params.layer * len(states)), 1) - 1
        shape = states[-1].shape
        # Before its last stride a CNN has more steps than there are tokens to predict from.
        state = next(state for state in states[first:] if state.shape == shape)
        return F.normalize(state.float(), dim=-1)

    def _scaled(self, features: Tensor) -> Tensor:
        """Bring hand-made features to mean 0 and SD 1; the encoder's have a common scale."""
        if self.iteration > 1:
            return features
        return (features - self.features_mean) / self.features_sd

    def _points(self, signal: Tensor) -> Tensor:
        """Describe as many steps of each record, drawn without replacement: (point, feature)."""
        # As many of every record, so that long or noisy recordings do not own the clusters.
        each = max(self.params.kmeans_points // len(signal), 1)
        drawn = []
        for chunk in torch.split(signal, REFRESH_CHUNK):
            features = self._features(chunk)
            # The order of random keys is a permutation for each record: no loop, no wait.
            order = torch.rand(features.shape[:2], device=features.device).argsort(dim=1)
            index = order[:, :each, None].expand(-1, -1, features.shape[-1])
            drawn.append(features.gather(1, index).flatten(0, 1))
        return torch.cat(drawn)[: self.params.kmeans_points]

    def _logits(self, tokens: Tensor) -> list[Tensor]:
        """Return cosines over the temperature, each (batch, step, cluster), in float32."""
        with torch.autocast(tokens.device.type, enabled=False):
            tokens = tokens.float()
            logits = []
            for project, codewords in zip(self.projections, self.codewords, strict=True):
                projected = F.normalize(project(tokens), dim=-1)
                cosines = projected @ F.normalize(codewords, dim=-1).T
                logits.append(cosines / self.params.temperature)
            return logits

    def _reset_codewords(self) -> None:
        # About unit length: the cosine does not see it, but the optimizer's step is relative to it.
        for codewords in self.codewords:
            nn.init.normal_(codewords, std=self.params.projection_dim**-0.5)


def features_per_lead(window: int) -> int:
    """Return how many features `spectral_features` gives a lead."""
    return 3 + len(_octaves(window))


def spectral_features(signal: Tensor, step_samples: int, window: int) -> Tensor:
    """Describe every step by statistics and octave band powers of its samples.

    Of the `window` samples around a step's middle (its own, if `window` is `step_samples`), for
    each lead: mean, minimum, maximum, and for each octave b of frequencies 2^b to 2^(b+1) - 1
    cycles per window, the last up to the Nyquist frequency,

        log( floor + sum_{f in b} 2 |X_f|^2 / (window sum_n w_n^2) ),

    where X is the discrete Fourier transform of the samples less their mean times the Hann window
    w. White noise of unit variance has a total power of about 1. What lies outside of the record
    counts as zero.

    Parameters
    ----------
    signal
        Shape (batch, lead, time).
    step_samples
        Samples per step.
    window
        Samples described, at least `step_samples` and 8.

    Returns
    -------
    Tensor
        Shape (batch, step, lead * `features_per_lead`), all features of a lead together.
    """
    length = signal.shape[-1]
    steps = -(-length // step_samples)
    # Padded so that window number i lies around the middle of step i, also at the record's ends.
    left = window // 2 - step_samples // 2
    right = (steps - 1) * step_samples + window - left - length
    samples = F.pad(signal, (left, right)).unfold(-1, window, step_samples)
    # Less the mean: its power would leak through the window into the lowest octave.
    mean = samples.mean(dim=-1, keepdim=True)
    hann = torch.hann_window(window, device=signal.device, dtype=signal.dtype)
    spectrum = torch.fft.rfft((samples - mean) * hann).abs().square()
    power = spectrum * (2 / (window * hann.square().sum()))
    bands = [power[..., low:high].sum(dim=-1) for low, high in _octaves(window)]
    statistics = [mean.squeeze(-1), samples.amin(dim=-1), samples.amax(dim=-1)]
    octaves = (torch.stack(bands, dim=-1) + POWER_FLOOR).log()
    features = torch.cat([torch.stack(statistics, dim=-1), octaves], dim=-1)
    return features.transpose(1, 2).flatten(2)


def _octaves(window: int) -> list[tuple[int, int]]:
    """Return the first and the last but one frequency of each octave, in cycles per window."""
    edges = [1 << power for power in range((window // 2).bit_length() - 1)]
    return list(pairwise([*edges, window // 2 + 1]))


def perplexity(ids: Tensor, k: int) -> Tensor:
    """Return ``exp(-sum_z q_z log q_z)``, q the shares of `k` ids among all: 1 to `k`."""
    share = (ids.flatten().unsqueeze(1) == torch.arange(k, device=ids.device)).float().mean(dim=0)
    entropy: Tensor = torch.special.entr(share).sum()
    return entropy.exp()
