"""The chart: what it renders is taken by a real API server, what it refuses is told, what is generated is up to date."""

import json
import re
import subprocess

import pytest

from cluster import ROOT

CHART = ROOT / "charts" / "lps"
NAMESPACE = "lps-system"
DIGEST = "sha256:" + "a" * 64

POD = {
    "podAnnotations": {"a": "b"},
    "podLabels": {"team": "x"},
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [{"operator": "Exists"}],
    "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
        {"matchExpressions": [{"key": "gpu", "operator": "DoesNotExist"}]}]}}},
    "priorityClassName": "system-cluster-critical",
    "extraArgs": ["--log-level=debug"],
    "extraEnv": [{"name": "A", "value": "b"}],
    "serviceAccount": {"annotations": {"a": "b"}},
    "resources": {"requests": {"cpu": 1}, "limits": {"memory": "1Gi"}},
}
MONITORS = {"serviceMonitor": {"enabled": True, "labels": {"release": "p"}},
            "prometheusRule": {"enabled": True, "labels": {"release": "p"}}}

MATRIX = {
    "default": {},
    "its own namespace only": {"scope": "namespaced"},
    "another namespace only": {"scope": "namespaced", "watchNamespace": "team"},
    "monitors": {"monitoring": MONITORS},
    "monitors, one namespace": {"monitoring": MONITORS, "scope": "namespaced"},
    "no definition": {"crds": {"install": False}},
    "digests": {one: {"image": {"registry": "r.example:5000", "digest": DIGEST}} for one in ("operator", "router", "engine", "tools")},
    "two operators": {"operator": {"replicas": 2}},
    "pods as a user wants them": {"operator": POD, "router": POD, "commonLabels": {"cost": "7"},
                                  "imagePullSecrets": [{"name": "registry"}]},
    "open and bare": {"networkPolicy": {"enabled": False}, "podDisruptionBudget": {"enabled": False},
                      "uninstallHook": {"enabled": False}, "rbac": {"create": False},
                      "operator": {"serviceAccount": {"create": False, "name": "mine"}}},
    "closed": {"networkPolicy": {"clientsFrom": [{"ipBlock": {"cidr": "10.0.0.0/8"}}], "metricsFrom": []}},
    "outside": {"router": {"service": {"type": "LoadBalancer", "port": 80, "annotations": {"a": "b"}}}},
    "models of a mirror that stay on nodes": {"hubEndpoint": "https://mirror.example:8443/hub", "modelCache": "/var/lib/models"},
    "certificates": {"router": {"tls": {"secretName": "shop-window"}, "keysSecret": "keys"},
                     "engine": {"tls": {"secretName": "engines", "routerSecretName": "to-engines"}}},
    "other names": {"fullnameOverride": "x"},
}


@pytest.fixture(scope="module", autouse=True)
def namespaces(cluster):
    """The release's namespace, that warns of every pod template below `restricted`; and stand-ins for Prometheus'
    definitions, so that its objects are read too."""
    for name in (NAMESPACE, "team"):
        cluster.kubectl("create", "namespace", name)
        cluster.kubectl("label", "namespace", name, "pod-security.kubernetes.io/warn=restricted")
    for kind in ("ServiceMonitor", "PrometheusRule"):
        plural = kind.lower() + "s"
        schema = {"type": "object", "required": ["spec"], "x-kubernetes-preserve-unknown-fields": True}
        version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
        name = f"{plural}.monitoring.coreos.com"
        cluster.apply({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": name},
                       "spec": {"group": "monitoring.coreos.com", "scope": "Namespaced", "versions": [version],
                                "names": {"kind": kind, "plural": plural}}})
        cluster.kubectl("wait", "--for=condition=Established", f"crd/{name}", "--timeout=30s")
    yield
    cluster.kubectl("delete", "namespace", NAMESPACE, "team")
    cluster.kubectl("delete", "crd", "servicemonitors.monitoring.coreos.com", "prometheusrules.monitoring.coreos.com")


def render(cluster, values, *flags, check=True):
    return cluster.inside("helm", "template", "lps", CHART, "--namespace", NAMESPACE, "--values", "-", *flags,
                          text=json.dumps(values), check=check)


