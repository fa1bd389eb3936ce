// Kdumpinit-net is kdumpinit with targets at servers and encryption. mkkdumpinitrd(8)
// packs it in place of kdumpinit if the configuration has either.
package main

import (
	"os"

	"ukdump/internal/capture"
	"ukdump/internal/uplink"
)

func main() {
	os.Exit(capture.MainNet(
		capture.Extra{Role: capture.RoleNetwork, Run: uplink.Network},
		capture.Extra{Role: capture.RoleNFS, Run: uplink.MountNFS},
		capture.Extra{Role: capture.RoleSend, Run: uplink.Send},
		capture.Extra{Role: capture.RoleSeal, Run: uplink.Seal},
	))
}
