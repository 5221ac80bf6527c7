#!/usr/bin/env bash
# Installs edgeapp, or another version of it, from the unpacked bundle that this script lies in. Needs no network.
#
#   install.sh [--dry-run] [--downgrade] [--wait-s N] [--root DIR]
#
# The new version is built beside the old one and tried; then one link is switched. On a device that is provisioned the
# service is started anew, and where the new version does not come up within --wait-s (default 120), the device returns
# to the version before and this script ends with status 1. May be killed anywhere and run again.
#   --dry-run     say what would be done, change nothing
#   --downgrade   take a bundle that is older than what is installed
#   --root DIR    install below DIR, for an image: no service is touched
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=deploy/lib.sh
source "$HERE/lib.sh"
BUNDLE=$(dirname "$HERE")
MAY_DOWNGRADE=0 STEPS=7
NEEDED_MB=600

main() {
    read_options --downgrade:MAY_DOWNGRADE --wait-s:WAIT_S= -- "$@"
    need_root
    step "looking at the bundle"
    check_bundle
    step "looking at this machine"
    check_machine
    check_direction
    take_lock
    step "building $ID"
    build_version
    step "trying $ID"
    try_version
    step "switching to $ID"
    keep_previous
    forget_verdict
    switch_to "$ID"
    step "waiting for $ID to come up"
    come_up_or_return
    step "tidying up"
    remove_old_versions
    if [ "$DRY_RUN" -eq 1 ]; then
        say "nothing was changed"
    elif [ "$HAS_CHANGED" -eq 0 ]; then
        say "$ID was installed already; nothing was changed"
    elif is_provisioned; then
        say "$ID is installed and runs"
    else
        say "$ID is installed. Next: $OPT/current/deploy/provision.sh"
    fi
}

bundle_value() { sed -n "s/^$1=//p" "$BUNDLE/BUNDLE"; }

# Every file is there, as it was when the bundle was made, and none besides.
check_bundle() {
    [ -f "$BUNDLE/MANIFEST" ] || die "$BUNDLE: expected an unpacked bundle, found no MANIFEST in it"
    local there listed
    there=$(cd "$BUNDLE" && find . -type f ! -path ./MANIFEST -printf '%P\n' | sort)
    listed=$(sed 's/^[0-9a-f]\{64\}  //' "$BUNDLE/MANIFEST" | sort)
    [ "$there" = "$listed" ] || die "$BUNDLE: files are missing, or there are others than in MANIFEST:
$(diff <(echo "$listed") <(echo "$there") | grep '^[<>]')"
    (cd "$BUNDLE" && sha256sum --quiet --strict --check MANIFEST) ||
        die "$BUNDLE: the files above are damaged: copy the bundle again"
    [ "$(bundle_value format)" = 1 ] || die "$BUNDLE/BUNDLE: expected format 1, found '$(bundle_value format)'"
    VERSION=$(bundle_value version)
    ID="$VERSION-$(sha256sum "$BUNDLE/MANIFEST" | cut -c 1-8)"
}

