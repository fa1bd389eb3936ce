// Mkkdumpinitrd builds the initramfs of a capture kernel. See
// mkkdumpinitrd(8).
package main

import (
	"os"

	"ukdump/internal/cli"
	"ukdump/internal/mkinitrd"
)

func main() { os.Exit(mkinitrd.Run(cli.Main("mkkdumpinitrd"))) }
