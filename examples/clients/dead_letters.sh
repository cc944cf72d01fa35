#!/bin/sh
# Show the dead letters of a stage with kcat: where they lie, and what the eventmill.error.* headers say.
#
#     sh dead_letters.sh 127.0.0.1:9092 mail.triage.dlq
#
# Keys, headers and places need nothing else. Avro values need a kcat that was built with Avro (`kcat -V` names it; the
# packages of Debian and Ubuntu were not): add  -s value=avro -r http://127.0.0.1:8081/apis/ccompat/v7
set -eu
kcat -C -b "$1" -t "$2" -o beginning -e -q -X isolation.level=read_committed -f '%p@%o %k %h\n'
