#!/usr/bin/env bash
# Makes an installed edgeapp this site's device: asks who it is, where its camera and its broker are, tries each answer
# for real, and only then writes configuration and credentials, starts the service and leaves an acceptance sheet.
#
#   provision.sh [--answers FILE] [--set KEY=VALUE]... [--dry-run] [--wait-s N] [--root DIR]
#
# Where something fails, the device stays as it was. May be killed anywhere and run again; run again with the same
# answers it tries everything once more and changes nothing.
#   --answers FILE   KEY=value lines instead of questions; `provision.sh --keys` lists the keys
#   --set KEY=VALUE  the answers of last time (or those of FILE) with this one changed, instead of questions
#   --dry-run        try the answers, change nothing
#   --wait-s N       how long the service may take to come up (default 120)
#   --root DIR       provision below DIR, for an image: nothing is tried and no sheet is written
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=deploy/lib.sh
source "$HERE/lib.sh"
# shellcheck source=deploy/answers.sh
source "$HERE/answers.sh"
WANTS_KEYS=0 STEPS=6 HAS_STOPPED=0 NEEDS_RESTART=0
SECRETS=(broker-ca.pem device-cert.pem device-key.pem mqtt-password)

main() {
    read_options --answers:ANSWERS= --set:CHANGES+ --keys:WANTS_KEYS --wait-s:WAIT_S= -- "$@"
    if [ "$WANTS_KEYS" -eq 1 ]; then
        list_keys
        exit 0
    fi
    need_root
    DEVICE_PYTHON="$OPT/current/bin/python"
    KEPT="$ETC/provisioned.answers"
    CAMERA_NETWORK="$ROOT/etc/systemd/system/edgeapp-vision.service.d/rtsp.conf"
    UNFINISHED="$RUN/edgeapp-provision.answers"
    STAGE="$RUN/edgeapp-provision"
    INCOMING="$STATE/models/.incoming"
    if [ "$DRY_RUN" -eq 1 ]; then STAGE+=-dry INCOMING+=-dry; fi
    [ -x "$DEVICE_PYTHON" ] || die "$OPT/current: expected an installed edgeapp, found none: run install.sh first"
    take_lock
    trap 'tidy' EXIT
    step "the answers"
    find_answers
    step "preparing"
    stage
    step "trying the answers"
    try_answers
    step "writing configuration and credentials"
    commit
    step "starting the service"
    start
    step "the acceptance sheet"
    write_sheet
    if [ "$DRY_RUN" -eq 1 ]; then
        say "nothing was changed"
    elif [ "$HAS_CHANGED" -eq 0 ]; then
        say "this device was provisioned so already; nothing was changed"
    fi
}

# shellcheck disable=SC2317,SC2329  # the trap calls it
# What was prepared goes, however this ends, and what was stopped to try a camera is started again.
tidy() {
    rm -rf "$STAGE" "$INCOMING"
    [ "$HAS_STOPPED" -eq 0 ] || systemctl start --no-block "${UNITS[@]}"
}

# --- preparing -------------------------------------------------------------------------------------------------------

# All that would be written, in memory (/run), and a configuration to try it with.
stage() {
    rm -rf "$STAGE" "$INCOMING"
    mkdir -p "$RUN"
    mkdir --mode=0700 "$STAGE" "$STAGE/credentials"
    take_file BROKER_CA_FILE credentials/broker-ca.pem
    take_file BROKER_CERT_FILE credentials/device-cert.pem
    take_file BROKER_KEY_FILE credentials/device-key.pem
    if [ -n "$PASSWORD" ]; then
        (umask 077 && printf '%s\n' "$PASSWORD" >"$STAGE/credentials/mqtt-password")
        ANSWER[BROKER_PASSWORD_FILE]=mqtt-password # which file, keep_answers says
    else
        take_file BROKER_PASSWORD_FILE credentials/mqtt-password
    fi
    take_file ROOT_FILE 1.root.json
    stage_camera_network
    stage_model
    stage_config
}

# For a network camera: the addresses that vision may reach, which are the camera's and no other. Vision has no name
# server, so a name is refused, with the address that it has now.
stage_camera_network() {
    local address
    [ "${ANSWER[CAMERA_KIND]}" = rtsp ] || return 0
    address=$("$DEVICE_PYTHON" - "${ANSWER[CAMERA_SOURCE]}" 2>&1 <<'PYTHON'
import ipaddress, socket, sys
from urllib.parse import urlsplit
try:
    host = urlsplit(sys.argv[1]).hostname or ""
    print(ipaddress.ip_address(host))
except ValueError:
    try:
        now = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0]
    except (OSError, UnicodeError):
        now = "unknown"
    sys.exit(f"expected an IP address in place of the name {host!r}, whose address is {now}: vision has no name server")
PYTHON
    ) || die "CAMERA_SOURCE: $address"
    sed "s/@ADDRESS@/$address/" "$OPT/current/systemd/edgeapp-vision-rtsp.conf" >"$STAGE/rtsp.conf"
}

