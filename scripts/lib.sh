# Shared by the scripts beside it; sourced, not run.
# shellcheck shell=bash

# The Python to make the environment with: the newest supported one, or the one that PYTHON names.
find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3 python3.13 python3.12 python3.11; do
        if [ -n "$candidate" ] && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            printf '%s\n' "$candidate"
            return 0
        fi
    done
    echo "edgeapp needs Python 3.11 or later; none was found. On Debian 12: apt-get install python3 python3-venv" >&2
    return 2
}

# Make the environment where it is missing or outdated, and put it first on the PATH.
use_environment() {
    local root="$1" python
    python=$(find_python)
    "$python" "$root/scripts/bootstrap.py"
    export PATH="${EDGEAPP_VENV:-$root/.venv}/bin:$PATH"
}

# Install the Debian packages that are missing, or name them. The services they bring are not started.
need_packages() {
    local package missing=()
    export PATH="$PATH:/usr/sbin"
    for package in "$@"; do
        dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed ||
            missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return 0
    if [ "$(id -u)" -ne 0 ]; then
        echo "these Debian packages are needed: sudo apt-get install ${missing[*]}" >&2
        return 2
    fi
    echo "installing ${missing[*]}" >&2
    apt-get -qq update >&2
    # RUNLEVEL=1 keeps a fresh package from starting its service. Where another program installs, it is waited for.
    RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 \
        install -y --no-install-recommends "${missing[@]}" >/dev/null
}
