"""A new stage is an entry in the table, a function and a rule: docs/how-to/add-a-stage.md."""

import json
import os
import sys
import textwrap
from pathlib import Path

import pytest
from support import finished
from support.project import ROOT, Project, tiny_parameters

from reiqa import params

EXTENSION = """
import json
from pathlib import Path

from reiqa import layout, resources, stages, store


def summarize(dataset, params):
    rows = layout.index(dataset).read_text().splitlines()
    store.write_json(output(dataset), {"rows": len(rows), "seed": params.seed})


def output(dataset):
    return Path("results/summaries") / f"{dataset}.json"


stages.STAGES["summary"] = stages.Stage(
    name="summary",
    summary="count the rows of an index",
    format=1,
    wildcards=("dataset",),
    target="report",
    items=lambda params: params.datasets,
    output=output,
    inputs=lambda params, dataset: [layout.index(dataset)],
    parameters=lambda params, dataset: {"seed": params.seed},
    command="reiqa summary --dataset {dataset}",
    work="extension:summarize",
    needs=resources.index,
)
"""

RULE = """

rule summarize:
    input:
        inputs_of("summary"),
        stamp=stamp_of("summary"),
    output:
        outputs_of("summary"),
    resources:
        **needs_of("summary"),
    shell:
        "reiqa summary --dataset {wildcards.dataset}"
"""


@pytest.mark.engine
def test_an_added_stage_has_a_verb_a_plan_and_a_state(tmp_path: Path) -> None:
    project = Project.new(tmp_path / "project")
    (project.folder / "extension.py").write_text(textwrap.dedent(EXTENSION))
    snakefile = project.folder / "Snakefile"
    snakefile.write_text("import extension\n" + snakefile.read_text() + RULE)
    tree = params.load_params(project.folder / "params.yaml")
    finished.finish(project)
    path = {"PYTHONPATH": os.pathsep.join([str(project.folder), str(ROOT)])}
    code = "import extension; from reiqa.cli import main; main()"

    def verb(*arguments: str) -> str:
        return project.must(sys.executable, "-c", code, *arguments, **path)

    target = "results/summaries/demo.json"
    assert f"{target}" in (listed := verb("status")) and "not made yet" in listed
    planned = project.must("snakemake", "-n", target, **path)
    assert "rule summarize" in planned and "mem_mb=" in planned
    verb("summary", "--dataset", "demo")
    assert json.loads((project.folder / target).read_text())["seed"] == tree.seed
    assert "up to date" in verb("summary", "--dataset", "demo")
    assert "rule summarize" not in project.must("snakemake", "-n", target, **path)
    project.write_parameters({**tiny_parameters(), "seed": tree.seed + 1})
    assert "parameters changed: seed" in verb("status")
    assert "rule summarize" in project.must("snakemake", "-n", target, **path)
