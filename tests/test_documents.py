"""What the documents show is sound: links lead somewhere, and every command of the README and the gallery composes."""

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from gentool.cli import catalogue, mistakes
from gentool.cli.arguments import read
from gentool.cli.compose import composer, keywords, plain
from gentool.cli.sweep import prepare
from gentool.errors import GentoolError
from gentool.options import TAGS
from gentool.schema import check
from gentool.signatures import signature
from tests.test_readme import ROOT, commands

DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs" / "gallery").glob("*.md"))]

STANDS_FOR = {"=NAME": "=vae", "=S": "=0"}
"""What a page leaves to its reader; RUN and FILE are paths, and stay."""


def typed(text: str) -> Iterator[list[str]]:
    """The words after `gentool` of every command of a page in its order, those of tables last.

    A cell under `command` holds what follows `gentool train`; a word with … in it is left to the reader.
    """
    for match in re.finditer(r"^```(?:bash|console)\n.*?^```|`gentool ([^`]+)`", text, re.DOTALL | re.MULTILINE):
        words = commands(match[0]) if match[1] is None else [["gentool", *shlex.split(match[1])]]
        yield from (rest for program, *rest in words if program == "gentool" and rest)
    for table in re.findall(r"^\|.*\| command \|\n((?:\|.*\n)+)", text, re.MULTILINE):
        for row in table.splitlines()[1:]:
            cell = row.strip("| ").rpartition(" | ")[2]
            spans = (span.split() for span in re.findall(r"`([^`]+)`", cell))
            yield from (["train", *span] for span in spans if "=" in span[0])


@cache
def composed(verb: str, *words: str) -> dict[str, Any]:
    """The configuration a command would run with, checked; empty of help, and of a sweep, whose jobs are all checked.

    Raises:
        GentoolError: if it would be refused.
    """
    if verb not in catalogue.commands():
        raise GentoolError("no such command")
    arguments = read(verb, words)
    if "--help" in arguments.flags:
        return {}
    with mistakes.explained(verb, arguments), composer(verb) as compose:
        if arguments.is_multirun:
            prepare(verb, arguments)
            return {}
        whole = compose(arguments.overrides)
        config = plain(whole, verb)
        check(keywords(config, verb))
    return config


def sampler_options(model: dict[str, Any]) -> set[str]:
    """What may be asked of a model's sampler, or of the others that may be chosen in its place."""
    described = signature(model["_target_"])
    assert described is not None
    targets = described.options["sampler"].variants.values()
    others = {name for target in targets for name in getattr(signature(target), "options", {})}
    return {*model["sampler"], *others, *(TAGS if targets else ())}


def problems(text: str) -> list[str]:
    """What is wrong with the commands of a page. A reader's sampler is held against that of the model trained last."""
    found: list[str] = []
    sampler: set[str] = set()
    for verb, *rest in typed(text):
        words = [re.sub(r"=(NAME|S)$", lambda name: STANDS_FOR[name[0]], word) for word in rest if "…" not in word]
        line = shlex.join(["gentool", verb, *rest])
        try:
            config = composed(verb, *words)
        except GentoolError as error:
            found.append(f"{line}: {error}")
            continue
        if verb == "train" and config:
            sampler = sampler_options(config["model"])
        unknown = set(config.get("sampler") or {}) - sampler
        if "definitions" in config:  # evaluate's
            unknown |= set(config["metrics"] or []) - {"full", *config["definitions"]}
        found += [f"{line}: {name}: unknown" for name in sorted(unknown)]
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_of_a_page_compose(page: Path) -> None:
    text = page.read_text()
    assert list(typed(text)), "the page lost its commands, or this test its eyes"
    assert problems(text) == []


@pytest.mark.parametrize(
    "page",
    [
        "```bash\ngentool train model=vae\ngentool train model=made model.network.mask=8   # no such key\n```\n",
        "```bash\ngentool train -m model=vae model.latent_dim=2,two\n```\n",
        "```bash\ngentool train model=vae\ngentool sample sampler.top_k=5\n```\n",
        "```bash\ngentool evaluate metrics=[nll,frechett]\n```\n",
        "By `gentool smaple n=3` it\n",
        "| what | command |\n|---|---|\n| two | `model=vae`; `model=wae` |\n",
    ],
)
def test_a_wrong_command_of_a_page_would_be_found(page: str) -> None:
    assert len(problems(page)) == 1


def test_links_and_pictures_of_the_documents_exist() -> None:
    links = [
        (document, link)
        for document in DOCUMENTS
        for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text())
        if "://" not in link
    ]
    assert any("gallery" in document.parts for document, _ in links)
    assert [f"{document.name}: {link}" for document, link in links if not (document.parent / link).exists()] == []


def test_every_picture_is_shown_somewhere() -> None:
    shown = "".join(document.read_text() for document in DOCUMENTS)
    assert [path.name for path in (ROOT / "docs" / "images").iterdir() if path.name not in shown] == []
