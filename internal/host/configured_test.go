package host

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestMountRemote(t *testing.T) {
	for _, tt := range []struct {
		m    ConfiguredMount
		want bool
	}{
		{ConfiguredMount{What: "server:/crash", FSType: "nfs4"}, true},
		{ConfiguredMount{What: "crash", FSType: "glusterfs"}, true},
		{ConfiguredMount{What: "admin@.fs=/crash", FSType: "ceph"}, true},
		{ConfiguredMount{What: "a=b:/crash", FSType: "unheard"}, true},
		{ConfiguredMount{What: "//server/crash", FSType: "unheard"}, true},
		{ConfiguredMount{What: "https://server/crash", FSType: "davfs"}, true},
		{ConfiguredMount{What: "UUID=y", FSType: "ext4", Options: "noatime,_netdev"}, true},
		{ConfiguredMount{What: "UUID=y", FSType: "ext4", Options: "noauto"}, false},
		{ConfiguredMount{What: "LABEL=a:b", FSType: "ext4"}, false},
		{ConfiguredMount{What: "ID=x:y", FSType: "auto"}, false},
		{ConfiguredMount{What: "/dev/disk/by-path/pci-0000:00:01.1", FSType: "xfs"}, false},
		{ConfiguredMount{What: "crash", FSType: "virtiofs"}, false},
		{ConfiguredMount{What: "crash", FSType: "9p"}, false},
	} {
		if got := tt.m.Remote(); got != tt.want {
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
	for name, tt := range map[string]struct {
		files map[string]string
		links map[string]string
		want  []ConfiguredMount
	}{
		"wanted":   {map[string]string{vendor: unit}, map[string]string{wants + "mount": "/" + vendor}, []ConfiguredMount{{What: "/dev/sda1", Point: "/var/crash", FSType: "ext4", Options: "noatime"}}},
		"unwanted": {map[string]string{vendor: unit}, nil, nil},
		"required": {map[string]string{vendor: unit}, map[string]string{"usr/lib/systemd/system/a.service.requires/var-crash.mount": "x"}, []ConfiguredMount{{What: "/dev/sda1", Point: "/var/crash", FSType: "ext4", Options: "noatime"}}},
		"automount": {map[string]string{vendor: unit, "etc/systemd/system/var-crash.automount": ""}, map[string]string{wants + "automount": "x"},
			[]ConfiguredMount{{What: "/dev/sda1", Point: "/var/crash", FSType: "ext4", Options: "noatime"}}},
		"masked": {map[string]string{vendor: unit}, map[string]string{admin: "/dev/null", wants + "mount": "/" + vendor}, nil},
		"empty":  {map[string]string{vendor: unit, admin: ""}, map[string]string{wants + "mount": "/" + vendor}, nil},
		"replaced": {map[string]string{vendor: unit, admin: "[Mount]\nWhat=server:/crash\nWhere=/var/crash\nType=nfs\n"}, map[string]string{wants + "mount": "x"},
			[]ConfiguredMount{{What: "server:/crash", Point: "/var/crash", FSType: "nfs"}}},
		"escaped": {map[string]string{`etc/systemd/system/a\x20b.mount`: "[Mount]\nWhat=x\nWhere=/a b\n"}, map[string]string{`etc/systemd/system/a.target.wants/a\x20b.mount`: "x"},
			[]ConfiguredMount{{What: "x", Point: "/a b"}}},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			at := func(name string) string {
				path := filepath.Join(root, name)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				return path
			}
			for file, text := range tt.files {
				if err := os.WriteFile(at(file), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			for link, target := range tt.links {
				if err := os.Symlink(target, at(link)); err != nil {
					t.Fatal(err)
				}
			}
			if got := configuredMounts(root); !slices.Equal(got, tt.want) {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestParseMountJobs(t *testing.T) {
	const text = "Job=117\nWhere=/var/crash\n\nWhere=/srv\n\nJob=\nWhere=/home\n\nWhere=/a b\nJob=9\n"
	if got, want := parseMountJobs(text), []string{"/var/crash", "/a b"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := parseMountJobs(""); got != nil {
		t.Errorf("got %q", got)
	}
}

// A directory below a mount that is configured and not there is not the target, however
// the mount is configured.
func TestAbsentMounts(t *testing.T) {
	t.Parallel()
	const root = "1 0 8:0 / / rw - ext4 /dev/sda rw\n"
	const unit = "[Unit]\nDescription=x\n[Mount]\nWhat = /dev/sdb1\nWhere = /srv/crash\n"
	fstab := func(line string) map[string]string { return map[string]string{"etc/fstab": "# ours\n" + line + "\n"} }
	on := func(point, fstype string) string { return "2 1 8:1 / " + point + " rw - " + fstype + " /dev/sdb1 rw\n" }
	for _, tt := range []struct {
		name   string
		files  map[string]string
		mounts string
		dir    string
		want   string // mount point that is not there
	}{
		{"nofail", fstab("UUID=x /srv/crash ext4 nofail 0 2"), "", "/srv/crash", "/srv/crash"},
		{"a directory below", fstab("UUID=x /srv/crash ext4 nofail"), "", "/srv/crash/dumps/new", "/srv/crash"},
		{"noauto", fstab("/dev/sdb1\t/srv\text4\tnoauto,user"), "", "/srv/crash", "/srv"},
		{"network", fstab("server:/x /srv/crash nfs4 _netdev,x-systemd.mount-timeout=10"), "", "/srv/crash", "/srv/crash"},
		{"bind mount", fstab("/data/crash /srv/crash none bind"), "", "/srv/crash", "/srv/crash"},
		{"blanks in the name", fstab(`LABEL=x /srv/crash\040dumps ext4 nofail`), "", "/srv/crash dumps/a", "/srv/crash dumps"},
		{"name with slashes", fstab("LABEL=x //srv/./crash/ ext4 nofail"), "", "/srv/crash", "/srv/crash"},
		{"mount point behind a link", fstab("LABEL=x /link/crash ext4 nofail"), "", "/srv/crash", "/link/crash"},
		{"directory behind a link", fstab("LABEL=x /srv ext4 nofail"), "", "/link/crash", "/srv"},
		{"link to a directory below", more("etc/fstab", "LABEL=x /srv ext4 nofail\n", "var/crash", "-> ../srv/crash/dumps"), "", "/var/crash", "/srv"},
		{"unit", more("etc/systemd/system/srv-crash.mount", unit, "etc/systemd/system/local-fs.target.wants/srv-crash.mount", "-> ../srv-crash.mount"), "", "/srv/crash", "/srv/crash"},
		{"unit of a generator", more("run/systemd/generator.late/srv-crash.mount", unit, "run/systemd/generator.late/local-fs.target.requires/srv-crash.mount", "-> ../srv-crash.mount"), "", "/srv/crash", "/srv/crash"},
		{"automount that did not start", more("etc/systemd/system/srv-crash.mount", unit, "etc/systemd/system/local-fs.target.wants/srv-crash.automount", ""), "", "/srv/crash", "/srv/crash"},
		{"only the outer one", fstab("LABEL=x /srv ext4 defaults\nLABEL=y /srv/crash ext4 nofail"), on("/srv", "ext4"), "/srv/crash", "/srv/crash"},

		{"mounted", fstab("LABEL=x /srv/crash ext4 nofail"), on("/srv/crash", "ext4"), "/srv/crash/dumps", ""},
		{"mounted, behind a link", fstab("LABEL=x /link/crash ext4 nofail"), on("/srv/crash", "ext4"), "/link/crash", ""},
		{"another mount on the way", fstab("LABEL=x /srv ext4 nofail"), on("/srv/crash", "ext4"), "/srv/crash", ""},
		{"beside it", fstab("LABEL=x /srv/crash2 ext4 nofail\nLABEL=y /srv/cr ext4 nofail"), "", "/srv/crash", ""},
		{"below it", fstab("LABEL=x /srv/crash/archive ext4 nofail"), "", "/srv/crash", ""},
		{"root and swap", fstab("LABEL=r / ext4 rw\nLABEL=s none swap sw\nproc /proc proc defaults"), "", "/srv/crash", ""},
		{"unit that nothing starts", more("usr/lib/systemd/system/srv-crash.mount", unit), "", "/srv/crash", ""},
		{"comment and half a line", fstab("#LABEL=x /srv/crash ext4 nofail\nLABEL=y"), "", "/srv/crash", ""},
		{"no tables", nil, "", "/srv/crash", ""},
	} {
		files := disk("ext4", "rw", sda, tt.files)
		files["proc/self/mountinfo"] = root + tt.mounts
		files["link"] = "-> srv"
		files["srv/crash/dumps/x"] = ""
		maps.Copy(files, map[string]string{
			"sys/dev/block/8:1": "-> ../../../" + sda + "/sda1", sda + "/sda1/dev": "8:1\n", sda + "/sda1/size": "100\n", sda + "/sda1/partition": "1\n",
			sda + "/sda1/uevent": "", "run/udev/data/b8:1": "E:ID_FS_TYPE=ext4\nE:ID_FS_UUID=other\n",
		})
		h := machine(t, files)
		got := ""
		if list := ReadMountTable(h.root).Absent(filepath.Join(h.root, tt.dir)); len(list) > 0 {
			got = list[len(list)-1].Point
		}
		if got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
		// Both modes say the same.
		_, err := h.Storage(tt.dir)
		_, _, _, err2 := h.MountOf(tt.dir)
		for _, err := range []error{err, err2} {
			var missing *NotMountedError
			if errors.As(err, &missing) != (tt.want != "") || missing != nil && missing.Point != tt.want || missing == nil && err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
		}
	}
}

// An automount is opened, which mounts it; while nothing is mounted there, it is refused.
func TestAbsentAutomount(t *testing.T) {
	h := machine(t, disk("ext4", "rw", sda, map[string]string{
		"etc/fstab":           "server:/x /srv nfs x-systemd.automount\nLABEL=x /crash ext4 x-systemd.automount,nofail\n",
		"proc/self/mountinfo": "1 0 8:0 / / rw - ext4 /dev/sda rw\n2 1 0:40 / /srv rw - autofs systemd-1 rw\n3 1 0:41 / /crash rw - autofs systemd-1 rw\n",
	}))
	table := ReadMountTable(h.root)
	at := func(dir string) string { return filepath.Join(h.root, dir) }
	if list := table.Absent(at("/srv/a"), at("/crash")); len(list) > 0 {
		t.Errorf("absent: %+v", list)
	}
	if list := table.NotReady(at("/srv/a"), at("/crash")); len(list) != 1 || list[0].Point != "/srv" {
		t.Errorf("not ready: %+v", list)
	}
	for _, dir := range []string{"/srv/a", "/crash"} {
		if _, err := h.Storage(dir); err == nil || !strings.Contains(err.Error(), "nothing was mounted there") {
			t.Errorf("%s: %v", dir, err)
		}
	}
}

func TestMountWait(t *testing.T) {
	both := []ConfiguredMount{{Point: "/a"}, {Point: "/b"}}
	const never = time.Duration(1 << 62)
	for name, tt := range map[string]struct {
		comes  time.Duration // when both are there
		ends   time.Duration // when systemd gives up /b; it never had a job for /a
		jobs   error
		waited time.Duration
		begun  string
	}{
		"there":         {0, never, nil, 0, ""},
		"comes":         {5 * time.Second, never, nil, 5 * time.Second, "/b"},
		"times out":     {never, 90 * time.Second, nil, 90 * time.Second, "/b"},
		"no job":        {never, 0, nil, 0, ""},
		"no end":        {never, never, nil, 2 * time.Minute, "/b"},
		"systemctl ill": {never, never, errors.New("exit status 1"), 2 * time.Minute, "/a"},
	} {
		var waited time.Duration
		begun := ""
		w := MountWait{
			Left: 2 * time.Minute, Sleep: func(d time.Duration) { waited += d }, Begin: func(m *ConfiguredMount) { begun += m.Point },
			Jobs: func() ([]string, error) {
				if waited >= tt.ends {
					return []string{"/c"}, tt.jobs
				}
				return []string{"/c", "/b"}, tt.jobs
			},
		}
		w.Await(func() []ConfiguredMount {
			if waited >= tt.comes {
				return nil
			}
			return slices.Clone(both)
		})
		if waited != tt.waited || begun != tt.begun || w.Left != 2*time.Minute-waited {
			t.Errorf("%s: waited %v, first for %q, %v left", name, waited, begun, w.Left)
		}
	}
}
