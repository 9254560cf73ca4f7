#!/usr/bin/env bash
# statsmodels 0.15.0
#
# Behaviour:
#   A quasi-binomial fit, GLM(family=Binomial()).fit(scale="X2"), of the same data given as (right, wrong) counts and as
#   proportions with var_weights=n has the same coefficients and the same Pearson chi-square, but of counts the dispersion
#   is too small by n, and the standard errors by sqrt(n): 40 items a row make every t value 6.3 times as large.
#
# Seen: pearson_chi2 / df 3.188; scale of counts 0.0797, of proportions 3.188; errors of proportions / of counts
# 6.3246
# Exits 0 while that is so, 1 once it changed.
set -euo pipefail
here="$(mktemp -d)"
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --disable-pip-version-check statsmodels==0.15.0
cd "$here"
"$here/venv/bin/python" - <<'EOF'
import sys

import numpy as np
import statsmodels.api as sm

rng = np.random.default_rng(0)
n, rows = 40, 30
x = sm.add_constant(rng.normal(size=rows))
right = rng.binomial(n, 1 / (1 + np.exp(-0.5 * x[:, 1] - 0.7 * rng.normal(size=rows))))
binomial = sm.families.Binomial()
counts = sm.GLM(np.column_stack([right, n - right]), x, family=binomial).fit(scale="X2")
shares = sm.GLM(right / n, x, family=binomial, var_weights=np.full(rows, n)).fit(scale="X2")
dispersion = counts.pearson_chi2 / counts.df_resid
ratio = shares.bse / counts.bse
print(f"chi-square / df {dispersion:.4f}; scale {counts.scale:.4f} and {shares.scale:.4f}; errors' ratio {ratio}")
sys.exit(
    not (
        np.allclose(counts.params, shares.params)
        and np.allclose([shares.scale, counts.scale], [dispersion, dispersion / n])
        and np.allclose(ratio, np.sqrt(n))
    )
)
EOF
