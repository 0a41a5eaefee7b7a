#!/usr/bin/env bash
# Runs a server for as long as whoever started this lives, however they end.
#
#   guard.sh LOG DIRECTORY COMMAND…     prints the server's process group, then nothing more
#
# Standard input is a pipe from the parent. When it ends, the parent is gone: the server is killed
# and DIRECTORY removed. Ends when the server has ended.
set -m
log=$1
directory=$2
shift 2

"$@" < /dev/null >> "$log" 2>&1 &
server=$!
echo "$server"

orphaned=$directory/orphaned
{ read -r _; touch "$orphaned"; kill -KILL -- "-$server"; } 2> /dev/null &
watcher=$!
exec < /dev/null

# A server that is stopped by SIGSTOP makes `wait` return as well. Not `wait -f`: when the end of the
# server comes at the wrong moment it asks in a circle for a process of which nothing is known.
while kill -0 "$server" 2> /dev/null; do
  wait "$server" 2> /dev/null
  kill -0 "$server" 2> /dev/null && sleep 0.2
done
kill -KILL -- "-$watcher" "-$server" 2> /dev/null
[ -e "$orphaned" ] || exit 0

# Children that the kill did not reach may still be writing as they end.
for _ in {1..100}; do
  rm -rf -- "$directory" 2> /dev/null && exit 0
  sleep 0.1
done
exit 1
