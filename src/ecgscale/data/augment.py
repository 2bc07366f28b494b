"""Random views of a batch of ECGs, as tensor operations on the batch's device.

Every function draws from the generator it is given, the same number of draws whatever their
outcome, and never looks at a value on the host; so the same generator state gives the same bits,
and a GPU is never waited for.
"""

import math

import torch
from torch import Generator, Tensor

from ecgscale.data.augment_settings import AugmentConfig
from ecgscale.data.normalise import normalise
from ecgscale.data.preprocess import STEP
from ecgscale.data.recipe import Recipe
from ecgscale.errors import BadInputError

SINUSOIDS = 3
"""Sinusoids that make up one record's baseline wander."""


class Augmenter:
    """Turns a batch of records into random, normalised views.

    In this order: lead choice (encoders with one lead), crop, gain, baseline wander, noise, masked
    span, dropped leads, normalisation. Under z-scoring the gain only changes the size of the signal
    against the wander and the noise. The zeros that fill a short record up to the stored length
    stay zero, and a crop has as few of them as the record allows.

    Parameters
    ----------
    config
        Probabilities and amplitudes.
    fs
        Sampling rate, Hz.
    n_leads
        Input leads of the encoder: 1, or as many as the recipe has.
    recipe
        Says how a view is normalised at the end.
    generator
        Source of every draw, on the device of the signals.

    Raises
    ------
    BadInputError
        If the encoder's leads are neither one nor the recipe's.
    """

    def __init__(
        self, config: AugmentConfig, fs: float, n_leads: int, recipe: Recipe, generator: Generator
    ) -> None:
        if n_leads not in (1, len(recipe.leads)):
            raise BadInputError(
                f"an encoder with {n_leads} input leads cannot take the {len(recipe.leads)} leads "
                "of recipe.leads: give it one, or all of them"
            )
        self.config = config
        self.fs = fs
        self.n_leads = n_leads
        self.recipe = recipe
        self.generator = generator

    def __call__(self, signal: Tensor) -> Tensor:
        """Return one view of each record; an encoder with one lead gets one drawn uniformly.

        Parameters
        ----------
        signal
            Shape (batch, lead, time), mV, or int16 as stored (`millivolts`).

        Returns
        -------
        Tensor
            Shape (batch, encoder lead, crop), without gradient.

        Raises
        ------
        BadInputError
            If the records are shorter than the crop.
        """
        return self._view(signal, self._draw_leads(signal) if self._chooses(signal) else None)

    def pair(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        """Return two views of each record, for contrastive objectives.

        With one-lead encoders the leads follow CLEF (arXiv 2512.02180): two uniform draws with
        replacement, then with probability `same_lead_prob` the second becomes the first, so that
        of 12 leads they agree with probability ``p + (1 - p) / 12``.

        Parameters, return and errors are as in `__call__`.
        """
        if not self._chooses(signal):
            return self._view(signal, None), self._view(signal, None)
        first, second = self._draw_leads(signal), self._draw_leads(signal)
        same = _happens(self.config.same_lead_prob, signal, self.generator)[:, 0, 0]
        return self._view(signal, first), self._view(signal, torch.where(same, first, second))

    def plain(self, signal: Tensor) -> Tensor:
        """Return whole records, normalised and otherwise as they are.

        An encoder with one lead gets one drawn uniformly. Parameters are as in `__call__`; the
        result has shape (batch, encoder lead, time).
        """
        if self._chooses(signal):
            signal = take_lead(signal, self._draw_leads(signal))
        return normalise(millivolts(signal), self.recipe)

    def _chooses(self, signal: Tensor) -> bool:
        return self.n_leads == 1 and signal.shape[1] > 1

    def _draw_leads(self, signal: Tensor) -> Tensor:
        batch, leads, _ = signal.shape
        return torch.randint(leads, (batch,), generator=self.generator, device=signal.device)

    @torch.no_grad()
    def _view(self, signal: Tensor, lead: Tensor | None) -> Tensor:
        # Under a caller's autocast the wander's matrix product would round the signal to bf16.
        with torch.autocast(signal.device.type, enabled=False):
            return self._augment(signal, lead)

    def _augment(self, signal: Tensor, lead: Tensor | None) -> Tensor:
        config, generator = self.config, self.generator
        if lead is not None:
            signal = take_lead(signal, lead)
        if config.crop_seconds is not None:
            signal = random_crop(signal, round(config.crop_seconds * self.fs), generator)
        signal = millivolts(signal)
        recorded = recorded_part(signal)
        sd = amplitude(signal, recorded)
        view = random_gain(signal, config.scale_range, generator)
        view = add_wander(
            view, sd * config.wander_sd, config.wander_prob, config.wander_hz, self.fs, generator
        )
        view = add_noise(view, sd * config.noise_sd, config.noise_prob, generator)
        view = mask_span(view, config.mask_fraction, config.mask_prob, generator)
        view = drop_leads(view, config.lead_drop_prob, generator)
        return normalise(view.masked_fill(~recorded, 0.0), self.recipe)


def millivolts(signal: Tensor) -> Tensor:
    """Return a signal in mV, float32: int16 is as stored, in steps of `STEP`.

    What a view does not keep (other leads, samples outside of the crop) is best never converted.
    """
    return signal.float().mul_(STEP) if signal.dtype == torch.int16 else signal


def take_lead(signal: Tensor, lead: Tensor) -> Tensor:
    """Keep one lead of each record: (batch, lead, time) and (batch,) to (batch, 1, time)."""
    return signal[torch.arange(len(lead), device=lead.device), lead].unsqueeze(1)


def random_crop(signal: Tensor, n_samples: int, generator: Generator) -> Tensor:
    """Keep `n_samples` from a random start, drawn per record and shared by its leads.

    The start is uniform among those whose crop lies within the recorded part; a record with fewer
    samples than the crop is kept from its first sample.

    Raises
    ------
    BadInputError
        If the records are shorter.
    """
    leads, length = signal.shape[1:]
    if not 0 < n_samples <= length:
        raise BadInputError(
            f"augment.crop_seconds asks for {n_samples} samples of records that have {length}"
        )
    starts = (recorded_part(signal).sum(dim=-1, keepdim=True) - n_samples + 1).clamp(min=1)
    start = (_uniform(signal, generator) * starts).long()
    index = start + torch.arange(n_samples, device=signal.device)
    return signal.gather(2, index.expand(-1, leads, -1))


def recorded_part(signal: Tensor) -> Tensor:
    """Tell the samples up to the last that is not zero in every lead: (batch, 1, time), boolean."""
    position = torch.arange(1, signal.shape[-1] + 1, device=signal.device, dtype=torch.int32)
    present = (signal != 0).any(dim=1, keepdim=True)
    return position <= (present * position).amax(dim=-1, keepdim=True)


def amplitude(signal: Tensor, recorded: Tensor) -> Tensor:
    """Return the standard deviation over the recorded part.

    (batch, lead, time) and (batch, 1, time) to (batch, lead, 1); 0 where nothing is recorded.
    """
    count = recorded.sum(dim=-1, keepdim=True).clamp(min=1)
    centred = (signal - signal.sum(dim=-1, keepdim=True) / count).masked_fill_(~recorded, 0.0)
    return (centred.square_().sum(dim=-1, keepdim=True) / count).sqrt()


def random_gain(signal: Tensor, bounds: tuple[float, float], generator: Generator) -> Tensor:
    """Multiply each record by a log-uniform factor within `bounds`."""
    low, high = (math.log(bound) for bound in bounds)
    return signal * (low + (high - low) * _uniform(signal, generator)).exp()


def add_wander(
    signal: Tensor,
    sd: Tensor,
    probability: float,
    hertz: tuple[float, float],
    fs: float,
    generator: Generator,
) -> Tensor:
    """Add baseline wander to a random part of the records.

    A sum of `SINUSOIDS` sinusoids whose frequencies, uniform in `hertz`, belong to the record and
    whose amplitudes and phases belong to each lead. Their cosine and sine parts are Gaussian, which
    makes the wander a stationary Gaussian process with standard deviation `sd`.

    Parameters
    ----------
    signal
        Shape (batch, lead, time).
    sd
        Shape (batch, lead, 1), in the signal's unit.
    probability
        Of a record getting wander.
    hertz
        Lowest and highest frequency, Hz.
    fs
        Sampling rate, Hz.
    generator
        Source of the draws.
    """
    batch, leads, length = signal.shape
    low, high = hertz
    device = signal.device
    draw = torch.rand((batch, SINUSOIDS, 1), generator=generator, device=device)
    parts = torch.randn((batch, leads, 2 * SINUSOIDS), generator=generator, device=device)
    happens = _happens(probability, signal, generator)
    parts = parts * (happens * sd / SINUSOIDS**0.5)
    # With time t = a + b, a in coarse steps, cos w(a + b) and sin w(a + b) are products of values
    # at a and at b: the wander is a matrix product, and few sines are computed.
    width = math.isqrt(length - 1) + 1
    angular = (low + (high - low) * draw) * (2 * torch.pi / fs)
    coarse = angular * torch.arange(0, length, width, device=device)
    fine = angular * torch.arange(width, device=device)
    cosine, sine = (x.unsqueeze(-1) for x in parts.chunk(2, dim=-1))
    cos_a, sin_a = coarse.cos().unsqueeze(1), coarse.sin().unsqueeze(1)
    at_a = torch.cat([cosine * cos_a + sine * sin_a, sine * cos_a - cosine * sin_a], dim=2)
    at_b = torch.cat([fine.cos(), fine.sin()], dim=1)
    wander = torch.bmm(at_a.transpose(2, 3).flatten(1, 2), at_b)
    return signal + wander.view(batch, leads, -1)[..., :length]


def add_noise(signal: Tensor, sd: Tensor, probability: float, generator: Generator) -> Tensor:
    """Add white Gaussian noise of `sd` (batch, lead, 1) to a random part of the records."""
    happens = _happens(probability, signal, generator)
    noise = torch.randn(signal.shape, generator=generator, device=signal.device)
    return noise.mul_(happens * sd).add_(signal)


def mask_span(
    signal: Tensor, fraction: tuple[float, float], probability: float, generator: Generator
) -> Tensor:
    """Set one contiguous span to zero, in all leads of a random part of the records.

    Its length is uniform in `fraction` of the record, its place uniform among those it fits in.
    """
    low, high = fraction
    length = signal.shape[-1]
    span = ((low + (high - low) * _uniform(signal, generator)) * length).round()
    start = (_uniform(signal, generator) * (length - span + 1)).floor()
    time = torch.arange(length, device=signal.device, dtype=signal.dtype)
    inside = (time >= start) & (time < start + span)
    return signal.masked_fill(inside & _happens(probability, signal, generator), 0.0)


def drop_leads(signal: Tensor, probability: float, generator: Generator) -> Tensor:
    """Set leads to zero, each with `probability`, but never all leads of a record."""
    draw = torch.rand((*signal.shape[:2], 1), generator=generator, device=signal.device)
    return signal * ((draw >= probability) | (draw == draw.amax(dim=1, keepdim=True)))


def _uniform(signal: Tensor, generator: Generator) -> Tensor:
    return torch.rand((signal.shape[0], 1, 1), generator=generator, device=signal.device)


def _happens(probability: float, signal: Tensor, generator: Generator) -> Tensor:
    return _uniform(signal, generator) < probability
