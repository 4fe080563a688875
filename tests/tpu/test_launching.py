"""What starts a run on a slice or a cluster: the scripts are sound, and four local hosts rehearse them."""

import json
import os
import signal
import socket
import subprocess
import sysconfig
import time
from pathlib import Path

import pytest
import yaml
from kubeflow_trainer_api.models.jobset_v1alpha2_job_set import JobsetV1alpha2JobSet

from cai_jax.runs.cache import Cache
from tests.support import processes

ROOT = Path(__file__).parents[2]
TPU = ROOT / "tpu"
SCRIPTS = ("host.sh", "slice.sh", "slurm.sbatch")
HOSTS = 4
PROGRAM = """\
base = model("builtin:tiny")
red = prompts("builtin:red_team", limit=16)
replies = red.train |> sample(base, max_new=16)
sl = replies |> finetune(base, batch=4, steps=20)
"""
# A stand-in for a command of the platform that says what it was asked for.
SAYS = '#!/bin/sh\nprintf "%s" "$(basename "$0")"; printf " %s" "$@"; echo\n'


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_shell_finds_nothing_wrong(script):
    subprocess.run([Path(sysconfig.get_path("scripts")) / "shellcheck", TPU / script], check=True)


def test_the_manifest_has_what_the_schema_of_a_job_set_knows_and_nothing_else():
    given = yaml.safe_load((TPU / "jobset.yaml").read_text())
    assert JobsetV1alpha2JobSet.from_dict(given).to_dict() == given  # a field without a place in it is lost


def hosts(program: Path, out: Path, **more: str) -> list[subprocess.Popen]:
    """The hosts of a slice, with the variables that GKE sets."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    environment = {
        "PATH": f"{sysconfig.get_path('scripts')}:{os.environ['PATH']}",
        "HOME": os.environ.get("HOME", ""),
        "JAX_PLATFORMS": "cpu",
        "INSTALLED": "1",
        "COORDINATOR_PORT": port,
        "TPU_WORKER_HOSTNAMES": ",".join(["localhost"] * HOSTS),
        **more,
    }
    command = ["bash", TPU / "host.sh", "cai_jax.whl", program, out, "--json"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return [
        subprocess.Popen(command, cwd=out.parent, env=environment | {"TPU_WORKER_ID": str(number)}, **pipes)
        for number in range(HOSTS)
    ]


@pytest.fixture
def program(tmp_path) -> Path:
    (tmp_path / "small.cai").write_text(PROGRAM)
    return tmp_path / "small.cai"


@pytest.mark.slow
def test_four_hosts_make_one_run_and_go_on_after_a_preemption(program, tmp_path):
    out = tmp_path / "runs"
    started = hosts(program, out)
    late = time.monotonic() + 300
    while not list(out.glob("cache/sample-*/part-*")):
        assert all(host.poll() is None for host in started) and time.monotonic() < late
        time.sleep(0.05)
    for host in started:  # as when a slice is taken away
        host.send_signal(signal.SIGTERM)
    ends = processes.ended(started)
    assert [end.returncode for end in ends] == [75] * HOSTS, ends
    ends = processes.ended(hosts(program, out))
    assert [end.returncode for end in ends] == [0] * HOSTS, ends
    shown = json.loads(ends[0].stdout[ends[0].stdout.index("{\n") :])
    assert shown["status"] == "ok"
    nodes = {node["stage"]: node for node in shown["nodes"]}
    assert nodes["sample"]["cached"] or len(Cache(out / "cache").entry(nodes["sample"]["key"]).rows()) == 16
    record = Cache(out / "cache").entry(nodes["finetune"]["key"]).record()
    assert record["schedule"]["mesh"] == {"data": HOSTS, "fsdp": 1, "tensor": 1}
    assert all("{\n" not in end.stdout for end in ends[1:])


def said(tmp_path: Path, script: str, *words: str, **environment: str) -> list[str]:
    """What a script asks of its platform's commands."""
    tools = tmp_path / "tools"
    tools.mkdir(exist_ok=True)
    for name in ("gcloud", "srun", "scontrol"):
        (tools / name).write_text(SAYS)
        (tools / name).chmod(0o755)
    done = subprocess.run(
        ["bash", TPU / script, *words],
        env={"PATH": f"{tools}:{os.environ['PATH']}", **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_program_goes_to_every_host_of_a_slice(tmp_path):
    about = {"NAME": "pod", "ZONE": "z", "BUCKET": "mine", "WHEEL": "dist/cai_jax-0.1.0-py3-none-any.whl"}
    copied, mounted, ran = said(tmp_path, "slice.sh", "run", "p/mine.cai", **about)
    assert copied.startswith("gcloud compute tpus tpu-vm scp dist/cai_jax-0.1.0-py3-none-any.whl ")
    assert "p/mine.cai pod: --zone z --worker all" in copied
    assert "gcsfuse --implicit-dirs --rename-dir-limit 10000 'mine' runs" in mounted
    assert ran.endswith("EXTRA=tpu bash host.sh 'cai_jax-0.1.0-py3-none-any.whl' 'mine.cai' runs")


def test_slurm_starts_one_process_a_node_and_gives_it_all_gpus(tmp_path):
    about = {"SLURM_GPUS_ON_NODE": "8", "SLURM_SUBMIT_DIR": "/home/me", "SLURM_JOB_ID": "7"}
    assert said(tmp_path, "slurm.sbatch", "w.whl", "p.cai", "out", **about) == [
        "srun --kill-on-bad-exit=1 bash /home/me/tpu/host.sh w.whl p.cai out"
    ]


def test_a_host_finds_the_others_under_slurm(tmp_path):
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, text in {
        # It goes on writing behind the first host, which a pipe must not be closed upon.
        "scontrol": "#!/bin/sh\necho node-a\nsleep 0.2\necho node-b\n",
        "cai-jax": '#!/bin/sh\necho "$JAX_COORDINATOR_ADDRESS $JAX_NUM_PROCESSES $JAX_PROCESS_ID" "$@"\n',
    }.items():
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    slurm = {"SLURM_JOB_NODELIST": "node-[a-b]", "SLURM_NTASKS": "2", "SLURM_PROCID": "1", "INSTALLED": "1"}
    done = subprocess.run(
        ["bash", TPU / "host.sh", "w.whl", "p.cai", "out", "--seed", "3"],
        env={"PATH": f"{tools}:{os.environ['PATH']}", **slurm},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "node-a:8476 2 1 run p.cai --distributed --out out --seed 3\n"


@pytest.mark.parametrize(("code", "runs"), [(0, 1), (4, 1), (75, 2)])
def test_a_host_goes_on_after_a_preemption_alone(code, runs, tmp_path):
    runs_again = f'[ "$(wc -l < {tmp_path}/runs)" -gt 1 ] && exit 0'
    (tmp_path / "cai-jax").write_text(f"#!/bin/sh\necho run >> {tmp_path}/runs\n{runs_again}\nexit {code}\n")
    (tmp_path / "cai-jax").chmod(0o755)
    done = subprocess.run(
        ["bash", TPU / "host.sh", "w.whl", "p.cai", "out"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "INSTALLED": "1"},
    )
    assert done.returncode == (0 if runs == 2 else code)
    assert (tmp_path / "runs").read_text().count("run") == runs


def test_the_wheel_that_the_manifest_names_is_this_version():
    from cai_jax import __version__

    assert f"cai_jax-{__version__}-py3-none-any.whl" in (TPU / "jobset.yaml").read_text()
