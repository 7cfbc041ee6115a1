import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch.nn.functional as F
from tests.training.conftest import tiny_training

from gendef.cli.main import main
from gendef.errors import ConfigError
from gendef.evaluation.open_clips import open_clips
from gendef.experiments.paper_tables import ABLATIONS, BASELINES, FID_OF_STAGES
from gendef.experiments.run import Budget, train_row
from gendef.experiments.suites import last_layer, suite
from gendef.experiments.table import SuiteTable
from gendef.model.gendef import GenDeF
from gendef.training.config import first_difference
from gendef.training.micro_batch import MicroBatches
from gendef.training.presets import preset


def changed(row, base):
    """Names of all fields in which a row differs from GenDeF."""
    ours, theirs, found = row.config.to_dict(), base.to_dict(), set()
    while (name := first_difference(ours, theirs)) is not None:
        found.add(name)
        *path, last = name.split(".")
        inner, other = ours, theirs
        for key in path:
            inner, other = inner[key], other[key]
        inner[last] = other[last]
    return found


@pytest.mark.parametrize("name", ["tiny32", "mini64", "sky256"])
def test_each_ablation_changes_one_thing(name):
    rows = suite("paper", preset(name))
    base = rows[0].config
    by_name = {row.name: row for row in rows}
    assert changed(by_name["no-feature"], base) == {"generator.deformation.condition_dim"}
    assert changed(by_name["no-smoothness"], base) == {"finetune.smoothness"}
    assert changed(by_name["frozen"], base) == {"finetune.canonical_rate"}
    assert changed(by_name["no-multiplier"], base) == {"generator.deformation.init"}
    assert changed(by_name["no-pretraining"], base) == set() and not by_name["no-pretraining"].pretrains
    assert "no-push" not in by_name, "there is nothing to leave out"
    pushed = replace(preset(name), finetune=replace(preset(name).finetune, least_speed=0.1))
    row = {row.name: row for row in suite("paper", pushed)}["no-push"]
    assert changed(row, suite("paper", pushed)[0].config) == {"finetune.least_speed"} and row.paper is None
    layers = [row for row in rows if row.name.startswith("feature-")]
    assert all(changed(row, base) == {"generator.canonical.feature_layer"} for row in layers)
    assert len({row.name for row in rows}) == len(rows)
    assert ("zero" in by_name) == (base.generator.deformation.init != "zero")


def test_the_papers_preset_gives_the_papers_layers():
    rows = suite("paper", preset("sky256"))
    layers = [row.config.generator.canonical.feature_layer for row in rows if row.name.startswith("feature-")]
    assert layers == [4, 8, 10, 12, 14] and rows[0].config.generator.canonical.feature_layer == 13
    assert last_layer(preset("tiny32")) == 6 and last_layer(preset("mini64")) == 8


def test_every_row_has_its_number_in_the_paper():
    paper = suite("paper", preset("sky256"))
    assert {row.paper for row in paper} <= set(ABLATIONS["YouTube Driving"])
    table = suite("baselines", preset("tiny32"))
    assert [row.name for row in table] == ["gendef", "stylesv-mtm", "stylegan-v", "mocogan"]
    assert {row.paper for row in table[:3]} <= set(BASELINES["SkyTimelapse"])
    assert [row.pretrains for row in table] == [True, True, False, False]
    assert table[0].config.generator.canonical == table[1].config.generator.canonical
    for name, (_, after) in FID_OF_STAGES.items():
        assert BASELINES[name]["GenDeF"].fid == after


def test_the_page_of_the_papers_tables_shows_the_data():
    page = (Path(__file__).parents[2] / "docs" / "paper_tables.md").read_text()
    rows = {
        cells[1].strip(): [c.strip() for c in cells[2:-1]]
        for cells in (x.split("|") for x in page.splitlines())
        if len(cells) > 3
    }

    def cells(scores):
        return (
            ["", "", ""]
            if scores is None
            else ["" if v is None else f"{v:.1f}" for v in (scores.fvd16, scores.fvd128, scores.fid)]
        )

    for name in ("DIGAN", "StyleGAN-V", "StyleSV", "StyleSV-mtm"):
        assert rows[name] == [cell for data in BASELINES.values() for cell in cells(data.get(name))]
    for name in set(ABLATIONS["YouTube Driving"]) - {"GenDeF"}:
        assert rows[name] == [cell for data in ABLATIONS.values() for cell in cells(data.get(name))]
    for name, stages in FID_OF_STAGES.items():
        assert rows[name] == [f"{value:.1f}" for value in stages]


