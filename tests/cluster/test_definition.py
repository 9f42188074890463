"""The resource as a real API server takes it: defaults, refusals with the fix, words for people."""

import copy

import pytest

from cluster import resource

BASE = {"name": "a", "source": {"builtin": "demo"}}


@pytest.mark.parametrize(
    "section,words",
    [
        ({"model": {"name": "a", "source": {}}}, ["spec.model.source", "exactly one of builtin"]),
        ({"model": {"name": "a", "source": {"builtin": "demo", "pvc": {"claim": "c"}}}}, ["exactly one of builtin"]),
        ({"model": {"name": "a", "source": {"hostPath": {"path": "x"}}}}, ["start it with /"]),
        ({"model": {"name": "", "source": {"builtin": "demo"}}}, ["spec.model.name"]),
        ({"engine": {"gpus": 1}}, ["write device: cuda"]),
        ({"engine": {"device": "cuda", "gpus": 2}}, ["write gpus: 1"]),
        ({"engine": {"maxNumSeqs": 64, "maxBatchedTokens": 32}}, ["at least maxNumSeqs"]),
        ({"engine": {"kvCache": {}}}, ["exactly one of size and fraction"]),
        ({"engine": {"kvCache": {"size": "1Gi", "fraction": 0.5}}}, ["exactly one of size and fraction"]),
        ({"engine": {"startTimeout": "soon"}}, ["spec.engine.startTimeout"]),
        ({"scaling": {"min": 3, "max": 1}}, ["raise max or lower min"]),
        ({"scaling": {"mode": "Auto"}}, ["spec.scaling.mode", "External"]),
        ({"scheduling": {"bounds": ["1s"], "quanta": ["1s"]}}, ["one value more than bounds"]),
        ({"scalling": {"min": 1}}, ["unknown field", "spec.scalling"]),
    ],
)
def test_what_cannot_be_carried_out_is_refused_with_the_fix(cluster, section, words):
    error = cluster.refusal(resource("a", {"model": BASE, **copy.deepcopy(section)}))
    for word in words:
        assert word in error


def test_a_name_of_which_no_engine_can_be_named_is_refused(cluster):
    body = resource("a" * 41)
    assert "at most 40" in cluster.refusal(body)


def test_a_model_is_enough_and_defaults_are_filled_in(cluster):
    cluster.apply(resource("least"))
    spec = cluster.get("lps", "least")["spec"]
    assert spec["engine"] == {"device": "cpu", "resources": {}, "startTimeout": "10m"}
    assert spec["scaling"]["mode"] == "Router" and spec["scaling"]["min"] == 1
    assert spec["rollout"] == {"strategy": "Auto", "maxSurge": 1, "drainTimeout": "5m"}
    body = resource("least")
    body["spec"]["model"]["name"] = "other"
    assert "create another resource" in cluster.refusal(body)
    cluster.kubectl("delete", "lps", "least")


def test_the_examples_are_accepted(cluster):
    from cluster import ROOT

    for file in sorted((ROOT / "examples").glob("*.yaml")):
        cluster.kubectl("apply", "--dry-run=server", "-f", file)


def test_explain_has_words_for_people(cluster):
    text = cluster.kubectl("explain", "lps.spec.scaling.min").stdout
    assert "Fewest engines" in text
    columns = cluster.kubectl("get", "crd", "llmprogramservings.llmprogram.dev", "-o",
                              "jsonpath={.spec.versions[0].additionalPrinterColumns[*].name}").stdout
    assert columns.split() == ["Model", "Ready", "Desired", "Available", "Programs", "Age", "Reason", "URL"]
