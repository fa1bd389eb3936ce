package archive

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestScrub(t *testing.T) {
	s := NewScrubber([]string{"web7.example.org", "localhost"}, []string{"alice"})
	for _, tt := range []struct{ in, want string }{
		{"nothing private here: RIP: 0010:bad_function+0x10/0x20 [bad]", ""},
		{"web7 crashed, WEB7.EXAMPLE.ORG too, web78 not", "<host-2> crashed, <host-1> too, web78 not"},
		{"alice: alice's shell, malice", "<user-1>: <user-1>'s shell, malice"},
		{"eth0: 52:54:00:12:34:56, 52:54:00:12:34:57 and 52:54:00:12:34:56", "eth0: <mac-1>, <mac-2> and <mac-1>"},
		{"from 192.168.7.20 to 10.0.0.1:53, not 127.0.0.1, 6.1.0.999", "from <ip-1> to <ip-2>:53, not 127.0.0.1, 6.1.0.999"},
		{"fe80::5054:ff:fe12:3456 is up, ::1 not, at 12:34:56", "<ip-3> is up, ::1 not, at 12:34:56"},
		{"pci 0000:00:1f.2: [8086:2922]", ""},
		{"Command line: root=UUID=0a1b2c3d-1111-2222-3333-444455556666 rd.luks.key=/key:UUID=x rd.luks.name=0a1b=root ip=10.0.0.2::10.0.0.1:255.255.255.0:web7:eth0:none quiet",
			"Command line: root=UUID=<id-1> rd.luks.key=<secret-1> rd.luks.name=<secret-2> ip=<net-1> quiet"},
		{`my.password="two words" API_TOKEN=abc rest`, `my.password="<secret-3>" API_TOKEN=<secret-4> rest`},
		{"https://bob:hunter2@git/x", "https://<secret-5>@<host-3>/x"},
		{"usb 1-1: SerialNumber: 0123ABC", "usb 1-1: SerialNumber: <serial-1>"},
		{"cd /home/bob/src; again /home/bob", "cd /home/<user-2>/src; again /home/<user-2>"},
		{"audit: acct=\"carol\" exe=x", "audit: acct=\"<user-3>\" exe=x"},
		{"mail to dave@example.com now", "mail to <mail-1> now"},
		{`  "machine_id": "00112233445566778899aabbccddeeff",`, `  "machine_id": "<id-2>",`},
		{`  "host": "db1",`, `  "host": "<host-4>",`},
		{"GNU ld 2.47.50.20261021, Serial: 8250/16550 driver", ""},
		{"Linux version 6.12.0 (eve@laptop) (gcc)", "Linux version 6.12.0 (<mail-2>) (gcc)"},
		{"Code: 40 00 48 8b 15 b1 aa 0d 00", ""},
		{"pass=x<y> token=<z", "pass=<secret-6> token=<secret-7>"},
		{`"cmdline": "rd.luks.key=\"my key\" a.token=x\u0026y\\z quiet"`, `"cmdline": "rd.luks.key=\"<secret-8>\" a.token=<secret-9> quiet"`},
		{`password=<hunter2> key-file=/k psk='a b'`, `password=<secret-10> key-file=<secret-11> psk='<secret-12>'`},
		{"https://bob:p@ss@git/x", "https://<secret-13>@<host-3>/x"},
		{"fs1.example.org:/home on /home type nfs4, //srv/a on /b", "<host-5>:/home on /home type nfs4, //<host-6>/a on /b"},
		{`initrd=\00112233445566778899aabbccddeeff\6.1\linux`, `initrd=\<id-2>\6.1\linux`},
	} {
		if tt.want == "" {
			tt.want = tt.in
		}
		if got := s.Line(tt.in); got != tt.want {
			t.Errorf("%s\ngot  %s\nwant %s", tt.in, got, tt.want)
		}
	}
}

