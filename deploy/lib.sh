# Shared by the scripts beside it; sourced, not run. Each script is a list of steps, each of which looks first and then
# does what is missing: so a script may be killed anywhere and run again.
# shellcheck shell=bash disable=SC2034  # what is set here is used there

# What the scripts own, below --root DIR where it is given.
#   /opt/edgeapp/versions/ID      one installed version each; ID is its number and the start of its bundle's hash
#   /opt/edgeapp/current          the version that runs: the one switch, changed in one step
#   /opt/edgeapp/previous         the version to return to
#   /etc/edgeapp                  config.yaml, credentials/ (root's alone), 1.root.json, provisioned.answers
#   /etc/{systemd/system,sysusers.d,tmpfiles.d}/edgeapp*
ROOT="" DRY_RUN=0 WAIT_S=120 STEP=0 STEPS=0 HAS_CHANGED=0
SERVICE=edgeapp.service
UNITS=(edgeapp-vision.socket edgeapp-vision.service edgeapp.service)
SETTLE_S=10
PYTHON=/usr/bin/python3
umask 022
# PYTHONSAFEPATH: else Python would take an edgeapp/ or a systemd/ of the folder that this is started in.
unset PYTHONPATH PYTHONHOME
export PYTHONSAFEPATH=1 PYTHONDONTWRITEBYTECODE=1 LC_ALL=C.UTF-8
export PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# Nothing ends without a word.
set -o errtrace
trap 'printf "%s: line %s: this failed: %s\n" "${0##*/}" "$LINENO" "$BASH_COMMAND" >&2' ERR

say() { printf '%s\n' "$*"; }
die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}
step() {
    STEP=$((STEP + 1))
    say "[$STEP/$STEPS] $*"
}

wrong_use() {
    printf '%s: %s; see --help\n' "${0##*/}" "$*" >&2
    exit 2
}

# read_options OPTION... -- "$@": an OPTION is --name:VARIABLE for a switch, which becomes 1, --name:VARIABLE= for one with
# an argument, --name:VARIABLE+ for one that may be repeated: a line for each. --dry-run, --root and --help are always there.
# No subshell: it must be this shell that ends, since a --root without DIR would otherwise mean this machine.
read_options() {
    local known=(--dry-run:DRY_RUN --root:ROOT=) option variable
    while [ "$1" != -- ]; do
        known+=("$1")
        shift
    done
    shift
    while [ $# -gt 0 ]; do
        case $1 in
            -h | --help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//p}' "$0" && exit 0 ;;
        esac
        variable=""
        for option in "${known[@]}"; do
            [ "${option%%:*}" != "$1" ] || variable=${option#*:}
        done
        case $variable in
            "") wrong_use "unknown option $1" ;;
            *[=+])
                [ -n "${2-}" ] || wrong_use "$1 needs an argument"
                case $variable in
                    *=) printf -v "${variable%=}" '%s' "$2" ;;
                    *) declare -g "${variable%+}+=$2"$'\n' ;;
                esac
                shift
                ;;
            *) printf -v "$variable" 1 ;;
        esac
        shift
    done
    [[ $WAIT_S =~ ^[0-9]+$ ]] || wrong_use "--wait-s: expected seconds, found $WAIT_S"
    set_folders
}

set_folders() {
    ROOT=${ROOT%/}
    [ -z "$ROOT" ] || ROOT=$(realpath --canonicalize-missing "$ROOT")
    OPT="$ROOT/opt/edgeapp" ETC="$ROOT/etc/edgeapp" STATE="$ROOT/var/lib/edgeapp" RUN="$ROOT/run"
    CONFIG="$ETC/config.yaml" CREDENTIALS="$ETC/credentials"
}

need_root() {
    [ "$(id -u)" -eq 0 ] || die "must be run as root: sudo $0"
}

# One of these scripts at a time. The lock goes with the process, however that ends.
take_lock() {
    [ "$DRY_RUN" -eq 0 ] || return 0
    mkdir -p "$RUN"
    exec 9>>"$RUN/edgeapp-deploy.lock"
    flock --nonblock 9 || die "another install, provision or uninstall is at work"
}

# Do it, or with --dry-run say it.
act() {
    HAS_CHANGED=1
    if [ "$DRY_RUN" -eq 1 ]; then
        say "    would: $*"
    else
        "$@"
    fi
}

# place SOURCE TARGET MODE [USER GROUP]: the target has this content, mode and owner; replaced in one step, durably.
# Nothing is touched where it is so already.
place() {
    local source=$1 target=$2 mode=$3 uid gid
    uid=$(number_of passwd "${4:-root}")
    gid=$(number_of group "${5:-root}")
    if [ -f "$target" ] && [ ! -L "$target" ] && cmp --silent "$source" "$target" &&
        [ "$(stat --format='%a %u %g' "$target")" = "${mode#0} $uid $gid" ]; then
        return 0
    fi
    act install_file "$source" "$target" "$mode" "$uid" "$gid"
}

