#!/usr/bin/env bash
# Takes edgeapp away: services, units, program. Keeps what belongs to the device: its state (/var/lib/edgeapp), its
# configuration and credentials (/etc/edgeapp) and its users.
#
#   uninstall.sh [--purge] [--dry-run] [--root DIR]
#
# May be killed anywhere and run again; where the installed copy of this script is gone by then, run the bundle's.
#   --purge      take state, configuration, credentials and users away too: reports that wait are lost
#   --dry-run    say what would be done, change nothing
#   --root DIR   uninstall below DIR: no service is touched
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=deploy/lib.sh
source "$HERE/lib.sh"
IS_PURGE=0 STEPS=3

main() {
    read_options --purge:IS_PURGE -- "$@"
    [ "$IS_PURGE" -eq 0 ] || STEPS=4
    need_root
    take_lock
    step "stopping the services"
    disable_services
    step "removing the units"
    remove_units
    step "removing the program"
    remove "$RUN/edgeapp" "$RUN/edgeapp-provision" "$RUN/edgeapp-provision.answers" "$ROOT/usr/local/bin/edgeapp" "$OPT"
    if [ "$IS_PURGE" -eq 1 ]; then
        step "removing state, configuration, credentials and users"
        remove "$STATE" "$ETC"
        remove_users
    fi
    if [ "$HAS_CHANGED" -eq 0 ]; then
        say "there was nothing to do"
    elif [ "$DRY_RUN" -eq 1 ]; then
        say "nothing was changed"
    elif [ "$IS_PURGE" -eq 0 ]; then
        say "edgeapp is removed. Kept: $STATE, $ETC and the users; --purge removes them too"
    else
        say "edgeapp is removed, with all that it knew"
    fi
}

disable_services() {
    local unit
    for unit in "${UNITS[@]}"; do
        [ -f "$ROOT/etc/systemd/system/$unit" ] || continue
        if has_systemd && systemctl --quiet is-active "$unit"; then
            act stop_services
        fi
        if systemctl --quiet ${ROOT:+--root="$ROOT"} is-enabled "$unit" 2>/dev/null; then
            act systemctl --quiet ${ROOT:+--root="$ROOT"} disable "$unit"
        fi
    done
}

remove_units() {
    local unit
    for unit in "${UNITS[@]}"; do
        remove "$ROOT/etc/systemd/system/$unit"
        [ "$IS_PURGE" -eq 0 ] || remove "$ROOT/etc/systemd/system/$unit.d"
    done
    remove "$ROOT/etc/sysusers.d/edgeapp.conf" "$ROOT/etc/tmpfiles.d/edgeapp.conf"
    if has_systemd && [ "$DRY_RUN" -eq 0 ]; then
        systemctl daemon-reload
    fi
}

# userdel takes the group of the same name along. Below --root the lines are taken out by hand, since userdel --root
# would want a whole system there.
remove_users() {
    local name file
    for name in edgeapp-vision edgeapp; do
        if [ -n "$ROOT" ]; then
            for file in passwd shadow group gshadow; do
                if [ -f "$ROOT/etc/$file" ] && grep -q -E "^$name:|[:,]$name(,|\$)" "$ROOT/etc/$file"; then
                    act sed --in-place -E "/^$name:/d; s/([:,])$name(,|\$)/\1/; s/,\$//" "$ROOT/etc/$file"
                fi
            done
        elif getent passwd "$name" >/dev/null; then
            act userdel "$name"
        elif getent group "$name" >/dev/null; then
            act groupdel "$name"
        fi
    done
}

main "$@"
exit
