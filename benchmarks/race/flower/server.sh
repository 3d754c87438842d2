# The coordinator's box: server.sh BIN ADDRESS. BIN is the folder of Flower's commands.
export PATH="$1:$PATH" FLWR_HOME="$HOME/flwr" FLWR_TELEMETRY_ENABLED=0
mkdir -p "$FLWR_HOME"
printf '[superlink.race]\naddress = "%s:7000"\ninsecure = true\n' "$2" > "$FLWR_HOME/config.toml"
flower-superlink --insecure --host "$2" --port 7000 --disable-runtime-dependency-installation &
until flwr run "$(dirname "$0")" race; do sleep 1; done
wait
