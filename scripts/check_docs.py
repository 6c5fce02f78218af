"""Does the documentation do what it says? Runs its commands and Python blocks, with small budgets.

    python scripts/check_docs.py                     # every page; some 20 minutes on 2 cores
    python scripts/check_docs.py docs/extending.md   # one page

Each page has a new folder, and finds runs/pong-1 there if it speaks of it. A comment before a block
says what is different there:

    <!-- check: skip, needs a cluster -->       its commands are parsed, never run
    <!-- check: fast -->                        tests/test_docs.py runs it too
    <!-- check: steps=20000 -->                 trains for so many steps
    <!-- check: fails -->                       shows an error: must end with exit code 1 or 2

A block with a title, such as ```python title="lab.py", becomes that file. Commands that are not
rtpd, python or cc (make, pip, hf, ...) are listed and not run. Exit code 1 if something fails.
"""

import argparse
import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "examples" / "README.md"]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
STORIES = {"LOG.md"}  # of what was done at its time; its commands need not work today
LINKED = ("examples", "experiments", "results", "scripts", "tests", "benchmarks")
RUN = "runs/pong-1"  # what the README trains and other pages go on with
STAND_INS = {"dqn.zip": "tests/data/sb3-pong-dqn.zip"}  # what readers have and we do not

BUDGETS: Mapping[str, Mapping[str, str]] = {
    "train": {
        "--steps": "3000",
        "--minutes": "3",
        "--num-envs": "8",
        "--replay.warmup-steps": "1000",
        "--replay.capacity": "4000",
        "--evaluation.period-steps": "0",
        "--evaluation.final-episodes": "1",
    },
    "evaluate": {"--episodes": "1"},
    "export": {"--episodes": "1"},
    "play": {"--steps": "60"},
    "bench": {"--rounds": "1", "--seconds": "1"},
    "teachers": {"--seconds": "0.5"},
}
BUDGETS = {**BUDGETS, "distill": BUDGETS["train"]}

# Python blocks ask for whole trainings, too.
PRELUDE = """
import dataclasses, rtpd
_load, _evaluate = rtpd.load_config, rtpd.evaluate
def _small(*args, **kwargs):
    c = _load(*args, **kwargs)
    return dataclasses.replace(
        c, steps=3000, num_envs=8,
        replay=dataclasses.replace(c.replay, warmup_steps=1000, capacity=4000),
        evaluation=dataclasses.replace(c.evaluation, period_steps=0, final_episodes=1))
rtpd.load_config = _small
rtpd.evaluate = lambda *args, **kwargs: _evaluate(*args, **{**kwargs, "episodes": 1})
"""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int  # of its first fence, from 1
    language: str
    title: str
    text: str
    marks: Mapping[str, str] = field(default_factory=dict)  # "skip": why, "steps": "2000"

    @property
    def where(self) -> str:
        """PAGE:LINE."""
        return f"{self.page.name}:{self.line}"

    @property
    def commands(self) -> list[list[str]]:
        """The words of each command line of a shell block, comments left out."""
        if self.language not in ("", "bash", "sh"):
            return []
        lines = self.text.replace("\\\n", " ").splitlines()
        return [words for line in lines if (words := shlex.split(line, comments=True))]


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page, with what the comment before each says."""
    lines, i, marks = page.read_text().splitlines(), 0, {}
    while i < len(lines):
        fence = re.fullmatch(r"```(\w*)(?: title=\"(.+)\")?", lines[i])
        if comment := re.fullmatch(r"<!-- check: (.*) -->", lines[i]):
            pairs = (part.partition("=") for part in comment.group(1).split(", "))
            marks = {key: value for key, _, value in pairs}
        elif fence:
            end = lines.index("```", i + 1)
            text = "\n".join(lines[i + 1 : end]) + "\n"
            yield Block(page, i + 1, fence.group(1), fence.group(2) or "", text, marks)
            i = end
        if not comment and lines[i].strip():
            marks = {}
        i += 1


def split_env(words: list[str]) -> tuple[dict[str, str], list[str]]:
    """`A=b rtpd train` -> {"A": "b"}, ["rtpd", "train"]."""
    count = 0
    while count < len(words) and re.match(r"[A-Z_]+=", words[count]):
        count += 1
    pairs = (word.partition("=") for word in words[:count])
    return {name: value for name, _, value in pairs}, words[count:]


def rtpd_args(words: list[str]) -> list[str] | None:
    """What follows `rtpd`, or a file of one's own in its place, `python lab.py`; None elsewhere."""
    if words[0] == "rtpd":
        return words[1:]
    return words[2:] if words[:2] == ["python", "lab.py"] else None


def with_budget(args: list[str], budget: Mapping[str, str]) -> list[str]:
    """The arguments of `rtpd` with the values of a budget."""
    if not {"--help", "--help-all"}.isdisjoint(args) or args == ["teachers"]:
        return args
    if "--resume" in args:  # what such a run was before is done
        budget = {"--steps": "6000"}
    if args[0] == "suite" and args[1].startswith("experiments/"):  # days of training
        return [*args, "--dry-run"] if "--dry-run" not in args else args
    kept, skip = [], False
    for arg in args:
        if not skip and arg not in budget:
            kept.append(arg)
        skip = not skip and arg in budget
    return kept + [part for pair in budget.items() for part in pair]


