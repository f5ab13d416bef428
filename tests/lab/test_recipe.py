"""What follows from a family's declaration, and that its file is all that a new family takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch

from lab.recipe import Recipe, find_recipe
from shared.errors import BadInput
from shared.keystream.families import FAMILIES
from shared.keystream.network import build_network


@pytest.mark.parametrize(
    "recipe",
    [
        pytest.param(Recipe.of(family, shape), id=f"{family.name} {title}")
        for family in FAMILIES.values()
        for title, shape in family.shapes.items()
    ],
)
def test_a_recipe_lowers_floats_as_the_family_lowers_integers(recipe) -> None:
    tensors = recipe.initial(np.random.default_rng(8))
    for name, tensor in tensors.items():
        if name.endswith("bias"):
            tensor += np.arange(len(tensor), dtype=tensor.dtype)
    floats = {n: torch.from_numpy(t.astype(np.float32)) for n, t in tensors.items()}
    exact = build_network(recipe.family.name, tensors).layers
    for mine, theirs in zip(recipe.lower(floats), exact, strict=True):
        assert np.array_equal(mine.weight.numpy(), theirs.weight)
        assert np.array_equal(mine.bias.numpy(), theirs.bias)
        assert mine.add_from == theirs.add_from


@pytest.mark.parametrize("seed", range(12))
def test_kernels_are_drawn_until_the_loader_takes_them(seed) -> None:
    build_network("cnn", find_recipe("cnn").initial(np.random.default_rng(seed)))


# A seed's network is published with its card: what is drawn must not change.
@pytest.mark.parametrize(
    ("family", "digest"),
    [
        ("bp", "0486a3eb0e55662a"),
        ("cnn", "d8278b81bd929508"),
        ("gan", "82747cdef9fb1b4c"),
        ("resnet", "3f20110ab137647f"),
    ],
)
def test_a_seed_draws_the_network_that_it_always_drew(family, digest) -> None:
    drawn = find_recipe(family).initial(np.random.default_rng(1))
    assert build_network(family, drawn).digest.hex().startswith(digest)


def test_an_unknown_family_is_bad_input() -> None:
    with pytest.raises(BadInput, match="no keystream family 'perceptron'"):
        find_recipe("perceptron")


_FIFTH = """
    import numpy as np

    from shared.errors import BadInput
    from shared.keystream.families.family import Family, Placement, Step


    def _steps(shape):
        (depth,) = shape
        if not 2 <= depth <= 3:
            raise BadInput("a halves network has 2 or 3 layers")
        row, column, half = np.indices((64, 64, 2))
        halves = Placement(rows=64 * half + row, columns=64 * half + column)
        inner = [Step(f"half{i}", placement=halves) for i in range(1, depth)]
        return (*inner, Step("join", add_from=0))


    FAMILY = Family(
        name="halves",
        shape_of=lambda lengths: (len(lengths),),
        steps=_steps,
        shapes={"2 layers": (2,), "3 layers": (3,)},
        shipped="3 layers",
        design="The same matrix for both halves of the lanes, and a dense one in the end.",
    )
"""

# Opens the package of families with one folder more, and uses the fifth as any other.
_PROGRAM = """
    import importlib.util, json, sys
    from pathlib import Path

    folder = Path(sys.argv[1])
    spec = importlib.util.find_spec("shared.keystream.families")
    spec.submodule_search_locations.append(str(folder))
    package = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = package
    spec.loader.exec_module(package)

    from typer.testing import CliRunner

    from lab.cli import keystream_app
    from lab.recipe import find_recipe
    from lab.study import shapes_of
    from lab.train import train
    from shared.errors import BadInput
    from shared.keystream.backend import open_backend
    from shared.keystream.network import build_network, load_network, save_network
    from shared.keystream.reference import ReferenceBackend
    from shared.keystream.selftest import known_answer

    weights = train(find_recipe("halves"), seed=1, steps=4, check_every=2)
    answer = known_answer(build_network("halves", weights.tensors))
    save_network(folder / "halves.safetensors", "halves", weights.tensors, known_answer=answer)
    network = load_network(str(folder / "halves.safetensors"))
    backends = open_backend(network, "cpu"), ReferenceBackend(network)
    try:
        build_network("halves", {**weights.tensors, "half3.bias": weights.tensors["half1.bias"]})
    except BadInput as error:
        refusal = str(error)
    print(json.dumps({
        "families": list(package.FAMILIES),
        "help": {
            command: CliRunner().invoke(keystream_app, [command, "--help"]).output
            for command in ("train", "study")
        },
        "studied": [title for title, _ in shapes_of(["halves"])],
        "drawn": {name: tensor.shape for name, tensor in weights.initial.items()},
        "losses": [weights.checks[0].total, weights.best.total],
        "bytes": [backend.keyed(bytes(32)).generate(3, 5000).tolist() for backend in backends],
        "refusal": refusal,
    }))
"""


def test_a_family_is_added_by_its_file_alone(tmp_path: Path) -> None:
    (tmp_path / "halves.py").write_text(textwrap.dedent(_FIFTH))
    found = json.loads(
        subprocess.run(
            [sys.executable, "-c", textwrap.dedent(_PROGRAM), str(tmp_path)],
            env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1"},
            stdout=subprocess.PIPE,
            check=True,
            timeout=120,
        ).stdout
    )
    assert found["families"] == ["bp", "cnn", "gan", "halves", "resnet"]
    assert "One of: bp, cnn, gan, halves, resnet" in found["help"]["train"]
    assert "Some of bp,cnn,gan,halves,resnet" in found["help"]["study"]
    assert found["studied"] == ["2 layers", "3 layers"]
    assert found["drawn"] == {
        "half1.weight": [64, 64],
        "half1.bias": [64],
        "half2.weight": [64, 64],
        "half2.bias": [64],
        "join.weight": [128, 128],
        "join.bias": [128],
    }
    before, after = found["losses"]
    assert after < before
    on_cpu, by_reference = found["bytes"]
    assert on_cpu == by_reference
    assert len(set(on_cpu)) == 256
    assert found["refusal"] == (
        "a halves network has the layers half1, half2, join, weight and bias each"
    )
