"""Writes DICOM waveforms byte by byte, from PS3.5 and PS3.10, without the library that reads them.

What it writes was compared with DCMTK, see ``tests/datasets/folder/dcmtk``.
"""

import struct
import zlib

import numpy as np

UNDEFINED = b"\xff\xff\xff\xff"
ITEM = b"\xfe\xff\x00\xe0" + UNDEFINED
ITEM_END = b"\xfe\xff\x0d\xe0" + bytes(4)
SEQUENCE_END = b"\xfe\xff\xdd\xe0" + bytes(4)

TAGS = {
    "FileMetaInformationGroupLength": (0x0002, 0x0000, "UL"),
    "FileMetaInformationVersion": (0x0002, 0x0001, "OB"),
    "MediaStorageSOPClassUID": (0x0002, 0x0002, "UI"),
    "MediaStorageSOPInstanceUID": (0x0002, 0x0003, "UI"),
    "TransferSyntaxUID": (0x0002, 0x0010, "UI"),
    "ImplementationClassUID": (0x0002, 0x0012, "UI"),
    "SpecificCharacterSet": (0x0008, 0x0005, "CS"),
    "SOPClassUID": (0x0008, 0x0016, "UI"),
    "SOPInstanceUID": (0x0008, 0x0018, "UI"),
    "StudyDate": (0x0008, 0x0020, "DA"),
    "AcquisitionDateTime": (0x0008, 0x002A, "DT"),
    "Modality": (0x0008, 0x0060, "CS"),
    "CodeValue": (0x0008, 0x0100, "SH"),
    "CodingSchemeDesignator": (0x0008, 0x0102, "SH"),
    "CodeMeaning": (0x0008, 0x0104, "LO"),
    "PatientName": (0x0010, 0x0010, "PN"),
    "PatientBirthDate": (0x0010, 0x0030, "DA"),
    "PatientSex": (0x0010, 0x0040, "CS"),
    "PatientAge": (0x0010, 0x1010, "AS"),
    "WaveformOriginality": (0x003A, 0x0004, "CS"),
    "NumberOfWaveformChannels": (0x003A, 0x0005, "US"),
    "NumberOfWaveformSamples": (0x003A, 0x0010, "UL"),
    "SamplingFrequency": (0x003A, 0x001A, "DS"),
    "MultiplexGroupLabel": (0x003A, 0x0020, "SH"),
    "ChannelDefinitionSequence": (0x003A, 0x0200, "SQ"),
    "ChannelLabel": (0x003A, 0x0203, "SH"),
    "ChannelSourceSequence": (0x003A, 0x0208, "SQ"),
    "ChannelSensitivity": (0x003A, 0x0210, "DS"),
    "ChannelSensitivityUnitsSequence": (0x003A, 0x0211, "SQ"),
    "ChannelSensitivityCorrectionFactor": (0x003A, 0x0212, "DS"),
    "ChannelBaseline": (0x003A, 0x0213, "DS"),
    "ChannelTimeSkew": (0x003A, 0x0214, "DS"),
    "ChannelSampleSkew": (0x003A, 0x0215, "DS"),
    "WaveformBitsStored": (0x003A, 0x021A, "US"),
    "WaveformSequence": (0x5400, 0x0100, "SQ"),
    "WaveformBitsAllocated": (0x5400, 0x1004, "US"),
    "WaveformSampleInterpretation": (0x5400, 0x1006, "CS"),
    "WaveformPaddingValue": (0x5400, 0x100A, "OW"),
    "WaveformData": (0x5400, 0x1010, "OW"),
}
"""Keyword to group, element and value representation, from PS3.6."""

KINDS = {"SB": "i1", "UB": "u1", "SS": "<i2", "US": "<u2", "SL": "<i4", "UL": "<u4"}
"""Sample interpretation to its type."""

CODES = ("1", "2", "61", "62", "63", "64", "3", "4", "5", "6", "7", "8")
"""Ends of the codes of the standard 12 leads, from PS3.16 CID 3001."""


SYNTAXES = {
    "implicit": "1.2.840.10008.1.2",
    "explicit": "1.2.840.10008.1.2.1",
    "deflated": "1.2.840.10008.1.2.1.99",
    "big-endian": "1.2.840.10008.1.2.2",
}


