"""What of a profile is written beside the rows."""

from __future__ import annotations

import json
from pathlib import Path

from tidemill.contract.profile import Profile
from tidemill.contract.profiling import ProfileOptions
from tidemill_worker.profile.build import Say
from tidemill_worker.profile.notebook import notebook
from tidemill_worker.profile.page import render
from tidemill_worker.profile.pictures import pictures

DATA, PAGE, NOTEBOOK, PICTURES = "profile.json", "profile.html", "explore.ipynb", "profile"


def write(profile: Profile, options: ProfileOptions, folder: Path, say: Say = lambda _share, _words: None) -> None:
    """`profile.json` and `explore.ipynb`, and as asked for `profile.html` and `profile/*.png`."""
    document = profile.model_dump(mode="json", by_alias=True, exclude_none=True)
    (folder / DATA).write_text(json.dumps(document, indent=1, ensure_ascii=False))
    (folder / NOTEBOOK).write_text(notebook())
    if not options.html and not options.pictures:
        return
    drawn = pictures(profile)
    if options.html:
        say(0.0, "page")
        (folder / PAGE).write_text(render(profile, drawn))
    if options.pictures:
        from tidemill_worker.profile import png  # matplotlib takes most of a second: only whom it serves should wait

        listed = drawn.all()
        for place, picture in enumerate(listed):
            if place % 10 == 0:
                say(place / len(listed), f"picture {place + 1} of {len(listed)}")
            png.write(picture, folder / PICTURES)
