package load

import (
	"slices"
	"time"

	"ukdump/internal/config"
	"ukdump/internal/host"
	"ukdump/internal/target"
)

// MountLimit is how long the mounts of targets and evidence are awaited. A file system
// may be checked first, and systemd waits 90 seconds for a device. It leaves a part of
// the TimeoutStartSec= of ukdump.service for the image.
const MountLimit = 5 * time.Minute

// awaitTargets waits for mounts and raw devices that are yet to appear: without them
// the image would be another one at each boot.
func (ld *Loader) awaitTargets() {
	conf, err := config.Load(ld.Root)
	if err != nil {
		return // loadConfigured reports it
	}
	ld.awaitMounts(conf)
	h, err := host.Open(ld.Root)
	if err != nil {
		return
	}
	ld.awaitRaw(h, conf)
	ld.awaitServers(h, conf)
}

// RouteLimit is how long a way to each server is awaited. A network is up seconds after
// the disks; DHCP and carriers can take a minute.
const RouteLimit = 2 * time.Minute

// awaitServers waits for the network of targets at servers. Its names and addresses may
// come late at boot.
func (ld *Loader) awaitServers(h *host.Host, conf *config.Config) {
	route := ld.Route
	if route == nil {
		route = host.Route
	}
	ld.await("the network is up", RouteLimit, func() string {
		for _, t := range conf.Targets {
			if !t.Remote() {
				continue
			}
			name := t.Server().Host
			if t.Kind == target.S3 {
				name = conf.S3Server().Host
			}
			if _, _, err := route(h, name, nil); err != nil {
				return "a route to " + name
			}
		}
		return ""
	})
}

// awaitRaw waits for raw devices.
func (ld *Loader) awaitRaw(h *host.Host, conf *config.Config) {
	ld.await("the raw targets are there", host.AppearLimit, func() string {
		if slices.ContainsFunc(conf.Targets, func(t target.Target) bool { return t.Raw() && h.RawAbsent(t) }) {
			return "the raw targets"
		}
		return ""
	})
}

// await waits until absent returns "", at most limit. absent names the missing
// thing. Meanwhile the fallback set is loaded, until the event that the first argument names.
func (ld *Loader) await(until string, limit time.Duration, absent func() string) {
	missing := absent()
	if missing == "" {
		return
	}
	ld.bridge(until)
	task := ld.Out.Begin("waiting for %s", missing)
	defer task.End()
	// Each look can take seconds, if a name server does not answer.
	end := time.Now().Add(limit)
	for left := limit; left > 0 && time.Now().Before(end) && absent() != ""; left -= host.AppearInterval {
		ld.Sleep(host.AppearInterval)
	}
}

// awaitMounts waits for the mounts that systemd is about to make. Those of the network
// are awaited too, as nothing waits for ukdump.service.
func (ld *Loader) awaitMounts(conf *config.Config) {
	mounts, dirs := host.ReadMountTable(ld.Root), conf.DumpDirs(ld.Root)
	wait := host.MountWait{
		Jobs: ld.MountJobs, Sleep: ld.Sleep, Left: MountLimit,
		Begin: func(m *host.ConfiguredMount) {
			ld.bridge(m.Point + " is mounted")
			ld.Out.Say("waiting for %s to be mounted", m.Point)
		},
	}
	wait.Await(func() []host.ConfiguredMount { return mounts.Absent(dirs...) })
}
