package bootloader

import (
	"maps"
	"strings"
	"testing"
)

// ostreeMachine has two deployments, and programs.
func ostreeMachine(options string, files map[string]string) map[string]string {
	machine := map[string]string{
		"/run/ostree-booted": "",
		ostreeEntries + "/ostree-1.conf": "title Fedora CoreOS 40 (ostree:1)\nversion 1\noptions root=/dev/a ostree=/ostree/boot.1/x/0\n" +
			"linux /ostree/vmlinuz\n",
		ostreeEntries + "/ostree-2.conf": "title Fedora CoreOS 41 (ostree:0)\nversion 2\noptions root=/dev/a ostree=/ostree/boot.1/y/0 " + options + "\n",
		ostreeEntries + "/other.conf":    "title Other\noptions root=/dev/b\n",
	}
	maps.Copy(machine, files)
	return machine
}

func TestOstreeNext(t *testing.T) {
	const (
		y = "Fedora CoreOS 41 (ostree:0) " + ostreeEntries + "/ostree-2.conf: root=/dev/a ostree=/ostree/boot.1/y/0 quiet"
		x = "Fedora CoreOS 40 (ostree:1) " + ostreeEntries + "/ostree-1.conf: root=/dev/a ostree=/ostree/boot.1/x/0"
	)
	staged := testdata(t, "ostree/staged")
	locked := testdata(t, "ostree/staged-locked")
	const line = "root=UUID=6e406612-0871-46bc-94d5-21177326edce rw rd.luks.options=discard $ignition_firstboot ignition.platform.id=qemu " +
		"console=tty0 console=ttyS0,115200n8 ostree=/ostree/boot.1/fedora-coreos/cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc/0 " +
		"crashkernel=512M,high crashkernel=64M,low"
	for _, c := range []struct {
		name  string
		files map[string]string
		want  []string
	}{
		{"nothing staged", nil, []string{"*" + y, x}},
		{"staged with arguments", map[string]string{ostreeStaged: staged}, []string{"*staged deployment " + ostreeStaged + ": " + line, y, x}},
		{"staged and locked", map[string]string{ostreeStaged: staged, ostreeStagedLocked: ""}, []string{"*" + y, x}},
		{"locked inside", map[string]string{ostreeStaged: locked}, []string{"*" + y, x}},
		{"without arguments of its own", map[string]string{ostreeStaged: stagedWithout()},
			[]string{"*staged deployment " + ostreeStaged + ": root=/dev/a ostree=/ostree/boot.1/y/0 quiet", y, x}},
	} {
		t.Run(c.name, func(t *testing.T) {
			compareLines(t, cmdlines(t, ostree{}, tree(t, ostreeMachine("quiet", c.files))), c.want...)
		})
	}
	s := tree(t, ostreeMachine("", map[string]string{ostreeStaged: staged[:len(staged)-3]}))
	if _, err := (ostree{}).Next(s); err == nil || err.Error() != ostreeStaged+": damaged GVariant" {
		t.Errorf("damaged: got %v", err)
	}
}

// stagedWithout is a dictionary with one boolean that nobody knows.
func stagedWithout() string { return "x\x00\x00\x00\x00\x00\x00\x00\x01\x00b\x02\x0c" }