func TestScrubForms(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{`password="a b" quiet`, `password="<secret-1>" quiet`},
		{`"password=a b" quiet`, `"password=<secret-1>" quiet`},
		{`CONFIG_CMDLINE="my.password=a ro"`, `CONFIG_CMDLINE="my.password=<secret-1> ro"`},
		{`"cmdline": "ro \"my.password=a b\" quiet"`, `"cmdline": "ro \"my.password=<secret-1>\" quiet"`},
		{`msg="user token=x y" key='a b'`, `msg="user token=<secret-1> y" key='<secret-2>'`},
		{`log: "password is hunter2"`, `log: "password is <secret-1>"`},
		{`the passphrase was "a b", token is: x`, `the passphrase was "<secret-1>", token is: <secret-2>`},
		{`password is required, the token is invalid.`, ``},
		{`"user": "bob", "token": "x", "secret": "y", "n": 1`, `"user": "<user-1>", "token": "<secret-1>", "secret": "<secret-2>", "n": 1`},
		{`"secret": {"a": 1}, "token": ["b"], "user": false`, ``},
		{`"api_key" : "x\"y" rest`, `"api_key" : "<secret-1>" rest`},
		{`wlan0: ssid="home net" bssid=52:54:00:12:34:56`, `wlan0: ssid="<ssid-1>" bssid=<mac-1>`},
		{`Trying to associate with 52:54:00:12:34:56 (SSID='home net' freq=2412 MHz)`, `Trying to associate with <mac-1> (SSID='<ssid-1>' freq=2412 MHz)`},
		{`wpa: SSID 'home net' found; Config: added 'ssid' value 'home net'`, `wpa: SSID '<ssid-1>' found; Config: added 'ssid' value '<ssid-1>'`},
		{`activation: access point 'x y' done`, `activation: access point '<ssid-1>' done`},
		{`iscsi: iqn.2005-03.org.open-iscsi:ab12cd (login)`, `iscsi: <serial-1> (login)`},
		{`nvme0: NQN nqn.2014-08.org.nvmexpress:uuid:x, nqn.2014-08.org.nvmexpress.discovery`, `nvme0: NQN <serial-1>, nqn.2014-08.org.nvmexpress.discovery`},
		{`qla2xxx: WWPN 0x5001438024d1a2b3 wwnn=50:01:43:80:24:d1:a2:b2`, `qla2xxx: WWPN 0x<serial-1> wwnn=<mac-1>`},
		{`mpt3sas: handle(0x0009), sas_address(0x4433221100000000)`, `mpt3sas: handle(0x0009), sas_address(0x<serial-1>)`},
		{`multipath: 36001405abcdefabcdefabcdefabcdef1 and 35000c500abcdef01`, `multipath: <serial-1> and <serial-2>`},
		{`R10: ffff888100abcdef, 5000c500abcdef01 R11`, ``},
		{`/dev/disk/by-id/ata-SSD_860_S3Z9NB0K on /x`, `/dev/disk/by-id/<serial-1> on /x`},
		{`get https://files.example.org:8443/x?y, http://10.0.0.7/, https://[fe80::1]:80/`, `get https://<host-1>:8443/x?y, http://<ip-1>/, https://[<ip-2>]:80/`},
		{`see https://www.kernel.org/doc/x and file:///etc/x`, ``},
		{`sshd[9]: Accepted publickey for bob from 10.0.0.7 port 22`, `sshd[9]: Accepted publickey for <user-1> from <ip-1> port 22`},
		{`sshd[9]: Failed password for invalid user bob from`, `sshd[9]: Failed password for invalid user <user-1> from`},
		{`sudo[1]: bob : TTY=pts/0`, `sudo[1]: <user-1> : TTY=pts/0`},
		{`vconsole.keymap=de nvidia.bypass=1`, ``},
	} {
		if tt.want == "" {
			tt.want = tt.in
		}
		s := NewScrubber(nil, nil)
		got := s.Line(tt.in)
		if got != tt.want {
			t.Errorf("%s\ngot  %s\nwant %s", tt.in, got, tt.want)
		}
		if again := s.Line(got); again != got {
			t.Errorf("%s\nagain %s", got, again)
		}
	}
}

// Of real logs nothing is left that names the machine, and a second run changes nothing.
func TestScrubRealLogs(t *testing.T) {
	names, _ := filepath.Glob("../vmcore/testdata/*.dmesg.gz")
	if dir := os.Getenv("UKDUMP_VMCORES"); dir != "" {
		for _, pattern := range []string{"*/*.txt", "*/*.log", "*/report.json"} {
			more, _ := filepath.Glob(filepath.Join(dir, pattern))
			names = append(names, more...)
		}
	}
	if len(names) < 3 {
		t.Fatal("no logs")
	}
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		var r io.Reader = f
		if strings.HasSuffix(name, ".gz") {
			if r, err = gzip.NewReader(f); err != nil {
				t.Fatal(err)
			}
		}
		log, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		var once, twice bytes.Buffer
		if err := NewScrubber(nil, nil).Copy(&once, bytes.NewReader(log)); err != nil {
			t.Fatal(err)
		}
		if err := NewScrubber(nil, nil).Copy(&twice, bytes.NewReader(once.Bytes())); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(once.Bytes(), twice.Bytes()) {
			t.Errorf("%s: a second run changes it", name)
		}
		if a, b := bytes.Count(log, []byte("\n")), bytes.Count(once.Bytes(), []byte("\n")); a != b {
			t.Errorf("%s: %d lines of %d", name, b, a)
		}
		before, after := strings.Split(string(log), "\n"), strings.Split(once.String(), "\n")
		changed := 0
		for i := range min(len(before), len(after)) {
			if before[i] != after[i] {
				changed++
				t.Logf("%s\n%s", before[i], after[i])
			}
		}
		if changed > len(before)/5 {
			t.Errorf("%s: %d of %d lines changed", name, changed, len(before))
		}
	}
}

func FuzzScrub(f *testing.F) {
	f.Add("ip=10.0.0.1 pass=\"x y\" /home/bob fe80::1 52:54:00:12:34:56 web7 alice")
	f.Fuzz(func(t *testing.T, line string) {
		if strings.Contains(line, "\n") {
			return
		}
		s := NewScrubber([]string{"web7"}, []string{"alice"})
		if got := s.Line(line); strings.Contains(got, "\n") {
			t.Errorf("%q became %q", line, got)
		}
	})
}

// A name that begins another leaves nothing of it, in any order.
func TestScrubLongNames(t *testing.T) {
	s := NewScrubber([]string{"web1", "web1.example.org"}, []string{"al", "al.smith"})
	if got, want := s.Line("web1.example.org web1 al.smith al"), "<host-1> <host-2> <user-1> <user-2>"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