# take_file KEY NAME: the file that KEY names becomes NAME among what is prepared.
take_file() {
    [ -n "${ANSWER[$1]}" ] || return 0
    local path
    path=$(named_by "$1")
    [ -f "$path" ] || die "$1: expected a file, found none at $path"
    install --mode=0600 "$path" "$STAGE/$2"
}

# named_by KEY: the path that an answer names. Those of last time are places on the device, which may be below --root.
named_by() {
    case ${ANSWER[$1]} in
        /etc/edgeapp/* | /var/lib/edgeapp/*) printf '%s%s' "$ROOT" "${ANSWER[$1]}" ;;
        *) printf '%s' "${ANSWER[$1]}" ;;
    esac
}

# The model's place has the start of its hash in its name, so that a place never gets another content.
stage_model() {
    local said
    said=$("$DEVICE_PYTHON" - "$(named_by MODEL)" 2>&1 <<'PYTHON'
import sys
from pathlib import Path
from edgeapp.errors import ManifestError
from edgeapp.vision.model_folder import read_manifest
try:
    found = read_manifest(Path(sys.argv[1]))
except ManifestError as error:
    sys.exit(str(error))
print(f"{found.name}-{found.version}-{found.model.sha256[:8]}")
PYTHON
    ) || die "MODEL: $said"
    MODEL_NAME=$said
    MODEL_PLACE="$STATE/models/$MODEL_NAME"
    MODEL_TRIED="$MODEL_PLACE"
    [ ! -d "$MODEL_PLACE" ] || return 0
    MODEL_TRIED=$INCOMING
    cp --recursive --dereference "$(named_by MODEL)" "$INCOMING"
    chown -R "0:$(number_of group edgeapp)" "$INCOMING"
    chmod -R u=rwX,g=rX,o= "$INCOMING"
    # Vision is in the group edgeapp by its unit alone.
    sync --file-system "$INCOMING"
}

stage_config() {
    local base="$CONFIG" settings tried said
    settings=(
        "device.id=${ANSWER[DEVICE_ID]}"
        "device.tenant=${ANSWER[TENANT]}"
        "device.groups=${ANSWER[GROUPS]}"
        "camera.kind=${ANSWER[CAMERA_KIND]}"
        "camera.source=${ANSWER[CAMERA_SOURCE]}"
        "inference.model_dir=/var/lib/edgeapp/models/$MODEL_NAME"
        "mqtt.host=${ANSWER[BROKER_HOST]}"
        "mqtt.port=${ANSWER[BROKER_PORT]}"
        "mqtt.username=${ANSWER[BROKER_USER]}"
        "mqtt.password_file=$(credential mqtt-password)"
        "mqtt.tls.enabled=$([ "${ANSWER[BROKER_TLS]}" = yes ] && echo true || echo false)"
        "mqtt.tls.ca_file=$(credential broker-ca.pem)"
        "mqtt.tls.cert_file=$(credential device-cert.pem)"
        "mqtt.tls.key_file=$(credential device-key.pem)"
        "vision.socket=/run/edgeapp/vision.sock"
        "updates.enabled=$([ -n "${ANSWER[ROOT_FILE]}" ] && echo true || echo false)"
        "updates.root_file=${ANSWER[ROOT_FILE]:+/etc/edgeapp/1.root.json}"
    )
    if [ ! -f "$base" ]; then
        base="$OPT/current/share/edgeapp/config.yaml"
        settings+=("counting.lines=" "counting.zones=") # the shipped ones are examples
    fi
    said=$("$DEVICE_PYTHON" -m edgeapp.cli configure "$base" "${settings[@]}" 2>&1 >"$STAGE/config.yaml") ||
        die "these answers cannot be used: $said"
    tried=("inference.model_dir=$MODEL_TRIED")
    [ ! -f "$STAGE/1.root.json" ] || tried+=("updates.root_file=$STAGE/1.root.json")
    "$DEVICE_PYTHON" -m edgeapp.cli configure "$STAGE/config.yaml" "${tried[@]}" >"$STAGE/tried.yaml"
}

credential() { [ ! -f "$STAGE/credentials/$1" ] || printf '/etc/edgeapp/credentials/%s' "$1"; }

# --- trying ----------------------------------------------------------------------------------------------------------

# The secrets are handed over as systemd does it for the service (edgeapp/system/credentials.py).
try_answers() {
    local name
    if [ -n "$ROOT" ]; then
        say "    not below --root: run provision.sh again on the device"
        return 0
    fi
    free_camera
    mkdir "$STAGE/handed"
    for name in "${SECRETS[@]}"; do
        [ ! -f "$STAGE/credentials/$name" ] || cp --preserve=mode "$STAGE/credentials/$name" "$STAGE/handed/edgeapp_$name"
    done
    local is_fit=1
    CREDENTIALS_DIRECTORY="$STAGE/handed" "$DEVICE_PYTHON" -m edgeapp.cli doctor --config "$STAGE/tried.yaml" \
        >"$STAGE/said" 2>&1 || is_fit=0
    # What was tried gets the name of its place.
    sed -e "s|$STAGE/tried.yaml|$CONFIG|" -e "s|$STAGE/1.root.json|$ETC/1.root.json|" -e "s|$INCOMING|$MODEL_PLACE|" \
        "$STAGE/said" >"$STAGE/checks"
    if [ "$is_fit" -eq 0 ]; then
        cat "$STAGE/checks"
        die "what says FAIL must be right before the device can be accepted; nothing was changed"
    fi
    cat "$STAGE/checks"
}

# The doctor leaves the camera of a running service alone, so for another camera the service must make way.
free_camera() {
    if [ "$(camera)" = "$OLD_CAMERA" ] || ! has_systemd || ! systemctl --quiet is-active "$SERVICE"; then
        return 0
    fi
    if [ "$DRY_RUN" -eq 1 ]; then
        say "    the camera is not tried, since the service runs with another one"
        return 0
    fi
    say "    stopping the service, to try another camera"
    HAS_STOPPED=1
    stop_services
}

# --- writing ---------------------------------------------------------------------------------------------------------

# The configuration last: until then the old one holds.
commit() {
    local name
    if [ ! -d "$MODEL_PLACE" ]; then
        act mv --no-target-directory "$INCOMING" "$MODEL_PLACE"
        sync "$STATE/models"
    fi
    if [ ! -d "$CREDENTIALS" ]; then act mkdir --parents --mode=0700 "$CREDENTIALS"; fi
    for name in "${SECRETS[@]}"; do
        [ ! -f "$STAGE/credentials/$name" ] || place "$STAGE/credentials/$name" "$CREDENTIALS/$name" 0600
    done
    [ ! -f "$STAGE/1.root.json" ] || place "$STAGE/1.root.json" "$ETC/1.root.json" 0444
    place_camera_network
    # Everybody may read it, but where a stream's address has a password in it.
    if [[ ${ANSWER[CAMERA_SOURCE]} == *://*@* ]]; then
        place "$STAGE/config.yaml" "$CONFIG" 0640 root edgeapp
    else
        place "$STAGE/config.yaml" "$CONFIG" 0644
    fi
    for name in "${SECRETS[@]}"; do
        [ -f "$STAGE/credentials/$name" ] || remove "$CREDENTIALS/$name"
    done
    NEEDS_RESTART=$HAS_CHANGED
    keep_answers
}

place_camera_network() {
    if [ -f "$STAGE/rtsp.conf" ]; then
        place "$STAGE/rtsp.conf" "$CAMERA_NETWORK" 0644
    else
        remove "$CAMERA_NETWORK"
    fi
    ! has_systemd || [ "$DRY_RUN" -eq 1 ] || systemctl daemon-reload
}

# For the next run, which finds them as defaults: files by the place that they have now.
keep_answers() {
    ANSWER[MODEL]="/var/lib/edgeapp/models/$MODEL_NAME"
    ANSWER[ROOT_FILE]="${ANSWER[ROOT_FILE]:+/etc/edgeapp/1.root.json}"
    ANSWER[BROKER_CA_FILE]=$(credential broker-ca.pem)
    ANSWER[BROKER_CERT_FILE]=$(credential device-cert.pem)
    ANSWER[BROKER_KEY_FILE]=$(credential device-key.pem)
    ANSWER[BROKER_PASSWORD_FILE]=$(credential mqtt-password)
    print_answers >"$STAGE/answers"
    place "$STAGE/answers" "$KEPT" 0600
    [ "$DRY_RUN" -eq 1 ] || rm -f "$UNFINISHED"
}

# --- starting --------------------------------------------------------------------------------------------------------

# The service is started anew where it runs with something older than what is there now, or does not run.
start() {
    local unit
    for unit in "${UNITS[@]}"; do
        systemctl --quiet ${ROOT:+--root="$ROOT"} is-enabled "$unit" 2>/dev/null ||
            act systemctl --quiet ${ROOT:+--root="$ROOT"} enable "$unit"
    done
    has_systemd || return 0
    if [ "$NEEDS_RESTART" -eq 1 ] || ! runs_as_written; then act restart_services; fi
    [ "$DRY_RUN" -eq 0 ] || return 0
    HAS_STOPPED=0
    came_up "$(installed_number)" 1 "$WAIT_S" ||
        die "the answers are right, but the service does not come up: $WHY. See: journalctl -u edgeapp -u edgeapp-vision"
    [ -f "$OPT/current/came-up" ] || act touch "$OPT/current/came-up"
    wait_for_broker
}

installed_number() {
    local id
    id=$(version_at current)
    printf '%s' "${id%-*}"
}

# Whether the service was started after all that it reads was written, in a run before this one.
runs_as_written() {
    local started file
    [ "$(unit_value SubState)" = running ] || return 1
    started=$(systemctl show --timestamp=us --property=ExecMainStartTimestamp --value "$SERVICE")
    started=$(date --date="$started" +%s.%N)
    for file in "$CONFIG" "$ETC/1.root.json" "$CAMERA_NETWORK" "$CREDENTIALS" "$CREDENTIALS"/*; do
        # ctime: a file that is moved into place keeps its mtime.
        if [ -e "$file" ] && awk "BEGIN {exit !($(stat --format=%.9Z "$file") >= $started)}"; then return 1; fi
    done
}

wait_for_broker() {
    local until=$((SECONDS + 30))
    until [ "$(status_value is_connected)" = True ]; do
        [ "$SECONDS" -lt "$until" ] ||
            die "the service runs, but is not connected to the broker; edgeapp status says: $(status_value broker_error)"
        sleep 0.5
    done
}

# --- the sheet -------------------------------------------------------------------------------------------------------

# A new sheet where something was changed, or where answers, version or verdicts are others than on the last one. What
# `basis` is made of has no secret in it.
write_sheet() {
    local folder="$STATE/acceptance" basis last
    if [ -n "$ROOT" ] || [ "$DRY_RUN" -eq 1 ]; then
        say "    none"
        return 0
    fi
    basis=$({
        cat "$STAGE/answers" "$STAGE/config.yaml"
        version_at current
        verdicts
    } | sha256sum | cut -c 1-64)
    last=$([ ! -d "$folder" ] || find "$folder" -name 'acceptance-*.txt' | sort | tail -n 1)
    if [ "$HAS_CHANGED" -eq 0 ] && [ -n "$last" ] && [ "$(sed -n 's/^basis *//p' "$last")" = "$basis" ]; then
        cat "$last"
        return 0
    fi
    print_sheet "$basis" >"$STAGE/sheet"
    [ -d "$folder" ] || act install --directory --mode=0750 --group="$(number_of group edgeapp)" "$folder"
    last="$folder/acceptance-$(date --utc +%Y-%m-%dT%H%M%SZ).txt"
    place "$STAGE/sheet" "$last" 0640 root edgeapp
    cat "$last"
    say "kept as $last"
}

