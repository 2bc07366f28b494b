"""Readers of ECG data sets in their published layouts, one file each."""

from ecgscale.data.sources.base import REASONS, QuarantineError, Ref, Source, SourceOptions, sources

__all__ = ["REASONS", "QuarantineError", "Ref", "Source", "SourceOptions", "sources"]
