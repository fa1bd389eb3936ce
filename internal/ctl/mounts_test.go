package ctl

import (
	"errors"
	"slices"
	"testing"
	"time"
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
		"does not come":      {"LABEL=a:b /var/crash ext4", "", never, never, result{1, waits, refused}, mountLimit},
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
	if waited != mountLimit {
		t.Errorf("waited %v", waited)
	}
}

func TestParseMountJobs(t *testing.T) {
	const text = "Job=117\nWhere=/var/crash\n\nWhere=/srv\n\nJob=\nWhere=/home\n\nWhere=/a b\nJob=9\n"
	if got, want := parseMountJobs(text), []string{"/var/crash", `/a\040b`}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := parseMountJobs(""); got != nil {
		t.Errorf("got %q", got)
	}
}

func TestMountRemote(t *testing.T) {
	for _, tt := range []struct {
		m    mount
		want bool
	}{
		{mount{what: "server:/crash", fstype: "nfs4"}, true},
		{mount{what: "crash", fstype: "glusterfs"}, true},
		{mount{what: "admin@.fs=/crash", fstype: "ceph"}, true},
		{mount{what: "a=b:/crash", fstype: "unheard"}, true},
		{mount{what: "//server/crash", fstype: "unheard"}, true},
		{mount{what: "https://server/crash", fstype: "davfs"}, true},
		{mount{what: "UUID=y", fstype: "ext4", options: "noatime,_netdev"}, true},
		{mount{what: "UUID=y", fstype: "ext4", options: "noauto"}, false},
		{mount{what: "LABEL=a:b", fstype: "ext4"}, false},
		{mount{what: "ID=x:y", fstype: "auto"}, false},
		{mount{what: "/dev/disk/by-path/pci-0000:00:01.1", fstype: "xfs"}, false},
		{mount{what: "crash", fstype: "virtiofs"}, false},
		{mount{what: "crash", fstype: "9p"}, false},
	} {
		if got := tt.m.remote(); got != tt.want {
			t.Errorf("%+v: %v", tt.m, got)
		}
	}
}

// Units count as systemd takes them.
func TestMountUnits(t *testing.T) {
	t.Parallel()
	const unit = "[Mount]\nWhat=/dev/sda1\nWhere=/var/crash/\nType=ext4\nOptions=noatime\n"
	const vendor, admin = "usr/lib/systemd/system/var-crash.mount", "etc/systemd/system/var-crash.mount"
	const wants = "etc/systemd/system/local-fs.target.wants/var-crash."
	m := newMachine(t)
	m.Write("etc/fstab", "")
	for name, tt := range map[string]struct {
		files map[string]string
		links map[string]string
		want  []mount
	}{
		"wanted":   {map[string]string{vendor: unit}, map[string]string{wants + "mount": "/" + vendor}, []mount{{"/dev/sda1", "/var/crash", "ext4", "noatime"}}},
		"unwanted": {map[string]string{vendor: unit}, nil, nil},
		"required": {map[string]string{vendor: unit}, map[string]string{"usr/lib/systemd/system/a.service.requires/var-crash.mount": "x"}, []mount{{"/dev/sda1", "/var/crash", "ext4", "noatime"}}},
		"automount": {map[string]string{vendor: unit, "etc/systemd/system/var-crash.automount": ""}, map[string]string{wants + "automount": "x"},
			[]mount{{"/dev/sda1", "/var/crash", "ext4", "noatime"}}},
		"masked": {map[string]string{vendor: unit}, map[string]string{admin: "/dev/null", wants + "mount": "/" + vendor}, nil},
		"empty":  {map[string]string{vendor: unit, admin: ""}, map[string]string{wants + "mount": "/" + vendor}, nil},
		"replaced": {map[string]string{vendor: unit, admin: "[Mount]\nWhat=server:/crash\nWhere=/var/crash\nType=nfs\n"}, map[string]string{wants + "mount": "x"},
			[]mount{{"server:/crash", "/var/crash", "nfs", ""}}},
		"escaped": {map[string]string{`etc/systemd/system/a\x20b.mount`: "[Mount]\nWhat=x\nWhere=/a b\n"}, map[string]string{`etc/systemd/system/a.target.wants/a\x20b.mount`: "x"},
			[]mount{{what: "x", point: `/a\040b`}}},
	} {
		m.run(t, name, func(t *testing.T) {
			for file, text := range tt.files {
				m.Write(file, text)
			}
			for link, target := range tt.links {
				m.Link(link, target)
			}
			if got := m.ctl().configuredMounts(); !slices.Equal(got, tt.want) {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}
