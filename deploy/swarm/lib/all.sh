# shellcheck shell=bash
# Everything that a script of the Swarm needs. Sourced with $here set to the folder of the scripts.
# shellcheck disable=SC2034,SC2154 # variables go to and come from the parts
root=$(cd "$here/.." && pwd)
nodes_with_data=()
mongo_members=0
for part in say settings merge certificates secrets nodes stacks; do
  # shellcheck source=/dev/null
  . "$here/lib/$part.sh"
done
