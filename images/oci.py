#!/usr/bin/env python3
"""Packs our programs as OCI archives, without a build tool and without a registry.

    images/oci.py --out DIR --version V [--revision R] [--bin DIR] [--libtorch DIR] [--tools FILE] [--model DIR] NAME...

NAME is operator, router, engine-cpu, engine-cuda (programs of --bin; the last with liblps_cuda.so), tools (the static `lps` of --tools) or model (a
checkpoint's folder, and nothing else: what `spec.model.source.image` names). DIR/lps-NAME.tar is an OCI layout (and a docker archive besides)
that `ctr images import`, `podman load`, `docker load` and `skopeo copy oci-archive:…` read. The same programs give the
same bytes. Layers are not compressed, so that a digest does not hang on a compressor; who pushes compresses.

Layers, lowest first: `base` (the C library, users, /tmp; the same for all), `libtorch` (engines only), the program.
Owns: what an image has inside. Knows nothing of what the programs do.
"""

import argparse
import functools
import hashlib
import io
import json
import pathlib
import platform
import re
import subprocess
import tarfile
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
USER = 65532
EPOCH = "1970-01-01T00:00:00Z"
LIBRARIES = "usr/lib64"
# What a program of ours may link beside libtorch. One list for all images: then they share the layer.
BASE = ["libc.so.6", "libm.so.6", "libgcc_s.so.1", "libstdc++.so.6", "libpthread.so.0", "libdl.so.2", "librt.so.1",
        "libutil.so.1", "ld-linux-x86-64.so.2"]
PACKAGES = ["libc6", "libgcc-s1", "libstdc++6"]
FOLDERS = ["/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64"]
CERTIFICATES = pathlib.Path("/etc/ssl/certs/ca-certificates.crt")
# The driver's own library comes with the node.
FROM_THE_NODE = {"libcuda.so.1", "libnvidia-ml.so.1"}

DESCRIPTIONS = {
    "operator": "Turns LLMProgramServing resources into engine pods.",
    "router": "OpenAI-compatible router that schedules programs of LLM calls on engines.",
    "tools": "Brings models to engines: lps model pull and copy.",
    "engine-cpu": "Engine on libtorch, for the CPU.",
    "engine-cuda": "Engine on libtorch, for CUDA.",
    "model": "A checkpoint, for spec.model.source.image.",
}


class Layer:
    """A tar of files; sorted, of root, without times."""

    def __init__(self, file):
        self.file, self.entries = file, {}

    def put(self, path, data, mode=0o644):
        info = tarfile.TarInfo(path)
        info.mode = mode
        self.entries[path] = (info, data)

    def folder(self, path, mode=0o755):
        info = tarfile.TarInfo(path)
        info.type, info.mode = tarfile.DIRTYPE, mode
        self.entries[path] = (info, None)

    def link(self, path, target):
        info = tarfile.TarInfo(path)
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, target, 0o777
        self.entries[path] = (info, None)

    def close(self):
        """Writes the tar; returns its digest and length."""
        for path in list(self.entries):
            for parent in list(pathlib.PurePosixPath(path).parents)[:-1]:
                if str(parent) not in self.entries:
                    self.folder(str(parent))
        with tarfile.open(self.file, "w", format=tarfile.GNU_FORMAT) as tar:
            for _, (info, data) in sorted(self.entries.items()):
                if isinstance(data, pathlib.Path):
                    info.size = data.stat().st_size
                    with data.open("rb") as source:
                        tar.addfile(info, source)
                elif data is not None:
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
                else:
                    tar.addfile(info)
        digest = hashlib.sha256()
        with self.file.open("rb") as written:
            while piece := written.read(1 << 20):
                digest.update(piece)
        return f"sha256:{digest.hexdigest()}", self.file.stat().st_size


def linked(program, folders=()):
    """The libraries that a program or library links, by name; None for those that are not found."""
    environment = {"PATH": "/usr/bin:/bin", "LD_LIBRARY_PATH": ":".join(map(str, folders))}
    text = subprocess.run(["ldd", program], check=True, capture_output=True, text=True, env=environment).stdout
    found = {}
    for line in text.splitlines():
        if match := re.match(r"\s*(?:(\S+) => )?(not found|/\S+)", line):
            path = None if match[2] == "not found" else pathlib.Path(match[2])
            found[match[1].rsplit("/")[-1] if match[1] else path.name] = path
    return found


def folders_of(libtorch):
    """Where a folder that pip has filled has its libraries: libtorch's own, and CUDA's."""
    return [libtorch / "torch" / "lib", *sorted(libtorch.glob("nvidia/*/lib")), *sorted(libtorch.glob("*/lib"))]


