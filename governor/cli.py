"""`governor`: the verbs. A command only names its arguments; the work is in `governor.commands`."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal

import typer

from governor.errors import GovernorError
from governor.lab.through import Through

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
policies_app = typer.Typer(help="Work with GovernorPolicy documents.", no_args_is_help=True)
app.add_typer(policies_app, name="policies")

Config = Annotated[Path | None, typer.Option("--config", "-c", help="Settings file; else GOVERNOR_CONFIG.")]
SourceUrl = Annotated[str | None, typer.Option(help="Prometheus to read from.")]
EnvoyAdmin = Annotated[list[str] | None, typer.Option(help="Envoy admin address to read from; repeatable.")]
Dialect = Annotated[
    str | None, typer.Option(help="Metric names in that Prometheus, for example istio; auto looks.")
]
Policy = Annotated[list[str] | None, typer.Option(help="Preset or file instead of settings; repeatable.")]
Seconds = Annotated[float | None, typer.Option(help="Run for so long instead.", min=1)]
Seed = Annotated[int | None, typer.Option(help="Another seed.", min=0)]
Format = Literal["table", "json", "yaml", "html"]
Backend = Literal["local", "dask"]
Kind = Literal["intent", "receipt", "verdict", "cycle", "note"]


def _version(asked: bool) -> None:
    if asked:
        print(f"governor {version('mesh-governor')}")
        raise typer.Exit


@app.callback()
def about(
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it and exit.")
    ] = False,
) -> None:
    """Keeps a service mesh's retries, limits, timeouts and weights right. Recommends by default."""


@app.command()
def run(
    config: Config = None,
    source_url: SourceUrl = None,
    dialect: Dialect = None,
    envoy_admin: EnvoyAdmin = None,
    cycles: Annotated[int | None, typer.Option(help="Stop after so many.", min=1)] = None,
) -> None:
    """Govern, one cycle after another, until SIGTERM or Ctrl-C."""
    from governor.commands.output import given_source
    from governor.commands.run import run_forever

    raise typer.Exit(run_forever(config, given_source(source_url, dialect, envoy_admin or []), cycles))


@app.command()
def recommend(
    config: Config = None,
    output: Annotated[Format, typer.Option("--format", "-f", help="How to print it.")] = "table",
    source_url: SourceUrl = None,
    dialect: Dialect = None,
    envoy_admin: EnvoyAdmin = None,
    recording: Annotated[Path | None, typer.Option(help="Read frames from a recording.")] = None,
    policy: Policy = None,
    window: Annotated[float | None, typer.Option(help="Seconds to look at.", min=1)] = None,
) -> None:
    """Say once what should change and why; never write. Exit code 0 nothing, 1 advice, 2 error."""
    from governor.commands.recommend import Asked, print_advice

    asked = Asked(config, source_url, dialect, envoy_admin or [], recording, policy or [], window)
    raise typer.Exit(print_advice(asked, output))


@app.command()
def record(
    out: Annotated[Path, typer.Option(help="Directory to record into, or one new file NAME.parquet.")],
    config: Config = None,
    source_url: SourceUrl = None,
    dialect: Dialect = None,
    envoy_admin: EnvoyAdmin = None,
    every: Annotated[float | None, typer.Option(help="Seconds between frames; else the period.", min=1)] = None,
    duration: Annotated[float | None, typer.Option("--for", help="Seconds; else until Ctrl-C.", min=1)] = None,
) -> None:
    """Record what the source says, for recommend --recording; never write to the mesh."""
    from governor.commands.output import given_source
    from governor.commands.record import record_source

    given = given_source(source_url, dialect, envoy_admin or [])
    raise typer.Exit(record_source(config, given, out, every, duration))


@app.command()
def check(
    config: Config = None,
    source_url: SourceUrl = None,
    dialect: Dialect = None,
    envoy_admin: EnvoyAdmin = None,
    plane: Annotated[str | None, typer.Option(help="Check a control plane instead: envoy, kubernetes.")] = None,
) -> None:
    """Say what is there and what is missing: source, metrics, history, and the knobs that enables."""
    from governor.commands.check import check_plane, check_source

    if plane is not None:
        raise typer.Exit(check_plane(config, plane, envoy_admin or []))
    raise typer.Exit(check_source(config, source_url, dialect, envoy_admin or []))


@app.command()
def history(
    config: Config = None,
    hours: Annotated[float, typer.Option(help="How far back.", min=0)] = 24.0,
    kind: Annotated[Kind | None, typer.Option(help="Only entries of this kind.")] = None,
    limit: Annotated[int, typer.Option(help="At most so many.", min=1)] = 100,
) -> None:
    """List what was decided, written and judged, newest first."""
    from governor.commands.ledger import show_history

    raise typer.Exit(show_history(config, hours, kind, limit))


