package collect

import (
	"time"

	"ukdump/internal/host"
)

// MountLimit is how long the directory for dumps is awaited. After a crash its file
// system may be checked first. It leaves a part of the TimeoutStartSec= of
// ukdump-collect.service for the dump.
const MountLimit = 10 * time.Minute

// awaitMount waits for the mounts below dir that systemd is about to make, and
// returns one that is still missing, nil if there is none. Nothing orders
// ukdump-collect.service after them. The network comes after it, so its mounts are not
// awaited.
func (r *Run) awaitMount(dir string) *host.ConfiguredMount {
	mounts := host.ReadMountTable(r.Root)
	wait := host.MountWait{
		Jobs: r.MountJobs, Sleep: r.Sleep, Left: r.patience,
		Begin: func(m *host.ConfiguredMount) { r.Out.Say("waiting for %s to be mounted", m.Point) },
	}
	wait.Await(func() []host.ConfiguredMount {
		list := mounts.NotReady(dir)
		if len(list) > 0 && list[0].Remote() {
			return nil
		}
		return list
	})
	r.patience = wait.Left
	if list := mounts.NotReady(dir); len(list) > 0 {
		return &list[0]
	}
	return nil
}