install_file() {
    local source=$1 target=$2 mode=$3 uid=$4 gid=$5 unfinished
    unfinished="$(dirname "$target")/.${target##*/}.new"
    mkdir -p "$(dirname "$target")"
    install --mode="$mode" --owner="$uid" --group="$gid" "$source" "$unfinished"
    sync "$unfinished"
    mv --no-target-directory "$unfinished" "$target"
    sync "$(dirname "$target")"
}

# number_of passwd|group NAME: as the device knows it, which below --root is not as this machine does.
number_of() {
    local found=""
    [ "$2" != root ] || { printf '0'; return; }
    [ ! -f "$ROOT/etc/$1" ] || found=$(awk -F: -v name="$2" '$1 == name {print $3; exit}' "$ROOT/etc/$1")
    if [ -z "$found" ]; then
        [ "$DRY_RUN" -eq 1 ] || die "$ROOT/etc/$1: expected $2, found none: run install.sh first"
        found=0
    fi
    printf '%s' "$found"
}

# link TARGET LINK: the symbolic link points there; switched in one step, durably.
link() {
    [ "$(readlink "$2" 2>/dev/null || true)" = "$1" ] || act switch_link "$1" "$2"
}

switch_link() {
    mkdir -p "$(dirname "$2")"
    ln --symbolic --force --no-target-directory "$1" "$2.new"
    mv --no-target-directory "$2.new" "$2"
    sync "$(dirname "$2")"
}

remove() {
    local path
    for path in "$@"; do
        if [ -e "$path" ] || [ -L "$path" ]; then
            act rm -rf "$path"
        fi
    done
}

# The id of the version that a link names, empty where there is none.
version_at() {
    local found
    found=$(readlink "$OPT/$1" 2>/dev/null || true)
    printf '%s' "${found##*/}"
}

# Whether a running systemd is there to be told, which is not so below --root and in a bare container.
has_systemd() { [ -z "$ROOT" ] && [ -d /run/systemd/system ]; }

is_provisioned() { systemctl --quiet ${ROOT:+--root="$ROOT"} is-enabled "$SERVICE" 2>/dev/null; }

unit_value() { systemctl show --property="$1" --value "$SERVICE"; }

# The units, users and folders of a version become the system's. Never by way of an alias: a unit stays a file.
place_units() {
    local version=$1 unit file
    for unit in "${UNITS[@]}"; do
        place "$version/systemd/$unit" "$ROOT/etc/systemd/system/$unit" 0644
    done
    for file in sysusers.d tmpfiles.d; do
        place "$version/systemd/$file/edgeapp.conf" "$ROOT/etc/$file/edgeapp.conf" 0644
    done
    [ "$DRY_RUN" -eq 0 ] || return 0
    systemd-sysusers ${ROOT:+--root="$ROOT"} edgeapp.conf
    systemd-tmpfiles ${ROOT:+--root="$ROOT"} --create edgeapp.conf
    ! has_systemd || systemctl daemon-reload
}

stop_services() { systemctl stop edgeapp.service edgeapp-vision.service edgeapp-vision.socket; }

# The socket before the service that it belongs to: systemd refuses the other order.
restart_services() {
    stop_services
    systemctl reset-failed "${UNITS[@]}" 2>/dev/null || true
    systemctl start --no-block "${UNITS[@]}"
}

# What the daemon's status says, as NAME of: pid, version, frames_inferred, is_connected, broker_error. Empty where there
# is none.
status_value() {
    "$PYTHON" - "$1" "$RUN/edgeapp/status.json" <<'PYTHON'
import json, sys
try:
    with open(sys.argv[2]) as file:
        status = json.load(file)
except (OSError, ValueError):
    sys.exit()
broker = status["broker"]
print({**status, "is_connected": broker["is_connected"], "broker_error": broker["error"]}.get(sys.argv[1], ""))
PYTHON
}

# came_up VERSION NEEDS_FRAMES WAIT_S: whether the service is ready, has said so in its status, looks at pictures where
# it is to, and stays so for SETTLE_S. WHY says why not.
came_up() {
    local version=$1 needs_frames=$2 until=$((SECONDS + $3)) since=-1 seen="" now frames
    WHY="it was not ready within $3 s"
    while [ "$SECONDS" -lt "$until" ] || { [ "$since" -ge 0 ] && [ "$SECONDS" -lt $((until + SETTLE_S)) ]; }; do
        if [ "$(unit_value ActiveState)" = failed ]; then
            WHY="it ended with status $(unit_value ExecMainStatus) ($(unit_value Result))"
            return 1
        fi
        now="$(unit_value SubState) $(unit_value MainPID)"
        if [ "$now" != "running $(status_value pid)" ]; then
            since=-1
        elif [ "$(status_value version)" != "$version" ]; then
            WHY="it runs version $(status_value version), not $version"
            since=-1
        else
            frames=$(status_value frames_inferred)
            if [ "$needs_frames" -eq 1 ] && [ "${frames:-0}" -eq 0 ]; then
                WHY="it looked at no picture within $3 s"
                since=-1
            elif [ "$now" != "$seen" ] || [ "$since" -lt 0 ]; then
                since=$SECONDS
            elif [ $((SECONDS - since)) -ge "$SETTLE_S" ]; then
                return 0
            fi
        fi
        seen=$now
        sleep 0.5
    done
    return 1
}
