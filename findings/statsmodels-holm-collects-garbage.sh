#!/usr/bin/env bash
# statsmodels 0.15.0
#
# Behaviour:
#   multipletests(method="holm") runs Python's whole garbage collection, gc.collect(), at each call: what a
#   correction of ten p-values costs hangs on how many objects the process holds, and garbage collection that was switched off
#   is done all the same. Its relatives (Holm-Sidak, Hochberg, Hommel), Bonferroni and Benjamini-Hochberg do not.
#
# Seen (whole collections during one correction of ten p-values, garbage collection switched off):
#   holm 1, holm-sidak 0, simes-hochberg 0, hommel 0, bonferroni 0, fdr_bh 0
# Exits 0 while that is so, 1 once it changed.
set -euo pipefail
here="$(mktemp -d)"
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --disable-pip-version-check statsmodels==0.15.0
cd "$here"
"$here/venv/bin/python" - <<'EOF'
import gc
import sys

from statsmodels.stats.multitest import multipletests

METHODS = ("holm", "holm-sidak", "simes-hochberg", "hommel", "bonferroni", "fdr_bh")
pvalues = [0.001 * (place + 1) for place in range(10)]
heard = []
gc.callbacks.append(lambda phase, info: heard.append(info["generation"]) if phase == "start" else None)
gc.disable()
found = {}
for method in METHODS:
    heard.clear()
    multipletests(pvalues, method=method)
    found[method] = heard.count(2)
print(", ".join(f"{method} {count}" for method, count in found.items()))
sys.exit(found != {**dict.fromkeys(METHODS, 0), "holm": 1})
EOF