def taken(cluster, text):
    """The objects as the API server would keep them; it is strict about unknown fields."""
    done = cluster.kubectl("apply", "--dry-run=server", "--validate=strict", "-o", "json", "-f", "-", text=text)
    warnings = [line for line in done.stderr.splitlines() if "last-applied-configuration" not in line]
    assert not warnings, warnings
    return json.loads(done.stdout)["items"]


def of(objects, kind, name=None):
    return [one for one in objects if one["kind"] == kind and name in (None, one["metadata"]["name"])]


def test_helm_has_nothing_to_say_against_it(cluster):
    cluster.inside("helm", "lint", "--strict", CHART)


@pytest.mark.parametrize("values", MATRIX.values(), ids=MATRIX.keys())
def test_the_api_server_takes_what_is_rendered(cluster, values):
    objects = taken(cluster, render(cluster, values).stdout)
    full = values.get("fullnameOverride", "lps")
    assert {one["metadata"]["name"] for one in of(objects, "Deployment")} == {f"{full}-operator", f"{full}-router"}
    for one in objects:
        wanted = {"app.kubernetes.io/instance": "lps", **values.get("commonLabels", {})}
        if one["kind"] != "CustomResourceDefinition":
            assert wanted.items() <= one["metadata"]["labels"].items(), one["metadata"]["name"]


def test_one_namespace_needs_no_right_outside(cluster):
    objects = taken(cluster, render(cluster, MATRIX["another namespace only"]).stdout)
    outside = [one["kind"] for one in objects if "namespace" not in one["metadata"]]
    assert outside == ["CustomResourceDefinition"]
    where = {(one["metadata"]["name"], one["metadata"]["namespace"]) for one in of(objects, "Role")}
    assert {("lps-operator", "team"), ("lps-router", "team"), ("lps-operator-own", NAMESPACE)} < where
    for one in of(objects, "Deployment"):
        assert "--namespace=team" in one["spec"]["template"]["spec"]["containers"][0]["args"]


def test_nobody_may_read_secrets_and_no_right_is_a_wildcard(cluster):
    objects = taken(cluster, render(cluster, {}).stdout)
    for one in of(objects, "Role") + of(objects, "ClusterRole"):
        for rule in one["rules"]:
            words = rule["apiGroups"] + rule["resources"] + rule["verbs"]
            assert "secrets" not in words and "*" not in words, one["metadata"]["name"]


def test_the_service_selects_only_a_router_that_says_it_is_active(cluster):
    objects = taken(cluster, render(cluster, {}).stdout)
    [service] = of(objects, "Service", "lps-router")
    [router] = of(objects, "Deployment", "lps-router")
    labels = router["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"] == {**router["spec"]["selector"]["matchLabels"], "llmprogram.dev/active": "true"}
    assert "llmprogram.dev/active" not in labels


def test_digests_stand_over_tags_and_the_one_registry_is_enough(cluster):
    def images(values):
        objects = taken(cluster, render(cluster, values).stdout)
        [operator] = of(objects, "Deployment", "lps-operator")[0]["spec"]["template"]["spec"]["containers"]
        return operator["image"], *operator["args"][1:3]

    assert images({"imageRegistry": "r.example/lps"}) == (
        f"r.example/lps/lps-operator:{version()}", f"--engine-image=r.example/lps/lps-engine-cpu:{version()}",
        f"--tools-image=r.example/lps/lps-tools:{version()}")
    assert images(MATRIX["digests"]) == (f"r.example:5000/lps-operator@{DIGEST}", f"--engine-image=r.example:5000/lps-engine-cpu@{DIGEST}",
                                         f"--tools-image=r.example:5000/lps-tools@{DIGEST}")


def test_where_models_come_from_and_stay_is_told_to_the_operator(cluster):
    def told(values):
        objects = taken(cluster, render(cluster, values).stdout)
        [operator] = of(objects, "Deployment", "lps-operator")[0]["spec"]["template"]["spec"]["containers"]
        return [one for one in operator["args"] if one.startswith(("--hub", "--model"))]

    assert told({}) == []
    assert told(MATRIX["models of a mirror that stay on nodes"]) == [
        "--hub-endpoint=https://mirror.example:8443/hub", "--model-cache=/var/lib/models"]