def base(file):
    layer = Layer(file)
    layer.folder("tmp", 0o1777)
    layer.link("bin", "usr/bin")
    layer.link("lib", "usr/lib")
    layer.link("lib64", LIBRARIES)
    layer.link("usr/lib/x86_64-linux-gnu", "../lib64")  # some loaders look here, others there
    layer.put("etc/passwd", f"root:x:0:0:root:/:/sbin/nologin\nnonroot:x:{USER}:{USER}::/tmp:/sbin/nologin\n".encode())
    layer.put("etc/group", f"root:x:0:\nnonroot:x:{USER}:\n".encode())
    layer.put("etc/nsswitch.conf", b"hosts: files dns\n")
    layer.put("usr/share/licenses/lps/LICENSE", HERE.parent / "LICENSE")
    for name in BASE:
        at = next((p for folder in FOLDERS if (p := pathlib.Path(folder, name)).exists()), None)
        if at is None:
            raise SystemExit(f"oci: no {name} in {', '.join(FOLDERS)}")
        layer.put(f"{LIBRARIES}/{name}", at.resolve(), 0o755)
    for package in PACKAGES:
        terms = pathlib.Path("/usr/share/doc", package, "copyright")
        if terms.exists():
            layer.put(f"usr/share/licenses/{package}/copyright", terms.resolve())
    return layer.close()


def libtorch(file, program, folder, device):
    layer = Layer(file)
    if device == "cuda":
        folders = folders_of(folder)
        missing = {name for name, at in linked(folder / "torch/lib/libtorch_cuda.so", folders).items() if at is None}
        if missing - FROM_THE_NODE:
            raise SystemExit(f"oci: {folder} has no CUDA libraries for libtorch_cuda.so: {', '.join(sorted(missing))}; "
                             "install torch with its dependencies into a folder of its own and name it by --libtorch")
        libraries = {at.name: at for one in folders for at in one.glob("lib*.so*") if at.name != "libtorch_python.so"}
    else:
        libraries = {name: at for name, at in linked(program, folders_of(folder)).items() if at and at.is_relative_to(folder)}
    for name, at in libraries.items():
        layer.put(f"{LIBRARIES}/{name}", at.resolve(), 0o755)
    for terms in sorted(folder.glob("*.dist-info/**/*")):
        if terms.is_file() and re.match("LICENSE|NOTICE|License", terms.name):
            layer.put(f"usr/share/licenses/{terms.relative_to(folder)}", terms)
    return layer.close()


def program(file, at, scratch, options, device):
    """Debugging information goes, names of functions stay. What speaks to the world brings whom it trusts."""
    folder = options.libtorch
    links = linked(at, folders_of(folder))
    foreign = [name for name, path in links.items() if name not in BASE and not (path and path.is_relative_to(folder))]
    if foreign:
        raise SystemExit(f"oci: {at} links {', '.join(foreign)}, which no layer has: add it to BASE in images/oci.py")
    stripped = scratch / at.name
    subprocess.run(["strip", "--strip-debug", "-o", stripped, at], check=True)
    layer = Layer(file)
    layer.put(f"usr/bin/{at.name}", stripped, 0o755)
    if device == "cuda":
        half = at.with_name("liblps_cuda.so")
        if not half.exists():
            raise SystemExit(f"oci: no {half}; `make cuda` builds it")
        layer.put(f"{LIBRARIES}/{half.name}", half, 0o755)
    if at.name == "lps":
        if not CERTIFICATES.exists():
            raise SystemExit(f"oci: no {CERTIFICATES}; install ca-certificates")
        layer.put(str(CERTIFICATES).lstrip("/"), CERTIFICATES)
    return layer.close()


def must_be_static(at):
    """It is copied into images that need not have any library."""
    if names := linked(at):
        raise SystemExit(f"oci: {at} links {', '.join(names)}, but it runs inside users' images: "
                         "give --tools what scripts/static-lps.sh builds")


def checkpoint(file, folder):
    if not (folder / "config.json").is_file():
        raise SystemExit(f"oci: {folder} has no config.json: --model names the folder of a checkpoint")
    layer = Layer(file)
    for one in folder.iterdir():
        if one.is_file() and not one.name.startswith("."):
            layer.put(f"model/{one.name}", one.resolve())
    return layer.close()


def pretty(value):
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()


def described(data, media):
    return {"mediaType": media, "digest": "sha256:" + hashlib.sha256(data).hexdigest(), "size": len(data)}