verdicts() { sed -n -E 's/^(ok|WARN|FAIL) +([a-z_]+) .*/\1 \2/p' "$STAGE/checks"; }

print_sheet() {
    local warnings root_of_trust="none: follows no update commands"
    warnings=$(verdicts | grep -c '^WARN' || true)
    [ ! -f "$ETC/1.root.json" ] || root_of_trust="sha256 $(sha256sum "$ETC/1.root.json" | cut -c 1-64)"
    cat <<SHEET
edgeapp acceptance sheet

verdict      ACCEPTED$([ "$warnings" -eq 0 ] || echo ", with warnings: $warnings")
date         $(date --utc '+%Y-%m-%d %H:%M:%S UTC')
technician   ${ANSWER[TECHNICIAN]}
location     ${ANSWER[LOCATION]}
device       ${ANSWER[TENANT]}/${ANSWER[DEVICE_ID]}
groups       ${ANSWER[GROUPS]:-none}
edgeapp      $(version_at current)
system       $(sed -n 's/^PRETTY_NAME="\(.*\)"/\1/p' /etc/os-release), $(uname -rm)
model        $MODEL_NAME
camera       ${ANSWER[CAMERA_KIND]}, $(without_password "${ANSWER[CAMERA_SOURCE]}")
broker       ${ANSWER[BROKER_HOST]}:${ANSWER[BROKER_PORT]}, TLS: ${ANSWER[BROKER_TLS]}
trust        $root_of_trust
basis        $1

What was tried before the start

$(cat "$STAGE/checks")

How it runs

$("$DEVICE_PYTHON" -m edgeapp.cli status --config "$CONFIG" 2>&1 || true)
SHEET
}

without_password() { sed -E 's|(//)[^/@]*@|\1***@|' <<<"$1"; }

main "$@"
exit