def test_certificates_are_mounted_and_told(cluster):
    objects = taken(cluster, render(cluster, MATRIX["certificates"]).stdout)
    pods = {one["metadata"]["name"]: one["spec"]["template"]["spec"] for one in of(objects, "Deployment")}
    [operator], [router] = pods["lps-operator"]["containers"], pods["lps-router"]["containers"]
    assert "--engine-tls-secret=engines" in operator["args"]
    assert "--router-url=https://lps-router.lps-system.svc:8080/v1" in operator["args"]
    secrets = {one["name"]: one["secret"]["secretName"] for one in pods["lps-router"]["volumes"]}
    assert secrets == {"keys": "keys", "tls": "shop-window", "engine-tls": "to-engines"}
    assert {one["name"]: one["mountPath"] for one in router["volumeMounts"]} == {
        name: f"/etc/lps/{name}" for name in secrets}
    files = dict(one[2:].split("=") for one in router["args"] if "tls" in one)
    assert files == {
        "tls-cert": "/etc/lps/tls/tls.crt", "tls-key": "/etc/lps/tls/tls.key", "engine-tls-ca": "/etc/lps/engine-tls/ca.crt",
        "engine-tls-cert": "/etc/lps/engine-tls/tls.crt", "engine-tls-key": "/etc/lps/engine-tls/tls.key"}
    assert of(objects, "Service", "lps-router")[0]["spec"]["ports"][0]["name"] == "https"
    [test] = [one for one in of(objects, "Pod") if one["metadata"]["name"] == "lps-test"]
    assert test["spec"]["volumes"][0]["secret"]["items"] == [{"key": "ca.crt", "path": "ca.crt"}]


def test_before_uninstall_the_operators_finalizers_are_taken_off(cluster):
    objects = taken(cluster, render(cluster, {"scope": "namespaced", "watchNamespace": "team"}).stdout)
    hooks = {one["kind"]: one["metadata"]["annotations"] for one in objects if "helm.sh/hook" in one["metadata"].get("annotations", {})
             and one["metadata"]["name"].startswith("lps-uninstall")}
    assert hooks.keys() == {"ServiceAccount", "Role", "RoleBinding", "Job"}
    assert {one["helm.sh/hook"] for one in hooks.values()} == {"pre-delete"}
    weights = {kind: int(one["helm.sh/hook-weight"]) for kind, one in hooks.items()}
    assert all(weights[kind] < weights["Job"] for kind in hooks if kind != "Job")
    [job] = of(objects, "Job")
    assert job["spec"]["template"]["spec"]["containers"][0]["args"] == [
        "release", "--deployment=lps-operator", f"--pod-namespace={NAMESPACE}", "--namespace=team"]


@pytest.mark.parametrize(
    "values,words",
    [
        ({"routr": {}}, ["routr", "not allowed"]),
        ({"router": {"replica": 3}}, ["/router", "replica"]),
        ({"operator": {"replicas": 3}}, ["/operator/replicas", "maximum"]),
        ({"operator": {"image": "lps-operator:1"}}, ["/operator/image", "want object"]),
        ({"engine": {"image": {"digest": "abc"}}}, ["/engine/image/digest", "pattern"]),
        ({"scope": "Namespaced"}, ["/scope", "'cluster', 'namespaced'"]),
        ({"router": {"drainGrace": 5}}, ["/router/drainGrace", "want string"]),
        ({"hubEndpoint": "mirror:8080"}, ["/hubEndpoint", "pattern"]),
        ({"modelCache": "models"}, ["/modelCache", "pattern"]),
        ({"router": {"service": {"type": "Ingress"}}}, ["/router/service/type", "LoadBalancer"]),
        ({"watchNamespace": "team"}, ["write scope: namespaced"]),
        ({"engine": {"tls": {"secretName": "x"}}}, ["write secretName and routerSecretName, or neither"]),
    ],
)
def test_what_cannot_be_meant_is_refused_by_its_name(cluster, values, words):
    done = render(cluster, values, check=False)
    assert done.returncode != 0
    for word in words:
        assert word in done.stderr


def test_notes_name_commands_that_fit_the_release(cluster):
    done = cluster.inside("helm", "install", "lps", CHART, "--namespace", NAMESPACE, "--dry-run=server", "--values", "-",
                          text=json.dumps({"router": {"service": {"port": 80}}, "crds": {"install": False}}))
    notes = done.stdout.split("NOTES:")[1]
    assert "http://lps-router.lps-system.svc:80/v1" in notes
    manifest = notes.split("<<'END'\n")[1].split("   END\n")[0]
    cluster.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", text=re.sub("(?m)^   ", "", manifest))


