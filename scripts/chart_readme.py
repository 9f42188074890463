#!/usr/bin/env python3
"""Writes charts/lps/README.md from the comments in charts/lps/values.yaml; with --check it only compares.

A value is a key with a scalar, a list or a map on its own line; the comment above a key says what it is. Knows the
YAML that values.yaml is written in, and refuses what it does not know.
"""

import pathlib
import re
import sys

CHART = pathlib.Path(__file__).resolve().parents[1] / "charts" / "lps"
LINE = re.compile(r"^(?P<indent> *)(?:# (?P<comment>.*)|(?P<key>[A-Za-z]+):(?: (?P<value>.+))?)$")

HEAD = """# The chart `lps`

Generated from `values.yaml` by `make generate`; a test fails when it is out of date.

Operator and router for LLM programs, the definition of the resource `LLMProgramServing`, and what belongs to them:
roles, a Service, network policies, disruption budgets, and, where asked for, monitors and alerts.

```
helm install lps charts/lps --namespace lps-system --create-namespace --wait
kubectl apply -f examples/quickstart.yaml
kubectl wait lps/quickstart --for=condition=Ready --timeout=10m
helm test lps --namespace lps-system
```

No registry has the images yet: `make images` writes them as archives; push them to yours and set `imageRegistry`.
Without Helm: `kubectl apply --server-side -f charts/install.yaml`, the same objects in the namespace `lps-system`.

- **Upgrade**: `helm upgrade` upgrades the resource's definition too. It restarts no engine.
- **Uninstall**: `helm uninstall` ends operator and router. The definition and your resources stay, and so do engines;
  `kubectl delete lps --all -A` before it ends those too. Where the definition is left from a release of another name,
  install with `--take-ownership`, or with `crds.install=false`.
- **One namespace**: `scope=namespaced` makes Roles in place of ClusterRoles. The definition is the only thing outside a
  namespace then; `crds.install=false` where somebody else has put it there.
- **Pod security**: operator, router and engines pass the `restricted` standard; engines with a `hostPath` model, or
  with one that is pulled into `modelCache`, need a namespace whose level is `privileged`.
- **Secrets**: nothing here may read them.

## Values

| value | default | what |
|---|---|---|
"""


def rows(text):
    """(path, default or None for a map of values, comment) of each key that has a comment."""
    path, comment, found = [], [], []
    for number, line in enumerate(text.splitlines(), 1):
        if not line:
            comment = []
            continue
        match = LINE.match(line)
        if not match or len(match["indent"]) % 2:
            raise SystemExit(f"values.yaml:{number}: neither a comment nor KEY: VALUE on one line: {line}")
        if match["comment"]:
            comment.append(match["comment"])
            continue
        path[len(match["indent"]) // 2 :] = [match["key"]]
        if match["value"] and not comment:
            raise SystemExit(f"values.yaml:{number}: {'.'.join(path)} has no comment")
        if comment:
            found.append((".".join(path), match["value"], " ".join(comment)))
        comment = []
    return found


def readme():
    lines = []
    for path, value, comment in rows((CHART / "values.yaml").read_text()):
        default = f"`{value}`" if value else ""
        lines.append(f"| `{path}` | {default} | {comment} |".replace("  ", " "))
    return HEAD + "\n".join(lines) + "\n"


def main():
    file, text = CHART / "README.md", readme()
    present = file.read_text() if file.exists() else ""
    if sys.argv[1:] == ["--check"]:
        if present != text:
            raise SystemExit("charts/lps/README.md is out of date: make generate, look at it and commit it")
    else:
        file.write_text(text)


main()
