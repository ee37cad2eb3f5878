#!/usr/bin/env bash
# Removes what ops/install.sh has installed. Data, configuration and the user stay, unless --purge is given.
#
#   sudo ops/uninstall.sh [--dry-run] [--purge] [--root DIR]
set -euo pipefail
root="" dry="" purge=""
while [ $# -gt 0 ]; do
  case "$1" in
    --dry-run) dry=yes ;;
    --purge) purge=yes ;;
    --root) root=${2:?--root needs a folder}; shift ;;
    -h|--help) sed -n '2,5s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "error: unknown argument $1; see $0 --help" >&2; exit 2 ;;
  esac
  shift
done
# act WHAT COMMAND…: says what, and does it, unless this is a dry run.
act() {
  if [ -n "$dry" ]; then echo "would: $1"; return; fi
  echo "$1"
  shift
  "$@"
}
remove() { # PATH…
  for path in "$@"; do
    if [ -e "$path" ]; then act "remove $path" rm -rf -- "$path"; fi
  done
}
[ -n "$root" ] || [ -n "$dry" ] || [ "$(id -u)" = 0 ] || { echo "error: uninstall as root, or try --dry-run" >&2; exit 1; }

units=$root/etc/systemd/system
if [ -z "$root" ]; then
  for unit in evenkeel-analyzer-once.timer evenkeel-dashboard.service evenkeel-analyzer.service evenkeel-collector.service \
    evenkeel-questdb.service; do
    if [ -e "$units/$unit" ]; then act "stop $unit" systemctl disable --now --quiet "$unit"; fi
  done
fi
remove "$units"/evenkeel-*.service "$units"/evenkeel-*.timer "$units"/evenkeel-.service.d
for service in questdb collector analyzer dashboard; do
  remove "$units/evenkeel-$service.service.d/20-restart-steps.conf"
  if [ -d "$units/evenkeel-$service.service.d" ]; then
    # Drop-ins of the operator stay.
    act "remove $units/evenkeel-$service.service.d if it is empty" rmdir --ignore-fail-on-non-empty "$units/evenkeel-$service.service.d"
  fi
done
remove "$root/opt/evenkeel"
if [ -z "$root" ]; then act "reload systemd's units" systemctl daemon-reload; fi
if [ -n "$purge" ]; then
  remove "$root/etc/evenkeel" "$root/var/lib/evenkeel" "$root/etc/sysusers.d/evenkeel.conf"
  if [ -z "$root" ] && id evenkeel >/dev/null 2>&1; then act "remove the user evenkeel" userdel evenkeel; fi
else
  echo "kept: $root/etc/evenkeel, $root/var/lib/evenkeel and the user evenkeel; --purge removes them"
fi
