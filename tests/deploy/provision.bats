#!/usr/bin/env bats
# provision.sh below a folder: what it asks, reads and writes. What it tries needs a device:
# tests/fakes/field/deployment.py.

load common

setup_file() {
    export ROOT="$BATS_FILE_TMPDIR/root"
    cp -a "$INSTALLED" "$ROOT"
    export PROVISION="$ROOT/opt/edgeapp/current/deploy/provision.sh"
    export BROUGHT="$BATS_FILE_TMPDIR/brought"
    mkdir "$BROUGHT"
    echo "correct horse" >"$BROUGHT/password"
    echo '{}' >"$BROUGHT/1.root.json"
    cat >"$BROUGHT/answers" <<ANSWERS
# For the main door
TECHNICIAN=Ada
LOCATION=Main door \$(touch $BROUGHT/was-run) \`touch $BROUGHT/was-run\`
DEVICE_ID=on
GROUPS=doors, north
CAMERA_KIND=video
CAMERA_SOURCE=/srv/video = 1.avi
MODEL=$MODEL
BROKER_HOST=10.0.0.5
BROKER_TLS=no
BROKER_USER=edgeapp
BROKER_PASSWORD_FILE=$BROUGHT/password
ROOT_FILE=$BROUGHT/1.root.json
ANSWERS
}

configured() { "$ROOT/opt/edgeapp/current/bin/python" -c 'import sys, yaml; print(eval("yaml.safe_load(open(sys.argv[1]))" + sys.argv[2]))' "$ROOT/etc/edgeapp/config.yaml" "$1"; }

@test "provision --dry-run changes nothing" {
    tree "$ROOT" >"$BATS_TEST_TMPDIR/before"
    run "$PROVISION" --root "$ROOT" --answers "$BROUGHT/answers" --dry-run
    [ "$status" -eq 0 ]
    said "nothing was changed"
    tree "$ROOT" | diff "$BATS_TEST_TMPDIR/before" -
    [ ! -e "$ROOT/run/edgeapp-provision-dry" ]
}

@test "answers become a configuration that keeps its comments" {
    run "$PROVISION" --root "$ROOT" --answers "$BROUGHT/answers"
    [ "$status" -eq 0 ]
    [ "$(configured '["device"]')" = "{'id': 'on', 'tenant': 'default', 'groups': ['doors', 'north']}" ]
    [ "$(configured '["camera"]["source"]')" = "/srv/video = 1.avi" ]
    [ "$(configured '["mqtt"]["port"]')" = 1883 ]
    [ "$(configured '["mqtt"]["password_file"]')" = /etc/edgeapp/credentials/mqtt-password ]
    [ "$(configured '["vision"]["socket"]')" = /run/edgeapp/vision.sock ]
    [ "$(configured '["updates"]["root_file"]')" = /etc/edgeapp/1.root.json ]
    [ "$(configured '["counting"]')" = "{'lines': [], 'zones': []}" ]
    [ "$(grep -c '#' "$ROOT/etc/edgeapp/config.yaml")" = "$(grep -c '#' "$BUNDLE/config.yaml")" ]
    "$ROOT/opt/edgeapp/current/bin/python" -m edgeapp.cli check-config "$ROOT/etc/edgeapp/config.yaml"
}

@test "credentials are root's alone, the model is not the service's to write, nothing was prepared and left" {
    [ "$(stat --format='%a %u %g' "$ROOT/etc/edgeapp/credentials/mqtt-password")" = "600 0 0" ]
    [ "$(stat --format='%a %u %g' "$ROOT/etc/edgeapp/provisioned.answers")" = "600 0 0" ]
    [ "$(stat --format='%a %u' "$ROOT/etc/edgeapp/1.root.json")" = "444 0" ]
    [ "$(stat --format='%a %u' "$ROOT/$(configured '["inference"]["model_dir"]')/model.tflite")" = "640 0" ]
    run grep -r "correct horse" "$ROOT/etc/edgeapp/config.yaml" "$ROOT/etc/edgeapp/provisioned.answers"
    [ "$status" -eq 1 ]
    [ ! -e "$ROOT/run/edgeapp-provision" ]
    [ ! -e "$ROOT/var/lib/edgeapp/models/.incoming" ]
}

@test "answers are read and never run" {
    [ ! -e "$BROUGHT/was-run" ]
    grep -q 'LOCATION=Main door \$(touch' "$ROOT/etc/edgeapp/provisioned.answers"
}

@test "a second run changes nothing" {
    tree "$ROOT" >"$BATS_TEST_TMPDIR/before"
    run "$PROVISION" --root "$ROOT" --answers "$BROUGHT/answers"
    [ "$status" -eq 0 ]
    said "nothing was changed"
    tree "$ROOT" | diff "$BATS_TEST_TMPDIR/before" -
}

@test "what a person changed in the configuration stays" {
    sed -i 's/max_fps: 10.0/max_fps: 7.5  # dark corner/' "$ROOT/etc/edgeapp/config.yaml"
    sed 's/^BROKER_HOST=.*/BROKER_HOST=10.0.0.6/' "$BROUGHT/answers" >"$BATS_TEST_TMPDIR/answers"
    run "$PROVISION" --root "$ROOT" --answers "$BATS_TEST_TMPDIR/answers"
    [ "$status" -eq 0 ]
    grep -q 'max_fps: 7.5  # dark corner' "$ROOT/etc/edgeapp/config.yaml"
    [ "$(configured '["mqtt"]["host"]')" = 10.0.0.6 ]
}

@test "vision gets the address of a network camera and no other, and loses it with the camera" {
    local drop_in="$ROOT/etc/systemd/system/edgeapp-vision.service.d/rtsp.conf"
    sed -e 's/^CAMERA_KIND=.*/CAMERA_KIND=rtsp/' -e 's|^CAMERA_SOURCE=.*|CAMERA_SOURCE=rtsp://ada:secret@10.0.0.9:554/main|' \
        "$BROUGHT/answers" >"$BATS_TEST_TMPDIR/answers"
    run "$PROVISION" --root "$ROOT" --answers "$BATS_TEST_TMPDIR/answers"
    [ "$status" -eq 0 ]
    [ "$(sed -n 's/^IPAddressAllow=//p' "$drop_in")" = 10.0.0.9 ]
    [ "$(stat --format='%a' "$ROOT/etc/edgeapp/config.yaml")" = 640 ]
    run "$PROVISION" --root "$ROOT" --answers "$BROUGHT/answers"
    [ "$status" -eq 0 ]
    [ ! -e "$drop_in" ]
}

@test "--set changes one answer of last time, and asks nothing" {
    run "$PROVISION" --root "$ROOT" --set BROKER_HOST=10.0.0.7 --set "LOCATION=Side = door" </dev/null
    [ "$status" -eq 0 ]
    [ "$(configured '["mqtt"]["host"]')" = 10.0.0.7 ]
    grep -q '^LOCATION=Side = door$' "$ROOT/etc/edgeapp/provisioned.answers"
    grep -q '^DEVICE_ID=on$' "$ROOT/etc/edgeapp/provisioned.answers"
    run "$PROVISION" --root "$ROOT" --set DOOR=7
    [ "$status" -eq 1 ]
    said "--set:1: expected KEY=value with a key of provision.sh --keys, found 'DOOR'"
    run "$PROVISION" --root "$ROOT" --set
    [ "$status" -eq 2 ]
    said "--set needs an argument"
}

@test "a certificate is replaced with --set, and its credential is root's alone" {
    local name
    for name in ca cert key; do echo "first $name" >"$BROUGHT/$name"; done
    run "$PROVISION" --root "$ROOT" --set BROKER_TLS=yes --set BROKER_PORT=8883 --set BROKER_CA_FILE="$BROUGHT/ca" \
        --set BROKER_CERT_FILE="$BROUGHT/cert" --set BROKER_KEY_FILE="$BROUGHT/key"
    [ "$status" -eq 0 ]
    [ "$(configured '["mqtt"]["tls"]["cert_file"]')" = /etc/edgeapp/credentials/device-cert.pem ]
    [ "$(stat --format='%a %u %g' "$ROOT/etc/edgeapp/credentials/device-key.pem")" = "600 0 0" ]
    # What was kept as answers names places on the device, and below --root this machine has no such files.
    [ "$(grep -c '^BROKER_.*_FILE=/etc/edgeapp/credentials/' "$ROOT/etc/edgeapp/provisioned.answers")" -ge 3 ]
}

@test "a login that is no longer wanted takes its password along" {
    grep -v '^BROKER_USER\|^BROKER_PASSWORD' "$BROUGHT/answers" >"$BATS_TEST_TMPDIR/answers"
    run "$PROVISION" --root "$ROOT" --answers "$BATS_TEST_TMPDIR/answers"
    [ "$status" -eq 0 ]
    [ ! -e "$ROOT/etc/edgeapp/credentials/mqtt-password" ]
    [ "$(configured '["mqtt"]["password_file"]')" = None ]
}

@test "a person is asked, and - empties a default" {
    # Technician, location, id, tenant, groups, kind, source, model, host, TLS, port, user, root of trust.
    run "$PROVISION" --root "$ROOT" <<<$'Grace\n\nside-door\n\n-\n\n\n'"$MODEL"$'\n\nno\n\n\n-\n'
    [ "$status" -eq 0 ]
    [ "$(configured '["device"]')" = "{'id': 'side-door', 'tenant': 'default', 'groups': []}" ]
    [ "$(configured '["updates"]["enabled"]')" = False ]
    grep -q '^TECHNICIAN=Grace$' "$ROOT/etc/edgeapp/provisioned.answers"
}

@test "what a person answered is the default of the next run, until it was right" {
    run "$PROVISION" --root "$ROOT" <<<$'Hedy\n\nback-door\n\n-\n\n\n/nowhere\n\nno\n\n\n-\n'
    [ "$status" -eq 1 ]
    said "MODEL:"
    run "$PROVISION" --root "$ROOT" <<<$'\n\n\n\n\n\n\n'"$MODEL"$'\n\n\n\n\n\n'
    [ "$status" -eq 0 ]
    [ "$(configured '["device"]["id"]')" = back-door ]
    grep -q '^TECHNICIAN=Hedy$' "$ROOT/etc/edgeapp/provisioned.answers"
    [ ! -e "$ROOT/run/edgeapp-provision.answers" ]
}

@test "wrong answers are told, and change nothing" {
    tree "$ROOT" >"$BATS_TEST_TMPDIR/before"
    local wrong expected
    while IFS='|' read -r wrong expected; do
        { cat "$BROUGHT/answers" && echo "$wrong"; } >"$BATS_TEST_TMPDIR/answers"
        run "$PROVISION" --root "$ROOT" --answers "$BATS_TEST_TMPDIR/answers"
        [ "$status" -eq 1 ]
        said "$expected"
    done <<'WRONG'
DEVICE=x|with a key of provision.sh --keys
DEVICE_ID=Über|device.id: expected 1 to 63 of a-z
BROKER_PORT=99999|mqtt.port: expected 1 to 65535
BROKER_TLS=maybe|BROKER_TLS: expected yes or no
BROKER_PASSWORD_FILE=/nowhere|BROKER_PASSWORD_FILE: expected a file, found none at /nowhere
MODEL=/nowhere|MODEL:
CAMERA_KIND=fax|camera.kind: expected
CAMERA_KIND=rtsp|CAMERA_SOURCE: expected an IP address in place of the name ''
WRONG
    run "$PROVISION" --root "$ROOT" --answers /dev/null
    [ "$status" -eq 1 ]
    printf 'LOCATION=x\n' >"$BATS_TEST_TMPDIR/answers"
    run "$PROVISION" --root "$ROOT" --answers "$BATS_TEST_TMPDIR/answers"
    said "these are missing: TECHNICIAN DEVICE_ID CAMERA_SOURCE MODEL BROKER_HOST"
    tree "$ROOT" | diff "$BATS_TEST_TMPDIR/before" -
}

@test "without an installed edgeapp it says so" {
    run "$BUNDLE/deploy/provision.sh" --root "$BATS_TEST_TMPDIR" --answers "$BROUGHT/answers"
    [ "$status" -eq 1 ]
    said "run install.sh first"
}
