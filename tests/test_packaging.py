"""What is installed by which name: the product, its extras, and the server alone."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
LAB_ALONE = ("mpmath", "pysat", "scipy")

# Whatever is named on the command line is made impossible to import, then the command runs.
WITHOUT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

absent = sys.argv.pop(1).split(",")
sys.meta_path.insert(0, Absent())
from veilscope.__main__ import main
main()
"""


def project(folder: str = ".") -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((ROOT / folder / "pyproject.toml").read_text())["project"]
    return found


def without(packages: tuple[str, ...], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT, ",".join(packages), *arguments],
        capture_output=True, text=True, check=False, cwd=ROOT, timeout=100,
    )  # fmt: skip


@pytest.mark.parametrize(
    "arguments",
    [("send", "--help"), ("receive", "--help"), ("bench", "--help"), ("netlab", "--help")],
)
def test_nobody_but_the_laboratory_s_keystream_commands_needs_its_packages(
    arguments: tuple[str, ...],
) -> None:
    done = without(LAB_ALONE, *arguments)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("package", ["scipy"])
def test_an_extra_that_is_missing_is_named_in_one_line(package: str) -> None:
    done = without((package,), "keystream", "info")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"error: this command needs the package {package}, which is not installed",
        "  → pip install 'veilscope[lab]'",
    ]


def test_every_extra_that_a_hint_names_is_there() -> None:
    hinted: set[str] = set()
    for package in ("lab", "receiver", "sender", "shared", "signaling", "veilscope"):
        for path in (ROOT / package).rglob("*.py"):
            for names in re.findall(r"veilscope\[([a-z,]+)\]", path.read_text()):
                hinted |= set(names.split(","))
    assert {"lab", "text"} <= hinted
    assert hinted <= set(project()["optional-dependencies"])


def test_every_extra_is_pinned() -> None:
    pinned = {
        line.partition("==")[0].lower()
        for line in (ROOT / "constraints.txt").read_text().splitlines()
    }
    for wanted in (project()["dependencies"], *project()["optional-dependencies"].values()):
        names = {re.split(r"[\[<>=;]", line)[0].strip().lower() for line in wanted}
        assert names - {"veilscope", "setuptools"} <= pinned


# -- the server alone -----------------------------------------------------------------------------


def test_the_server_alone_is_the_product_s_version_and_asks_for_the_same_packages() -> None:
    whole, server = project(), project("wheels/server")
    assert server["version"] == whole["version"]
    assert server["requires-python"] == whole["requires-python"]
    assert set(server["dependencies"]) <= set(whole["dependencies"])
    lines = (ROOT / "signaling" / "requirements.txt").read_text().splitlines()
    assert server["dependencies"] == [line for line in lines if not line.startswith("#")]


@pytest.fixture(scope="module")
def server_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("setuptools", minversion="77")
    folder, tree = tmp_path_factory.mktemp("wheel"), tmp_path_factory.mktemp("tree")
    for part in ("shared", "signaling", "wheels"):  # what is built leaves files in the tree
        ignored = shutil.ignore_patterns("__pycache__", "build")
        shutil.copytree(ROOT / part, tree / part, ignore=ignored)
    shutil.copy(ROOT / "LICENSE", tree)
    subprocess.run(
        [
            sys.executable, "-m", "pip", "wheel", "--quiet", "--no-build-isolation", "--no-deps",
            "--no-index", "--wheel-dir", str(folder), str(tree / "wheels" / "server"),
        ],
        check=True, timeout=100,
    )  # fmt: skip
    (wheel,) = folder.glob("veilscope_server-*.whl")
    return wheel


def test_the_server_s_wheel_holds_all_of_it_and_nothing_else(server_wheel: Path) -> None:
    held = {name for name in zipfile.ZipFile(server_wheel).namelist() if ".dist-info/" not in name}
    signaling = {str(path.relative_to(ROOT)) for path in (ROOT / "signaling").glob("*.py")}
    assert {name for name in held if name.startswith("signaling/")} == {
        *signaling,
        "signaling/py.typed",
    }
    rest = {name for name in held if not name.startswith("signaling/")}
    assert {name.partition("/")[0] for name in rest} == {"shared"}
    assert len(rest) < 10


def test_the_server_s_wheel_runs_where_only_it_and_what_it_asks_for_is(
    server_wheel: Path, tmp_path: Path
) -> None:
    """Its packages are those of this environment; all other ones can't be imported there."""
    home = tmp_path / "venv"
    venv.create(home, with_pip=False)
    environment = {key: text for key, text in os.environ.items() if not key.startswith("PYTHON")}
    python = home / "bin" / "python"
    installed = subprocess.run(
        [
            sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet",
            "--no-deps", "--no-index", str(server_wheel),
        ],
        check=False, capture_output=True, text=True, timeout=100, env=environment,
    )  # fmt: skip
    assert installed.returncode == 0, installed.stderr
    (site,) = (home / "lib").glob("python*/site-packages")
    (site / "wanted.pth").write_text(_only_wanted(tmp_path))
    script = home / "bin" / "veilscope-signal"
    for command in ([script], [python, "-m", "signaling"]):
        with subprocess.Popen(
            [*map(str, command), "--port", "0", "--quiet"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=tmp_path,
            env=environment,
        ) as process:
            assert process.stdout is not None
            line = process.stdout.readline()
            process.terminate()
            _, errors = process.communicate(timeout=60)
        assert line.startswith(b"signaling listening on ws://127.0.0.1:"), errors
        assert (process.returncode, errors) == (143, b"")
    origins = subprocess.run(
        [
            str(python), "-c",
            "import json, signaling.client, shared.terminal as t\n"
            "print(json.dumps([signaling.client.__file__, t.__file__]))",
        ],
        check=True, capture_output=True, text=True, cwd=tmp_path, env=environment,
    )  # fmt: skip
    assert all(str(home) in origin for origin in json.loads(origins.stdout))


def _only_wanted(folder: Path) -> str:
    """A folder of links to the packages that the server asks for, and to what those ask for."""
    code = """
import json, sys
from importlib.metadata import distribution, PackageNotFoundError
from packaging.requirements import Requirement
found, waiting = {}, list(map(Requirement, sys.argv[1:]))
while waiting:
    wanted = waiting.pop()
    if wanted.name in found or not (wanted.marker is None or wanted.marker.evaluate({"extra": ""})):
        continue
    try:
        known = distribution(wanted.name)
    except PackageNotFoundError:
        continue
    tops = {str(file).split("/")[0] for file in known.files or ()}
    found[wanted.name] = [str(known.locate_file(top)) for top in tops if not top.startswith("..")]
    waiting += map(Requirement, known.requires or ())
print(json.dumps(sorted({path for paths in found.values() for path in paths})))
"""
    links = folder / "wanted"
    links.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", code, *project("wheels/server")["dependencies"]],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    for path in map(Path, json.loads(done.stdout)):
        (links / path.name).symlink_to(path)
    return str(links)