@app.command()
def explain(entry_id: Annotated[str, typer.Argument(metavar="ID")], config: Config = None) -> None:
    """Show all that is recorded about one decision."""
    from governor.commands.ledger import show_explanation

    raise typer.Exit(show_explanation(config, entry_id))


@app.command()
def undo(entry_id: Annotated[str, typer.Argument(metavar="ID")], config: Config = None) -> None:
    """Put back the value from before one decision."""
    from governor.commands.ledger import undo as put_back

    raise typer.Exit(put_back(config, entry_id))


@app.command()
def config(config: Config = None) -> None:
    """Show every setting and where it comes from."""
    from governor.commands.config import show_config

    raise typer.Exit(show_config(config))


@app.command()
def train(
    *,
    source: Annotated[str, typer.Option(help="prometheus, recording, or a folder of series.")],
    out: Annotated[Path, typer.Option(help="Model store to put the winner into.")] = Path("models"),
    since: Annotated[str | None, typer.Option(help="Only so much of the newest history: 36h, 14d.")] = None,
    seed: Seed = None,
    config: Config = None,
    source_url: SourceUrl = None,
    dialect: Dialect = None,
    recording: Annotated[Path | None, typer.Option(help="Where the recording is.")] = None,
    sets: Annotated[
        list[str] | None, typer.Option("--set", help="Only this set of the folder; repeatable.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="What the card calls the data, with its licence.")] = None,
    backend: Annotated[Backend, typer.Option(help="Where the fits run.")] = "local",
    address: Annotated[str | None, typer.Option(help="Scheduler of the Dask cluster.")] = None,
    jobs: Annotated[int, typer.Option(help="Processes of the local backend.", min=1)] = 1,
) -> None:
    """Train a load forecast and put it into use only if it wins. Exit code 0 promoted, 1 not, 2 error."""
    from governor.commands.output import given_source
    from governor.commands.train import Asked, train_forecast
    from governor.commands.train_source import History

    history = History(source, since, recording, tuple(sets or ()))
    asked = Asked(history, out, seed or 0, backend, address, jobs, data)
    raise typer.Exit(train_forecast(asked, config, given_source(source_url, dialect, [])))


@policies_app.command("validate")
def validate(files: Annotated[list[str], typer.Argument(help="Files or presets, in order.")]) -> None:
    """Check policy documents; errors name file, line, field and what is allowed."""
    from governor.commands.config import validate_policies

    raise typer.Exit(validate_policies(files))


@app.command()
def release(
    config: Config = None,
    if_leader_gone: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Only if no leader was seen for so long.")
    ] = None,
) -> None:
    """Give everything that was changed in a Kubernetes cluster back to its owners, as it was."""
    from governor.commands.release import release as give_back

    raise typer.Exit(give_back(config, if_leader_gone))


@app.command()
def lab(
    scenario: Annotated[str, typer.Argument(metavar="SCENARIO", help="Name or file.")],
    seconds: Seconds = None,
    seed: Seed = None,
    address: Annotated[
        str | None, typer.Option(help="Loopback address of the lab.", show_default="127.0.77.1")
    ] = None,
    directory: Annotated[Path | None, typer.Option(help="Keep configuration and logs here.")] = None,
    through: Annotated[
        Through | None, typer.Option(help="A real control plane configures the Envoys; see docs/e2e.md.")
    ] = None,
) -> None:
    """Run a mesh in a box: real Envoys, services of finite capacity, load and faults."""
    from governor.lab.command import run_lab

    run_lab(scenario, address, directory, seconds, seed, through=through)


@app.command()
def demo(
    report: Annotated[Path, typer.Option(help="Write the report here.")] = Path("demo-report.html"),
    picture: Annotated[Path | None, typer.Option(help="Draw the result as SVG here, too.")] = None,
    seconds: Seconds = None,
    seed: Seed = None,
    address: Annotated[str, typer.Option(help="Loopback address; the next one is used, too.")] = "127.0.77.1",
) -> None:
    """Run a small mesh in trouble twice at once, ungoverned and governed; write a report of both."""
    from governor.commands.demo import Asked, show_demo

    raise typer.Exit(show_demo(Asked(report, picture, seconds, seed, address)))


def main() -> None:
    """Entry point: errors are one line, Ctrl-C is 130, never a traceback for what a user can put right."""
    try:
        app(standalone_mode=True)
    except GovernorError as error:
        print(f"governor: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
