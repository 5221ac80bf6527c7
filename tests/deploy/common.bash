# What the tests of deploy/ share. BUNDLE is an unpacked bundle for this machine, which setup_suite.bash has installed
# below INSTALLED.
# shellcheck shell=bash disable=SC2154

# Every path below a folder, with kind, mode, owner, target and hash, and the time of change of what is a file.
tree() {
    (cd "$1" && find . -path ./run -prune -o \( -type d -printf '%p %M %U %G\n' -o -printf '%p %M %U %G %l %T@\n' \) | sort)
    (cd "$1" && find . -path ./run -prune -o -type f -print0 | sort -z | xargs -0 -r sha256sum)
}

said() {
    if [[ $output != *"$1"* ]]; then
        printf 'expected: %s\nfound: %s\n' "$1" "$output"
        return 1
    fi
}
