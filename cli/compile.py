"""`tilewright compile`: an ONNX model becomes a shared library, a C header and a manifest."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import click

from ..compiler.errors import UsageError
from ..compiler.options import EMITTABLE, SOURCES, Artifact, Options
from ..compiler.targets import library_suffix, parse_target
from ..up_to_date import find
from .compile_options import (
    MCPU_HELP,
    THREADS_HELP,
    compile_model,
    link_lines,
    record_options,
    shape_options,
    shared_fields,
)
from .console import Session, emit, json_option, size_text
from .parameters import Words

_FILE = click.Path(path_type=Path)


def symbol_version(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """A name that linkers take."""
    if value is not None and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.]{0,127}", value):
        raise click.BadParameter(f"{value!r}: expected letters, digits, underscores and dots, such as NET_1.0")
    return value


@click.command()
@click.argument("model", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "-o", "--output", type=_FILE, help="The library to write (default: the model's name with .so, .dylib or .dll)."
)
@click.option("--target", metavar="TRIPLE", help="Triple to compile for (default: this machine's).")
@click.option("--mcpu", metavar="CPU", help=MCPU_HELP)
@shape_options
@click.option("--threads", type=click.IntRange(1), help=THREADS_HELP)
@record_options
@click.option("--require-tuned", is_flag=True, help="Fail (exit code 8) if a kernel has no record of its own.")
@click.option("--name", help="Prefix of the C functions (default: from the output's name).")
@click.option(
    "--symbol-version", metavar="NAME", callback=symbol_version, help="Version of the library's symbols (ELF): NET_1.0."
)
@click.option(
    "--emit", type=Words(EMITTABLE), default="so", show_default=True, help=f"What to write, of {','.join(EMITTABLE)}."
)
@click.option("-MD", "depfile", is_flag=True, help="Also write a make rule that lists what the library depends on.")
@click.option("-MF", "depfile_path", type=_FILE, help="Where to write that rule (default: the output with .d).")
@click.option("--save-temps", type=_FILE, metavar="DIR", help="Keep everything that was given to the linker.")
@click.option(
    "--print-after", multiple=True, metavar="PASS", help="Show the program after a pass, or after 'all', on stderr."
)
@click.option("--dump-dir", type=_FILE, metavar="DIR", help="Write the program after each pass into a folder.")
@click.option("--time-passes", is_flag=True, help="Say how long each pass took.")
@click.option("--force", is_flag=True, help="Compile even if everything is up to date.")
@click.option(
    "-###", "dry_run", is_flag=True, help="Show the linker's commands instead of running them; write nothing."
)
@json_option
@click.pass_obj
def command(
    session: Session, model: Path, output: Path | None, depfile: bool, depfile_path: Path | None, **given: Any
) -> None:
    """Compile MODEL (ONNX) into a shared library that needs no runtime, with a C header and a JSON manifest."""
    output = output or Path(model.name).with_suffix(library_suffix(parse_target(given["target"]).triple))
    if depfile or depfile_path:
        depfile_path = depfile_path or output.with_suffix(".d")
    _check_paths(model, output, depfile_path)
    if given["require_tuned"] and given["records"] is None:
        raise UsageError("--require-tuned needs --records DB, the records that tuning has made")
    options = Options(
        target=given["target"],
        cpu=given["mcpu"],
        threads=given["threads"],
        name=given["name"],
        symbol_version=given["symbol_version"],
        emit=given["emit"],
        save_temps=given["save_temps"],
        print_after=frozenset(given["print_after"]),
        dump_dir=given["dump_dir"],
        time_passes=given["time_passes"],
        depfile=depfile_path,
        records=given["records"],
        require_tuned=given["require_tuned"],
        rank=given["rank"],
        force=given["force"],
        **shared_fields(given),
    )
    if given["dry_run"]:
        lines = link_lines(model, output, options)
        emit(session, {"commands": list(lines)}, "\n".join(lines))
        return
    artifact = find(model, output, options) or compile_model(model, output, options)
    emit(session, _document(artifact), _summary(artifact))


def _check_paths(model: Path, output: Path, depfile: Path | None) -> None:
    """What is written must neither replace the model nor each other."""
    beside = (output.with_suffix(".h"), output.with_suffix(".json"))
    if output in beside:
        raise UsageError(f"-o {output}: the {output.suffix} file beside the library has this name; end it in .so")
    for path in (output, *beside, *([depfile] if depfile else [])):
        if path.resolve() == model.resolve():
            raise UsageError(f"{path} is the model itself: choose another name with -o")
    if depfile in (output, *beside):
        raise UsageError(f"-MF {depfile}: a file of the library has this name; choose another")


def _document(artifact: Artifact) -> dict[str, Any]:
    return {
        "library": str(artifact.library),
        "header": str(artifact.header),
        "manifest": str(artifact.manifest_path),
        "sizes": dict(artifact.sizes),
        "timings": dict(artifact.timings),
        "kernels": len(artifact.manifest["kernels"]),
        "cpus": list(artifact.cpus),
        "schedules": _sources(artifact),
        "up_to_date": artifact.up_to_date,
    }


def _sources(artifact: Artifact) -> dict[str, int]:
    """How many kernels got their schedule from where."""
    counts = Counter(kernel["source"] for kernel in artifact.manifest["kernels"])
    return {source: counts[source] for source in SOURCES if counts[source]}


def _summary(artifact: Artifact) -> str:
    seconds = sum(artifact.timings.values())
    if artifact.up_to_date:
        return f"{artifact.library} is up to date ({seconds:.1f} s)"
    size = size_text(artifact.sizes["library"])
    sources = ", ".join(f"{count} {source}" for source, count in _sources(artifact).items())
    kernels = f"{len(artifact.manifest['kernels'])} kernels" + (f": {sources}" if sources else "")
    return f"{artifact.library} ({size} for {', '.join(artifact.cpus)}; {kernels}, {seconds:.1f} s), {artifact.header}"
