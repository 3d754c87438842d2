"""Generated from proto/edgekd/v1/peer.proto by the command at its top; not edited by hand."""
