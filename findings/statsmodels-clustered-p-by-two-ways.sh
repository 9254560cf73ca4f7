#!/usr/bin/env bash
# statsmodels 0.15.0
#
# Behaviour:
#   OLS with errors clustered by group, asked for in two ways: fit(cov_type="cluster") and
#   fit().get_robustcov_results("cluster"). The coefficients and the standard errors are the same to the last digit; the
#   first takes p from the normal distribution, the second from t with (groups - 1) degrees of freedom.
#   And anova_lm of the first fit uses the clustered errors with typ=2 and ignores them with typ=1.
#
# Seen:
#   slope: errors 0.15846 and 0.15846, p 0.069320 and 0.112170 (8 groups)
#   F of the slope by anova_lm: typ=1 5.61 (of the plain fit: 5.61), typ=2 3.30 (5.61)
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
import pandas as pd
import statsmodels.api as sm
import statsmodels.formula.api as smf

rng = np.random.default_rng(2)
group = np.repeat(np.arange(8), 6)
x = rng.normal(size=48) + rng.normal(size=8)[group]
y = 0.4 * x + rng.normal(size=8)[group] + rng.normal(size=48)
data = pd.DataFrame({"y": y, "x": x, "z": rng.normal(size=48)})
plain = smf.ols("y ~ x + z", data).fit()
one = smf.ols("y ~ x + z", data).fit(cov_type="cluster", cov_kwds={"groups": group})
two = plain.get_robustcov_results("cluster", groups=group)
print(f"errors {one.bse.iloc[1]:.5f} and {two.bse[1]:.5f}, p {one.pvalues.iloc[1]:.6f} and {two.pvalues[1]:.6f}")
f = {typ: [sm.stats.anova_lm(fit, typ=typ)["F"].iloc[0] for fit in (one, plain)] for typ in (1, 2)}
print("F clustered, plain:", {typ: [round(float(value), 2) for value in pair] for typ, pair in f.items()})
sys.exit(
    not (
        np.allclose(one.bse, two.bse)
        and (one.use_t, two.use_t) == (False, True)
        and one.pvalues.iloc[1] < two.pvalues[1] / 1.5
        and np.isclose(*f[1])
        and not np.isclose(*f[2])
    )
)
EOF
