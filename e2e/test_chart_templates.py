"""What the chart makes of its values, and whether a real API server takes it.

Covered: lint, the values' schema, versions of the scheduler, digests, toggles, every object by a
server-side dry run in a namespace under the *restricted* profile, the webhooks' scope. Not covered:
that it works (e2e/test_chart.py), kinds of cert-manager and the Prometheus operator, which this API
server doesn't have.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from e2e.controlplane.build import BuildError
from e2e.helm import CHART, HelmError, helm, rendered
from fairstow.api import KINDS
from fairstow.serving.slot_carriers import CARRIED, PORT

if TYPE_CHECKING:
    from e2e.controlplane.client import Cluster

pytestmark = pytest.mark.e2e

DIGEST = "sha256:" + "0" * 64
VARIANTS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "all more than once": {
        "operator": {"replicas": 3},
        "image": {"repository": "registry.example:5000/fairstow", "digest": DIGEST},
        "imagePullSecrets": [{"name": "registry"}],
        "logLevel": "debug",
        "nodeSelector": {"node-role.kubernetes.io/infra": ""},
        "tolerations": [{"key": "infra", "operator": "Exists"}],
        "extender": {"failurePolicy": "Fail", "attachedTo": ["default-scheduler"]},
        "monitoring": {"metrics": True, "alerts": True, "dashboards": True},
        "gateways": [
            {
                "namespace": "default",
                "pool": "llama",
                "secrets": ["llama-tenants"],
                "scaling": True,
            },
            {
                "namespace": "default",
                "pool": "qwen",
                "replicas": 1,
                "graceSeconds": 10,
                "args": ["--tokenizer=/model/tokenizer.json"],
                "volumes": [{"name": "model", "configMap": {"name": "qwen"}}],
                "volumeMounts": [{"name": "model", "mountPath": "/model"}],
            },
        ],
        "caches": [{"namespace": "default", "cache": "answers"}],
    },
    "only the planner": {
        "scheduler": {"enabled": False},
        "extender": {"enabled": False},
        "webhook": {"replicas": 1},
        "networkPolicies": {"enabled": False},
        "crds": {"enabled": False},
    },
    "cert-manager": {"certificates": {"issuer": "CertManager"}},
}
ELSEWHERE = ("cert-manager.io", "monitoring.coreos.com")
Objects = list[dict[str, Any]]


@pytest.fixture(scope="module", autouse=True)
def _helm() -> None:
    try:
        helm("version")
    except BuildError as error:
        pytest.skip(f"no helm: {error}")


def named(objects: Objects, kind: str, name: str) -> dict[str, Any]:
    (found,) = (o for o in objects if (o["kind"], o["metadata"]["name"]) == (kind, name))
    return found


def kinds(objects: Objects) -> set[tuple[str, str]]:
    return {(o["kind"], o["metadata"]["name"]) for o in objects}


def container(objects: Objects, component: str) -> dict[str, Any]:
    pod = named(objects, "Deployment", f"fairstow-{component}")["spec"]["template"]["spec"]
    (only,) = pod["containers"]
    found: dict[str, Any] = only
    return found


@pytest.mark.parametrize("values", VARIANTS.values(), ids=VARIANTS.keys())
def test_the_chart_passes_lint(values: dict[str, Any]) -> None:
    helm("lint", "--strict", str(CHART), "--set-json", json.dumps(values))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"imgae": {}}, "imgae"),
        ({"operator": {"replica": 2}}, "replica"),
        ({"operator": {"replicas": 0}}, "replicas"),
        ({"image": {"digest": "0123"}}, "digest"),
        ({"logLevel": "verbose"}, "logLevel"),
        ({"certificates": {"issuer": "Helm"}}, "issuer"),
        ({"extender": {"failurePolicy": "ignore"}}, "failurePolicy"),
        ({"networkPolicies": {"apiServerPorts": []}}, "apiServerPorts"),
        ({"extender": {"enabled": False}}, "scheduler.enabled needs extender.enabled"),
    ],
)
def test_values_that_mean_nothing_are_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(HelmError, match=said):
        rendered(values)


def test_every_value_is_in_the_schema() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert values.keys() == schema["properties"].keys() - {"global"}
    for name, below in values.items():
        described = schema["properties"][name]
        if "properties" in described:
            assert below.keys() == described["properties"].keys(), name


@pytest.mark.parametrize(
    ("version", "tag"),
    [
        ("v1.37.2", "v1.37.2"),
        ("v1.33.4-gke.1172000", "v1.33.4"),
        ("v1.31.7-eks-4096722", "v1.31.7"),
        ("v1.28.15+k3s1", "v1.28.15"),
    ],
)
def test_the_scheduler_has_the_clusters_version(version: str, tag: str) -> None:
    objects = rendered({}, "--kube-version", version)
    assert container(objects, "scheduler")["image"] == f"registry.k8s.io/kube-scheduler:{tag}"


def test_an_older_cluster_is_refused() -> None:
    with pytest.raises(HelmError, match=r"1\.28"):
        rendered({}, "--kube-version", "v1.27.9")


def test_a_digest_goes_before_a_tag() -> None:
    image = {"digest": DIGEST, "tag": "v9"}
    objects = rendered({"image": image, "scheduler": {"image": image}})
    assert container(objects, "webhook")["image"] == f"ghcr.io/fairstow/fairstow@{DIGEST}"
    assert container(objects, "scheduler")["image"] == f"registry.k8s.io/kube-scheduler@{DIGEST}"


def test_the_schedulers_configuration_knows_namespace_and_failure_policy() -> None:
    for policy, ignorable in (("Ignore", True), ("Fail", False)):
        objects = rendered({"extender": {"failurePolicy": policy}}, namespace="gpu")
        text = named(objects, "ConfigMap", "fairstow-scheduler")["data"]["scheduler.json"]
        configuration = json.loads(text)
        (extender,) = configuration["extenders"]
        assert extender["ignorable"] is ignorable
        assert extender["urlPrefix"] == "https://fairstow-extender.gpu.svc:8443"
        assert configuration["leaderElection"]["resourceNamespace"] == "gpu"


def test_the_operator_knows_which_schedulers_ask_the_extender() -> None:
    def enforced(values: dict[str, Any]) -> str:
        (found,) = (a for a in container(rendered(values), "operator")["args"] if "enforced" in a)
        return str(found).partition("=")[2]

    also = {"attachedTo": ["default-scheduler"]}
    assert enforced({}) == "fairstow"
    assert enforced({"extender": also}) == "fairstow,default-scheduler"
    assert enforced({"extender": also, "scheduler": {"enabled": False}}) == "default-scheduler"
    assert enforced(VARIANTS["only the planner"]) == ""


def test_what_is_switched_off_leaves_nothing_behind() -> None:
    found = kinds(rendered(VARIANTS["only the planner"]))
    assert not {k for k in found if "extender" in k[1] or "scheduler" in k[1]}
    assert not {k for k in found if k[0] in ("NetworkPolicy", "CustomResourceDefinition")}
    assert ("PodDisruptionBudget", "fairstow-webhook") not in found


@pytest.mark.parametrize("keep", [True, False])
def test_definitions_are_kept_when_told_to(keep: bool) -> None:
    found = [
        o for o in rendered({"crds": {"keep": keep}}) if o["kind"] == "CustomResourceDefinition"
    ]
    assert len(found) == len(KINDS)
    for each in found:
        notes = each["metadata"].get("annotations") or {}
        assert (notes.get("helm.sh/resource-policy") == "keep") is keep


def test_cert_manager_makes_what_the_operator_would() -> None:
    mine, theirs = rendered(), rendered(VARIANTS["cert-manager"])
    made = {o["spec"]["secretName"]: o for o in theirs if o["kind"] == "Certificate"}
    mounted = {
        volume["secret"]["secretName"]
        for o in mine
        if o["kind"] == "Deployment"
        for volume in o["spec"]["template"]["spec"]["volumes"]
        if "secret" in volume
    }
    assert made.keys() == mounted | {"fairstow-ca"}
    served = made["fairstow-extender-tls"]["spec"]
    assert served["dnsNames"] == ["fairstow-extender.fairstow-system.svc"]
    for o in theirs:
        if o["kind"].endswith("WebhookConfiguration"):
            note = o["metadata"]["annotations"]["cert-manager.io/inject-ca-from"]
            assert note == "fairstow-system/fairstow-webhook"
    assert "--certificates=CertManager" in container(theirs, "operator")["args"]


def test_with_cert_manager_the_operator_may_touch_no_secret_and_no_webhook() -> None:
    for issuer, touches in (("Fairstow", True), ("CertManager", False)):
        objects = rendered({"certificates": {"issuer": issuer}})
        rules = [
            rule
            for kind in ("ClusterRole", "Role")
            for rule in named(objects, kind, "fairstow-operator")["rules"]
        ]
        found = {resource for rule in rules for resource in rule["resources"]}
        sensitive = {"secrets", "deployments", "mutatingwebhookconfigurations"}
        assert (sensitive <= found, bool(sensitive & found)) == (touches, touches)


def test_what_is_scraped_is_served_and_let_through() -> None:
    objects = rendered(VARIANTS["all more than once"])
    monitors = [
        o for o in objects
        if o["kind"] == "PodMonitor" and o["metadata"]["namespace"] != "default"
    ]  # fmt: skip
    assert len(monitors) == 4
    for monitor in monitors:
        name = monitor["metadata"]["name"]
        (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
        ports = container(objects, name.removeprefix("fairstow-"))["ports"]
        (port,) = (p["containerPort"] for p in ports if p["name"] == endpoint["port"])
        policy = named(objects, "NetworkPolicy", name)["spec"]
        allowed = [p["port"] for rule in policy["ingress"] for p in rule["ports"]]
        assert port in allowed, name


def test_gateways_reach_engines_and_are_reached_by_the_operator() -> None:
    collector = {"ports": [{"port": 4318}]}
    objects = rendered(
        {"gateways": [{"namespace": "chat", "pool": "llama", "egress": [collector]}]}
    )
    policy = named(objects, "NetworkPolicy", "fairstow-gateway-llama")
    ports = container(objects, "gateway-llama")["ports"]
    (entry,) = policy["spec"]["ingress"]
    assert {p["port"] for p in entry["ports"]} == {p["containerPort"] for p in ports}
    assert policy["metadata"]["namespace"] == "chat"
    assert policy["spec"]["egress"][1:] == [{"to": [{"podSelector": {}}]}, collector]
    labels = policy["spec"]["podSelector"]["matchLabels"]
    operator = named(objects, "NetworkPolicy", "fairstow-operator")["spec"]["egress"]
    (way, _sidecars) = [rule for rule in operator if "to" in rule]
    assert way["to"][0]["podSelector"]["matchLabels"].items() <= labels.items()
    assert way["to"][0]["namespaceSelector"] == {}


def test_whoever_may_reach_engines_whose_slots_are_carried() -> None:
    prometheus = {"from": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}]}
    gateways = [{"namespace": "chat", "pool": "llama", "engineIngress": [prometheus]}]
    objects = rendered({"gateways": gateways})
    policy = named(objects, "NetworkPolicy", "fairstow-engines-llama")
    assert policy["metadata"]["namespace"] == "chat"
    spec = policy["spec"]
    carried = {"matchLabels": {CARRIED: "llama"}}
    assert (spec["podSelector"], spec["policyTypes"]) == (carried, ["Ingress"])
    gateway, other, more = spec["ingress"]
    labels = named(objects, "Deployment", "fairstow-gateway-llama")["spec"]["template"]
    (one,) = gateway["from"]
    assert one["podSelector"]["matchLabels"].items() <= labels["metadata"]["labels"].items()
    assert other == {
        "from": [{"podSelector": carried}],
        "ports": [{"port": PORT, "protocol": "TCP"}],
    }
    assert more == prometheus


def test_gateways_are_scraped_by_a_token_that_is_good_for_nothing_else() -> None:
    gateways = [{"pool": "llama", "namespace": "chat"}]
    objects = rendered({"gateways": gateways, "monitoring": {"metrics": True}})
    monitor = next(o for o in objects if o["kind"] == "PodMonitor"
                   and o["metadata"]["namespace"] == "chat")  # fmt: skip
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    wanted = endpoint["authorization"]["credentials"]
    secret = named(objects, "Secret", wanted["name"])
    assert wanted["key"] in secret["data"]
    deployment = named(objects, "Deployment", "fairstow-gateway-llama")["spec"]["template"]
    (program,) = deployment["spec"]["containers"]
    assert f"--metrics-token-file=/salt/{wanted['key']}" in program["args"]
    assert endpoint["port"] in [port["name"] for port in program["ports"]]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= (
        deployment["metadata"]["labels"].items()
    )


def test_webhooks_touch_nothing_but_what_they_are_for() -> None:
    objects = rendered(namespace="gpu")
    webhooks = [
        w for o in objects if o["kind"].endswith("WebhookConfiguration") for w in o["webhooks"]
    ]
    chosen: dict[str, set[str]] = {}
    for webhook in webhooks:
        assert webhook["timeoutSeconds"] <= 5
        decisive = webhook["failurePolicy"] == "Fail"
        assert decisive is ("matchConditions" in webhook), webhook["name"]
        for rule in webhook["rules"]:
            if rule["apiGroups"] != ["fairstow.dev"]:
                selector = webhook["namespaceSelector"]
                wanted = list(selector["matchExpressions"])
                excluded = wanted.pop()
                assert excluded["values"] == ["kube-system", "gpu"]
                if rule["resources"] != ["pods/eviction"]:
                    labels: dict[str, str] = selector.get("matchLabels", {})
                    assert set(labels.values()) <= {"enabled"}
                    (label,) = [*labels, *(str(each["key"]) for each in wanted)]
                    chosen.setdefault(label, set()).update(rule["resources"])
    assert chosen == {
        "fairstow.dev/scheduler": {"pods"},
        "fairstow.dev/drain": {"pods"},
        "fairstow.dev/cache": {"pods"},
        "fairstow.dev/spark-queue": {"pods", "sparkapplications", "scheduledsparkapplications"},
    }


def test_no_pod_gets_a_sidecar_where_init_containers_cant_stay() -> None:
    def asked(version: str) -> set[str]:
        objects = rendered({}, "--kube-version", version)
        webhooks = named(objects, "MutatingWebhookConfiguration", "fairstow")["webhooks"]
        return {each["name"] for each in webhooks}

    new = {"caches.fairstow.dev", "slots.fairstow.dev"}
    assert asked("v1.29.1-eks-1") - asked("v1.28.15") == new


@pytest.mark.parametrize("values", VARIANTS.values(), ids=VARIANTS.keys())
def test_a_real_api_server_takes_every_object(
    cluster: Cluster, namespace: str, values: dict[str, Any]
) -> None:
    """A dry run validates fields and admission, the profile *restricted* included."""
    for mode in ("enforce", "warn"):
        label = f"pod-security.kubernetes.io/{mode}=restricted"
        cluster.kubectl("label", "namespace", namespace, label)
    objects = rendered(values, namespace=namespace)
    given = [o for o in objects if o["kind"] != "Pod" and not o["apiVersion"].startswith(ELSEWHERE)]
    listing = {"apiVersion": "v1", "kind": "List", "items": [*given, *pods(objects)]}
    said = cluster.kubectl(
        *("apply", "--server-side", "--force-conflicts", "--dry-run=server"),
        *("--validate=strict", "-f", "-"),
        stdin=json.dumps(listing),
    )
    assert said.count("serverside-applied") == len(listing["items"])


def pods(objects: Objects) -> Objects:
    """The chart's pods and those of its Deployments: the profile refuses pods, not their makers."""
    specs = {
        o["metadata"]["name"]: o["spec"] if o["kind"] == "Pod" else o["spec"]["template"]["spec"]
        for o in objects
        if o["kind"] in ("Deployment", "Pod")
    }
    # What these name isn't there in a dry run, and admission asks for it.
    absent = ("serviceAccountName", "priorityClassName")
    namespace = next(o for o in objects if o["kind"] == "Deployment")["metadata"]["namespace"]
    return [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {key: value for key, value in spec.items() if key not in absent},
        }
        for name, spec in specs.items()
    ]