def write_dicom(path, groups, *, syntax="explicit", **elements):
    """Write a file of multiplex groups, which `group` makes; `elements` are of the whole file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kind, instance = "1.2.840.10008.5.1.4.1.1.9.1.1", "1.2.3.4"
    whole = {
        "SOPClassUID": kind,
        "SOPInstanceUID": instance,
        "Modality": "ECG",
        "WaveformSequence": groups,
        **elements,
    }
    meta = {
        "FileMetaInformationVersion": b"\0\1",
        "MediaStorageSOPClassUID": kind,
        "MediaStorageSOPInstanceUID": instance,
        "TransferSyntaxUID": SYNTAXES[syntax],
        "ImplementationClassUID": "1.2.3",
    }
    head = _encoded(meta, False)
    head = _encoded({"FileMetaInformationGroupLength": len(head)}, False) + head
    body = _encoded(whole, syntax == "implicit")
    if syntax == "deflated":
        packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        body = packer.compress(body) + packer.flush()
    path.write_bytes(bytes(128) + b"DICM" + head + body)


def group(
    samples,
    leads,
    *,
    fs=500,
    interpretation="SS",
    sensitivity="1",
    factor="1",
    unit="uV",
    baseline="0",
    scheme="MDC",
    channel=None,
    **elements,
):
    """One multiplex group.

    Parameters
    ----------
    samples
        Shape (lead, time), integers.
    leads
        Code (the end of it) and meaning of each.
    channel
        Elements of every channel in place of those made here; None leaves one out.
    elements
        The same of the group.
    """
    kind = np.dtype(KINDS[interpretation])
    begin = {"MDC": "2:", "SCPECG": "5.6.3-9-"}[scheme]
    channels = []
    for code, meaning in leads:
        source = {"CodeMeaning": meaning}
        if code:
            source |= {"CodeValue": begin + code, "CodingSchemeDesignator": scheme}
        made = {
            "ChannelSourceSequence": [source],
            "ChannelSensitivity": sensitivity,
            "ChannelSensitivityUnitsSequence": [
                {"CodeValue": unit, "CodingSchemeDesignator": "UCUM", "CodeMeaning": unit}
            ],
            "ChannelSensitivityCorrectionFactor": factor,
            "ChannelBaseline": baseline,
            "WaveformBitsStored": 8 * kind.itemsize,
            **(channel or {}),
        }
        channels.append({key: value for key, value in made.items() if value is not None})
    made = {
        "WaveformOriginality": "ORIGINAL",
        "NumberOfWaveformChannels": len(leads),
        "NumberOfWaveformSamples": samples.shape[1],
        "SamplingFrequency": str(fs),
        "MultiplexGroupLabel": "RHYTHM",
        "ChannelDefinitionSequence": channels,
        "WaveformBitsAllocated": 8 * kind.itemsize,
        "WaveformSampleInterpretation": interpretation,
        "WaveformData": samples.T.astype(kind).tobytes(),
        **elements,
    }
    return {key: value for key, value in made.items() if value is not None}


def _encoded(elements, implicit):
    """Elements in the order of their tags; sequences and their items of undefined length."""
    parts = []
    for keyword in sorted(elements, key=lambda name: TAGS[name]):
        number, element, kind = TAGS[keyword]
        value = elements[keyword]
        if kind == "SQ":
            items = (ITEM + _encoded(each, implicit) + ITEM_END for each in value)
            value, length = b"".join(items) + SEQUENCE_END, UNDEFINED
        else:
            value = _bytes(kind, value)
            length = struct.pack("<I", len(value))
        if implicit:
            form = length
        elif kind in ("OB", "OW", "SQ"):
            form = kind.encode() + b"\0\0" + length
        else:
            form = kind.encode() + length[:2]
        parts.append(struct.pack("<HH", number, element) + form + value)
    return b"".join(parts)


def _bytes(kind, value):
    if kind in ("US", "UL"):
        return struct.pack({"US": "<H", "UL": "<I"}[kind], value)
    value = value.encode() if isinstance(value, str) else value
    return value + (b"\0" if kind in ("UI", "OB", "OW") else b" ") * (len(value) % 2)
