// Kdumpinit is PID 1 of the capture kernel: it saves the memory of the kernel
// that crashed and reboots.
//
// Synopsis:
//
//	kdumpinit is started by the kernel from an initramfs that mkkdumpinitrd(8)
//	built. It takes no arguments; the plan in the image directs it.
//
// Kernel command line:
//
//	ukdump.debug            show what makedumpfile prints
//	ukdump.final=ACTION     reboot, poweroff or halt at the end, in place of the plan's action
//	ukdump.shell            a shell on the console before that, if one was packed; with
//	                        the plan's failure action shell only after a failure
//	ukdump.known=RELEASE    the kernel that the collectors are known to work on
//	ukdump.misread=RELEASE  the kernel that makedumpfile was seen to misread
//	ukdump.expect=BYTES     how large the dump was forecast to be
package main

import (
	"os"

	"ukdump/internal/capture"
)

func main() { os.Exit(capture.Main()) }
