package bootloader

import (
	"encoding/binary"
	"maps"
	"strings"
	"testing"
)

// bootScript is a script as mkimage makes it.
func bootScript(text string) string {
	b := make([]byte, 64)
	binary.BigEndian.PutUint32(b, 0x27051956)
	binary.BigEndian.PutUint32(b[12:], uint32(8+len(text)))
	b[28], b[29], b[30] = 5, 22, 6 // Linux, arm64, script
	b = binary.BigEndian.AppendUint32(b, uint32(len(text)))
	b = binary.BigEndian.AppendUint32(b, 0)
	return string(b) + text
}

func flashKernelMachine(files map[string]string) map[string]string {
	machine := map[string]string{
		"/usr/sbin/flash-kernel": "",
		"/boot/boot.scr":         bootScript("if test -n \"${console}\"; then\n  setenv bootargs \"${bootargs} console=${console}\"\nfi\nsetenv bootargs  ${bootargs} quiet\nbooti x\n"),
	}
	maps.Copy(machine, files)
	return machine
}

func TestFlashKernel(t *testing.T) {
	words := strings.Join(setCrash.Words, " ")
	const def = flashKernelDefaults
	for _, c := range []struct{ name, text, want string }{
		{"set", "LINUX_KERNEL_CMDLINE=\"quiet\"\nLINUX_KERNEL_CMDLINE_DEFAULTS=\"\"\n", "LINUX_KERNEL_CMDLINE=\"quiet CK\"\nLINUX_KERNEL_CMDLINE_DEFAULTS=\"\"\n"},
		{"no end", "LINUX_KERNEL_CMDLINE='quiet splash'", "LINUX_KERNEL_CMDLINE='quiet splash CK'"},
		{"not set", "# nothing\n", "# nothing\n" + addedBy + "\nLINUX_KERNEL_CMDLINE=\"CK\"\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := strings.ReplaceAll(c.want, "CK", words)
			s := roundTrip(t, flashKernel{}, flashKernelMachine(map[string]string{def: c.text}), map[string]string{def: want})
			p := plan(t, flashKernel{}, s, setCrash)
			if len(p.Commands) != 1 || p.Commands[0].Args[0] != "/usr/sbin/flash-kernel" {
				t.Errorf("got %+v", p.Commands)
			}
		})
	}
	s := tree(t, flashKernelMachine(map[string]string{def: "LINUX_KERNEL_CMDLINE=a\nLINUX_KERNEL_CMDLINE=\"b crashkernel=1M\"\nLINUX_KERNEL_CMDLINE_DEFAULTS=\"crashkernel=2M\"\n"}))
	compareFiles(t, apply(t, flashKernel{}, s, setCrash), map[string]string{
		def: "LINUX_KERNEL_CMDLINE=a\nLINUX_KERNEL_CMDLINE=\"b " + words + "\"\nLINUX_KERNEL_CMDLINE_DEFAULTS=\"\"\n"})
	compareFiles(t, apply(t, flashKernel{}, tree(t, flashKernelMachine(nil)), setCrash), map[string]string{
		def: addedBy + "\nLINUX_KERNEL_CMDLINE=\"" + words + "\"\n"})
}

func TestFlashKernelNext(t *testing.T) {
	// The file is one of mkimage 2023.01.
	made := tree(t, flashKernelMachine(map[string]string{"/boot/boot.scr": testdata(t, "flash-kernel/boot.scr")}))
	compareLines(t, cmdlines(t, flashKernel{}, made), "*U-Boot /boot/boot.scr: ${bootargs} quiet")
	compareLines(t, cmdlines(t, flashKernel{}, tree(t, flashKernelMachine(nil))), "*U-Boot /boot/boot.scr: ${bootargs} quiet")
	whole := bootScript("x")
	for _, data := range []string{"", "setenv bootargs x\n", whole[:len(whole)-1], strings.Repeat("\x00", 100)} {
		if e, err := (flashKernel{}).Next(tree(t, flashKernelMachine(map[string]string{"/boot/boot.scr": data}))); err == nil || !strings.HasPrefix(err.Error(), "/boot/boot.scr: ") {
			t.Errorf("%q: got %v, %v", data, e, err)
		}
	}
}

func TestFlashKernelFind(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]string
		found bool
		want  Booted
	}{
		{"U-Boot", nil, true, Unknown},
		{"EFI", map[string]string{"/sys/firmware/efi/": ""}, true, No},
		{"Raspberry Pi", map[string]string{raspberryModel: piModel, "/boot/firmware/config.txt": ""}, false, Unknown},
	} {
		f, err := flashKernel{}.Find(tree(t, flashKernelMachine(c.files)))
		if err != nil || (f != nil) != c.found || f != nil && f.Booted != c.want {
			t.Errorf("%s: got %+v, %v", c.name, f, err)
		}
	}
}

func FuzzUBootScript(f *testing.F) {
	f.Add([]byte(bootScript("setenv bootargs \"a\";\n")))
	f.Fuzz(func(t *testing.T, data []byte) {
		script, err := uBootScript(data)
		if err == nil && len(script) > len(data)-72 {
			t.Fatal(len(script), len(data))
		}
		if args := uBootArgs(script); strings.Contains(args, "\n") {
			t.Fatalf("%q", args)
		}
	})
}
