"""The options that say what is shown and what of it is hidden: those of `send` and of `preview`.

Declared once, so that a line that was tried with one can be given to the other.
"""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = [
    "BURNED_IN_OK",
    "BurnedInOption",
    "FpsOption",
    "MaskAutoOption",
    "MaskOption",
    "MaskTextOption",
    "SizeOption",
    "SourceOption",
]

BURNED_IN_OK = "--burned-in-ok"

SourceOption = Annotated[
    str,
    typer.Option(
        envvar="VEILSCOPE_SOURCE",
        help="What to show: demo, phantom:ultrasound, phantom:endoscopy, camera:0, a DICOM "
        "file, a video file or stream, or a folder of images.",
    ),
]
FpsOption = Annotated[
    float | None,
    typer.Option(min=0.1, max=240.0, help="Frames a second; by default the source's own."),
]
SizeOption = Annotated[
    str | None,
    typer.Option(metavar="WIDTHxHEIGHT", help="Size of a phantom's or a camera's picture."),
]
MaskOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="X,Y,W,H",
        help="Black out this rectangle of the picture, as it is shown, before it is encoded; "
        "repeatable.",
    ),
]
MaskAutoOption = Annotated[
    bool,
    typer.Option(
        "--mask-auto",
        help="DICOM: keep only the regions that the file declares to be an image.",
    ),
]
MaskTextOption = Annotated[
    bool,
    typer.Option(
        "--mask-text",
        help="Find burned-in letters and black them out: before pairing, and again and again "
        "while the stream runs. Needs the extra 'text'.",
    ),
]
# No environment variable: leave to send a picture as it is, is given for one source.
BurnedInOption = Annotated[
    bool,
    typer.Option(
        BURNED_IN_OK,
        help="Send a picture of which nothing is hidden although text may be burned into it.",
    ),
]
