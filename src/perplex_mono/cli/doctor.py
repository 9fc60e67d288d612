"""`perplex-mono doctor`: what is broken, in words, and what was done about it."""

from rich.console import Console
from rich.text import Text

from perplex_mono.cli.plain_text import one_line
from perplex_mono.cli.terminal import notices, results, write_json
from perplex_mono.doctor.schemas import Report
from perplex_mono.doctor.service import open_doctor
from perplex_mono.settings import LoggingSettings, Settings
from perplex_mono.telemetry.logs import configure_logging

MAX_SHOWN = 200


async def run_doctor(settings: Settings, *, is_repairing: bool, as_json: bool) -> int:
    """Examine, or examine and repair; 0 when nothing is wrong (any more)."""
    configure_logging(LoggingSettings(level="ERROR", format="text"))
    with notices().status("Opening the library …") as status:

        def show(check: str) -> None:
            status.update(f"Checking {check} …")

        async with open_doctor(settings) as doctor:
            report = await (doctor.repair(show) if is_repairing else doctor.examine(show))
    if as_json:
        write_json(report)
    else:
        show_report(report, results(), is_repairing=is_repairing)
    return 0 if report.healthy else 1


def show_report(report: Report, console: Console, *, is_repairing: bool) -> None:
    """The findings, and a last line that says how things stand."""
    said = ""
    for finding in report.findings[:MAX_SHOWN]:
        console.print(
            Text(f"{finding.check}: {one_line(finding.subject)}: {one_line(finding.problem)}"), soft_wrap=True
        )
        if finding.means != said:
            console.print(Text(f"    {finding.means}"), soft_wrap=True)
            said = finding.means
        if finding.outcome is not None:
            console.print(Text(f"    {finding.outcome}"), soft_wrap=True)
    if len(report.findings) > MAX_SHOWN:
        console.print(f"and {len(report.findings) - MAX_SHOWN} more; --json lists all")
    count = len(report.findings)
    if not report.findings:
        console.print(f"{len(report.checks)} checks, nothing is wrong.")
    elif is_repairing:
        console.print(f"{count} found; " + ("nothing is wrong any more." if report.healthy else "not all is mended."))
    else:
        mendable = sum(finding.repairable for finding in report.findings)
        console.print(f"{count} found; `perplex-mono doctor --repair` mends {mendable} of them.")
