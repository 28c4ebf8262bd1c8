"""The profile as a page and as pictures."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from PIL import Image

from tidemill.contract.profile import Profile
from tidemill_worker.profile import page, png
from tidemill_worker.profile.pictures import Picture, pictures

from .lab import Lab
from .profiles import mixed, profiled
from .samples import prepare, s3

VOID = {"meta", "br", "hr", "img", "link", "input"}


class Page(HTMLParser):
    """Checks that tags are closed in order, and keeps what the tests ask for."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.headings: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "h2":
            self.headings.append(data.strip())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def profile() -> Profile:
    return profiled(mixed(1500), target="y", timeColumn="at")


@pytest.fixture(scope="module")
def text(profile: Profile) -> str:
    return page.render(profile, pictures(profile))


def test_alerts_stand_first_and_all_sections_are_in_the_contents(text: str) -> None:
    found = Page(text)
    names = [heading.split(":")[0] for heading in found.headings]
    assert names == [
        "Alerts", "Overview", "Columns", "Target", "Correlations", "Missing values", "Over time",
        "First rows of the train split", "Methods",
    ]  # fmt: skip
    anchors = {a["href"] for a in found.all("a")}
    ids = {attributes["id"] for _, attributes in found.tags if "id" in attributes}
    assert {f"#{a['id']}" for a in found.all("h2")} <= anchors
    assert {str(anchor).removeprefix("#") for anchor in anchors} <= ids
    assert len(ids) == sum("id" in attributes for _, attributes in found.tags)


def test_the_page_stands_alone(text: str) -> None:
    found = Page(text)
    assert not {"script", "link", "img", "iframe", "object"} & {tag for tag, _ in found.tags}
    assert not re.search(r"https?:|url\(|@import", text)
    assert not [a for _, attributes in found.tags for a in attributes if a.startswith("on")]


def test_every_picture_says_what_it_shows(text: str, profile: Profile) -> None:
    found = Page(text)
    drawn = pictures(profile).all()
    assert len(found.all("svg")) == len(drawn)
    assert all(svg["role"] == "img" and len(str(svg["aria-label"])) > 20 for svg in found.all("svg"))
    assert all(th["scope"] in ("col", "row") for th in found.all("th"))
    assert found.all("html")[0]["lang"] == "en"


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb or #rgb (WCAG 2)."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * c for c in colour[1:])
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_light_and_dark_have_contrast(text: str) -> None:
    """Text 4.5 : 1, pictures 3 : 1 (WCAG 2.2, 1.4.3 and 1.4.11)."""
    schemes = re.findall(r":root\{([^}]*--page[^}]*)\}", text)
    assert len(schemes) == 2
    assert "prefers-color-scheme:dark" in text
    for scheme in schemes:
        colours = dict(re.findall(r"--(\w+):(#\w+)", scheme))
        for least, names in ((4.5, ("text", "muted", "blue")), (3.0, ("orange", "red"))):
            for name in names:
                for ground in ("page", "soft"):
                    light, dark = sorted((luminance(colours[name]), luminance(colours[ground])), reverse=True)
                    assert (light + 0.05) / (dark + 0.05) >= least, (name, ground)


def test_sample_rows_can_be_left_out(profile: Profile) -> None:
    table = mixed(300)
    assert profile.sample is not None
    assert len(profile.sample.rows) == 10
    assert profile.sample.columns == tuple(table)
    none = profiled(table, sampleRows=0)
    assert none.sample is None
    assert "First rows" not in page.render(none, pictures(none))
    assert len(profiled(table, sampleRows=3).sample.rows) == 3  # type: ignore[union-attr]


def test_pictures_are_small_png_files_with_their_words(profile: Profile) -> None:
    drawn = pictures(profile).all()
    assert len({picture.name for picture in drawn}) == len(drawn)
    for picture in drawn:
        body = png.draw(picture)
        image = Image.open(io.BytesIO(body))
        image.load()
        assert image.format == "PNG"
        assert image.width < 2500
        assert image.height < 2500
        assert len(set(image.convert("L").tobytes())) > 3, picture.name  # something is drawn
        assert image.info["Description"] == picture.alt  # type: ignore[attr-defined]
        assert "Software" not in image.info
        assert len(body) < 150_000


