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
	ld.awaitRaw(conf)
	ld.awaitServers(conf)
}

// RouteLimit is how long a way to each server is awaited. A network is up seconds after
// the disks; DHCP and carriers can take a minute.
const RouteLimit = 2 * time.Minute

// awaitServers waits for the network of targets at servers. Its names and addresses may
// come late at boot.
func (ld *Loader) awaitServers(conf *config.Config) {
	h, err := host.Open(ld.Root)
	if err != nil {
		return
	}
	var missing string
	absent := func() bool {
		for _, t := range conf.Targets {
			if !t.Remote() {
				continue
			}
			name := t.Server().Host
			if t.Kind == target.S3 {
				name = conf.S3Server().Host
			}
			if _, _, err := host.Route(h, name, nil); err != nil {
				missing = name
				return true
			}
		}
		return false
	}
	if !absent() {
		return
	}
	ld.bridge("the network is up")
	task := ld.Out.Begin("waiting for a route to %s", missing)
	defer task.End()
	// Each look can take seconds, if a name server does not answer.
	end := time.Now().Add(RouteLimit)
	for left := RouteLimit; left > 0 && time.Now().Before(end) && absent(); left -= host.AppearInterval {
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

// awaitRaw waits for raw devices.
func (ld *Loader) awaitRaw(conf *config.Config) {
	h, err := host.Open(ld.Root)
	if err != nil {
		return
	}
	absent := func() bool {
		return slices.ContainsFunc(conf.Targets, func(t target.Target) bool { return t.Raw() && h.RawAbsent(t) })
	}
	if !absent() {
		return
	}
	ld.bridge("the raw targets are there")
	task := ld.Out.Begin("waiting for the raw targets")
	defer task.End()
	for left := host.AppearLimit; left > 0 && absent(); left -= host.AppearInterval {
		ld.Sleep(host.AppearInterval)
	}
}
