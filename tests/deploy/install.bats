#!/usr/bin/env bats
# install.sh and uninstall.sh below a folder, where no service is touched. Other versions need a service to show which one
# runs: tests/fakes/field/versions.py.

load common

setup_file() {
    export ROOT="$BATS_FILE_TMPDIR/root"
    cp -a "$INSTALLED" "$ROOT"
}

broken_copy() {
    cp -r "$BUNDLE" "$BATS_TEST_TMPDIR/bundle"
    printf '%s' "$BATS_TEST_TMPDIR/bundle"
}

@test "install --dry-run changes nothing" {
    mkdir "$BATS_TEST_TMPDIR/bare"
    run "$BUNDLE/deploy/install.sh" --root "$BATS_TEST_TMPDIR/bare" --dry-run
    [ "$status" -eq 0 ]
    said "would: make_version"
    said "nothing was changed"
    [ -z "$(ls -A "$BATS_TEST_TMPDIR/bare")" ]
}

@test "install puts program, units, users and folders in place" {
    "$ROOT/opt/edgeapp/current/bin/python" -c 'import cv2, numpy, paho.mqtt, tuf, ai_edge_litert, edgeapp.daemon'
    grep -q '/opt/edgeapp/versions/[^ ]*/bin/python' "$ROOT/opt/edgeapp/current/bin/edgeapp"
    run grep -r --exclude='*.pyc' --exclude-dir=lib "$INSTALLED" "$ROOT/opt/edgeapp/current/"
    [ "$status" -eq 1 ]
    [ "$(readlink "$ROOT/usr/local/bin/edgeapp")" = /opt/edgeapp/current/bin/edgeapp ]
    cmp "$BUNDLE/systemd/edgeapp.service" "$ROOT/etc/systemd/system/edgeapp.service"
    grep -q '^edgeapp-vision:' "$ROOT/etc/passwd"
    [ "$(stat --format=%a "$ROOT/etc/edgeapp/credentials")" = 700 ]
    [ ! -e "$ROOT/etc/edgeapp/config.yaml" ]
}

@test "a second install changes nothing" {
    tree "$ROOT" >"$BATS_TEST_TMPDIR/before"
    run "$BUNDLE/deploy/install.sh" --root "$ROOT"
    [ "$status" -eq 0 ]
    said "nothing was changed"
    tree "$ROOT" | diff "$BATS_TEST_TMPDIR/before" -
}

@test "a damaged file is refused by its name" {
    local bundle
    bundle=$(broken_copy)
    printf 'x' >>"$bundle/config.yaml"
    run "$bundle/deploy/install.sh" --root "$BATS_TEST_TMPDIR/other"
    [ "$status" -eq 1 ]
    said "config.yaml: FAILED"
    [ ! -e "$BATS_TEST_TMPDIR/other/opt" ]
}

@test "a file that is not in MANIFEST is refused, and one that is missing" {
    local bundle
    bundle=$(broken_copy)
    touch "$bundle/wheels/other.whl"
    rm "$bundle/requirements.txt"
    run "$bundle/deploy/install.sh" --root "$BATS_TEST_TMPDIR/other"
    [ "$status" -eq 1 ]
    said "> wheels/other.whl"
    said "< requirements.txt"
}

@test "a bundle for another Python or processor is refused" {
    local bundle wanted
    bundle=$(broken_copy)
    for wanted in python=3.99 arch=mips; do
        cp "$BUNDLE/BUNDLE" "$bundle/BUNDLE"
        sed -i "s/^${wanted%=*}=.*/$wanted/" "$bundle/BUNDLE"
        (cd "$bundle" && cut -c 67- MANIFEST | xargs sha256sum >"$BATS_TEST_TMPDIR/new" && cp "$BATS_TEST_TMPDIR/new" MANIFEST)
        run "$bundle/deploy/install.sh" --root "$BATS_TEST_TMPDIR/other"
        [ "$status" -eq 1 ]
        said "the bundle is for"
    done
}

@test "options that are unknown or lack their argument are refused" {
    local script
    for script in install uninstall provision; do # --dry-run: a mistake here must not reach this machine
        run "$BUNDLE/deploy/$script.sh" --dry-run --fast
        [ "$status" -eq 2 ]
        run "$BUNDLE/deploy/$script.sh" --dry-run --root
        [ "$status" -eq 2 ]
        said "--root needs an argument"
    done
    run "$BUNDLE/deploy/install.sh" --dry-run --root "$ROOT" --wait-s soon
    [ "$status" -eq 2 ]
}

@test "uninstall --dry-run changes nothing" {
    tree "$ROOT" >"$BATS_TEST_TMPDIR/before"
    run "$BUNDLE/deploy/uninstall.sh" --root "$ROOT" --dry-run --purge
    [ "$status" -eq 0 ]
    said "would: rm -rf"
    tree "$ROOT" | diff "$BATS_TEST_TMPDIR/before" -
}

@test "uninstall keeps state, configuration and users" {
    echo kept >"$ROOT/var/lib/edgeapp/something"
    run "$ROOT/opt/edgeapp/current/deploy/uninstall.sh" --root "$ROOT"
    [ "$status" -eq 0 ]
    [ ! -e "$ROOT/opt/edgeapp" ]
    [ ! -e "$ROOT/etc/systemd/system/edgeapp.service" ]
    [ -f "$ROOT/var/lib/edgeapp/something" ]
    [ -d "$ROOT/etc/edgeapp/credentials" ]
    grep -q '^edgeapp:' "$ROOT/etc/passwd"
}

@test "a second uninstall has nothing to do, and --purge takes the rest" {
    run "$BUNDLE/deploy/uninstall.sh" --root "$ROOT"
    [ "$status" -eq 0 ]
    said "there was nothing to do"
    run "$BUNDLE/deploy/uninstall.sh" --root "$ROOT" --purge
    [ "$status" -eq 0 ]
    [ ! -e "$ROOT/var/lib/edgeapp" ]
    [ ! -e "$ROOT/etc/edgeapp" ]
    run grep -r edgeapp "$ROOT/etc"
    [ "$status" -eq 1 ]
    run "$BUNDLE/deploy/uninstall.sh" --root "$ROOT" --purge
    said "there was nothing to do"
}
