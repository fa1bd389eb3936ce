// Ukdump-rescue is the shell of FAILURE_ACTION=shell: PID 1 of the capture kernel starts
// it on the console after a capture that failed. See ukdump.conf(5).
//
// Synopsis:
//
//	ukdump-rescue sh
//
// It exits with 0, or with a status of internal/plan that asks PID 1 for another capture
// or another final action.
package main

import (
	"os"

	"ukdump/internal/rescue"
)

func main() { os.Exit(rescue.Main()) }
