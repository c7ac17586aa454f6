"""Runs the demo: stuck → explained → planned → approved → carried out → running, with a picture.

Every line that starts with `$` is a command that is really run, so what is shown here is what a
user gets. Without Go the same commands run on the bundled example instead of a live cluster.
"""

import os
import shlex
import signal
import subprocess
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from e2e.controlplane.build import DEFAULT, BuildError, GoMissingError, ensure
from e2e.controlplane.cache import cache_dir
from e2e.controlplane.client import Cluster, KubectlError, WaitTimeoutError
from e2e.controlplane.cluster import LocalCluster
from e2e.controlplane.processes import ComponentError
from e2e.installed import installed
from tools.demo import scene

OUT = Path("demo-out")
FAIRSTOW = Path(sys.executable).with_name("fairstow")


def main() -> int:
    """Run the demo and return its exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        OUT.mkdir(exist_ok=True)
        _live()
    except GoMissingError as error:
        print(
            f"{error}\n\nUntil then, here is the planner on the bundled example.", file=sys.stderr
        )
        _bundled()
    except (BuildError, ComponentError, KubectlError, WaitTimeoutError) as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(
            f"{error}\nBuilt programs are kept in {cache_dir()}; FAIRSTOW_CACHE can name another.",
            file=sys.stderr,
        )
        return 1
    except subprocess.CalledProcessError as error:
        print(f"The command above ended with exit code {error.returncode}.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted; nothing of it is left running.", file=sys.stderr)
        return 130
    return 0


def _live() -> None:
    _title("A Kubernetes of its own, on this machine")
    for program in DEFAULT:
        ensure(program)
    with (
        tempfile.TemporaryDirectory(prefix="fairstow-demo-") as folder,
        LocalCluster(Path(folder)) as cluster,
        installed(cluster, Path(folder) / "fairstow"),
    ):
        print("Kubernetes is ready: API server, scheduler and controllers are the real ones,")
        print("nodes and GPUs are played by KWOK. Fairstow runs beside it: operator, scheduler")
        print("extender, and a kube-scheduler that asks it.")
        _fill(cluster)
        _show(cluster)
        _carry_out(cluster)
    _closing("-f demo-out/cluster.json.gz")


def _fill(cluster: Cluster) -> None:
    cluster.apply(scene.nodes())
    cluster.kubectl("wait", "--for=condition=Ready", "nodes", "--all", "--timeout=60s")
    cluster.apply(scene.residents())
    for resident in ("asr-batch", "llama-chat"):
        cluster.kubectl(
            *("-n", scene.NAMESPACE, "rollout", "status", f"deployment/{resident}"), timeout=120
        )
    cluster.apply(scene.policies())
    cluster.apply(scene.latecomers())
    cluster.wait(lambda: len(_stuck(cluster)) == 3 or None, "the scheduler to give up on 3 pods")


def _stuck(cluster: Cluster) -> list[str]:
    return [
        f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
        for pod in cluster.items("pods", "-A")
        for condition in pod["status"].get("conditions", ())
        if condition.get("reason") == "Unschedulable"
    ]


def _show(cluster: Cluster) -> None:
    live = {"KUBECONFIG": str(cluster.kubeconfig)}
    stuck = sorted(_stuck(cluster))
    _title("Three pods are stuck, and the scheduler has given up on them")
    print("$ kubectl get pods -A --field-selector=status.phase=Pending")
    print(cluster.kubectl("get", "pods", "-A", "--field-selector=status.phase=Pending"))
    _title("Yet GPUs are free")
    _run("pools", env=live)
    _title("Why is this one stuck?")
    _run("explain", f"pod/{stuck[0]}", env=live)
    _run("snapshot", "-o", str(OUT / "cluster.json.gz"), env=live)
    _run("plan", "-f", str(OUT / "cluster.json.gz"), "--report", str(OUT / "plan.html"), quiet=" …")


def _carry_out(cluster: Cluster) -> None:
    live = {"KUBECONFIG": str(cluster.kubeconfig)}
    _title("Each pool has a policy, and the operator has made a plan for it")
    cluster.wait(lambda: len(_waiting(cluster)) == len(scene.POOLS) or None, "the plans")
    print("$ kubectl get gpupools,packingpolicies")
    print(cluster.kubectl("get", "gpupools,packingpolicies"))
    _run("plans", env=live)
    first, *_ = plans = _waiting(cluster)
    _title("What one of them does, step by step")
    _run("describe", f"plan/{first}", env=live)
    _title("A person approves; room is reserved, then pods move one after the other")
    for plan in plans:
        _run("approve", f"plan/{plan}", "--yes", env=live)
    _follow(cluster, plans)
    _title("Nobody is stuck any more")
    cluster.wait(lambda: not _stuck(cluster) or None, "all pods to run", timeout=120)
    print("$ kubectl -n team-a get deployments")
    print(cluster.kubectl("-n", scene.NAMESPACE, "get", "deployments"))
    _run("pools", env=live)
    _run("history", env=live)


def _waiting(cluster: Cluster) -> list[str]:
    """Plans that wait for approval."""
    return sorted(
        plan["metadata"]["name"]
        for plan in cluster.items("packingplans")
        for condition in plan.get("status", {}).get("conditions", ())
        if condition["reason"] == "WaitingForApproval"
    )


def _follow(cluster: Cluster, plans: list[str]) -> None:
    """Print how the plans get on until all have ended."""
    said: dict[str, str] = {}

    def ended() -> bool:
        over = 0
        for plan in cluster.items("packingplans"):
            name, status = plan["metadata"]["name"], plan.get("status", {})
            state = next(c for c in status["conditions"] if c["type"] == "Succeeded")
            steps = f"{status.get('stepsDone', 0)} of {status['stepsTotal']} steps done"
            line = f"  {name}   {steps:<22} {state['reason']}"
            if name in plans and said.get(name) != line:
                said[name] = line
                print(line, flush=True)
            over += name in plans and "finishedAt" in status
        return over == len(plans)

    cluster.wait(ended, "the plans to be carried out", timeout=300)


def _bundled() -> None:
    example = str(files("fairstow.cli") / "example.json.gz")
    _title("Pods are stuck beside free GPUs")
    _run("pools", "-f", example)
    _title("What would place them?")
    _plan("-f", example)
    _closing(f"-f {shlex.quote(example)}")


def _plan(*source: str) -> None:
    report, plan = OUT / "plan.html", OUT / "plan.json"
    _run("plan", *source, "--report", str(report))
    _title("The plan as an object, checked by a program that shares no code with the planner")
    plan.write_text(_run("plan", *source, "-o", "json", quiet=f" > {plan}"))
    _run("plan", *source, "--check", str(plan))


def _closing(source: str) -> None:
    _title("Look around")
    print(f"  The picture, before and after:   {(OUT / 'plan.html').resolve().as_uri()}")
    print(f"  Ask your own questions:          .venv/bin/fairstow plan {source}")
    print("  On a cluster of yours:           .venv/bin/fairstow plan --context NAME")
    print("  (It only reads; what is installed carries out nothing that nobody allowed.)")


def _title(text: str) -> None:
    print(f"\n\033[1m── {text}\033[0m" if sys.stdout.isatty() else f"\n── {text}", flush=True)


def _run(*arguments: str, env: dict[str, str] | None = None, quiet: str = "") -> str:
    """Run the product's program, shown as a user would type it; return what it printed."""
    print(f"$ fairstow {shlex.join(arguments)}{quiet}", flush=True)
    done = subprocess.run(
        [FAIRSTOW, *arguments],
        check=True,
        env=os.environ | (env or {}),
        stdout=subprocess.PIPE if quiet else None,
        text=True,
    )
    return done.stdout or ""


if __name__ == "__main__":
    sys.exit(main())
