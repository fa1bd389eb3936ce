// Kdumpctl loads the capture kernel, verifies its setup, and manages the dumps. See
// kdumpctl(8).
package main

import (
	"os"

	"ukdump/internal/cli"
	"ukdump/internal/ctl"
)

func main() { os.Exit(ctl.Run(cli.Main("kdumpctl"))) }