# ---- what is generated

def version():
    return re.search(r'(?m)^version = "(.*)"$', (ROOT / "Cargo.toml").read_text())[1]


def test_the_definition_is_the_one_of_the_types():
    assert (CHART / "files" / "crd.yaml").read_text() == (ROOT / "crds" / "llmprogramservings.yaml").read_text()


def test_the_readme_says_what_the_values_say():
    subprocess.run([ROOT / "scripts" / "chart_readme.py", "--check"], check=True)
    assert len((CHART / "values.yaml").read_text().splitlines()) < 250


def test_the_dashboards_are_up_to_date():
    subprocess.run([ROOT / "scripts" / "dashboards.py", "--check"], check=True)


def queries():
    """Each query of each dashboard, and of the alerts, with where it stands."""
    for file in (CHART / "dashboards").glob("*.json"):
        board = json.loads(file.read_text())
        for panel in board["panels"]:
            for target in panel["targets"]:
                yield f"{file.name}: {panel['title']}", target["expr"]
        for variable in board["templating"]["list"]:
            if variable["type"] == "query":
                yield f"{file.name}: ${variable['name']}", variable["query"]["query"]
    for line in re.findall(r"(?m)^ +expr: (.+)$", (CHART / "templates" / "monitoring.yaml").read_text()):
        yield "alerts", line


def test_every_query_names_a_metric_that_exists():
    known = dict(re.findall(r"(?m)^\| `([a-z_:]+)` \| (?:([a-z, ]*) \|)?", (ROOT / "docs" / "metrics.md").read_text()))
    # What the Prometheus operator adds to whatever it scrapes.
    added = {"pod", "namespace", "job", "le"}
    named = 0
    for where, query in queries():
        for metric in re.findall(r"\b(?:lps_|vllm:)[a-z_:]+", query):
            base = metric if metric in known else re.sub("_(bucket|sum|count)$", "", metric)
            assert base in known, f"{where}: {metric}"
            named += 1
            labels = set(filter(None, known[base].split(", "))) | added
            wanted = re.findall(re.escape(metric) + r"\{([^}]*)\}", query)
            wanted = re.findall(r"([a-z_]+)(?:=~|!=|=)", " ".join(wanted))
            assert set(wanted) <= labels, f"{where}: {metric} has no label {set(wanted) - labels}"
    assert named > 60


def test_dashboards_come_as_config_maps(cluster):
    values = {"monitoring": {"dashboards": {"enabled": True, "annotations": {"grafana_folder": "LLM"}}}}
    maps = [each for each in taken(cluster, render(cluster, values).stdout) if "-dashboard-" in each["metadata"]["name"]]
    assert len(maps) == 3
    for each in maps:
        assert each["metadata"]["labels"]["grafana_dashboard"] == "1"
        [(name, text)] = each["data"].items()
        assert name.endswith(".json") and json.loads(text)["panels"]


def test_the_one_file_is_the_chart(cluster, tmp_path):
    subprocess.run([ROOT / "scripts" / "render_install.sh", tmp_path / "install.yaml"], check=True)
    text = (ROOT / "charts" / "install.yaml").read_text()
    assert (tmp_path / "install.yaml").read_text() == text, "charts/install.yaml is out of date: make generate"
    objects = taken(cluster, text)
    chart = taken(cluster, render(cluster, {}, "--no-hooks").stdout)
    assert len(objects) == len(chart) + 1
    assert "helm.sh/" not in text and ": Helm" not in text


def test_the_chart_has_the_version_of_the_programs():
    assert f'appVersion: "{version()}"\n' in (CHART / "Chart.yaml").read_text()


def test_alerts_ask_for_metrics_that_are_there():
    known = set(re.findall(r"lps_[a-z_]+", (ROOT / "docs" / "metrics.md").read_text()))
    asked = re.findall(r"lps_[a-z_]+", (CHART / "templates" / "monitoring.yaml").read_text())
    assert asked and {one.removesuffix("_bucket") for one in asked} <= known