def test_budgets():
    rows = {row.name: row for row in suite("baselines", preset("tiny32"))}
    budget = Budget(60, 30)
    assert sum(budget.of(rows["gendef"]).values()) == sum(budget.of(rows["mocogan"]).values()) == 90
    with pytest.raises(ConfigError, match="must be positive"):
        Budget(0, 1)
    with pytest.raises(ConfigError, match="unknown suite"):
        suite("table9", preset("tiny32"))
    with pytest.raises(ConfigError, match="a suite starts from GenDeF, not from mocogan"):
        suite("paper", rows["mocogan"].config)


def test_rows_share_stage_one_and_are_trained_once(archive_path, tmp_path, monkeypatch):
    rows = {row.name: row for row in suite("paper", tiny_training())}
    base, out, budget = rows["gendef"].config, tmp_path / "suite", Budget(0.1, 0.1)
    facts = [
        train_row(rows[name], base, archive_path, out, budget, "cpu") for name in ("gendef", "no-feature", "feature-2")
    ]
    assert len({item["pretraining"]["images"] for item in facts}) == 1
    assert all(item["clips"] >= 4 for item in facts)
    assert GenDeF.from_pretrained(out / "no-feature" / "model").generator.config.deformation.condition_dim == 0
    shared = {path.name for path in (out / "stage1" / "checkpoints").iterdir()}
    for name in ("gendef", "no-feature", "feature-2"):
        own = {path.name for path in (out / name / "checkpoints").glob("pretrain-*")}
        assert len(own) == 1 and own <= shared
    monkeypatch.setattr("gendef.training.trainer.Trainer.run", None)
    assert train_row(rows["gendef"], base, archive_path, out, budget, "cpu") == facts[0]


def test_a_larger_budget_continues_and_a_smaller_one_is_refused(archive_path, tmp_path):
    row = suite("paper", tiny_training())[0]
    before = train_row(row, row.config, archive_path, tmp_path, Budget(0.1, 0.1), "cpu")
    (tmp_path / "gendef" / "fid.json").write_text("{}")
    after = train_row(row, row.config, archive_path, tmp_path, Budget(0.1, before["seconds"] + 0.1), "cpu")
    assert after["clips"] > before["clips"] and after["pretraining"] == before["pretraining"]
    assert not (tmp_path / "gendef" / "fid.json").exists(), "measured before the row went on"
    for budget in (Budget(0.1, 0.05), Budget(0.2, 60)):
        with pytest.raises(ConfigError, match=r"row gendef in .* was trained for .* that budget, or another --out"):
            train_row(row, row.config, archive_path, tmp_path, budget, "cpu")


