package capture

import "ukdump/internal/makedumpfile"

func init() { makeInfo = makedumpfile.InfoArgs }
