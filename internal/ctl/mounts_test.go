package ctl

import (
	"errors"
	"testing"
	"time"

	"ukdump/internal/collect"
	"ukdump/internal/load"
)

// mountinfo of /var/crash.
const (
	mounted   = "30 1 8:1 / /var/crash rw - ext4 /dev/sda1 rw\n"
	automount = "30 1 0:40 / /var/crash rw - autofs systemd-1 rw\n"
)

// The directory may be mounted after collect was started, and by the network long
// after it.
func TestCollectAwaitsMount(t *testing.T) {
	t.Parallel()
	m := collecting(t)
	const collected = "collected ROOT/" + crashDir + "...\n"
	const refused = "kdumpctl: ROOT/dev/vdz1: the raw dump stays there: /var/crash is not mounted, and dumps go to ROOT/var/crash\nkdumpctl: Mount /var/crash and ...\n"
	const waits = "waiting for /var/crash to be mounted\n"
	const never = time.Duration(1 << 62)
	for name, tt := range map[string]struct {
		fstab     string
		mountinfo string
		comes     time.Duration // when it is mounted
		ends      time.Duration // when systemd has no job for it any more
		want      result
		waited    time.Duration
	}{
		"comes":              {"UUID=y /var/crash ext4 defaults", "", 300 * time.Second, never, result{0, waits + collected, ""}, 300 * time.Second}, // after fsck
		"does not come":      {"LABEL=a:b /var/crash ext4", "", never, never, result{1, waits, refused}, collect.MountLimit},
		"fails":              {"/dev/sda1 /var/crash ext4 nofail", "", never, 90 * time.Second, result{1, waits, refused}, 90 * time.Second},
		"by hand":            {"/dev/sda1 /var/crash ext4 defaults", "", never, 0, result{1, "", refused}, 0},
		"there":              {"/dev/sda1 /var/crash ext4 defaults", mounted, never, never, result{0, collected, ""}, 0},
		"nfs":                {"server:/crash /var/crash nfs defaults", "", 3 * time.Second, never, result{1, "", refused}, 0},
		"_netdev":            {"/dev/sdb /var/crash ext4 noatime,_netdev", "", 3 * time.Second, never, result{1, "", refused}, 0},
		"automount":          {"/dev/sda1 /var/crash ext4 noauto,x-systemd.automount", automount, never, never, result{0, collected, ""}, 0},
		"automount comes":    {"/dev/sda1 /var/crash ext4 noauto,x-systemd.automount", "", 3 * time.Second, never, result{0, waits + collected, ""}, 3 * time.Second},
		"automount of nfs":   {"server:/crash /var/crash nfs noauto,x-systemd.automount", automount, never, never, result{1, "", refused}, 0},
		"automounted by nfs": {"server:/crash /var/crash nfs x-systemd.automount", automount + mounted, never, never, result{0, collected, ""}, 0},
	} {
		m.run(t, name, func(t *testing.T) {
			m.Write("etc/fstab", tt.fstab+"\n")
			m.Write("proc/self/mountinfo", tt.mountinfo)
			m.dump("vdz1", goodRaw())
			var waited time.Duration
			m.sleep = func(d time.Duration) {
				if waited += d; waited >= tt.comes {
					m.Write("proc/self/mountinfo", mounted)
				}
			}
			m.mountJobs = func() ([]string, error) {
				if waited < tt.ends {
					return []string{"/var/crash"}, nil
				}
				return []string{"/srv"}, nil
			}
			m.expect("collect", tt.want)
			if waited != tt.waited {
				t.Errorf("waited %v", waited)
			}
		})
	}
	// Two dumps wait no longer than one.
	m.Write("etc/fstab", "UUID=y /var/crash ext4\n")
	m.dump("vdz1", goodRaw())
	m.dump("vdz2", goodRaw())
	var waited time.Duration
	m.sleep = func(d time.Duration) { waited += d }
	m.mountJobs = func() ([]string, error) { return nil, errors.New("systemctl show: exit status 1") }
	m.expect("collect", result{1, waits, "kdumpctl: warning: ROOT/dev/vdz1: ...\nkdumpctl: ROOT/dev/vdz2: ...\nkdumpctl: Mount /var/crash and ...\n"})
	if waited != collect.MountLimit {
		t.Errorf("waited %v", waited)
	}
}

// A target that is mounted late in the boot is awaited, with protection, and the image
// stays as it is.
func TestLoadAwaitsMount(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	root := m.Read("proc/self/mountinfo")
	m.AddDisk()
	whole := m.Read("proc/self/mountinfo")
	m.Write("etc/ukdump.conf", "TARGET=/srv/dumps\nEVIDENCE=/log/dir\n")
	m.expect("load", result{0, "built ...\nloaded " + setName + " in ...\n", ""})
	const never = time.Duration(1 << 62)
	const waits = "loaded the fallback set, " + setName + ", until /srv is mounted\nwaiting for /srv to be mounted\n"
	const loaded = "loaded " + setName + " in ...\n"
	const refused = "kdumpctl: storage of /srv/dumps: /srv is not mounted; "
	const advice = "kdumpctl: Mount /srv, then run kdumpctl reload.\n"
	for name, tt := range map[string]struct {
		fstab  string
		comes  time.Duration // when all is mounted
		ends   time.Duration // when systemd has no job for it any more
		want   result
		waited time.Duration
	}{
		"comes late":       {"LABEL=x /srv xfs nofail", 40 * time.Second, never, result{0, waits + loaded, ""}, 40 * time.Second},
		"network":          {"server:/x /srv nfs _netdev", 40 * time.Second, never, result{0, waits + loaded, ""}, 40 * time.Second},
		"device times out": {"LABEL=x /srv xfs nofail", never, 90 * time.Second, result{1, waits, refused + "loaded instead: the fallback set, ...\n" + advice}, 90 * time.Second},
		"noauto":           {"LABEL=x /srv xfs noauto", never, 0, result{1, "", refused + "loaded instead: the fallback set, ...\n" + advice}, 0},
		"no end":           {"LABEL=x /srv xfs nofail,x-systemd.device-timeout=0", never, never, result{1, waits, refused + "loaded instead: the fallback set, ...\n" + advice}, load.MountLimit},
		"evidence":         {"LABEL=x /log ext4 nofail", never, 0, result{1, "", "kdumpctl: ROOT/etc/ukdump.conf:2: EVIDENCE: storage of /log/dir: /log is not mounted; loaded ...\nkdumpctl: Mount /log, ...\n"}, 0},
	} {
		m.run(t, name, func(t *testing.T) {
			m.reboot()
			m.Write("etc/fstab", tt.fstab+"\n")
			if name != "evidence" {
				m.Write("proc/self/mountinfo", root)
			}
			var waited time.Duration
			m.sleep = func(d time.Duration) {
				if waited += d; waited >= tt.comes {
					m.Write("proc/self/mountinfo", whole)
				}
				if !m.isLoaded() {
					t.Error("not protected meanwhile")
				}
			}
			m.mountJobs = func() ([]string, error) {
				if waited < tt.ends {
					return []string{"/srv"}, nil
				}
				return nil, nil
			}
			m.expect("load --if-reserved", tt.want)
			if waited != tt.waited || !m.isLoaded() {
				t.Errorf("waited %v, loaded: %v", waited, m.isLoaded())
			}
		})
	}
}