def broken_links(page: Path) -> Iterator[str]:
    """Relative links of a page that lead nowhere, and paths in `code` that are not there."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path = target.partition("#")[0]
        if path and "://" not in path and not (page.parent / path).exists():
            yield target
    tops = "|".join((*LINKED, "docs", "src"))
    for path in re.findall(rf"`((?:{tops})/[\w./-]+)`", text):
        if not (ROOT / path).exists():
            yield path


def notebook_code(path: Path) -> str:
    """The code cells of a notebook as one program."""
    cells = json.loads(path.read_text())["cells"]
    return "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")


class Checker:
    """Runs the blocks of pages, each page in a folder of its own, and counts what failed."""

    def __init__(self, top: Path) -> None:
        self.top, self.folder, self.failed, self.left_out = top, top, 0, []

    def check_page(self, page: Path) -> None:
        """Make the page's folder and run all its blocks there."""
        self.folder = self.top / f"{page.parent.name}-{page.stem}"
        self.folder.mkdir()
        for name, path in ({name: name for name in LINKED} | STAND_INS).items():
            (self.folder / name).symlink_to(ROOT / path)
        found = list(blocks(page))
        if RUN in page.read_text() and page != PAGES[0]:
            shared = self.top / "run"
            if not shared.exists():
                args = with_budget(["train", "pong", "--out", str(shared)], BUDGETS["train"])
                self.run(found[0], ["rtpd", *args], {})
            shutil.copytree(shared, self.folder / RUN)
        for block in found:
            if block.title:
                (self.folder / block.title).write_text(block.text)
        for block in found:
            if not block.title:
                self.check(block)

    def check(self, block: Block) -> None:
        """Run it."""
        if "skip" in block.marks:
            self.left_out.append(f"{block.where}: {', '.join(block.marks)}")
        elif block.language == "python":
            (self.folder / "block.py").write_text(PRELUDE + block.text)
            self.run(block, ["python", "block.py"], {})
        else:
            for words in block.commands:
                self.command(block, words)

    def command(self, block: Block, words: list[str]) -> None:
        """Run one command line with its budget."""
        env, words = split_env(words)
        args = rtpd_args(words)
        if args:
            budget = dict(BUDGETS.get(args[0], {}))
            if "--steps" in budget and "steps" in block.marks:
                budget["--steps"] = block.marks["steps"]
            words = words[: len(words) - len(args)] + with_budget(args, budget)
        if words[0] not in ("rtpd", "python", "cc") and not words[0].startswith("./"):
            self.left_out.append(f"{block.where}: {shlex.join(words)}")
            return
        self.run(block, words, env)

    def notebook(self, path: Path) -> None:
        """Run the code cells of a notebook where it lies, with its figures kept off the screen."""
        code = f"import os; os.chdir({str(path.parent)!r})\n{notebook_code(path)}"
        block = Block(path, 1, "python", "", code)
        self.run(block, ["python", "-c", code], {"MPLBACKEND": "agg"})

    def run(self, block: Block, words: list[str], env: Mapping[str, str]) -> None:
        """Run a program in the folder and say how it went."""
        started, paths = time.monotonic(), [env.get("PYTHONPATH", ""), str(ROOT / "src")]
        start = {"rtpd": [sys.executable, "-m", "rtpd"], "python": [sys.executable]}
        done = subprocess.run(
            [*start.get(words[0], words[:1]), *words[1:]],
            cwd=self.folder,
            env=os.environ | env | {"PYTHONPATH": ":".join(filter(None, paths))},
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        good = (done.returncode in (1, 2)) if "fails" in block.marks else done.returncode == 0
        self.failed += not good
        word = "ok  " if good else f"FAIL {done.returncode}"
        print(
            f"{word} {time.monotonic() - started:5.0f} s  {block.where}  {shlex.join(words)[:150]}"
        )
        if not good:
            print("".join(f"     {line}\n" for line in done.stderr.splitlines()[-8:]), end="")
        sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pages", nargs="*", type=Path, default=PAGES, help="default: all")
    parser.add_argument("--keep", type=Path, help="a new folder to run in, kept afterwards")
    args = parser.parse_args()
    with contextlib.ExitStack() as stack:
        if args.keep:
            args.keep.mkdir(parents=True)
        folder = args.keep or stack.enter_context(tempfile.TemporaryDirectory(prefix="rtpd-docs-"))
        checker = Checker(Path(folder).resolve())
        for page in map(Path.resolve, args.pages):
            links = list(broken_links(page))
            checker.failed += len(links)
            print(*(f"FAIL {page.name}: '{link}' is not there\n" for link in links), sep="", end="")
            if page.name not in STORIES:
                checker.check_page(page)
        for notebook in NOTEBOOKS if args.pages == PAGES else ():
            checker.notebook(notebook)
    print(*(f"not run  {line}\n" for line in checker.left_out), sep="", end="")
    print(f"{checker.failed} failed")
    return min(checker.failed, 1)


if __name__ == "__main__":
    sys.exit(main())