func TestOstreePlan(t *testing.T) {
	rpm := map[string]string{"/usr/bin/rpm-ostree": "", "/usr/bin/bootc": ""}
	for _, c := range []struct {
		name, options string
		files         map[string]string
		edit          Edit
		args, undo    string
		manual        string
	}{
		{"add", "quiet", rpm, setCrash,
			"/usr/bin/rpm-ostree kargs --append=crashkernel=512M,high --append=crashkernel=64M,low",
			"/usr/bin/rpm-ostree kargs --delete=crashkernel=512M,high --delete=crashkernel=64M,low", ""},
		{"replace a part", "crashkernel=1M crashkernel=64M,low", rpm, setCrash,
			"/usr/bin/rpm-ostree kargs --delete=crashkernel=1M --append=crashkernel=512M,high",
			"/usr/bin/rpm-ostree kargs --delete=crashkernel=512M,high --append=crashkernel=1M", ""},
		{"done", strings.Join(setCrash.Words, " "), rpm, setCrash, "", "", ""},
		{"done by the staged deployment", "", map[string]string{"/usr/bin/rpm-ostree": "", ostreeStaged: testdata(t, "ostree/staged")}, setCrash, "", "", ""},
		{"remove", "crashkernel=1M", rpm, removeCrash, "/usr/bin/rpm-ostree kargs --delete=crashkernel=1M", "/usr/bin/rpm-ostree kargs --append=crashkernel=1M", ""},
		{"nothing to remove", "quiet", rpm, removeCrash, "", "", ""},
		{"bootc", "quiet", map[string]string{"/usr/bin/bootc": "\x7fELF set-options-for-source\x00"}, setCrash,
			"/usr/bin/bootc loader-entries set-options-for-source --source kdump --options crashkernel=512M,high crashkernel=64M,low",
			"/usr/bin/bootc loader-entries set-options-for-source --source kdump", ""},
		{"bootc, with words of its own", "crashkernel=1M\nx-options-source-kdump crashkernel=1M panic=1",
			map[string]string{"/usr/bin/bootc": "set-options-for-source"}, removeCrash,
			"/usr/bin/bootc loader-entries set-options-for-source --source kdump --options panic=1",
			"/usr/bin/bootc loader-entries set-options-for-source --source kdump --options crashkernel=1M panic=1", ""},
		{"bootc, with words of the image", "crashkernel=1M", map[string]string{"/usr/bin/bootc": "set-options-for-source"}, setCrash, "", "",
			"bootc cannot remove crashkernel=1M from the command line of this machine."},
		{"an old bootc", "", map[string]string{"/usr/bin/bootc": "\x7fELF"}, setCrash, "", "",
			"Put this into /usr/lib/bootc/kargs.d/10-kdump.toml of the image, rebuild the image, and run \"bootc upgrade\":\n" +
				`kargs = ["crashkernel=512M,high", "crashkernel=64M,low"]`},
		{"OSTree alone", "crashkernel=1M", nil, setCrash, "", "", "Neither rpm-ostree nor bootc is installed. Run, with the ref that \"ostree admin status\" shows: " +
			"ostree admin deploy --karg-delete=crashkernel=1M --karg-append=crashkernel=512M,high --karg-append=crashkernel=64M,low REF"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := ostree{}.Plan(tree(t, ostreeMachine(c.options, c.files)), c.edit)
			if err != nil || len(p.Files) > 0 {
				t.Fatalf("got %+v, %v", p, err)
			}
			args, undo := "", ""
			for _, command := range p.Commands {
				args, undo = strings.Join(command.Args, " "), strings.Join(command.Undo, " ")
			}
			if args != c.args || undo != c.undo || !strings.HasPrefix(p.Manual, c.manual) || c.manual == "" && p.Manual != "" {
				t.Errorf("got  %q\nundo %q\nmanual %q", args, undo, p.Manual)
			}
		})
	}
	if p, err := (ostree{}).Plan(tree(t, map[string]string{"/run/ostree-booted": ""}), setCrash); err == nil {
		t.Errorf("without entries: got %+v", p)
	}
}

func TestOstreeFind(t *testing.T) {
	f, err := ostree{}.Find(tree(t, ostreeMachine("", map[string]string{"/usr/bin/bootc": ""})))
	if err != nil || f.Booted != Yes || strings.Join(f.Files, " ") != "/usr/bin/bootc" {
		t.Errorf("got %+v, %v", f, err)
	}
}

func TestContains(t *testing.T) {
	// The text is where one part of the file ends and the next begins.
	const text = "set-options"
	s := tree(t, map[string]string{"/a": strings.Repeat("x", 1<<20-4) + text, "/b": strings.Repeat("x", 3<<20)})
	if !s.contains("/a", text) || s.contains("/b", text) || s.contains("/c", text) {
		t.Error("wrong")
	}
}

func FuzzGVariant(f *testing.F) {
	f.Add([]byte(testdata(f, "ostree/staged")))
	f.Add([]byte(testdata(f, "ostree/staged-locked")))
	f.Fuzz(func(t *testing.T, data []byte) {
		dict, err := gvariantDict(data)
		if err != nil {
			return
		}
		for key, v := range dict {
			words, err := v.strings()
			if err == nil && v.kind != "as" || len(words) > len(data) {
				t.Fatalf("%q: %q, %v", key, words, err)
			}
			v.bool()
		}
	})
}

func FuzzOstreeEntry(f *testing.F) {
	f.Add("title A\r\nversion 2\noptions a\noptions\tb\nx-options-source-kdump c\n")
	f.Fuzz(func(t *testing.T, text string) {
		e := readOstreeEntry(newTextFile("f", []byte(text)))
		if strings.ContainsAny(e.Cmdline+e.owned, "\n") {
			t.Fatalf("%q: %+v", text, e)
		}
	})
}