check_machine() {
    local missing=() found program free_mb
    for program in "$PYTHON" systemd-sysusers systemd-tmpfiles systemctl sha256sum flock cmp; do
        command -v "$program" >/dev/null || missing+=("$program")
    done
    [ ${#missing[@]} -eq 0 ] || die "these programs are missing: ${missing[*]} (Debian packages python3, systemd)"
    found=$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    [ "$found" = "$(bundle_value python)" ] ||
        die "the bundle is for Python $(bundle_value python), $PYTHON is $found: take the bundle for $found"
    [ "$(uname -m)" = "$(bundle_value arch)" ] ||
        die "the bundle is for $(bundle_value arch), this machine is $(uname -m): take another bundle"
    "$PYTHON" -c 'import venv, zlib, ssl' 2>/dev/null || die "$PYTHON lacks modules: apt-get install libpython3-stdlib"
    [ -d "$OPT/versions/$ID" ] && return
    free_mb=$(df --output=avail --block-size=1M "$(nearest_folder "$OPT")" | tail -n 1)
    [ "$free_mb" -ge "$NEEDED_MB" ] || die "$OPT: expected $NEEDED_MB MB of free space, found $free_mb"
}

nearest_folder() {
    local folder=$1
    while [ ! -d "$folder" ]; do folder=$(dirname "$folder"); done
    printf '%s' "$folder"
}

check_direction() {
    local current newest
    current=$(version_at current)
    current=${current%-*}
    [ -n "$current" ] && [ "$current" != "$VERSION" ] || return 0
    newest=$(printf '%s\n' "$current" "$VERSION" | sort --version-sort | tail -n 1)
    [ "$newest" = "$VERSION" ] || [ "$MAY_DOWNGRADE" -eq 1 ] ||
        die "$VERSION is older than $current, which is installed; if that is meant: --downgrade"
}

# A version's folder is whole or not there: it is built under another name.
build_version() {
    local leftover
    for leftover in "$OPT"/versions/.*.new; do remove "$leftover"; done
    [ -d "$OPT/versions/$ID" ] || act make_version "$OPT/versions/.$ID.new" "$OPT/versions/$ID"
}

# shellcheck disable=SC2317,SC2329  # act calls it
make_version() {
    local unfinished=$1 final=$2 place="/opt/edgeapp/versions/$ID" pip script
    mkdir -p "$unfinished"
    # Debian's own packages (python3-picamera2) are seen, but what is pinned comes from the bundle.
    "$PYTHON" -m venv --without-pip --system-site-packages "$unfinished"
    pip=$(echo "$BUNDLE"/wheels/pip-*.whl)
    (cd "$BUNDLE" && env --ignore-environment PATH="$PATH" LC_ALL="$LC_ALL" HOME=/nonexistent PIP_CONFIG_FILE=/dev/null \
        "$unfinished/bin/python" "$pip/pip" install --quiet --no-index --find-links wheels --require-hashes --no-deps \
        --ignore-installed --no-compile --no-cache-dir --root-user-action=ignore --requirement requirements.txt)
    for script in "$unfinished"/bin/*; do
        [ -L "$script" ] || sed --in-place "s|$unfinished|$place|g" "$script"
    done
    sed --in-place "s|$unfinished|$place|g" "$unfinished/pyvenv.cfg"
    # The service may write nothing here, so what is compiled is compiled now.
    "$unfinished/bin/python" -m compileall -q -j 0 -s "$unfinished" -p "$place" "$unfinished/lib" >/dev/null || true
    cp -r "$BUNDLE/deploy" "$BUNDLE/systemd" "$unfinished/"
    [ ! -d "$BUNDLE/model" ] || cp -r "$BUNDLE/model" "$unfinished/"
    mkdir -p "$unfinished/share/edgeapp" "$unfinished/share/doc/edgeapp"
    cp "$BUNDLE/config.yaml" "$unfinished/share/edgeapp/"
    cp "$BUNDLE"/docs/*.md "$unfinished/share/doc/edgeapp/"
    sync --file-system "$unfinished"
    mv --no-target-directory "$unfinished" "$final"
    sync "$OPT/versions"
}

# Before anything is switched: it starts, its libraries work here, and it takes this device's configuration and model.
try_version() {
    local python="$OPT/versions/$ID/bin/python" said
    [ "$DRY_RUN" -eq 0 ] && [ "$(version_at current)" != "$ID" ] || return 0
    said=$("$python" -m edgeapp.cli --version 2>&1) || true
    [ "$said" = "edgeapp $VERSION" ] || die "$ID does not start, nothing was switched: $said"
    [ ! -f "$CONFIG" ] || said=$("$python" -m edgeapp.cli check-config "$CONFIG" 2>&1) ||
        die "$ID refuses the configuration, nothing was switched:
$said"
    said=$("$python" -m edgeapp.cli doctor --config "$CONFIG" --json 2>&1) || true  # what else fails is not the version's
    said=$(printf '%s' "$said" | "$python" -c '
import json, sys
for check in json.load(sys.stdin)["checks"]:
    if check["level"] == "fail" and check["name"] in ("board", "runtime", "model"):
        print(check["name"] + ": " + check["found"])
' 2>/dev/null) || die "$ID cannot be tried, nothing was switched: its doctor does not answer"
    [ -z "$said" ] || die "$ID does not work here, nothing was switched:
$said"
}

# Which version to return to is settled before the switch, and not changed on the way back: it may end anywhere.
keep_previous() {
    local current
    current=$(version_at current)
    [ -z "$current" ] || [ "$current" = "$ID" ] || link "versions/$current" "$OPT/previous"
}

# A version that came up when it was here before is to show it anew.
forget_verdict() {
    [ "$(version_at current)" = "$ID" ] || remove "$OPT/versions/$ID/came-up"
}

# The link first: what the units say belongs to what it points to, and the next run places them if this one ends here.
switch_to() {
    HAD_FRAMES=0
    ! is_running || [ "$(status_value frames_inferred)" -eq 0 ] || HAD_FRAMES=1
    link "versions/$1" "$OPT/current"
    link /opt/edgeapp/current/bin/edgeapp "$ROOT/usr/local/bin/edgeapp"
    if [ "$DRY_RUN" -eq 1 ]; then
        place_units "$BUNDLE"
    else
        place_units "$OPT/versions/$1"
    fi
}

is_running() { has_systemd && [ "$(unit_value SubState)" = running ] && [ -n "$(status_value frames_inferred)" ]; }

come_up_or_return() {
    local mark="$OPT/versions/$ID/came-up" previous
    if ! has_systemd || ! is_provisioned || [ -f "$mark" ]; then
        return 0
    fi
    act restart_services
    [ "$DRY_RUN" -eq 0 ] || return 0
    if came_up "$VERSION" "$HAD_FRAMES" "$WAIT_S"; then
        touch "$mark"
        return 0
    fi
    local why=$WHY
    previous=$(version_at previous)
    if [ -z "$previous" ] || [ "$previous" = "$ID" ]; then
        die "$ID does not come up: $why. There is no version to return to. See: journalctl -u edgeapp -u edgeapp-vision"
    fi
    say "$ID does not come up: $why. Returning to $previous"
    switch_to "$previous"
    restart_services
    if came_up "${previous%-*}" 0 "$WAIT_S"; then
        die "$ID does not come up: $why. $previous runs again. See: journalctl -u edgeapp -u edgeapp-vision"
    fi
    die "$ID does not come up: $why. $previous is back, but does not come up either: $WHY. See: journalctl -u edgeapp"
}

remove_old_versions() {
    local folder
    for folder in "$OPT"/versions/*; do
        case ${folder##*/} in
            "$(version_at current)" | "$(version_at previous)" | "$ID" | '*') ;;
            *) remove "$folder" ;;
        esac
    done
}

main "$@"
exit
