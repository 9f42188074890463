"""Images: the same programs give the same bytes, and a real kubelet runs them as somebody who is not root."""

import json
import os
import shutil
import subprocess
import tarfile

import pytest

from cluster import BIN, ROOT

NAMES = ["operator", "router", "engine-cpu", "tools"]
ARGUMENTS = {"operator": ["crd"], "router": ["--help"], "engine-cpu": ["--help"], "tools": ["--help"]}
WORDS = {"operator": "kind: CustomResourceDefinition", "router": "Usage: lps-router", "engine-cpu": "Usage: lps-engine",
         "tools": "Usage: lps "}


def pack(folder, *names):
    subprocess.run([ROOT / "scripts" / "images.sh", *names], check=True,
                   env=dict(os.environ, LPS_IMAGES_BIN=str(BIN), LPS_IMAGES_OUT=str(folder)))
    return folder


def inside(archive, name):
    with tarfile.open(archive) as tar:
        return json.load(tar.extractfile(name))


def manifest(archive):
    [one] = inside(archive, "index.json")["manifests"]
    return inside(archive, "blobs/sha256/" + one["digest"].removeprefix("sha256:"))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    yield (folder := pack(tmp_path_factory.mktemp("images"), *NAMES))
    shutil.rmtree(folder)  # pytest would keep half a gigabyte for each of three runs


def test_packing_again_gives_the_same(images, tmp_path):
    pack(tmp_path, "operator", "engine-cpu")
    for name in ("operator", "engine-cpu"):
        first, second = ((folder / f"lps-{name}.tar").read_bytes() for folder in (images, tmp_path))
        assert first == second, name
    shutil.rmtree(tmp_path)


def test_a_new_program_moves_one_small_layer(images):
    layers = {name: [one["digest"] for one in manifest(images / f"lps-{name}.tar")["layers"]] for name in NAMES}
    assert len({one[0] for one in layers.values()}) == 1, "the images share their lowest layer"
    [base, libtorch, program] = manifest(images / "lps-engine-cpu.tar")["layers"]
    assert base["size"] + program["size"] < libtorch["size"] / 4


def test_cuda_without_its_libraries_is_refused_by_their_names(tmp_path):
    done = subprocess.run([ROOT / "scripts" / "images.sh", "engine-cuda"], capture_output=True, text=True,
                          env=dict(os.environ, LPS_IMAGES_BIN=str(BIN), LPS_IMAGES_OUT=str(tmp_path)))
    assert done.returncode != 0 and "libcudnn" in done.stderr and "--libtorch" in done.stderr


def test_tools_that_link_a_library_are_refused(tmp_path):
    """`lps` is copied into images that have no library."""
    done = subprocess.run([ROOT / "images" / "oci.py", "--out", tmp_path, "--version", "t", "--libtorch", tmp_path,
                           "--tools", BIN / "lps", "tools"], capture_output=True, text=True)
    assert done.returncode != 0 and "libc.so.6" in done.stderr and "static-lps.sh" in done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_a_kubelet_runs_it_without_root(cluster, images, name):
    cluster.inside("ctr", "-n", "k8s.io", "images", "import", images / f"lps-{name}.tar")
    [one] = inside(images / f"lps-{name}.tar", "index.json")["manifests"]
    reference = one["annotations"]["org.opencontainers.image.ref.name"]
    assert one["digest"] in cluster.inside("ctr", "-n", "k8s.io", "images", "list", f"name=={reference}").stdout
    # No user is named here: the kubelet reads it from the image.
    container = {"name": "c", "image": reference, "args": ARGUMENTS[name], "imagePullPolicy": "Never",
                 "securityContext": {"runAsNonRoot": True, "readOnlyRootFilesystem": True, "allowPrivilegeEscalation": False,
                                     "capabilities": {"drop": ["ALL"]}}}
    spec = {"backoffLimit": 0, "template": {"spec": {"restartPolicy": "Never", "containers": [container],
                                                     "automountServiceAccountToken": False}}}
    cluster.apply({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": f"image-{name}"}, "spec": spec})
    cluster.kubectl("wait", "--for=condition=Complete", f"job/image-{name}", "--timeout=60s")
    assert WORDS[name] in cluster.kubectl("logs", f"job/image-{name}").stdout
    cluster.kubectl("delete", "job", f"image-{name}")
    cluster.inside("ctr", "-n", "k8s.io", "images", "rm", reference)