def test_the_command_trains_measures_and_writes_a_table(archive_path, tmp_path, monkeypatch, capsys):
    from tests.evaluation.conftest import make_spec

    from gendef.evaluation.detectors import register_detector

    register_detector(make_spec(name="thumbnails"))
    register_detector(
        make_spec(
            name="thumbnail of a frame",
            input_kind="frames",
            min_frames=1,
            dimension=12,
            load=lambda path, device: (lambda frames: F.adaptive_avg_pool2d(frames, 2).flatten(1), "none"),
        )
    )
    measures = __import__("gendef.experiments.run", fromlist=["MEASURES"]).MEASURES
    cheap = (
        replace(measures[0], detector="thumbnails", frames=3),
        replace(measures[3], detector="thumbnail of a frame"),
    )
    monkeypatch.setattr("gendef.experiments.run.MEASURES", cheap)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    tiny = replace(tiny_training(), finetune=replace(tiny_training().finetune, images=4))
    config = tmp_path / "tiny.yaml"
    config.write_text(
        json.dumps(json.loads(json.dumps(replace(tiny, pretrain=replace(tiny.pretrain, images=4)).to_dict())))
    )
    arguments = ["--data", str(archive_path), "--config", str(config), "--out", str(tmp_path / "out")]
    options = ["--rows", "gendef,stylegan-v", "--measures", "fvd16,fid", "--count", "6", "--clips-per-video", "2"]
    run = ["ablate", *arguments, *options, "--device", "cpu"]
    sizes, parts = [], MicroBatches.run

    def noted(self, *inputs, **names):
        sizes.append(self.size)
        return parts(self, *inputs, **names)

    monkeypatch.setattr(MicroBatches, "run", noted)
    assert main([*run, "--micro-batch", "1"]) == 0
    assert set(sizes) == {1}
    text = capsys.readouterr().out
    assert "| GenDeF | 4, 4 |" in text and "| StyleGAN-V | 0, 4 |" in text and "| 73.9 | 248.3 | 40.8 |" in text
    assert (tmp_path / "out" / "table_baselines.md").read_text() == text
    monkeypatch.setattr("gendef.training.trainer.Trainer.__init__", None)
    assert main([*run, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["row"] for row in rows] == ["stage1", "gendef", "stylegan-v"]
    assert set(rows[0]["measured"]) == {"fid"} and rows[0]["paper"]["fid"] == 43.6
    assert rows[1]["measured"]["fvd16"]["clips"] == 6 and rows[1]["measured"]["fvd16"]["seeds"] == 2
    assert json.loads((tmp_path / "out" / "table_baselines.json").read_text())["rows"] == rows
    assert open_clips(str(tmp_path / "out" / "gendef" / "model")).kind == "model"
    report = tmp_path / "out" / "gendef" / "fvd16.json"
    before = report.stat().st_mtime_ns
    assert main(run) == 0 and report.stat().st_mtime_ns == before, "measured alike already"
    capsys.readouterr()
    assert main([*run, "--count", "5", "--seeds", "0", "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)["rows"][1]["measured"]["fvd16"]
    assert measured["clips"] == 5 and measured["seeds"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rows", "digan"], "there is no row 'digan'; known: gendef, stylesv-mtm"),
        (["--micro-batch", "0"], "--micro-batch must be at least 1, got 0"),
        (["--measures", "inception"], "there is no measure 'inception'"),
        (["--pretrain-minutes", "0"], "a budget must be positive"),
        (["--count", "1"], "--count must be at least 2"),
        (["--config", "none.yaml"], "cannot be read as YAML"),
        (["--paper-data", "Cats", "--rows", "gendef"], "the paper has no numbers for 'Cats'; it has SkyTimelapse"),
    ],
)
def test_mistakes_end_in_one_sentence(archive_path, tmp_path, capsys, arguments, message):
    out = tmp_path / "out"
    assert main(["ablate", "--data", str(archive_path), "--out", str(out), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not out.exists(), "nothing half-written"


def test_rows_that_are_not_there_are_left_out(tmp_path):
    rows = suite("paper", preset("tiny32"))
    table = SuiteTable.gather("paper", rows, tmp_path, Budget(60, 60), "TaiChi-HD")
    assert table.rows == [] and "Equal budget: 1 minutes" in table.markdown()


@pytest.mark.parametrize("name", ["sky256", "taichi256", "ytb256"])
def test_the_protocol_names_commands_that_exist(name, capsys):
    assert main(["eval", "protocol", name]) == 0
    text = capsys.readouterr().out
    assert f"--preset {name} --model gendef" in text and "--frames 128" in text
    assert "181.9" in text or name != "ytb256"
    commands = [
        line.split("gendef ", 1)[1].split()[0] for line in text.splitlines() if line[:1] != "#" and "gendef " in line
    ]
    assert set(commands) == {"data", "train", "ablate", "eval"}


def test_an_unknown_protocol(capsys):
    assert main(["eval", "protocol", "cats256"]) == 2
    assert "there is no protocol 'cats256'" in capsys.readouterr().err
