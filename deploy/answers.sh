# The questions of provision.sh, and where their answers come from: a file, or a person. Sourced, not run.
# shellcheck shell=bash disable=SC2034  # what is set here is used there

declare -A ANSWER
ANSWERS="" CHANGES="" IS_ASKING=0 OLD_CAMERA="" PASSWORD=""

# KEY|default|question. "-" as an answer empties a default.
QUESTIONS=(
    "TECHNICIAN||Your name, for the acceptance sheet"
    "LOCATION||Where the device hangs, as people call the place"
    "DEVICE_ID||Name of the device: 1 to 63 of a-z, 0-9 and -"
    "TENANT|default|Whose device it is (tenant)"
    "GROUPS||Groups whose update commands it follows, with commas"
    "CAMERA_KIND|v4l2|Camera: v4l2 (USB), picamera2 (ribbon cable), rtsp, video, images"
    "CAMERA_SOURCE||Its device file, address (rtsp: with an IP address, no name) or path"
    "MODEL||Folder of the model"
    "BROKER_HOST||Host name or address of the MQTT broker"
    "BROKER_TLS|yes|Does the broker speak TLS: yes or no"
    "BROKER_PORT||Its port"
    "BROKER_CA_FILE||File with the authority's certificates; empty trusts the system's"
    "BROKER_CERT_FILE||File with this device's certificate; empty for none"
    "BROKER_KEY_FILE||File with the key of that certificate; empty for none"
    "BROKER_USER||Name to log in with; empty for none"
    "BROKER_PASSWORD_FILE||File with the password; empty to type it"
    "ROOT_FILE||File with the first root of trust, 1.root.json; empty follows no update commands"
)
REQUIRED=(TECHNICIAN LOCATION DEVICE_ID CAMERA_KIND CAMERA_SOURCE MODEL BROKER_HOST)

list_keys() {
    local question key default text
    for question in "${QUESTIONS[@]}"; do
        IFS='|' read -r key default text <<<"$question"
        printf '# %s\n%s=%s\n' "$text" "$key" "$default"
    done
}

print_answers() {
    local question
    for question in "${QUESTIONS[@]}"; do
        printf '%s=%s\n' "${question%%|*}" "${ANSWER[${question%%|*}]}"
    done
}

# What a person answered is kept in memory until it was right, so that nobody on a ladder types it twice.
find_answers() {
    local question key default text missing=()
    [ ! -f "$KEPT" ] || read_answers "$KEPT"
    OLD_CAMERA=$(camera)
    if [ -n "$ANSWERS" ]; then
        [ -f "$ANSWERS" ] || die "$ANSWERS: expected a file with answers, found none"
        ANSWER=()
        read_answers "$ANSWERS"
    elif [ -n "$CHANGES" ]; then
        [ -f "$KEPT" ] || die "--set: expected the answers of last time in $KEPT, found none: run it without --set first"
    else
        IS_ASKING=1
        [ ! -f "$UNFINISHED" ] || read_answers "$UNFINISHED"
    fi
    read_answers <(printf '%s' "$CHANGES") --set
    for question in "${QUESTIONS[@]}"; do
        IFS='|' read -r key default text <<<"$question"
        default=${ANSWER[$key]-$(default_of "$key" "$default")}
        if [ "$IS_ASKING" -eq 1 ]; then
            ask "$key" "$default" "$text"
        else
            ANSWER[$key]=$default
        fi
    done
    [ "$IS_ASKING" -eq 0 ] || [ "$DRY_RUN" -eq 1 ] || (umask 077 && print_answers >"$UNFINISHED")
    for key in "${REQUIRED[@]}"; do
        [ -n "${ANSWER[$key]}" ] || missing+=("$key")
    done
    [ ${#missing[@]} -eq 0 ] || die "${ANSWERS:-the answers}: these are missing: ${missing[*]}"
    case ${ANSWER[BROKER_TLS]} in
        yes | no) ;;
        *) die "BROKER_TLS: expected yes or no, found '${ANSWER[BROKER_TLS]}'" ;;
    esac
}

camera() { printf '%s %s' "${ANSWER[CAMERA_KIND]-}" "${ANSWER[CAMERA_SOURCE]-}"; }

# read_answers FILE [NAME]: lines KEY=value, read and never run. Everything after the first = is the value. NAME is what
# a mistake in it is told of, FILE where it is not given.
read_answers() {
    local line key number=0 known name=${2:-$1}
    known=" $(printf '%s ' "${QUESTIONS[@]%%|*}")"
    while IFS= read -r line || [ -n "$line" ]; do
        number=$((number + 1))
        line=${line%$'\r'}
        [[ $line =~ ^[[:space:]]*(#|$) ]] && continue
        key=${line%%=*}
        if [ "$key" = "$line" ] || [[ $known != *" $key "* ]]; then
            die "$name:$number: expected KEY=value with a key of provision.sh --keys, found '$key'"
        fi
        ANSWER[$key]=${line#*=}
    done <"$1"
}

default_of() {
    case $1 in
        BROKER_PORT) if [ "${ANSWER[BROKER_TLS]}" = yes ]; then echo 8883; else echo 1883; fi ;;
        MODEL) [ ! -d "$OPT/current/model" ] || echo "$OPT/current/model" ;;
        *) echo "$2" ;;
    esac
}

ask() {
    local key=$1 default=$2 text=$3 given
    case $key in
        CAMERA_SOURCE) [ "${ANSWER[CAMERA_KIND]}" != v4l2 ] || list_cameras ;;
        BROKER_CA_FILE | BROKER_CERT_FILE) [ "${ANSWER[BROKER_TLS]}" = yes ] || { ANSWER[$key]="" && return; } ;;
        BROKER_KEY_FILE) [ -n "${ANSWER[BROKER_CERT_FILE]}" ] || { ANSWER[$key]="" && return; } ;;
        BROKER_PASSWORD_FILE) [ -n "${ANSWER[BROKER_USER]}" ] || { ANSWER[$key]="" && return; } ;;
    esac
    IFS= read -r -p "$text${default:+ [$default]}: " given || die "the answers ended at $key; nothing was changed"
    case $given in
        "") ANSWER[$key]=$default ;;
        -) ANSWER[$key]="" ;;
        *) ANSWER[$key]=$given ;;
    esac
    if [ "$key" = BROKER_PASSWORD_FILE ] && [ -z "${ANSWER[$key]}" ]; then
        IFS= read -r -s -p "The password (it is not shown): " PASSWORD && echo
    fi
}

list_cameras() {
    local camera
    for camera in /dev/v4l/by-id/*; do
        [ ! -e "$camera" ] || say "  found: $camera"
    done
}