def test_pictures_look_at_no_settings_and_no_fonts_of_the_machine(profile: Profile, tmp_path: Path) -> None:
    """Another process with other settings, another home, its fonts and threads draws the same bytes."""
    (tmp_path / "matplotlibrc").write_text("font.family: serif\nfont.size: 20\nlines.linewidth: 9\nsavefig.dpi: 30\n")
    (tmp_path / "profile.json").write_text(profile.to_json())
    script = (
        "import sys, hashlib; from pathlib import Path; from tidemill.contract.profile import Profile\n"
        "from tidemill_worker.profile import png; from tidemill_worker.profile.pictures import pictures\n"
        "drawn = pictures(Profile.model_validate_json(Path(sys.argv[1]).read_text())).all()[::3]\n"
        "print([hashlib.sha256(png.draw(p)).hexdigest() for p in drawn])"
    )
    variables = {
        **os.environ, "MATPLOTLIBRC": str(tmp_path), "MPLCONFIGDIR": str(tmp_path / "mpl"), "HOME": str(tmp_path),
        "OMP_NUM_THREADS": "3", "SOURCE_DATE_EPOCH": "1", "PYTHONPATH": os.pathsep.join(sys.path),
    }  # fmt: skip
    command = [sys.executable, "-c", script, str(tmp_path / "profile.json")]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=True, timeout=120)
    import hashlib

    here = [hashlib.sha256(png.draw(picture)).hexdigest() for picture in pictures(profile).all()[::3]]
    assert done.stdout.strip() == str(here)


def test_missing_glyphs_are_no_failure(recwarn: pytest.WarningsRecorder) -> None:
    first = pictures(profiled({"日本語 $x$": [float(i) for i in range(50)]})).all()[0]
    assert png.draw(first)
    assert not recwarn.list


def test_the_page_and_the_pictures_are_the_same_again(profile: Profile, text: str) -> None:
    again = profiled(mixed(1500), threads=3, target="y", timeColumn="at")
    assert page.render(again, pictures(again)) == text
    drawn: list[Picture] = list(pictures(profile).all())
    assert [png.draw(p) for p in drawn[:4]] == [png.draw(p) for p in list(pictures(again).all())[:4]]


def version(lab: Lab, **profile: Any) -> Any:
    uri = lab.put_table("in/a.parquet", pa.table(mixed(600)))
    return lab.run(prepare(lab, s3("a", uri), profile=profile))


def test_options_decide_which_files_there_are(lab: Lab) -> None:
    def names(**options: Any) -> set[str]:
        result = version(lab, **options)
        folder = result.artifact.uri.removeprefix(lab.root + "/")
        return {name.removeprefix(f"{folder}/").split("/")[0] for name in lab.list(folder)}

    rest = {"manifest.json", "provenance.json", "schema.json", "train.parquet", "validation.parquet", "test.parquet"}
    always = rest | {"profile.json", "explore.ipynb"}
    assert names() == always | {"profile.html", "profile"}
    assert names(pictures=False) == always | {"profile.html"}
    assert names(html=False) == always | {"profile"}
    assert names(html=False, pictures=False) == always


def test_a_version_has_the_same_digest_again_with_all_its_pictures(lab: Lab) -> None:
    first = version(lab, target="y", timeColumn="at")
    uri = lab.put_table("in/b.parquet", pa.table(mixed(600)))
    second = lab.run(
        {**prepare(lab, s3("a", uri), profile={"target": "y", "timeColumn": "at"}), "root": f"{lab.root}/datasets/b"}
    )
    assert first.artifact.digest == second.artifact.digest
    manifest = lab.get_json(f"{first.artifact.uri}/manifest.json")
    types = {entry["path"].rpartition(".")[2]: entry["mediaType"] for entry in manifest["files"]}
    assert (types["png"], types["ipynb"]) == ("image/png", "application/x-ipynb+json")
