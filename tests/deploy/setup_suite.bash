# Installing takes longer than all the rest, so it is done once.
# shellcheck shell=bash disable=SC2154

setup_suite() {
    export INSTALLED="$BATS_SUITE_TMPDIR/installed"
    mkdir "$INSTALLED"
    "$BUNDLE/deploy/install.sh" --root "$INSTALLED" >/dev/null
}
