"""The schedule as text: systemd and the shell have to read back what was meant, whatever the names hold."""

from __future__ import annotations

import re
import shutil
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

from noisy_gru.pipeline.config.cron import cron_times
from noisy_gru.pipeline.retrain.printed_schedule import crontab_fields, crontab_line, on_calendar, systemd_units
from noisy_gru.schema.errors import ConfigError

ODD = ["--set", 'a="100% of $HOME"', "it's", "back\\slash", "", "naïve", "a;b"]


@pytest.mark.parametrize(
    ("cron", "lines"),
    [
        ("0 3 * * *", ["*-*-* 03:00:00 UTC"]),
        ("0 3 * * 0,1", ["Mon,Sun *-*-* 03:00:00 UTC"]),
        ("15 30 3 */10 2-3 ?", ["*-02,03-01,11,21,31 03:30:15 UTC"]),
        ("* * * * *", ["*-*-* *:*:00 UTC"]),
        ("0 3 1 * FRI", ["*-*-01 03:00:00 UTC", "Fri *-*-* 03:00:00 UTC"]),
    ],
)
def test_on_calendar(cron, lines):
    assert on_calendar(cron_times(cron), "UTC") == lines


@pytest.mark.parametrize(
    ("cron", "fields"),
    [
        ("0 3 * * MON-FRI", "0 3 * * MON-FRI"),
        ("0 0 3 ? * 1", "0 3 * * 1"),
        ("5/15,3 */2 * * *", "5-59/15,3 */2 * * *"),
        ("@daily", "0 0 * * *"),
    ],
)
def test_crontab_fields(cron, fields):
    assert crontab_fields(cron_times(cron)) == fields
    assert cron_times(fields).minutes == cron_times(cron).minutes


def test_crontab_has_no_seconds():
    with pytest.raises(ConfigError, match="crontab has no seconds"):
        crontab_fields(cron_times("30 0 3 * * *"))


def units(command: list[str], folder: Path) -> dict[str, str]:
    return systemd_units(
        pipeline="vowels",
        times=cron_times("30 2 * * *"),
        timezone="Europe/Berlin",
        jitter=timedelta(minutes=10),
        catch_up=True,
        time_limit=timedelta(hours=6),
        command=command,
        folder=folder,
    )


def test_the_timer():
    timer = units(["/bin/true"], Path("/"))["noisy-gru-vowels.timer"]
    for line in ("OnCalendar=*-*-* 02:30:00 Europe/Berlin", "RandomizedDelaySec=600s", "Persistent=true"):
        assert f"\n{line}\n" in timer


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")
def test_systemd_takes_the_units(tmp_path):
    folder = tmp_path / "50% off, really"
    folder.mkdir()
    paths = []
    for name, content in units(["/bin/echo", *ODD], folder).items():
        paths.append(tmp_path / name)
        paths[-1].write_text(content)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *map(str, paths)], capture_output=True, text=True, check=False
    )
    told = "\n".join(line for line in done.stderr.splitlines() if "noisy-gru" in line)
    assert (done.returncode, told) == (0, "")


def test_systemd_reads_the_words_back():
    service = units(["/opt/my tools/python", *ODD], Path("/"))["noisy-gru-vowels.service"]
    line = next(line for line in service.splitlines() if line.startswith("ExecStart=")).removeprefix("ExecStart=")
    # systemd.service(5): quoted words with C escapes, %% for %, $$ for $.
    words = [re.sub(r"\\(.)", r"\1", quoted) or bare for quoted, bare in re.findall(r'"((?:[^"\\]|\\.)*)"|(\S+)', line)]
    assert [word.replace("%%", "%").replace("$$", "$") for word in words] == ["/opt/my tools/python", *ODD]


def test_the_shell_reads_the_crontab_line_back(tmp_path):
    folder = tmp_path / "50% off"
    folder.mkdir()
    shown = tmp_path / "shown"
    show = ["/bin/sh", "-c", 'pwd > "$0"; printf "%s\\0" "$@" >> "$0"', str(shown)]
    text = crontab_line(
        pipeline="vowels",
        times=cron_times("30 2 * * *"),
        timezone="Europe/Berlin",
        jitter=timedelta(),
        command=[*show, *ODD],
        folder=folder,
    )
    assert "\nCRON_TZ=Europe/Berlin\n30 2 * * * " in text
    command = text.splitlines()[-1].removeprefix("30 2 * * * ")
    # cron(8) takes an unescaped % for the end of the command.
    assert not re.search(r"(?<!\\)%", command)
    subprocess.run(["/bin/sh", "-c", command.replace("\\%", "%")], check=True)
    place, words = shown.read_text().split("\n", 1)
    assert place == str(folder)
    assert words.split("\0")[:-1] == ODD


def test_jitter_in_crontab():
    text = crontab_line(
        pipeline="vowels",
        times=cron_times("30 2 * * *"),
        timezone="UTC",
        jitter=timedelta(minutes=5),
        command=["/bin/true"],
        folder=Path("/"),
    )
    assert text.endswith('cd / && sleep "$(shuf -n 1 -i 0-300)" && /bin/true\n')


def test_what_no_line_can_hold():
    with pytest.raises(ConfigError, match="expected text on one line"):
        units(["/bin/true", "two\nlines"], Path("/"))
