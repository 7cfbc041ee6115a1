import pytest

from gendef.cli.main import main
from gendef.model.latent_files import load_latent

from ..training.test_latent import archive_path  # noqa: F401

TINY = [
    "--autoencoder.latent-channels=2",
    "--autoencoder.widths=4 6 8",
    "--autoencoder.encoder-blocks=1 1",
    "--autoencoder.decoder-blocks=1 1 1",
    "--prior.channels=2",
    "--prior.size=4",
    "--prior.patch=1",
    "--prior.widths=8",
    "--prior.attention=True",
    "--autoencoder-stage.images=8",
    "--autoencoder-stage.crop=16",
    "--autoencoder-stage.lpips-weight=0",
    "--prior-stage.images=8",
    "--prior-stage.batch-size=4",
    "--device=cpu",
]
"""Options of a run of milliseconds."""


def arguments(*own):
    words = [word for option in (*TINY, *own) for word in (option.replace("=", " ").split())]
    return ["train", "--model", "latent", *words]


def test_the_command_trains_both_stages(archive_path, tmp_path, capsys):  # noqa: F811
    out = tmp_path / "run"
    assert main(arguments(f"--data={archive_path}", f"--out={out}")) == 0
    said = capsys.readouterr().err
    assert "autoencoder is complete: 8 images" in said and "prior is complete: 8 images" in said and str(out) in said
    assert load_latent(out / "model")[1] is not None


def test_a_prior_of_another_runs_autoencoder(archive_path, tmp_path):  # noqa: F811
    first, second = tmp_path / "first", tmp_path / "second"
    assert main(arguments(f"--data={archive_path}", f"--out={first}", "--stage=autoencoder")) == 0
    ours = ("--stage=prior", f"--from-autoencoder={first / 'autoencoder'}")
    assert main(arguments(f"--data={archive_path}", f"--out={second}", *ours)) == 0
    assert load_latent(second / "model")[0].config.latent_channels == 2


@pytest.mark.parametrize(
    ("own", "message"),
    [
        (["--minutes=-1"], "-1"),
        (["--prior.size=8"], "64x64"),
        (["--stage=prior"], "model.safetensors|autoencoder"),
    ],
)
def test_mistakes_end_in_one_sentence(archive_path, tmp_path, capsys, own, message):  # noqa: F811
    out = tmp_path / "run"
    assert main(arguments(f"--data={archive_path}", f"--out={out}", *own)) == 2
    error = capsys.readouterr().err
    assert any(part in error for part in message.split("|")) and error.count("\n") == 1
