# A node's box: node.sh BIN SERVER ID.
export PATH="$1:$PATH" FLWR_HOME="$HOME/flwr" FLWR_TELEMETRY_ENABLED=0
exec flower-supernode --insecure --superlink "$2:7000" --node-config "partition-id=$3"
