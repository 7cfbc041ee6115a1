"""The table of a suite: the measurements of each row beside the paper's numbers."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gendef.experiments.paper_tables import ABLATIONS, BASELINES, FID_OF_STAGES, Scores
from gendef.experiments.run import MEASURES, PRETRAINED, Budget
from gendef.experiments.suites import Row
from gendef.runtime.atomic_file import replacing

COLUMNS = {"fvd16": "FVD16", "fvd128": "FVD128", "fvd16x8": "FVD16 stride 8", "fid": "Frechet, frames"}
"""Names of the measures; frames are compared on EfficientNet-Lite0 features, which is no FID."""
KERNELS = {"fvd16": "KVD16", "fvd128": "KVD128", "fvd16x8": "KVD16 stride 8", "fid": "kernel, frames"}


@dataclass(frozen=True)
class SuiteTable:
    """Rows as plain values, and the budget they were trained under."""

    suite: str
    paper_data: str
    budget: Budget
    rows: list[dict[str, Any]]

    @classmethod
    def gather(cls, suite: str, rows: list[Row], out: Path, budget: Budget, paper_data: str) -> "SuiteTable":
        """Read the results of the rows in `out`; rows that are not trained yet are left out.

        Args:
            paper_data: data set of the paper; where a table of the paper lacks it, its columns stay empty.
        """
        found = [_stage1(out / PRETRAINED, paper_data)] if (out / PRETRAINED / "stage1.json").exists() else []
        paper = (BASELINES if suite == "baselines" else ABLATIONS).get(paper_data, {})
        for row in rows:
            folder = out / row.name
            if not (folder / "row.json").exists():
                continue
            facts = json.loads((folder / "row.json").read_text())
            scores = _paper(paper.get(row.paper or ""))
            found.append({"title": row.title, **facts, "measured": _measured(folder), "paper": scores})
        return cls(suite, paper_data, budget, found)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "suite": self.suite,
            "paper_data": self.paper_data,
            "budget_seconds": {"pretrain": self.budget.pretrain, "finetune": self.budget.finetune},
            "rows": self.rows,
        }

    def markdown(self) -> str:
        """The table: ours, mean ± spread over seeds, then the paper's."""
        shown = [name for name in COLUMNS if any(name in row["measured"] for row in self.rows)]
        head = ["row", "images, clips seen"]
        for name in shown:
            head += [COLUMNS[name], KERNELS[name]]
        head += [f"paper {name}" for name in ("FVD16", "FVD128", "FID")]
        lines = [_line(head), _line(["---"] * len(head))]
        for row in self.rows:
            images = row.get("pretraining", {}).get("images", 0)
            cells = [row["title"], f"{images}, {row['clips']}"]
            for name in shown:
                measured = row["measured"].get(name, {})
                cells += [_number(measured.get("frechet")), _number(measured.get("kernel"))]
            cells += ["" if value is None else f"{value:g}" for value in row["paper"].values()]
            lines.append(_line(cells))
        minutes = (self.budget.pretrain / 60, self.budget.finetune / 60)
        note = (
            f"Equal budget: {minutes[0]:g} minutes of stage 1 and {minutes[1]:g} of stage 2 for every row (without"
            f" stage 1, both for stage 2). Paper: {self.paper_data}, 256x256, 8 GPUs, 25 million images a stage."
        )
        return note + "\n\n" + "\n".join(lines)

    def write(self, out: Path) -> None:
        """Write `table.md` and `table.json` into `out`."""
        with replacing(out / f"table_{self.suite}.md") as temporary:
            temporary.write_text(self.markdown() + "\n")
        with replacing(out / f"table_{self.suite}.json") as temporary:
            temporary.write_text(json.dumps(self.to_dict(), indent=1) + "\n")


def _stage1(folder: Path, paper_data: str) -> dict[str, Any]:
    """The row of stage 1 alone, whose canonical images are compared with frames (Table A2)."""
    facts = {"row": PRETRAINED, "clips": 0, "pretraining": json.loads((folder / "stage1.json").read_text())}
    scores = {"fvd16": None, "fvd128": None, "fid": FID_OF_STAGES[paper_data][0]}
    return {"title": "stage 1, canonical images", **facts, "measured": _measured(folder), "paper": scores}


def _measured(folder: Path) -> dict[str, Any]:
    paths = {measure.name: folder / f"{measure.name}.json" for measure in MEASURES}
    return {name: _values(json.loads(path.read_text())) for name, path in paths.items() if path.exists()}


def _values(report: dict[str, Any]) -> dict[str, Any]:
    """Frechet and kernel distance of a report, with their spreads."""
    frechet, kernel = report["results"].values()
    counts = {"clips": report["fake"]["clips"], "real_clips": report["real"]["clips"], "seeds": len(report["seeds"])}
    return {
        "frechet": {"mean": frechet["mean"], "spread": frechet["spread_over_seeds"]},
        "kernel": {"mean": kernel["mean"], "spread": kernel["spread_over_seeds"]},
        **counts,
    }


def _paper(scores: Scores | None) -> dict[str, float | None]:
    if scores is None:
        return {"fvd16": None, "fvd128": None, "fid": None}
    return {"fvd16": scores.fvd16, "fvd128": scores.fvd128, "fid": scores.fid}


def _number(value: dict[str, float | None] | None) -> str:
    if value is None:
        return ""
    spread = value["spread"]
    return f"{value['mean']:.4g}" + ("" if spread is None else f" ± {spread:.2g}")


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"
