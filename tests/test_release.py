"""What a release changes in several files is the same in all of them (docs/release.md)."""

import re
from pathlib import Path

import yaml

import gendef

ROOT = Path(__file__).parents[1]


def test_version_is_the_same_everywhere():
    project = (ROOT / "pyproject.toml").read_text()
    assert re.search(r'^version = "(.*)"$', project, re.MULTILINE)[1] == gendef.__version__
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == gendef.__version__
    assert re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[1] == gendef.__version__


def test_ci_tests_the_versions_of_python_that_the_package_names():
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    named = re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text())
    assert workflow["jobs"]["test"]["strategy"]["matrix"]["python"] == named
