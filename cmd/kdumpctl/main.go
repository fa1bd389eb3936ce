// Kdumpctl loads the capture kernel, says what is wrong with it, and manages the
// dumps. See kdumpctl(8).
package main

import (
	"os"

	"ukdump/internal/cli"
	"ukdump/internal/ctl"
)

func main() { os.Exit(ctl.Run(cli.Main("kdumpctl"))) }