def archive(out, name, layers, entry, options):
    """Writes the archive; `layers` are (digest, length, file)."""
    reference = f"localhost/lps-{name}:{options.version}"
    variables = ["PATH=/usr/bin"]
    if name == "engine-cuda":
        variables.append("NVIDIA_DRIVER_CAPABILITIES=compute,utility")
    labels = {"title": f"lps-{name}", "description": DESCRIPTIONS[name], "version": options.version,
              "revision": options.revision}
    if name != "model":  # which has terms of its own
        labels |= {"licenses": "Apache-2.0", "vendor": "lps"}
    configuration = pretty({
        "architecture": "amd64", "os": "linux", "created": EPOCH,
        "config": {"User": f"{USER}:{USER}", "Entrypoint": entry, "Env": variables, "WorkingDir": "/",
                   "Labels": {f"org.opencontainers.image.{key}": value for key, value in labels.items() if value}},
        "rootfs": {"type": "layers", "diff_ids": [digest for digest, _, _ in layers]},
        "history": [{"created": EPOCH, "created_by": "images/oci.py"} for _ in layers],
    })
    kind = "application/vnd.oci.image"
    manifest = pretty({
        "schemaVersion": 2, "mediaType": f"{kind}.manifest.v1+json",
        "config": described(configuration, f"{kind}.config.v1+json"),
        "layers": [{"mediaType": f"{kind}.layer.v1.tar", "digest": digest, "size": size} for digest, size, _ in layers],
    })
    entry_point = described(manifest, f"{kind}.manifest.v1+json")
    entry_point["platform"] = {"architecture": "amd64", "os": "linux"}
    entry_point["annotations"] = {"io.containerd.image.name": reference, "org.opencontainers.image.ref.name": reference}
    index = pretty({"schemaVersion": 2, "mediaType": f"{kind}.index.v1+json", "manifests": [entry_point]})

    def blob(digest):
        return "blobs/sha256/" + digest.removeprefix("sha256:")

    docker = [{"Config": blob(described(configuration, "")["digest"]), "RepoTags": [reference],
               "Layers": [blob(digest) for digest, _, _ in layers]}]
    written = Layer(out)
    written.put("oci-layout", pretty({"imageLayoutVersion": "1.0.0"}))
    written.put("index.json", index)
    written.put("manifest.json", pretty(docker))
    for data in (configuration, manifest):
        written.put(blob(described(data, "")["digest"]), data)
    for digest, _, file in layers:
        written.put(blob(digest), file)
    written.close()
    return reference, entry_point["digest"]


def layers_of(name, options, below, scratch):
    """The layers of an image, lowest first, and its entry point."""
    if name == "model":
        file = scratch / "model.tar"
        return [(*checkpoint(file, given(options, "model")), file)], []
    if name == "tools":
        executable = given(options, "tools")
        must_be_static(executable)
    else:
        executable = given(options, "bin") / f"lps-{name.split('-')[0]}"
    layers = [below()]
    device = name.removeprefix("engine-") if name.startswith("engine") else None
    if device:
        file = scratch / f"{name}-libtorch.tar"
        layers.append((*libtorch(file, executable, options.libtorch, device), file))
    file = scratch / f"{name}.tar"
    layers.append((*program(file, executable, scratch, options, device), file))
    return layers, [f"/usr/bin/{executable.name}"]


def given(options, flag):
    if value := getattr(options, flag):
        return value
    raise SystemExit(f"oci: {' '.join(options.name)} needs --{flag}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    for flag in ("--bin", "--libtorch", "--tools", "--model"):
        parser.add_argument(flag, type=pathlib.Path)
    parser.add_argument("--version", required=True)
    parser.add_argument("--revision", default="")
    parser.add_argument("name", nargs="+", choices=DESCRIPTIONS)
    options = parser.parse_args()
    if platform.machine() != "x86_64":
        raise SystemExit(f"oci: images are for x86_64, this machine is {platform.machine()}: build on another, or by a Containerfile")
    if set(options.name) - {"model"}:
        options.libtorch = given(options, "libtorch").resolve()
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.out, prefix=".scratch-") as scratch:
        scratch = pathlib.Path(scratch)
        below = functools.cache(lambda: (*base(scratch / "base.tar"), scratch / "base.tar"))
        for name in options.name:
            layers, entry = layers_of(name, options, below, scratch)
            partial = scratch / "archive.tar"
            reference, digest = archive(partial, name, layers, entry, options)
            target = options.out / f"lps-{name}.tar"
            partial.rename(target)
            sizes = " + ".join(f"{size / 1e6:.0f}" for _, size, _ in layers)
            print(f"{reference}  {digest}\n  {target}  ({sizes} MB)")


main()
