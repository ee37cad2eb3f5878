#!/usr/bin/env bash
# Installs Evenkeel as systemd services, or brings an installation up to date: what is there already is left as it is.
#
#   sudo ops/install.sh [--dry-run] [--python /usr/bin/python3] [--root DIR [--with-packages]]
#
# --dry-run        tells what would be done, and does nothing
# --python         the Python (3.11 or newer) of the environment
# --root           installs into DIR instead of /, for images and tests: nothing is enabled or fetched
# --with-packages  with --root: make the Python environment too; its scripts run from DIR only
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
root="" dry="" packages=yes python=python3
while [ $# -gt 0 ]; do
  case "$1" in
    --dry-run) dry=yes ;;
    --root) root=${2:?--root needs a folder}; packages=""; shift ;;
    --with-packages) packages=yes ;;
    --python) python=${2:?--python needs a path}; shift ;;
    -h|--help) sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "error: unknown argument $1; see $0 --help" >&2; exit 2 ;;
  esac
  shift
done
opt=$root/opt/evenkeel etc=$root/etc/evenkeel var=$root/var/lib/evenkeel units=$root/etc/systemd/system
services="evenkeel-questdb evenkeel-collector evenkeel-analyzer evenkeel-dashboard"

umask 022

fail() { echo "error: $*" >&2; exit 1; }
# act WHAT COMMAND…: says what, and does it, unless this is a dry run.
act() {
  if [ -n "$dry" ]; then echo "would: $1"; return; fi
  echo "$1"
  shift
  "$@"
}
# put SOURCE TARGET MODE: copies where the target differs.
put() { cmp -s "$1" "$2" || act "write $2" install -D -m "$3" "$1" "$2"; }
# folder PATH MODE OWNER
folder() {
  [ -d "$1" ] || act "make $1" install -d -m "$2" "$1"
  if [ -z "$root$dry" ]; then chown "$3" "$1"; fi
}
choose_credentials() {
  (umask 077
   echo evenkeel > "$etc/credentials/questdb-user"
   head -c 24 /dev/urandom | base64 | tr '/+' '_-' > "$etc/credentials/questdb-password")
}
install_programs() {
  constraints=$(mktemp)
  trap 'rm -f "$constraints"' EXIT
  # The lock also holds tools of development: as constraints it gives versions without installing those.
  sed -E '/^ +--hash=/d; s/ \\$//' "$here/requirements.lock" > "$constraints"
  [ -x "$opt/bin/python" ] || "$python" -m venv "$opt"
  PIP_CONSTRAINT=$constraints "$opt/bin/pip" install --quiet --disable-pip-version-check --no-input "$here[all]"
  echo "$1" > "$opt/.installed"
}
fetch_questdb() {
  runuser -u evenkeel -- env HOME=/var/lib/evenkeel XDG_CACHE_HOME=/var/lib/evenkeel/cache /opt/evenkeel/bin/collector db fetch
}

[ -n "$root" ] || [ -n "$dry" ] || [ "$(id -u)" = 0 ] || fail "install as root, or try --dry-run or --root DIR"
command -v "$python" >/dev/null || fail "no $python; name a Python 3.11 or newer with --python"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "$python is older than 3.11; name a newer one with --python"
systemd=$(systemctl --version 2>/dev/null | sed -n '1s/^systemd \([0-9]*\).*/\1/p')
[ -n "$root" ] || [ "${systemd:-0}" -ge 250 ] || fail "systemd 250 or newer is needed, found ${systemd:-none}"

# The user
put "$here/ops/systemd/sysusers.conf" "$root/etc/sysusers.d/evenkeel.conf" 0644
if [ -z "$root" ] && ! id evenkeel >/dev/null 2>&1; then
  act "create the user evenkeel" systemd-sysusers evenkeel.conf
fi

# The folders; the services make their own in the last one
folder "$etc" 0755 root:root
folder "$etc/credentials" 0700 root:root
folder "$var" 0750 evenkeel:evenkeel

# Configuration and credentials: never replaced
[ -e "$etc/evenkeel.toml" ] || put "$here/ops/systemd/evenkeel.toml" "$etc/evenkeel.toml" 0644
[ -e "$etc/credentials/questdb-user" ] || act "choose QuestDB's user and password: $etc/credentials" choose_credentials

# The programs
if [ -n "$packages" ]; then
  sum=$(cd "$here" && find pyproject.toml requirements.lock collector analyzer sql -type f ! -name '*.pyc' -print0 \
    | sort -z | xargs -0 sha256sum | sha256sum | cut -d' ' -f1)
  [ "$(cat "$opt/.installed" 2>/dev/null)" = "$sum" ] || act "install the programs into $opt" install_programs "$sum"
fi

# The units
for unit in "$here"/ops/systemd/*.service "$here"/ops/systemd/*.timer; do
  put "$unit" "$units/$(basename "$unit")" 0644
done
put "$here/ops/systemd/evenkeel-.service.d/10-hardening.conf" "$units/evenkeel-.service.d/10-hardening.conf" 0644
if [ "${systemd:-0}" -ge 254 ]; then
  for service in $services; do
    put "$here/ops/systemd/restart-steps.conf" "$units/$service.service.d/20-restart-steps.conf" 0644
  done
fi

[ -z "$root" ] || exit 0
act "reload systemd's units" systemctl daemon-reload
act "fetch QuestDB: its unit may fetch nothing" fetch_questdb
# shellcheck disable=SC2086
act "enable $services" systemctl enable --quiet $services
cat <<TEXT
Next:
  edit /etc/evenkeel/evenkeel.toml, above all [[feeds]]
  systemctl restart $services
  systemctl status 'evenkeel-*'
TEXT
