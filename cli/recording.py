"""Options of the commands that read a recording: which part of it, and which of its images."""

from __future__ import annotations

from typing import Annotated

import typer

RECORDING = "A recording: a bag directory, an .mcap or a .db3 file."

Every = Annotated[
    float, typer.Option(min=0, help="Seconds from one image to the next; 0 takes every image.")
]
Start = Annotated[float, typer.Option(min=0, help="Skip this many seconds of it.")]
End = Annotated[
    float | None, typer.Option(min=0, help="Stop this many seconds after its beginning.")
]
ImageTopic = Annotated[str | None, typer.Option(help="Topic; found when there is one.")]
