package bootloader

import (
	"strings"
	"testing"
)

const (
	piCmdline = "console=serial0,115200 console=tty1 root=PARTUUID=738a4d67-02 rootfstype=ext4 fsck.repair=yes rootwait quiet splash"
	piModel   = "Raspberry Pi 4 Model B Rev 1.4\x00"
)

func TestRaspberryPi(t *testing.T) {
	words := strings.Join(setCrash.Words, " ")
	const config, cmdline = "/boot/firmware/config.txt", "/boot/firmware/cmdline.txt"
	for _, c := range []struct {
		name        string
		files, want map[string]string
	}{
		{"Raspberry Pi OS",
			map[string]string{config: "# For more options see\ndtparam=audio=on\n[cm4]\notg_mode=1\n[all]\n", cmdline: piCmdline + "\n"},
			map[string]string{cmdline: piCmdline + " " + words + "\n"}},
		{"no end, lines of DOS elsewhere", map[string]string{config: "a=b\r\n", cmdline: piCmdline},
			map[string]string{cmdline: piCmdline + " " + words}},
		{"space and line of DOS at the end", map[string]string{config: "", cmdline: "\ufeff" + piCmdline + " \r\n"},
			map[string]string{cmdline: "\ufeff" + piCmdline + " " + words + " \r\n"}},
		{"before Debian 12", map[string]string{"/boot/config.txt": "", "/boot/cmdline.txt": piCmdline + "\n\n"},
			map[string]string{"/boot/cmdline.txt": piCmdline + " " + words + "\n\n"}},
		{"another name, of an included file",
			map[string]string{config: "include usercfg.txt\ninclude gone.txt\n", "/boot/firmware/usercfg.txt": "include config.txt\ncmdline=mine.txt\n", "/boot/firmware/mine.txt": "a"},
			map[string]string{"/boot/firmware/mine.txt": "a " + words}},
		{"Ubuntu with two systems",
			map[string]string{config: "os_prefix=current/\n[tryboot]\nos_prefix=new/\n", "/boot/firmware/current/cmdline.txt": "a\n", "/boot/firmware/new/cmdline.txt": "b\n"},
			map[string]string{"/boot/firmware/current/cmdline.txt": "a " + words + "\n", "/boot/firmware/new/cmdline.txt": "b " + words + "\n"}},
		{"a condition that is never met",
			map[string]string{config: "[none]\ncmdline=off.txt\n[pi4]\ncmdline=off.txt\n[all]\n", cmdline: "a\n", "/boot/firmware/off.txt": "b"},
			map[string]string{cmdline: "a " + words + "\n"}},
		{"Debian",
			map[string]string{config: "", cmdline: "a\n", raspiHook: "", raspiExtra: "net.ifnames=0\n"},
			map[string]string{cmdline: "a " + words + "\n", raspiExtra: "net.ifnames=0 " + words + "\n"}},
		{"Debian, nothing added yet",
			map[string]string{config: "", cmdline: "a\n", raspiHook: ""},
			map[string]string{cmdline: "a " + words + "\n", raspiExtra: words + "\n"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.files[raspberryModel] = piModel
			roundTrip(t, raspberryPi{}, c.files, c.want)
		})
	}
}

func TestRaspberryPiNext(t *testing.T) {
	s := tree(t, map[string]string{raspberryModel: piModel, "/boot/firmware/config.txt": "[all]\nos_prefix=current/\n",
		"/boot/firmware/current/cmdline.txt": "a \n", "/boot/firmware/cmdline.txt": "b"})
	compareLines(t, cmdlines(t, raspberryPi{}, s), "*current/cmdline.txt /boot/firmware/current/cmdline.txt: a", "cmdline.txt /boot/firmware/cmdline.txt: b")
}

func TestRaspberryPiDamaged(t *testing.T) {
	files := map[string]string{"/boot/config.txt": "", "/boot/cmdline.txt": "a\n\nb\n"}
	refused(t, raspberryPi{}, files, "/boot/cmdline.txt:3: a second line, which the firmware does not read")
	files["/boot/cmdline.txt"] = "a\x00"
	refused(t, raspberryPi{}, files, "/boot/cmdline.txt:1: a zero byte")
	p, err := raspberryPi{}.Plan(tree(t, map[string]string{raspberryModel: piModel, "/boot/config.txt": ""}), setCrash)
	if err == nil || err.Error() != "/boot has no cmdline.txt" {
		t.Errorf("got %+v, %v", p, err)
	}
}

func TestRaspberryPiFind(t *testing.T) {
	const node = "/sys/firmware/devicetree/base/chosen/bootloader/"
	for _, c := range []struct {
		name  string
		files map[string]string
		want  Booted
		found bool
	}{
		{"the firmware's loader", map[string]string{raspberryModel: piModel, "/boot/config.txt": "", node: ""}, Yes, true},
		{"U-Boot behind it", map[string]string{raspberryModel: piModel, "/boot/config.txt": "kernel=u-boot.bin\n", node: ""}, Unknown, true},
		{"an old model", map[string]string{raspberryModel: piModel, "/boot/config.txt": ""}, Unknown, true},
		{"GRUB behind UEFI", bootedBy(`\EFI\debian\grubaa64.efi`), No, true},
		{"another machine", map[string]string{"/boot/config.txt": ""}, Unknown, false},
	} {
		if c.want == No {
			c.files[raspberryModel], c.files["/boot/config.txt"] = piModel, ""
		}
		f, err := raspberryPi{}.Find(tree(t, c.files))
		if err != nil || (f != nil) != c.found || f != nil && f.Booted != c.want {
			t.Errorf("%s: got %+v, %v", c.name, f, err)
		}
	}
}

func FuzzRaspberryPi(f *testing.F) {
	f.Add("include a.txt\n[none]\ncmdline=b\n", piCmdline+"\r\n")
	f.Add("cmdline=cmdline.txt\nos_prefix=/../\n", " crashkernel=1M\n\n")
	f.Fuzz(func(t *testing.T, config, cmdline string) {
		s := tree(t, map[string]string{"/boot/config.txt": config, "/boot/cmdline.txt": cmdline})
		p, err := raspberryPi{}.Plan(s, setCrash)
		if err != nil {
			return
		}
		write(t, s, p)
		if again, err := (raspberryPi{}).Plan(s, setCrash); err != nil || len(again.Files) > 0 {
			t.Fatalf("%q %q: %+v, then %+v, %v", config, cmdline, p, again, err)
		}
	})
}
